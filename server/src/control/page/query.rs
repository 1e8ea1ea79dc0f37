//! The parameters of an address. Pure.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parameters of `query`, decoded: those of which `names` has the name, each at most once.
///
/// # Errors
/// The name of a parameter that there is none of, or that comes twice, or whose value is no text.
pub(super) fn parameters<const N: usize>(
    query: &str,
    names: [&'static str; N],
) -> Result<[Option<String>; N], String> {
    let mut found = [const { None }; N];
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let Some(index) = names.iter().position(|known| *known == name) else {
            return Err(decoded(name).unwrap_or_else(|| name.to_owned()));
        };
        let is_new = found[index].is_none();
        let value = decoded(value).filter(|_| is_new);
        found[index] = Some(value.ok_or_else(|| name.to_owned())?);
    }
    Ok(found)
}

/// A plus is a blank here, as forms write it.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8();
    decoded.ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_decoded_and_what_is_not_known_is_refused() {
        let of = |query| parameters(query, ["filter", "page_size"]);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(of(""), Ok([None, None]));
        assert_eq!(
            of("page_size=5&filter=state+%3D+ended"),
            Ok([text("state = ended"), text("5")])
        );
        assert_eq!(of("filter"), Ok([text(""), None]));
        assert_eq!(of("other=1"), Err("other".into()));
        assert_eq!(of("filter=a&filter=b"), Err("filter".into()));
        assert_eq!(of("filter=%FF"), Err("filter".into()));
    }

    proptest! {
        #[test]
        fn no_query_is_too_strange(query in ".*") {
            let _ = parameters(&query, ["a", "b"]);
        }
    }
}

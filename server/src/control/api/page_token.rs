//! Page tokens: where the next page of a list begins, bound to the list. Pure.
//!
//! A token is hexadecimal digits: a check of 8 bytes over the list and the place, then the place,
//! masked by the check. So a token of another list, and one that was changed, is none. It is no
//! secret: it gives access to nothing.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Longest place, bytes.
const PLACE_BYTES_MAX: usize = 64;

const CHECK_BYTES: usize = size_of::<u64>();

/// The token of the page behind `place`, which has at most 64 bytes.
pub(super) fn to_token(list: &str, place: &[u8]) -> String {
    let check = check(list, place);
    let bytes = check.into_iter().chain(masked(place, check));
    bytes.fold(String::new(), |mut token, byte| {
        let _ = write!(token, "{byte:02x}");
        token
    })
}

/// Behind which place the page of a token begins. `None`: it is no token of this list.
pub(super) fn from_token(list: &str, token: &str) -> Option<Vec<u8>> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let longest = 2 * (CHECK_BYTES + PLACE_BYTES_MAX);
    if token.len() > longest || !token.len().is_multiple_of(2) || !token.bytes().all(is_digit) {
        return None;
    }
    let pairs = (0..token.len()).step_by(2);
    let bytes: Option<Vec<_>> = pairs
        .map(|at| u8::from_str_radix(&token[at..at + 2], 16).ok())
        .collect();
    let (shown, masked_place) = bytes.as_deref()?.split_first_chunk()?;
    let place: Vec<_> = masked(masked_place, *shown).collect();
    (check(list, &place) == *shown).then_some(place)
}

fn masked(place: &[u8], check: [u8; CHECK_BYTES]) -> impl Iterator<Item = u8> {
    let mask = check.into_iter().cycle();
    place.iter().zip(mask).map(|(byte, mask)| byte ^ mask)
}

fn check(list: &str, place: &[u8]) -> [u8; CHECK_BYTES] {
    let mut sum = Sha256::new();
    // The length first, so that no two pairs of list and place have the same bytes.
    sum.update((list.len() as u64).to_be_bytes());
    sum.update(list);
    sum.update(place);
    let sum: [u8; 32] = sum.finalize().into();
    let (first, _) = sum.split_first_chunk().expect("32 bytes have 8");
    *first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_survives_in_its_list_and_no_change_of_it_is_one(
            place in prop::collection::vec(any::<u8>(), 0..=PLACE_BYTES_MAX),
            at: prop::sample::Index,
            digit in "[0-9a-fA-F+ gä]",
        ) {
            let token = to_token("one", &place);
            prop_assert_eq!(from_token("one", &token), Some(place));
            prop_assert_eq!(from_token("other", &token), None);
            let mut changed = token.clone();
            let at = at.index(token.len());
            changed.replace_range(at..=at, &digit);
            prop_assert!(changed == token || from_token("one", &changed).is_none());
        }

        #[test]
        fn any_text_is_a_token_or_none(text in ".{0,40}") {
            prop_assert_eq!(from_token("one", &text), None);
        }
    }
}

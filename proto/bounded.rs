//! Texts of others, cut to what an error may take: a gRPC error travels in headers.

use crate::v1::{Failure, Figure, TextList, figure::Value};

/// Longest text of a figure, and longest word of a sentence, bytes.
const TEXT_BYTES_MAX: usize = 100;
/// Most texts of a list that are shown.
const LISTED_MAX: usize = 3;
/// Most figures of a failure that is sent.
const FIGURES_MAX: usize = 8;

/// The text, cut at a character to `bytes_max` bytes, `…` included, where it is longer.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> String {
    const CUT: &str = "…";
    if text.len() <= bytes_max {
        return text.into();
    }
    let kept = text.floor_char_boundary(bytes_max.saturating_sub(CUT.len()));
    format!("{}{CUT}", &text[..kept])
}

/// Names in a sentence: the first three, each at most 100 bytes, and how many more there are.
#[must_use]
pub fn listed(names: &[String]) -> String {
    let shown = first(names).join(", ");
    match names.len().saturating_sub(LISTED_MAX) {
        0 => shown,
        more => format!("{shown} … and {more} more"),
    }
}

fn first(names: &[String]) -> Vec<String> {
    let names = names.iter().take(LISTED_MAX);
    names.map(|name| cut(name, TEXT_BYTES_MAX)).collect()
}

impl Failure {
    /// The failure for a gRPC error, which travels in headers: a sentence of at most
    /// `sentence_bytes_max` bytes and the first 8 figures by name. Of a list the first three texts
    /// stay; each text, and each word of the sentence, is cut at 100 bytes.
    #[must_use]
    pub fn bounded(&self, sentence_bytes_max: usize) -> Self {
        let words = self.sentence.split(' ');
        let words: Vec<_> = words.map(|word| cut(word, TEXT_BYTES_MAX)).collect();
        let text_bytes_max = TEXT_BYTES_MAX.min(sentence_bytes_max);
        let bounded = |(name, figure): (&String, &Figure)| {
            let value = figure.value.clone().map(|value| match value {
                Value::Text(text) => Value::Text(cut(&text, text_bytes_max)),
                Value::Texts(list) => Value::Texts(TextList {
                    values: first(&list.values)
                        .iter()
                        .map(|text| cut(text, text_bytes_max))
                        .collect(),
                }),
                number => number,
            });
            (cut(name, text_bytes_max), Figure { value })
        };
        Self {
            code: self.code,
            sentence: cut(&words.join(" "), sentence_bytes_max),
            remedy: self.remedy.clone(),
            figures: self.figures.iter().take(FIGURES_MAX).map(bounded).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::FailureCode;

    #[test]
    fn what_is_long_is_cut_at_a_character_and_a_list_after_three() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcdef", 5), "ab…");
        assert_eq!(cut("aääää", 6), "aä…");
        let names: Vec<_> = (1..=60).map(|number| format!("a{number}")).collect();
        assert_eq!(listed(&names[..3]), "a1, a2, a3");
        assert_eq!(listed(&names), "a1, a2, a3 … and 57 more");
        assert!(listed(&[String::from("n").repeat(900_000)]).len() <= TEXT_BYTES_MAX);
        assert_eq!(Figure::from(1e308).to_string(), "1e308");
        let failure = Failure::new(FailureCode::AgentNotConnected, "1".repeat(309) + " is much")
            .with("agent_names", names)
            .with("agent", "ä".repeat(900_000));
        let bounded = failure.bounded(512);
        assert!(bounded.sentence.ends_with("… is much") && bounded.sentence.len() < 120);
        assert_eq!(bounded.figures["agent_names"].to_string(), "a1, a2, a3");
        assert!(bounded.figures["agent"].to_string().len() <= TEXT_BYTES_MAX);
        assert_eq!(bounded, bounded.bounded(512));
    }
}

//! A filter from its text: words, quoted values and operators, then comparisons.

use std::str::FromStr;

use super::{
    comparison::{Comparison, Equality, Filter, Relation, VERDICT_PREFIX, is_bare},
    instant::Instant,
};
use crate::{
    limits::{FILTER_BYTES_MAX, LABEL_KEY_BYTES_MAX},
    names::is_label_key,
    v1::{RunState, VerdictStatus},
};

/// Why a text is no filter: where it goes wrong, and what should stand there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("at byte {at}: {expected} is expected")]
pub struct FilterError {
    /// Bytes of the filter before the place, so that a caret can be put below it: a boundary of
    /// characters, at most the length of the filter.
    pub at: usize,
    /// What should stand there, as the beginning of a sentence.
    pub expected: String,
}

const JOINT: &str = "AND";
const LABELS: &str = "labels.";
/// Longer ones first, so that the first that fits is the whole operator.
const OPERATORS: [&str; 6] = ["!=", "<=", ">=", "=", "<", ">"];

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        if text.len() > FILTER_BYTES_MAX {
            let at = text.floor_char_boundary(FILTER_BYTES_MAX);
            return Err(error(
                at,
                &format!("the end, after {FILTER_BYTES_MAX} bytes"),
            ));
        }
        let mut tokens = Tokens { text, at: 0 };
        let mut comparisons = Vec::new();
        while !tokens.is_at_end() {
            if !comparisons.is_empty() {
                let (at, joint) = tokens.next(JOINT)?;
                if joint != Token::Word(JOINT) {
                    return Err(error(at, JOINT));
                }
            }
            comparisons.push(comparison(&mut tokens)?);
        }
        Ok(Self(comparisons))
    }
}

fn comparison(tokens: &mut Tokens<'_>) -> Result<Comparison, FilterError> {
    const FIELDS: &str = "state, verdict, labels.KEY or created_at";
    let (at, field) = tokens.next(FIELDS)?;
    match field {
        Token::Word("state") => Ok(Comparison::State {
            equality: equality(tokens)?,
            state: state(tokens)?,
        }),
        Token::Word("verdict") => Ok(Comparison::Verdict {
            equality: equality(tokens)?,
            verdict: verdict(tokens)?,
        }),
        Token::Word("created_at") => Ok(Comparison::CreatedAt {
            relation: relation(tokens)?,
            at: instant(tokens)?,
        }),
        Token::Word(word) => {
            let Some(key) = word.strip_prefix(LABELS) else {
                return Err(error(at, FIELDS));
            };
            if !is_label_key(key) {
                let expected = format!(
                    "a key of 1 to {LABEL_KEY_BYTES_MAX} characters of a-z, 0-9, _, . and -, the \
                     first one a letter,"
                );
                return Err(error(at + LABELS.len(), &expected));
            }
            Ok(Comparison::Label {
                key: key.into(),
                equality: equality(tokens)?,
                value: value(tokens, "a value")?.1,
            })
        }
        Token::Quoted(_) | Token::Operator(_) => Err(error(at, FIELDS)),
    }
}

fn equality(tokens: &mut Tokens<'_>) -> Result<Equality, FilterError> {
    const OPERATORS: &str = "= or !=";
    match tokens.next(OPERATORS)? {
        (_, Token::Operator("=")) => Ok(Equality::Equal),
        (_, Token::Operator("!=")) => Ok(Equality::NotEqual),
        (at, _) => Err(error(at, OPERATORS)),
    }
}

fn relation(tokens: &mut Tokens<'_>) -> Result<Relation, FilterError> {
    const OPERATORS: &str = "<, <=, >, >= or =";
    match tokens.next(OPERATORS)? {
        (_, Token::Operator("<")) => Ok(Relation::Before),
        (_, Token::Operator("<=")) => Ok(Relation::NotAfter),
        (_, Token::Operator("=")) => Ok(Relation::At),
        (_, Token::Operator(">=")) => Ok(Relation::NotBefore),
        (_, Token::Operator(">")) => Ok(Relation::After),
        (at, _) => Err(error(at, OPERATORS)),
    }
}

fn state(tokens: &mut Tokens<'_>) -> Result<RunState, FilterError> {
    const NAMES: &str = "PREPARING, STARTING, RUNNING, DRAINING, ENDED, FAILED or ABORTED";
    let (at, name) = value(tokens, NAMES)?;
    RunState::from_name(&name)
        .filter(|state| *state != RunState::Unspecified)
        .ok_or_else(|| error(at, NAMES))
}

fn verdict(tokens: &mut Tokens<'_>) -> Result<VerdictStatus, FilterError> {
    const NAMES: &str = "VALID, PARTIAL or INVALID";
    let (at, name) = value(tokens, NAMES)?;
    VerdictStatus::from_str_name(&format!("{VERDICT_PREFIX}{name}"))
        .filter(|verdict| *verdict != VerdictStatus::Unspecified)
        .ok_or_else(|| error(at, NAMES))
}

fn instant(tokens: &mut Tokens<'_>) -> Result<Instant, FilterError> {
    const INSTANT: &str = "an instant such as \"2026-11-26T05:00:00Z\" (RFC 3339)";
    let (at, text) = value(tokens, INSTANT)?;
    text.parse().map_err(|_| error(at, INSTANT))
}

fn value(tokens: &mut Tokens<'_>, expected: &str) -> Result<(usize, String), FilterError> {
    match tokens.next(expected)? {
        (at, Token::Word(word)) => Ok((at, word.to_owned())),
        (at, Token::Quoted(text)) => Ok((at, text)),
        (at, Token::Operator(_)) => Err(error(at, expected)),
    }
}

fn error(at: usize, expected: &str) -> FilterError {
    FilterError {
        at,
        expected: expected.into(),
    }
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(String),
    Operator(&'static str),
}

/// The tokens of a text, each with its place.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    fn is_at_end(&mut self) -> bool {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_ascii_start().len();
        self.at == self.text.len()
    }

    /// The next token. What is none, and the end, are errors: `expected` should stand there.
    fn next(&mut self, expected: &str) -> Result<(usize, Token<'a>), FilterError> {
        if self.is_at_end() {
            return Err(error(self.at, expected));
        }
        let (at, rest) = (self.at, self.rest());
        if rest.starts_with('"') {
            return Ok((at, Token::Quoted(self.quoted()?)));
        }
        if let Some(operator) = OPERATORS.into_iter().find(|it| rest.starts_with(it)) {
            self.at += operator.len();
            return Ok((at, Token::Operator(operator)));
        }
        let length = rest.find(|letter| !is_bare(letter)).unwrap_or(rest.len());
        if length == 0 {
            return Err(error(at, expected));
        }
        self.at += length;
        Ok((at, Token::Word(&rest[..length])))
    }

    fn quoted(&mut self) -> Result<String, FilterError> {
        let begin = self.at;
        let mut text = String::new();
        let mut letters = self.rest().char_indices().skip(1);
        while let Some((place, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at = begin + place + 1;
                    return Ok(text);
                }
                '\\' => match letters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    _ => return Err(error(begin + place, "\\\" or \\\\")),
                },
                letter => text.push(letter),
            }
        }
        Err(error(self.text.len(), "a closing \""))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

//! A filter from its text: words, quoted values and operators, then comparisons.

use std::str::FromStr;

use super::{
    comparison::{Comparison, Equality, Filter, Relation, is_bare},
    instant::Instant,
};
use crate::{
    limits::{FILTER_BYTES_MAX, LABEL_KEY_BYTES_MAX},
    names::is_label_key,
    run_id::RunIdPrefix,
    v1::{OutcomeStatus, RunState, VerdictStatus},
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
/// No enumeration that a filter names has a higher number.
const ENUM_NUMBER_MAX: i32 = 1_000;
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
    const FIELDS: &str = "state, verdict, outcome, labels.KEY, created_at or run_id";
    let (at, field) = tokens.next(FIELDS)?;
    match field {
        Token::Word("state") => Ok(Comparison::State {
            equality: equality(tokens)?,
            state: named(tokens, RunState::name)?,
        }),
        Token::Word("verdict") => Ok(Comparison::Verdict {
            equality: equality(tokens)?,
            verdict: named(tokens, VerdictStatus::name)?,
        }),
        Token::Word("outcome") => Ok(Comparison::Outcome {
            equality: equality(tokens)?,
            outcome: named(tokens, OutcomeStatus::name)?,
        }),
        Token::Word("created_at") => Ok(Comparison::CreatedAt {
            relation: relation(tokens)?,
            at: instant(tokens)?,
        }),
        Token::Word("run_id") => Ok(Comparison::RunId {
            equality: equality(tokens)?,
            prefix: prefix(tokens)?,
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

/// A value of an enumeration of the API by its name without its prefix, in any case.
fn named<E: TryFrom<i32> + Copy>(
    tokens: &mut Tokens<'_>,
    name_of: fn(E) -> &'static str,
) -> Result<E, FilterError> {
    // 0 is unspecified in every enumeration, which no filter can mean.
    let all = || (1..=ENUM_NUMBER_MAX).filter_map(|number| E::try_from(number).ok());
    let names: Vec<_> = all().map(name_of).collect();
    let (last, others) = names.split_last().unwrap_or((&"", &[]));
    let expected = format!("{} or {last}", others.join(", "));
    let (at, word) = value(tokens, &expected)?;
    all()
        .find(|it| name_of(*it).eq_ignore_ascii_case(&word))
        .ok_or_else(|| error(at, &expected))
}

fn instant(tokens: &mut Tokens<'_>) -> Result<Instant, FilterError> {
    const INSTANT: &str = "an instant such as \"2026-11-26T05:00:00Z\" (RFC 3339)";
    let (at, text) = value(tokens, INSTANT)?;
    text.parse().map_err(|_| error(at, INSTANT))
}

fn prefix(tokens: &mut Tokens<'_>) -> Result<RunIdPrefix, FilterError> {
    const PREFIX: &str = "1 to 16 hexadecimal digits";
    let (at, text) = value(tokens, PREFIX)?;
    text.parse().map_err(|_| error(at, PREFIX))
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

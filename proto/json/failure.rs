//! Why something could not be done.

use std::collections::BTreeMap;

use serde::Serialize;

use super::values::{self, Word};
use crate::v1::{self, figure::Value};

/// A failure.
#[derive(Clone, Debug, Serialize)]
pub struct Failure<'a> {
    code: Option<Word>,
    sentence: &'a str,
    remedy: &'a str,
    figures: Figures<'a>,
}

impl<'a> From<&'a v1::Failure> for Failure<'a> {
    fn from(failure: &'a v1::Failure) -> Self {
        Self {
            code: values::failure_code(failure.code),
            sentence: &failure.sentence,
            remedy: &failure.remedy,
            figures: figures(&failure.figures),
        }
    }
}

/// Figures by name; null for one of a kind that this version does not have.
pub(super) type Figures<'a> = BTreeMap<&'a str, Option<Figure<'a>>>;

/// A figure of a failure, a reason or a law.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Figure<'a> {
    Integer(i64),
    Number(f64),
    Text(&'a str),
    Texts(&'a [String]),
}

pub(super) fn figures(figures: &BTreeMap<String, v1::Figure>) -> Figures<'_> {
    figures
        .iter()
        .map(|(name, figure)| (name.as_str(), figure.value.as_ref().map(Figure::from)))
        .collect()
}

impl<'a> From<&'a Value> for Figure<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Integer(integer) => Self::Integer(*integer),
            Value::Number(number) => Self::Number(*number),
            Value::Text(text) => Self::Text(text),
            Value::Texts(texts) => Self::Texts(&texts.values),
        }
    }
}

//! Why something could not be done, as `-o json` prints it: as benchctl does (docs/result.md).

use std::collections::BTreeMap;

use metronome_proto::v1::{Failure, Figure, figure::Value};
use serde::Serialize;

/// The version of the objects that `-o json` prints, as that of benchctl's.
pub(super) const SCHEMA_VERSION: u32 = 2;

/// A failure. Its fields are named as they are serialized.
#[derive(Debug, Serialize)]
pub(super) struct ErrorObject {
    code: &'static str,
    pub sentence: String,
    pub remedy: String,
    figures: BTreeMap<String, serde_json::Value>,
}

impl From<&Failure> for ErrorObject {
    fn from(failure: &Failure) -> Self {
        let figure = |(name, figure): (&String, &Figure)| {
            let value = match &figure.value {
                Some(Value::Integer(integer)) => (*integer).into(),
                Some(Value::Number(number)) => (*number).into(),
                Some(Value::Text(text)) => text.as_str().into(),
                Some(Value::Texts(list)) => list.values.as_slice().into(),
                None => serde_json::Value::Null,
            };
            (name.clone(), value)
        };
        Self {
            code: failure.code().name(),
            sentence: failure.sentence.clone(),
            remedy: failure.remedy.clone(),
            figures: failure.figures.iter().map(figure).collect(),
        }
    }
}

/// The object of a load that could not be carried out.
pub(super) fn to_json(failure: &Failure) -> String {
    let error = ErrorObject::from(failure);
    serde_json::json!({"schema_version": SCHEMA_VERSION, "error": error}).to_string()
}

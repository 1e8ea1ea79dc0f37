//! Figures of failures, made of the types of Rust, and as text.

use crate::v1::{Figure, TextList, figure::Value};

impl From<u64> for Figure {
    fn from(value: u64) -> Self {
        Self::from(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<u128> for Figure {
    fn from(value: u128) -> Self {
        Self::from(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Figure {
    fn from(value: u32) -> Self {
        Self::from(i64::from(value))
    }
}

impl From<usize> for Figure {
    fn from(value: usize) -> Self {
        Self::from(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Figure {
    fn from(value: i64) -> Self {
        Self {
            value: Some(Value::Integer(value)),
        }
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self {
            value: Some(Value::Number(value)),
        }
    }
}

impl From<Vec<String>> for Figure {
    fn from(values: Vec<String>) -> Self {
        Self {
            value: Some(Value::Texts(TextList { values })),
        }
    }
}

impl From<&str> for Figure {
    fn from(value: &str) -> Self {
        Self::from(value.to_owned())
    }
}

impl From<String> for Figure {
    fn from(value: String) -> Self {
        Self {
            value: Some(Value::Text(value)),
        }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(Value::Integer(value)) => value.fmt(formatter),
            // 10^308 would have 309 digits.
            Some(Value::Number(value)) if value.abs() >= 1e15 => write!(formatter, "{value:e}"),
            Some(Value::Number(value)) => value.fmt(formatter),
            Some(Value::Text(value)) => value.fmt(formatter),
            Some(Value::Texts(TextList { values })) => values.join(", ").fmt(formatter),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_reads_as_what_it_was_made_of() {
        let names = vec!["a".to_owned(), "b".to_owned()];
        for (figure, value, text) in [
            (Figure::from(7_usize), Value::Integer(7), "7"),
            (Figure::from(-7_i64), Value::Integer(-7), "-7"),
            (Figure::from(7_u128), Value::Integer(7), "7"),
            (Figure::from(98.5), Value::Number(98.5), "98.5"),
            (
                Figure::from(names.clone()),
                Value::Texts(TextList { values: names }),
                "a, b",
            ),
        ] {
            assert_eq!(figure.to_string(), text);
            assert_eq!(figure.value, Some(value));
        }
        assert_eq!(Figure::default().to_string(), "");
    }
}

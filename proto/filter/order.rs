//! The order of a list of runs.

use std::{fmt, str::FromStr};

/// By the order in which runs were made, which is that of their ids: a clock that steps back does
/// not change it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// `created_at desc`.
    #[default]
    NewestFirst,
    /// `created_at`.
    OldestFirst,
}

/// The text is no order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no order of runs; \"created_at desc\" and \"created_at\" are")]
pub struct BadOrder;

/// Reads the text of ListRuns; it is empty for the default.
impl FromStr for Order {
    type Err = BadOrder;

    fn from_str(text: &str) -> Result<Self, BadOrder> {
        match text {
            "" | "created_at desc" => Ok(Self::NewestFirst),
            "created_at" => Ok(Self::OldestFirst),
            _ => Err(BadOrder),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NewestFirst => "created_at desc",
            Self::OldestFirst => "created_at",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_orders_and_each_prints_as_it_is_read() {
        assert_eq!("".parse(), Ok(Order::default()));
        for order in [Order::NewestFirst, Order::OldestFirst] {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        for text in ["created_at  desc", "created_at asc", "run_id", " "] {
            assert_eq!(text.parse::<Order>(), Err(BadOrder), "{text:?}");
        }
    }
}

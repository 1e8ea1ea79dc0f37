//! Which runs are meant, and in which order: the filter and the order of ListRuns, as the proto
//! describes them. Servers evaluate them, and so does benchctl where it reads the history itself.
//!
//! ```text
//! filter     = [ comparison { "AND" comparison } ]
//! comparison = field operator value
//! field      = "state" | "verdict" | "outcome" | "labels." key | "created_at" | "run_id"
//! operator   = "=" | "!=" | "<" | "<=" | ">" | ">="
//! value      = one or more of [A-Za-z0-9_.:-] | '"' characters, with \" and \\ as escapes '"'
//! ```
//!
//! Any text is parsed or refused with the place at which it goes wrong; what was parsed prints as a
//! text that is parsed to the same. Absent on purpose: OR, NOT and parentheses.

mod comparison;
mod instant;
mod order;
mod parse;

pub use comparison::{Filter, Judged};
pub use order::{BadOrder, Order};
pub use parse::FilterError;

#[cfg(test)]
mod tests;

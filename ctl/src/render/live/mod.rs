//! A run in progress as a few lines that are drawn anew: what is known now, and how it came to
//! that. Pure: snapshots in, a frame out; no clock, no terminal.
//!
//! | module | subject |
//! |---|---|
//! | [`plan`] | what is known of a run before it begins |
//! | [`history`] | what each second was like, the last ones of them |
//! | [`view`] | what is shown, from the snapshots so far: figures, and `None` where there is none |
//! | [`hosts`] | CPU of both ends, in words |
//! | [`groups`] | how each group stands, in words |
//! | [`bars`] | figures as characters: a line over time, a strip of clients, a bar |
//! | [`contents`], [`phrases`] | what stands in each row, and what of it fits |
//! | [`rows`] | a view as rows of a width, and those that a height has room for |
//! | [`frame`] | rows in cells, and these as what a terminal takes |
//!
//! Absent on purpose: the final summary, which [`super::text::summary`] has, and any figure that
//! is put together from others than those of one snapshot.

mod bars;
mod contents;
pub(crate) mod frame;
mod groups;
mod history;
mod hosts;
mod phrases;
mod plan;
mod rows;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use self::{frame::Frame, rows::Size, view::View};

//! When each packet of one client is due: exact integers, so there is no drift, a test needs no
//! clock, and every host comes to the same nanosecond.
//!
//! A *place* is the number of a packet in the schedule, from 0. Packets of one write are due when
//! the first of them is, those of a burst together. Where the due time of a place is a formula
//! (`curve`), any place is found at once; random arrivals (`gaps`) are a sum of gaps, so a
//! place is found from one before it. A [`Cursor`] goes from place to place without a division
//! where the rate stays.
//!
//! Times are ns; rates are packets per 1000 s. `places` has the schedule of a client.

mod cursor;
mod curve;
mod gaps;
mod places;

pub use cursor::Cursor;
pub use gaps::arrivals_within;
pub use places::Schedule;

#[cfg(test)]
mod tests;

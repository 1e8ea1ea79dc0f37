//! What the bytes behind the header of a packet are.
//!
//! A plan names one source for each group: zeros, a pattern, records that come with the plan, or a
//! *file of the agent*. What that name stands for is the agent's to decide: first a
//! [`PayloadSource`] that its program has registered under it ([`PayloadSources`]), else a file in
//! its `--payload-dir`.
//!
//! ```
//! use metronome_agent::payload::{PacketId, PayloadSource, PayloadSources};
//!
//! /// A thermometer whose readings rise by a hundredth of a degree a packet.
//! struct Thermometer;
//!
//! impl PayloadSource for Thermometer {
//!     fn check(&self, _group: &str, payload_bytes: usize) -> Result<(), String> {
//!         match payload_bytes {
//!             8.. => Ok(()),
//!             _ => Err("a reading has 8 bytes; give a --packet-size of at least 40".into()),
//!         }
//!     }
//!
//!     fn fill(&self, packet: PacketId<'_>, payload: &mut [u8]) {
//!         let hundredths = 2_000 + packet.sequence % 1_000;
//!         payload[..8].copy_from_slice(&hundredths.to_le_bytes());
//!     }
//! }
//!
//! let mut sources = PayloadSources::default();
//! sources.register("thermometer", Thermometer)?;
//! # Ok::<(), metronome_agent::payload::BadSourceName>(())
//! ```
//!
//! Absent on purpose: what the receiver makes of the bytes. Checksums cover them, and workers do
//! not compare them with what was asked for.

mod agent_files;
mod built_in;
mod group_source;
mod prepare;
mod source;
mod sources;

pub use built_in::{Pattern, Records};
pub use source::{PacketId, PayloadSource};
pub use sources::{BadSourceName, PayloadSources};

pub(crate) use agent_files::AgentFiles;
pub(crate) use group_source::GroupSource;
pub(crate) use prepare::Payloads;

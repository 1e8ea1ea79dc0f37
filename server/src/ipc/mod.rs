//! What master and worker exchange: messages over their channel, and the admission of clients,
//! which every process decides from the same keys and the same shared memory.

mod admission;
mod message;

pub(crate) use admission::{AdmissionKey, AdmissionKeys, ConnectionAdmission, slot_token};
pub(crate) use message::{FromWorker, MESSAGE_BYTES, ToWorker};

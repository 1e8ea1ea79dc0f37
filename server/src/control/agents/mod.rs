//! The agents: their service, who is connected, and who brings which clients.

pub(super) mod agent_counters;
pub(super) mod agent_service;
mod assign_clients;
pub(super) mod clock_identity;
pub(super) mod registry;

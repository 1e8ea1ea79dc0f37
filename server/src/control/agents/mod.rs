//! The agents: who is connected, what each is assigned, and what they report.
//!
//! | file | subject |
//! |---|---|
//! | [`agent_service`] | AgentService: an agent registers |
//! | [`session`] | the stream of one agent, from Register to its end |
//! | [`registry`] | the agents connected or expected back, and their assignments |
//! | [`agents_by_name`] | who of them has which place, by name |
//! | [`listed`] | how they are listed, and what of that changes |
//! | [`agent_info`] | who an agent is |
//! | [`assignment`] | an agent, its orders and its assignments |
//! | [`assign_clients`] | which agents bring which clients of a run; pure |
//! | [`unresponsive`] | which agents did not answer a Prepare in time; pure |
//! | [`messages`] | orders to agents and their reports to runs |
//! | [`agent_counters`] | sums of what agents have reported |
//! | [`clock_identity`] | which CLOCK_MONOTONIC this process reads |
//!
//! A run gives orders through [`Registry`] and gets [`FromAgent`] into its inbox. What the reports
//! mean for the run is decided there, not here.

mod agent_counters;
mod agent_info;
mod agent_service;
mod agents_by_name;
mod assign_clients;
mod assignment;
mod clock_identity;
mod listed;
mod messages;
mod registry;
mod session;
mod unresponsive;

pub(crate) use agent_counters::{AgentCounters, AgentSums};
#[cfg(test)]
pub(crate) use agent_info::AgentInfo;
pub(crate) use agent_service::AgentService;
pub(crate) use assign_clients::{AssignedAgent, Wanted};
#[cfg(test)]
pub(crate) use assign_clients::{GroupPart, WantedGroup};
pub(crate) use messages::{AgentReport, FromAgent, Order, stop};
#[cfg(test)]
pub(crate) use registry::Arrival;
pub(crate) use registry::Registry;

//! The runs: started, driven to their end, and stored.
//!
//! ```text
//! start ──▶ driver ──▶ report ──▶ history
//!             │ ▲
//!   orders to │ │ reports of the agents, counters of the master
//!             ▼ │
//! ```
//!
//! | file | subject |
//! |---|---|
//! | [`manager`] | what all runs share |
//! | [`start_request`], [`start`] | StartRun, from the request to a run that lives |
//! | [`shares`] | what each agent brings of a run |
//! | [`resume`] | the runs that another process has begun, after an upgrade |
//! | [`driver`] | one task per run: events to its state machine, actions from it |
//! | [`orders`] | the orders of a run to its agents |
//! | [`share_bounds`] | how much of what an agent claims enters a sum that lasts |
//! | [`agent_reports`] | what agents report to a running run |
//! | [`paths`] | what the probes of agents on other clocks show, while the run goes on |
//! | [`ledger_readings`] | what the ledger shows of a running run |
//! | [`hosts`] | what its processes and their hosts do |
//! | [`series`], [`agreed`] | both second by second, and which figures of it the report leaves |
//! | [`live_round_trips`] | the round trips of a running run |
//! | [`live_snapshot`] | how a running run looks to a watcher |
//! | [`credible`] | figures of an agent that the other end's contradict |
//! | [`event_stream`] | the events of a watch, those of a run with its end from the history |
//! | [`report`] | the end: the report is made, stored and counted |
//! | [`run_guard`] | what a run gives back when its driver ends, however that happens |
//! | [`active`] | the runs that have not ended, and how to stop or hold them |
//! | [`history`] | those that have |
//! | [`unstored`] | the results that wait until the database takes them |
//! | [`trace_report`] | what a trace reports of a run |
//! | [`exemplars`] | packets that can be looked up in the traces of their runs |
//! | [`reply_counters`] | the round trips of the runs that have ended |
//! | [`outcome_counters`] | how runs and their objectives came out, and how the last one did |
//! | [`verdict_counters`] | how many runs have ended, by verdict, and how many have failed |
//!
//! Absent on purpose: any decision. What follows from an event is [`crate::model::run`]'s, what the
//! figures mean is [`crate::verdict`]'s.

mod active;
mod agent_reports;
mod agreed;
mod credible;
mod driver;
mod event_stream;
mod exemplars;
mod history;
mod hosts;
mod ledger_readings;
mod live_round_trips;
mod live_snapshot;
mod manager;
mod orders;
mod outcome_counters;
mod paths;
mod reply_counters;
mod report;
mod resume;
mod run_guard;
mod series;
mod share_bounds;
mod shares;
mod start;
mod start_request;
mod trace_report;
mod unstored;
mod verdict_counters;

pub(crate) use active::{ActiveRun, RunView};
pub(crate) use event_stream::EventStream;
pub(crate) use exemplars::TracedPackets;
#[cfg(any(test, feature = "testing"))]
pub(crate) use live_snapshot::snapshots;
pub(crate) use manager::RunManager;
pub(crate) use outcome_counters::{OutcomeCounters, OutcomeSums};
pub(crate) use reply_counters::{ReplyCounters, ReplySums};
pub(crate) use resume::resume_runs;
pub(crate) use start::start_run;
pub(crate) use unstored::UnstoredRun;
pub(crate) use verdict_counters::{VERDICTS, VerdictCounters, VerdictSums};

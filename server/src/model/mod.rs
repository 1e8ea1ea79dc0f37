//! The domain records: counters, the states of a run, an agent's share of it, the relation of two
//! clocks, where an agent ran, and incidents.
//!
//! Pure data and pure functions. Every other module of the server may use this one; it uses none of
//! them. Absent on purpose: clock, I/O, async, shared memory.

mod absence;
mod agent_place;
mod agent_records;
mod agent_share;
mod behind;
mod client_end;
mod client_readings;
mod clock_exchange;
mod clock_history;
mod clock_identity;
mod clock_line;
mod clock_relation;
mod clock_window;
mod counter_list;
mod counters;
mod environment;
mod final_report;
mod host_points;
mod incident;
mod missed_threshold;
mod path_floor;
mod pauses;
mod payloads_read;
pub(crate) mod reach;
mod resume_token;
mod round_trips;
pub(crate) mod run;
mod run_counters;
mod run_path;
mod series;
mod server;
#[cfg(test)]
mod simulated_path;
mod slow_packet;
mod socket_sample;
mod spread;
pub(crate) mod start_lead;
mod tcp_figures;
mod times;
mod unread;
mod work;

pub(crate) use absence::{Absence, HEARD_OF_NS_MAX, WAIT_WITH_CLIENTS_MAX_NS, away_at_death_ns};
pub(crate) use agent_place::AgentPlace;
pub(crate) use agent_records::{AgentRecords, from_agent};
pub(crate) use agent_share::{AgentShare, cover};
pub(crate) use behind::{Behind, BehindOfGroups, check_behind};
pub(crate) use client_end::ClientEnd;
pub(crate) use client_readings::ClientReadings;
pub(crate) use clock_exchange::{ClockEvent, ClockExchanges, EXCHANGES};
pub(crate) use clock_history::ClockHistory;
pub(crate) use clock_identity::ClockIdentity;
pub(crate) use clock_line::{ClockLine, Floor};
#[cfg(test)]
pub(crate) use clock_relation::ClockOffset;
pub(crate) use clock_relation::{AgentClock, CLOCK_DRIFT_PARTS, ClockRelation};
pub(crate) use counters::{
    ClientCounters, ClientStart, FinalCounters, LiveCounters, TotalCounters, WorkerCounters,
    WorkerPresence, WorkerTotals,
};
pub(crate) use environment::WorkerPriority;
pub(crate) use final_report::ReportBounds;
pub(crate) use host_points::{HostPoints, fit as fit_host_points};
pub(crate) use incident::{INCIDENTS_MAX, Incident, WORKER_DIED};
pub(crate) use missed_threshold::{Against, MissedThreshold};
pub(crate) use pauses::{Pauses, READ_EVERY_NS as PAUSE_READ_EVERY_NS};
pub(crate) use resume_token::ResumeToken;
pub(crate) use round_trips::{RoundTrips, check_round_trips};
pub(crate) use run_counters::{GroupCounters, OpenRun, RunCounters};
pub(crate) use run_path::{
    PathBounds, PathEvent, PathFigures, RunPath, StartSkew, WallClock, saved::SavedPath,
};
pub(crate) use series::{PacketSeries, Seen, SinceStart};
pub(crate) use server::{
    RawClientCounters, RawCounters, RecoveryCounters, ServerStatus, WorkerStatus,
};
pub(crate) use slow_packet::{SlowPacket, SlowestPacket};
pub(crate) use socket_sample::possible as possible_sockets;
pub(crate) use spread::{UNCERTAIN_NS, UNDERSTATED_NS, allowance_ns};
pub(crate) use tcp_figures::{KernelFigures, TcpFigures};
pub(crate) use times::{PerTime, TIME_KINDS, TimeKind, Times};
pub(crate) use unread::Unread;
pub(crate) use work::Work;

//! The limits of a plan and of the API, each once. GetServer has them for programs.

use std::time::Duration;

use crate::{MESSAGE_BYTES_MAX, packet_size::PacketSize, v1};

/// Most clients of one run; a client's index must fit two bytes of the hello.
pub const CLIENTS_MAX: u32 = 10_000;
/// Most groups of one run.
pub const GROUPS_MAX: usize = 16;
/// Lowest rate of one client, and the step between rates: a packet every 1000 s.
pub const RATE_MILLIHERTZ_MIN: u64 = 1;
/// Highest rate of one client: a packet every µs.
pub const RATE_MILLIHERTZ_MAX: u64 = 1_000_000_000;
/// Highest mean rate of a client with random arrivals: what is drawn costs more than a formula.
pub const POISSON_MILLIHERTZ_MAX: u64 = 100_000_000;
/// Greatest seed: every number up to it is one in JSON, too.
pub const SEED_MAX: u64 = (1 << 53) - 1;
/// Most rates of a profile of steps.
pub const STEPS_MAX: usize = 32;
/// Most packets of a burst.
pub const BURST_PACKETS_MAX: u32 = 1_000_000;
/// Longest time from one burst to the next: the period of the lowest rate.
pub const BURST_EVERY_MAX: Duration = Duration::from_secs(1000);
/// Highest rate of all clients together: 10 million packets per second, more than any host of today
/// takes one by one.
pub const TOTAL_RATE_MILLIHERTZ_MAX: u64 = 10_000_000_000;
/// Shortest run.
pub const DURATION_MIN: Duration = Duration::from_millis(1);
/// Longest run.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Most packets per write.
pub const BATCH_MAX: u32 = 1024;
/// Most bytes per write, which fits every socket buffer: what a worker receives at once.
pub const WRITE_BYTES_MAX: u32 = 64 * 1024;
/// Most packets from one that asks for a reply to the next.
pub const ECHO_EVERY_MAX: u32 = 1_000_000;
/// Most bytes of the records that a plan brings, all groups together: half a message.
pub const RECORDS_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;
/// Longest name of a file of records, bytes.
pub const RECORDS_NAME_BYTES_MAX: usize = 255;
/// Most bytes of the files that an agent has for the payloads of a run: they are held in memory.
pub const AGENT_FILES_BYTES_MAX: u64 = 256 << 20;
/// Most pacing threads of one agent.
pub const THREADS_MAX: u32 = 64;
/// Most thresholds of a plan.
pub const THRESHOLDS_MAX: usize = 64;
/// A spread is known to so much, ns: a limit that is to be kept is longer.
pub const SPREAD_PROVED_NS: u64 = 10_000_000;
/// Most agents in a plan and in a run; an agent's index is one byte.
pub const AGENTS_MAX: usize = 256;
/// Longest target, bytes.
pub const TARGET_BYTES_MAX: usize = 255;
/// Longest name of an agent or a group, bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// Most labels of a run.
pub const LABELS_MAX: usize = 16;
/// Longest key of a label, bytes.
pub const LABEL_KEY_BYTES_MAX: usize = 63;
/// Longest value of a label, bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 128;
/// Longest request_id, bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// Most names of features in one list.
pub const FEATURES_MAX: usize = 64;
/// Longest name of a feature, bytes.
pub const FEATURE_BYTES_MAX: usize = 64;
/// Most runs or agents on a page.
pub const PAGE_SIZE_MAX: u32 = 200;
/// Runs or agents on a page when a request names no number.
pub const PAGE_SIZE_DEFAULT: u32 = 50;
/// A page ends before it gets larger than this, so that it fits a message, bytes.
pub const PAGE_BYTES_MAX: usize = 768 << 10;
/// Most clients in one message: records of an agent, rows of an export.
pub const CLIENTS_PER_MESSAGE_MAX: usize = 1000;
/// Most runs of an earlier stream that an agent may name.
pub const RUNS_PER_AGENT_MAX: usize = 100;
/// Bytes of the resume token of an agent.
pub const RESUME_TOKEN_BYTES: usize = 16;
/// An agent stops all load when no Renew came for this long, and may take as long to come back.
pub const LEASE: Duration = Duration::from_secs(3);
/// How long a server waits for the final reports of its agents after an order to stop.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(5);
/// How much of that an agent waits for the answers to its ends: the rest is for the order, for the
/// packets that are due when it comes, and for the report.
pub const STOPPED_END_TIME_MAX: Duration = Duration::from_secs(3);
/// Longest filter, bytes.
pub const FILTER_BYTES_MAX: usize = 1024;

/// An agent reports before the server gives it up, whatever its peers do: a path of 0.5 s a way and
/// a second for everything else fit in between.
const _: () = assert!(
    STOPPED_END_TIME_MAX.as_millis() + 2_000 <= STOP_TIME_MAX.as_millis(),
    "a stopped agent reports in time"
);

/// The limits as the API gives them. `max_clients` and `runs_max` are this server's.
#[must_use]
pub fn to_proto(max_clients: u32, runs_max: u32) -> v1::Limits {
    let duration = |duration| prost_types::Duration::try_from(duration).ok();
    v1::Limits {
        max_clients,
        runs_max,
        groups_max: GROUPS_MAX as u32,
        rate_millihertz_min: RATE_MILLIHERTZ_MIN,
        rate_millihertz_max: RATE_MILLIHERTZ_MAX,
        total_rate_millihertz_max: TOTAL_RATE_MILLIHERTZ_MAX,
        duration_min: duration(DURATION_MIN),
        duration_max: duration(DURATION_MAX),
        batch_max: BATCH_MAX,
        threads_max: THREADS_MAX,
        agents_max: AGENTS_MAX as u32,
        labels_max: LABELS_MAX as u32,
        page_size_max: PAGE_SIZE_MAX,
        message_bytes_max: MESSAGE_BYTES_MAX as u32,
        packet_bytes_min: PacketSize::MIN.bytes() as u32,
        packet_bytes_max: PacketSize::MAX.bytes() as u32,
        write_bytes_max: WRITE_BYTES_MAX,
        records_bytes_max: RECORDS_BYTES_MAX as u32,
    }
}

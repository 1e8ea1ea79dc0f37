//! The result of a load without a server as `-o json` prints it, in the style of benchctl's: the
//! keys and units of docs/result.md, null for what is not known.

use metronome_proto::{
    json::{SCHEMA_VERSION, counts, failure::Failure, run::Profile, text, times::Times},
    load::Load,
    profile::hz,
    v1,
};
use serde::Serialize;

use super::summary::{Summary, arrived};

/// One object and a line feed.
pub(super) fn result(summary: &Summary) -> String {
    text(&LoadResult::from(summary))
}

#[derive(Serialize)]
struct LoadResult<'a> {
    schema_version: u32,
    target: &'a str,
    protocol: &'static str,
    plan: Plan,
    counts: Counts,
    rate: Rate,
    elapsed_s: Option<f64>,
    lateness_us: Option<Times>,
    cpu: Cpu,
    writes: u64,
    oversleep_max_us: f64,
    clients: Vec<Client<'a>>,
}

#[derive(Serialize)]
struct Plan {
    clients: u32,
    profile: Option<Profile>,
    batch: u32,
    duration_s: f64,
    /// Null where nothing is drawn.
    seed: Option<u64>,
    threads: u32,
}

/// The counters of the generator, and what the other end has acknowledged.
#[derive(Serialize)]
struct Counts {
    #[serde(flatten)]
    generator: counts::Counts,
    arrived: Option<u64>,
    acknowledged: Option<u64>,
}

impl Counts {
    fn new(
        generator: Option<&v1::GeneratorCounts>,
        arrived: Option<u64>,
        acknowledged: Option<u64>,
    ) -> Self {
        Self {
            generator: counts::Counts::of_list(generator),
            arrived,
            acknowledged,
        }
    }
}

#[derive(Serialize)]
struct Rate {
    offered_hz: Option<f64>,
    achieved_hz: Option<f64>,
}

#[derive(Serialize)]
struct Cpu {
    generator_s: f64,
    generator_ns_per_packet: Option<f64>,
    packets_per_write: Option<f64>,
}

#[derive(Serialize)]
struct Client<'a> {
    client: u32,
    counts: Counts,
    attempts: u32,
    failure: Option<Failure<'a>>,
}

impl<'a> From<&'a Summary> for LoadResult<'a> {
    fn from(summary: &'a Summary) -> Self {
        let sent = summary.sent();
        let Load {
            profile,
            batch,
            duration,
            ..
        } = summary.load;
        Self {
            schema_version: SCHEMA_VERSION,
            target: &summary.target,
            protocol: summary.protocol(),
            plan: Plan {
                clients: summary.clients,
                profile: profile.to_proto().shape.as_ref().map(Profile::from),
                batch,
                duration_s: duration.as_secs_f64(),
                seed: summary.seed(),
                threads: summary.threads,
            },
            counts: Counts::new(
                summary.counts.as_ref(),
                summary.arrived(),
                summary.acknowledged(),
            ),
            rate: Rate {
                offered_hz: summary.offered_millihertz().map(hz),
                achieved_hz: summary.achieved_millihertz().map(hz),
            },
            elapsed_s: summary.elapsed_s(),
            lateness_us: summary.lateness.as_ref().map(Times::from),
            cpu: Cpu {
                generator_s: summary.cpu_ns as f64 / 1e9,
                generator_ns_per_packet: summary.cpu_ns_per_packet(),
                packets_per_write: sent
                    .filter(|_| summary.writes > 0)
                    .map(|sent| sent as f64 / summary.writes as f64),
            },
            writes: summary.writes,
            oversleep_max_us: summary.oversleep_max_ns as f64 / 1e3,
            clients: summary.records.iter().map(Client::from).collect(),
        }
    }
}

impl<'a> From<&'a v1::ClientRecord> for Client<'a> {
    fn from(record: &'a v1::ClientRecord) -> Self {
        Self {
            client: record.client,
            counts: Counts::new(record.counts.as_ref(), arrived(record), record.acknowledged),
            attempts: record.attempts,
            failure: record.failure.as_ref().map(Failure::from),
        }
    }
}

//! The result of a load without a server: the same figures as text and as JSON.

use std::fmt;

use metronome_proto::{
    counters::CounterList as _,
    histogram::QUANTILES_PPM,
    profile::{Profile, hz},
    v1,
};
use serde::Serialize;

use super::{
    error::{ErrorObject, SCHEMA_VERSION},
    flags::RunConfig,
};
use crate::load::{assignment::Protocol, outcome::GeneratorStats};

/// Below this share of the schedule a load is not as asked.
const SENT_SHARE_MIN: f64 = 0.99;
/// Broken clients that the text lists; the JSON has them all.
const CLIENTS_NAMED_MAX: usize = 10;

/// How the text shows a figure that is not known.
const UNKNOWN: &str = "–";
/// The protocol without meaning.
const RAW: &str = "raw";

const OK: u8 = 0;
const FAILED: u8 = 1;
const NOT_AS_ASKED: u8 = 4;

/// The figures of one load. Serialized as they are named here; one that is not known is null.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    schema_version: u32,
    target: String,
    protocol: &'static str,
    plan: Plan,
    packets: Packets,
    rate: Rate,
    /// None when nothing was sent.
    lateness_us: Option<Distribution>,
    cpu: Cpu,
    writes: u64,
    oversleep_max_us: f64,
    clients: Vec<ClientSummary>,
}

#[derive(Debug, Serialize)]
struct Plan {
    clients: u32,
    /// Rate of each client; none in a flood.
    rate_hz: Option<f64>,
    flood: bool,
    duration_s: f64,
    batch: u32,
    threads: u32,
}

#[derive(Debug, Serialize)]
struct Packets {
    scheduled: u64,
    sent: u64,
    skipped: u64,
    /// From the authenticated end-acks of the server; none on raw connections, or when one is
    /// missing.
    acknowledged: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Rate {
    /// None in a flood.
    offered_hz: Option<f64>,
    achieved_hz: f64,
}

#[derive(Debug, Serialize)]
struct Distribution {
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p99_9: Option<f64>,
    p99_99: Option<f64>,
    max: f64,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Cpu {
    agent_s: f64,
    /// None when nothing was sent.
    agent_ns_per_packet: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ClientSummary {
    client: u32,
    scheduled: u64,
    sent: u64,
    skipped: u64,
    acknowledged: Option<u64>,
    attempts: u32,
    error: Option<ErrorObject>,
}

impl Summary {
    /// Sums up `records`; `elapsed_ns` is from the start instant to the last write.
    pub(super) fn new(
        config: &RunConfig,
        records: &[v1::ClientRecord],
        measured: &GeneratorStats,
        elapsed_ns: u64,
    ) -> Self {
        let assignment = &config.assignment;
        let profile = assignment.share.profile;
        let rate_hz = profile.rate_millihertz().map(hz);
        let counts = records
            .iter()
            .filter_map(|record| record.counts)
            .fold(v1::GeneratorCounts::default(), |sum, counts| {
                sum.plus(&counts)
            });
        let sent = counts.sent;
        Self {
            schema_version: SCHEMA_VERSION,
            target: assignment.target.to_string(),
            protocol: match assignment.protocol {
                Protocol::Raw => RAW,
                Protocol::Authenticated { .. } => "authenticated",
            },
            plan: Plan {
                clients: assignment.client_count(),
                rate_hz,
                flood: profile == Profile::Flood,
                duration_s: assignment.duration.as_secs_f64(),
                batch: assignment.share.batch,
                threads: assignment.threads,
            },
            packets: Packets {
                scheduled: counts.scheduled,
                sent,
                skipped: counts.skipped,
                acknowledged: records.iter().map(|record| record.acknowledged).sum(),
            },
            rate: Rate {
                offered_hz: rate_hz.map(|hz| hz * f64::from(assignment.client_count())),
                achieved_hz: sent as f64 * 1e9 / elapsed_ns.max(1) as f64,
            },
            lateness_us: measured
                .lateness
                .distribution(false)
                .map(Distribution::from),
            cpu: Cpu {
                agent_s: measured.cpu_ns as f64 / 1e9,
                agent_ns_per_packet: (sent > 0).then(|| measured.cpu_ns as f64 / sent as f64),
            },
            writes: measured.writes,
            oversleep_max_us: measured.oversleep_ns_max as f64 / 1e3,
            clients: records.iter().map(ClientSummary::from).collect(),
        }
    }

    fn is_raw(&self) -> bool {
        self.protocol == RAW
    }

    /// 0: as asked. 4: less than 99 % or nothing was sent, or an end-ack is missing or has another
    /// count. 1: anything else that went wrong.
    pub(super) fn exit_code(&self) -> u8 {
        let Packets {
            scheduled, sent, ..
        } = self.packets;
        let enough = sent > 0 && sent as f64 >= SENT_SHARE_MIN * scheduled as f64;
        let all_acknowledged = self.is_raw()
            || self
                .clients
                .iter()
                .all(|client| client.acknowledged == Some(client.sent));
        if !enough || !all_acknowledged {
            NOT_AS_ASKED
        } else if self.broken().next().is_some() {
            FAILED
        } else {
            OK
        }
    }

    /// One JSON object.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("these types have only keys that are strings")
    }

    fn broken(&self) -> impl Iterator<Item = (u32, &ErrorObject)> {
        self.clients
            .iter()
            .filter_map(|client| Some((client.client, client.error.as_ref()?)))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plan,
            packets,
            rate,
            lateness_us,
            cpu,
            ..
        } = self;
        writeln!(
            f,
            "{} clients x {} packets/s x 32 bytes for {} s to {}, {}",
            plan.clients,
            rate_or_max(plan.rate_hz),
            plan.duration_s,
            self.target,
            self.protocol
        )?;
        let share = packets.sent as f64 * 100.0 / packets.scheduled.max(1) as f64;
        writeln!(f, "  scheduled     {:>12}", packets.scheduled)?;
        writeln!(
            f,
            "  sent          {:>12}   {share:.2} % of the schedule",
            packets.sent
        )?;
        writeln!(f, "  skipped       {:>12}", packets.skipped)?;
        match packets.acknowledged {
            Some(acknowledged) => writeln!(f, "  acknowledged  {acknowledged:>12}")?,
            None if self.is_raw() => {
                writeln!(f, "  acknowledged             –   raw packets are not")?;
            }
            None => writeln!(
                f,
                "  acknowledged             –   not by every client's end"
            )?,
        }
        writeln!(
            f,
            "  rate          {:>12.0}   packets/s of {} offered",
            rate.achieved_hz,
            rate_or_max(rate.offered_hz.map(f64::round))
        )?;
        let late = lateness_us.as_ref();
        writeln!(
            f,
            "  lateness us   p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            tenths(late.and_then(|late| late.p50)),
            tenths(late.and_then(|late| late.p90)),
            tenths(late.and_then(|late| late.p99)),
            tenths(late.and_then(|late| late.p99_9)),
            tenths(late.map(|late| late.max)),
        )?;
        let per_packet = cpu.agent_ns_per_packet;
        writeln!(
            f,
            "  CPU           {:>12}   ns per packet, {:.2} s",
            per_packet.map_or_else(|| UNKNOWN.into(), |ns| format!("{ns:.0}")),
            cpu.agent_s
        )?;
        for (client, error) in self.broken().take(CLIENTS_NAMED_MAX) {
            let ErrorObject {
                sentence, remedy, ..
            } = error;
            writeln!(f, "  client {client}: {sentence}; {remedy}")?;
        }
        match self.broken().count().saturating_sub(CLIENTS_NAMED_MAX) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more clients; -o json names them all"),
        }
    }
}

fn tenths(us: Option<f64>) -> String {
    us.map_or_else(|| UNKNOWN.into(), |us| format!("{us:.1}"))
}

fn rate_or_max(hz: Option<f64>) -> String {
    hz.map_or_else(|| "max".into(), |hz| hz.to_string())
}

impl From<&v1::ClientRecord> for ClientSummary {
    fn from(record: &v1::ClientRecord) -> Self {
        // Without a connection there is no load, so every record here has counts.
        let counts = record.counts.unwrap_or_default();
        Self {
            client: record.client,
            scheduled: counts.scheduled,
            sent: counts.sent,
            skipped: counts.skipped,
            acknowledged: record.acknowledged,
            attempts: record.attempts,
            error: record.failure.as_ref().map(ErrorObject::from),
        }
    }
}

impl From<v1::Distribution> for Distribution {
    fn from(distribution: v1::Distribution) -> Self {
        let us = |ns: i64| ns as f64 / 1e3;
        let quantile = |ppm| {
            let found = distribution.quantiles.iter().find(|of| of.ppm == ppm);
            found.map(|of| us(of.ns))
        };
        let [p50, p90, p99, p99_9, p99_99] = QUANTILES_PPM.map(quantile);
        Self {
            p50,
            p90,
            p99,
            p99_9,
            p99_99,
            max: us(distribution.max_ns),
            count: distribution.count,
        }
    }
}

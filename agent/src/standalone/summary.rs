//! The result of a load without a server: the same figures as text and as JSON.

use std::fmt;

use metronome_proto::v1;
use serde::Serialize;

use super::flags::RunConfig;
use crate::load::{
    assignment::{Load, Protocol},
    outcome::GeneratorStats,
};

/// Below this share of the schedule a load is not as asked.
const SENT_SHARE_MIN: f64 = 0.99;
/// Broken clients that the text lists; the JSON has them all.
const CLIENTS_NAMED_MAX: usize = 10;

const OK: u8 = 0;
const FAILED: u8 = 1;
const NOT_AS_ASKED: u8 = 4;

/// The figures of one load. Serialized as they are named here.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    schema_version: u32,
    target: String,
    protocol: &'static str,
    plan: Plan,
    packets: Packets,
    rate: Rate,
    lateness_us: Distribution,
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
    /// From the authenticated end-ack of the server; none on raw connections.
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
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    p99_99: f64,
    max: f64,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Cpu {
    agent_s: f64,
    agent_ns_per_packet: f64,
}

#[derive(Debug, Serialize)]
struct ClientSummary {
    client: u32,
    scheduled: u64,
    sent: u64,
    skipped: u64,
    acknowledged: Option<u64>,
    attempts: u32,
    error: Option<String>,
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
        let rate_hz = match assignment.load {
            Load::Paced { .. } => Some(assignment.rate().hz()),
            Load::Flood => None,
        };
        let sent: u64 = records.iter().map(|record| record.sent).sum();
        let authenticated = matches!(assignment.protocol, Protocol::Authenticated { .. });
        Self {
            schema_version: 1,
            target: assignment.target.to_string(),
            protocol: if authenticated {
                "authenticated"
            } else {
                "raw"
            },
            plan: Plan {
                clients: assignment.client_count(),
                rate_hz,
                flood: rate_hz.is_none(),
                duration_s: config.duration.as_secs_f64(),
                batch: assignment.batch,
                threads: assignment.threads,
            },
            packets: Packets {
                scheduled: records.iter().map(|record| record.scheduled).sum(),
                sent,
                skipped: records.iter().map(|record| record.skipped).sum(),
                acknowledged: authenticated.then(|| {
                    records
                        .iter()
                        .filter_map(|record| record.acknowledged)
                        .sum()
                }),
            },
            rate: Rate {
                offered_hz: rate_hz.map(|hz| hz * f64::from(assignment.client_count())),
                achieved_hz: sent as f64 * 1e9 / elapsed_ns.max(1) as f64,
            },
            lateness_us: Distribution::from(measured.lateness.distribution(false)),
            cpu: Cpu {
                agent_s: measured.cpu_ns as f64 / 1e9,
                agent_ns_per_packet: measured.cpu_ns as f64 / sent.max(1) as f64,
            },
            writes: measured.writes,
            oversleep_max_us: measured.oversleep_ns_max as f64 / 1e3,
            clients: records.iter().map(ClientSummary::from).collect(),
        }
    }

    /// 0: as asked. 4: less than 99 % or nothing was sent, or an end-ack is missing or has another
    /// count. 1: anything else that went wrong.
    pub(super) fn exit_code(&self) -> u8 {
        let Packets {
            scheduled,
            sent,
            acknowledged,
            ..
        } = self.packets;
        let enough = sent > 0 && sent as f64 >= SENT_SHARE_MIN * scheduled as f64;
        let all_acknowledged = acknowledged.is_none()
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

    fn broken(&self) -> impl Iterator<Item = (u32, &str)> {
        self.clients
            .iter()
            .filter_map(|client| Some((client.client, client.error.as_deref()?)))
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
            None => writeln!(f, "  acknowledged             -   raw packets are not")?,
        }
        writeln!(
            f,
            "  rate          {:>12.0}   packets/s of {} offered",
            rate.achieved_hz,
            rate_or_max(rate.offered_hz.map(f64::round))
        )?;
        let Distribution {
            p50,
            p90,
            p99,
            p99_9,
            max,
            ..
        } = lateness_us;
        writeln!(
            f,
            "  lateness us   p50 {p50:.1}  p90 {p90:.1}  p99 {p99:.1}  p99.9 {p99_9:.1}  \
             max {max:.1}"
        )?;
        writeln!(
            f,
            "  CPU           {:>12.0}   ns per packet, {:.2} s",
            cpu.agent_ns_per_packet, cpu.agent_s
        )?;
        for (client, error) in self.broken().take(CLIENTS_NAMED_MAX) {
            writeln!(f, "  client {client}: {error}")?;
        }
        match self.broken().count().saturating_sub(CLIENTS_NAMED_MAX) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more clients; -o json names them all"),
        }
    }
}

fn rate_or_max(hz: Option<f64>) -> String {
    hz.map_or_else(|| "max".into(), |hz| hz.to_string())
}

impl From<&v1::ClientRecord> for ClientSummary {
    fn from(record: &v1::ClientRecord) -> Self {
        Self {
            client: record.client,
            scheduled: record.scheduled,
            sent: record.sent,
            skipped: record.skipped,
            acknowledged: record.acknowledged,
            attempts: record.attempts,
            error: (!record.error.is_empty()).then(|| record.error.clone()),
        }
    }
}

impl From<v1::Distribution> for Distribution {
    fn from(distribution: v1::Distribution) -> Self {
        Self {
            p50: distribution.p50_us,
            p90: distribution.p90_us,
            p99: distribution.p99_us,
            p99_9: distribution.p99_9_us,
            p99_99: distribution.p99_99_us,
            max: distribution.max_us,
            count: distribution.count,
        }
    }
}

//! The result of a load without a server: its figures, as text, and the exit code. What is not
//! known is none, and a dash in the text.

use std::{fmt, time::Duration};

use metronome_proto::{
    counters::CounterList as _,
    json::times::quantile_ns,
    packet::FRAME_BYTES,
    profile::{Profile, hz},
    v1,
};

use super::flags::RunConfig;
use crate::load::{assignment::Protocol, outcome::GeneratorStats};

/// Below this share of the schedule a load is not as asked.
const SENT_SHARE_MIN: f64 = 0.99;
/// Broken clients that the text lists; the JSON has them all.
const CLIENTS_NAMED_MAX: usize = 10;

/// How the text shows a figure that is not known.
const UNKNOWN: &str = "–";

const OK: u8 = 0;
const FAILED: u8 = 1;
const NOT_AS_ASKED: u8 = 4;

/// The figures of one load.
#[derive(Debug)]
pub(super) struct Summary {
    /// HOST:PORT.
    pub(super) target: String,
    /// The packets carry nothing, and nothing is acknowledged.
    is_raw: bool,
    pub(super) clients: u32,
    pub(super) profile: Profile,
    pub(super) batch: u32,
    pub(super) duration: Duration,
    pub(super) threads: u32,
    /// Sums over the clients. None when they are not known of every one.
    pub(super) counts: Option<v1::GeneratorCounts>,
    /// From the start instant to the last write.
    pub(super) elapsed_ns: u64,
    /// None when nothing was sent.
    pub(super) lateness: Option<v1::Distribution>,
    /// CPU time of the pacing threads.
    pub(super) cpu_ns: u64,
    /// Calls that took data.
    pub(super) writes: u64,
    pub(super) oversleep_max_ns: u64,
    pub(super) records: Vec<v1::ClientRecord>,
}

impl Summary {
    /// Sums up `records`; `elapsed_ns` is from the start instant to the last write.
    pub(super) fn new(
        config: &RunConfig,
        records: Vec<v1::ClientRecord>,
        measured: &GeneratorStats,
        elapsed_ns: u64,
    ) -> Self {
        let assignment = &config.assignment;
        let counts = records
            .iter()
            .try_fold(v1::GeneratorCounts::default(), |sum, record| {
                Some(sum.plus(&record.counts?))
            });
        Self {
            target: assignment.target.to_string(),
            is_raw: matches!(assignment.protocol, Protocol::Raw),
            clients: assignment.client_count(),
            profile: assignment.share.profile,
            batch: assignment.share.batch,
            duration: assignment.duration,
            threads: assignment.threads,
            counts,
            elapsed_ns,
            lateness: measured.lateness.distribution(false),
            cpu_ns: measured.cpu_ns,
            writes: measured.writes,
            oversleep_max_ns: measured.oversleep_ns_max,
            records,
        }
    }

    pub(super) fn protocol(&self) -> &'static str {
        if self.is_raw { "raw" } else { "authenticated" }
    }

    pub(super) fn sent(&self) -> Option<u64> {
        Some(self.counts?.sent)
    }

    /// Packets received, as the authenticated end-acks have it. None on raw connections, or when an
    /// end-ack is missing.
    pub(super) fn acknowledged(&self) -> Option<u64> {
        let acknowledged = self.records.iter().map(|record| record.acknowledged);
        acknowledged.sum()
    }

    /// Packets that the target's kernel has acknowledged, read or not. None where this host's
    /// kernel does not have that of a client.
    pub(super) fn arrived(&self) -> Option<u64> {
        self.records.iter().map(arrived).sum()
    }

    /// The rate of all clients together. None in a flood.
    pub(super) fn offered_millihertz(&self) -> Option<u64> {
        let each = self.profile.rate_millihertz()?;
        Some(each.saturating_mul(self.clients.into()))
    }

    /// Packets written in a second of all clients together.
    pub(super) fn achieved_hz(&self) -> Option<f64> {
        Some(self.sent()? as f64 * 1e9 / self.elapsed_ns.max(1) as f64)
    }

    /// None when nothing was sent.
    pub(super) fn cpu_ns_per_packet(&self) -> Option<f64> {
        let sent = self.sent().filter(|sent| *sent > 0)?;
        Some(self.cpu_ns as f64 / sent as f64)
    }

    /// 1: a client was refused. 4: less than 99 % or nothing was sent, or not all of it was
    /// acknowledged: by every client's end-ack, on raw connections by the target's kernel. 1:
    /// anything else went wrong with a client. 0: as asked.
    pub(super) fn exit_code(&self) -> u8 {
        let is_enough = |counts: v1::GeneratorCounts| {
            counts.sent > 0 && counts.sent as f64 >= SENT_SHARE_MIN * counts.scheduled as f64
        };
        let is_acknowledged = |record: &v1::ClientRecord| {
            record.counts.is_some_and(|counts| match self.is_raw {
                true => arrived(record).is_none_or(|arrived| arrived >= counts.sent),
                false => record.acknowledged == Some(counts.sent),
            })
        };
        let all_acknowledged = self.records.iter().all(is_acknowledged);
        // What a target that refuses had acknowledged by then depends on the moment.
        if self.broken().any(|(_, failure)| is_refusal(failure.code())) {
            FAILED
        } else if !self.counts.is_some_and(is_enough) || !all_acknowledged {
            NOT_AS_ASKED
        } else if self.broken().next().is_some() {
            FAILED
        } else {
            OK
        }
    }

    fn broken(&self) -> impl Iterator<Item = (u32, &v1::Failure)> {
        let records = self.records.iter();
        records.filter_map(|record| Some((record.client, record.failure.as_ref()?)))
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [scheduled, sent, skipped] = match self.counts {
            Some(counts) => [counts.scheduled, counts.sent, counts.skipped].map(Some),
            None => [None; 3],
        };
        let share = self
            .counts
            .map(|counts| counts.sent as f64 * 100.0 / counts.scheduled.max(1) as f64);
        let share = share.map_or_else(|| UNKNOWN.into(), |share| format!("{share:.2}"));
        writeln!(f, "  scheduled     {:>12}", number(scheduled))?;
        writeln!(
            f,
            "  sent          {:>12}   {share} % of the schedule",
            number(sent)
        )?;
        writeln!(f, "  skipped       {:>12}", number(skipped))?;
        writeln!(
            f,
            "  arrived       {:>12}   acknowledged by the target's kernel, read or not",
            number(self.arrived())
        )?;
        let why_unknown = match self.acknowledged() {
            Some(_) => "",
            None if self.is_raw => "   raw packets are not",
            None => "   not by every client's end",
        };
        let acknowledged = number(self.acknowledged());
        writeln!(f, "  acknowledged  {acknowledged:>12}{why_unknown}")
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (client, failure) in self.broken().take(CLIENTS_NAMED_MAX) {
            let v1::Failure {
                sentence, remedy, ..
            } = failure;
            writeln!(f, "  client {client}: {sentence}; {remedy}")?;
        }
        match self.broken().count().saturating_sub(CLIENTS_NAMED_MAX) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more clients; -o json names them all"),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} clients x {} packets/s x 32 bytes for {} s to {}, {}",
            self.clients,
            rate_or_max(self.profile.rate_millihertz().map(hz)),
            self.duration.as_secs_f64(),
            self.target,
            self.protocol()
        )?;
        self.write_counts(f)?;
        writeln!(
            f,
            "  rate          {:>12}   packets/s of {} offered",
            whole(self.achieved_hz()),
            rate_or_max(
                self.offered_millihertz()
                    .map(|millihertz| hz(millihertz).round())
            )
        )?;
        let late = self.lateness.as_ref();
        let quantile = |ppm| tenths(late.and_then(|late| quantile_ns(late, ppm)));
        writeln!(
            f,
            "  lateness us   p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            quantile(500_000),
            quantile(900_000),
            quantile(990_000),
            quantile(999_000),
            tenths(late.map(|late| late.max_ns)),
        )?;
        writeln!(
            f,
            "  CPU           {:>12}   ns per packet, {:.2} s",
            whole(self.cpu_ns_per_packet()),
            self.cpu_ns as f64 / 1e9
        )?;
        self.write_failures(f)
    }
}

/// Packets of one client that the target's kernel has acknowledged, as in [`Summary::arrived`].
pub(super) fn arrived(record: &v1::ClientRecord) -> Option<u64> {
    Some(record.kernel_acknowledged_bytes? / FRAME_BYTES as u64)
}

fn number(count: Option<u64>) -> String {
    count.map_or_else(|| UNKNOWN.into(), |count| count.to_string())
}

fn whole(figure: Option<f64>) -> String {
    figure.map_or_else(|| UNKNOWN.into(), |figure| format!("{figure:.0}"))
}

/// Microseconds.
fn tenths(ns: Option<i64>) -> String {
    ns.map_or_else(|| UNKNOWN.into(), |ns| format!("{:.1}", ns as f64 / 1e3))
}

fn rate_or_max(hz: Option<f64>) -> String {
    hz.map_or_else(|| "max".into(), |hz| hz.to_string())
}

/// The target has refused the connection.
fn is_refusal(code: v1::FailureCode) -> bool {
    use v1::FailureCode::{
        RefusedEnded, RefusedFull, RefusedHello, RefusedLate, RefusedProtocol, RefusedRaw,
    };
    matches!(
        code,
        RefusedEnded | RefusedFull | RefusedHello | RefusedLate | RefusedProtocol | RefusedRaw
    )
}

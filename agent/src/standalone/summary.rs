//! The result of a load without a server: its figures, as text, and the exit code. What is not
//! known is none, and a dash in the text.

use metronome_proto::{
    counters::CounterList as _,
    elapsed::Elapsed,
    json::times::quantile_ns,
    layout,
    load::Load,
    packet::FRAME_BYTES,
    profile::{Profile, hz},
    quantity,
    v1::{self, FailureCode},
};

use super::flags::RunConfig;
use crate::load::{assignment::Protocol, outcome::GeneratorStats};

/// Below this share of the schedule a load is not as asked.
const SENT_SHARE_MIN: f64 = 0.99;
/// Broken clients that the text lists; the JSON has them all.
const CLIENTS_NAMED_MAX: usize = 10;

/// Columns of the text's labels, with the blanks around them.
const LABEL_WIDTH: usize = 16;

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
    /// What each client was to send.
    pub(super) load: Load,
    pub(super) threads: u32,
    /// Sums over the clients. None when they are not known of every one.
    pub(super) counts: Option<v1::GeneratorCounts>,
    /// None when that was no time at all.
    elapsed: Option<Elapsed>,
    /// None in a flood, whose packets are due when they are written, and when nothing was sent.
    pub(super) lateness: Option<v1::Distribution>,
    /// CPU time of the pacing threads.
    pub(super) cpu_ns: u64,
    /// Calls that took data.
    pub(super) writes: u64,
    pub(super) oversleep_max_ns: u64,
    pub(super) records: Vec<v1::ClientRecord>,
}

impl Summary {
    /// Sums up `records`; `taken_ns` is from the start instant to the last write, which may be that
    /// of a load that was stopped.
    pub(super) fn new(
        config: &RunConfig,
        records: Vec<v1::ClientRecord>,
        measured: &GeneratorStats,
        taken_ns: u64,
        is_stopped: bool,
    ) -> Self {
        let RunConfig {
            assignment,
            target,
            load,
            ..
        } = config;
        let scheduled = records.iter().filter_map(|record| record.counts);
        let due = scheduled.map(|counts| counts.scheduled).max().unwrap_or(0);
        let counts = records
            .iter()
            .try_fold(v1::GeneratorCounts::zero(), |sum, record| {
                Some(sum.plus(&record.counts?))
            });
        Self {
            target: target.clone(),
            is_raw: matches!(assignment.protocol, Protocol::Raw),
            clients: assignment.client_count(),
            load: *load,
            threads: assignment.threads,
            counts,
            elapsed: Elapsed::new(load, due, is_stopped, taken_ns.into()),
            lateness: measured.lateness.distribution(false),
            cpu_ns: measured.cpu_ns,
            writes: measured.writes,
            oversleep_max_ns: measured.oversleep_ns_max,
            records,
        }
    }

    fn is_flood(&self) -> bool {
        self.load.profile.is_flood()
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

    /// The mean rate of all clients together. None in a flood.
    pub(super) fn offered_millihertz(&self) -> Option<u64> {
        let each = self.load.mean_millihertz()?;
        Some(each.saturating_mul(self.clients.into()))
    }

    /// Packets written of all clients together, in the time of the schedule or until the last write
    /// where that is longer. Of a rate that does not change never above what was offered.
    pub(super) fn achieved_millihertz(&self) -> Option<u64> {
        self.elapsed?.achieved_millihertz(self.sent()?)
    }

    /// The time of the schedule within the duration, or that until the last write where it is
    /// longer, s.
    pub(super) fn elapsed_s(&self) -> Option<f64> {
        Some(self.elapsed?.shown_ns() as f64 / 1e9)
    }

    /// None when nothing was sent.
    pub(super) fn cpu_ns_per_packet(&self) -> Option<f64> {
        let sent = self.sent().filter(|sent| *sent > 0)?;
        Some(self.cpu_ns as f64 / sent as f64)
    }

    /// 1: a client was refused, or its connection broke: what else is known of it depends on the
    /// moment. 4: the load ran to its end, but less than 99 % or nothing was sent, or not all of it
    /// was acknowledged: by every client's end-ack, on raw connections by the target's kernel.
    /// 0: as asked.
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
        let is_end =
            |(_, failure): (u32, &v1::Failure)| failure.code() == FailureCode::EndNotAcknowledged;
        if !self.broken().all(is_end) {
            FAILED
        } else if self.broken().next().is_some()
            || !self.counts.is_some_and(is_enough)
            || !all_acknowledged
        {
            NOT_AS_ASKED
        } else {
            OK
        }
    }

    fn broken(&self) -> impl Iterator<Item = (u32, &v1::Failure)> {
        let records = self.records.iter();
        records.filter_map(|record| Some((record.client, record.failure.as_ref()?)))
    }

    /// The figures in lines of `width` columns, at least 40.
    pub(super) fn text(&self, width: usize) -> String {
        let mut lines = layout::flowed([self.head()], width);
        let mut row = |label: &str, parts: &[String]| {
            let parts = layout::flowed(parts.iter().cloned(), width - LABEL_WIDTH);
            lines.extend(layout::marked(&format!("  {label:<14}"), parts));
        };
        for (label, figure, note) in self.counts() {
            row(label, &[format!("{figure:>12}"), note]);
        }
        let rate = known(self.achieved_millihertz(), |achieved| {
            quantity::rate(hz(achieved))
        });
        let offered = match self.offered_millihertz() {
            Some(millihertz) => quantity::hertz(hz(millihertz)),
            None => "max".into(),
        };
        row(
            "rate",
            &[
                format!("{rate:>12}"),
                format!("packets/s of {offered} offered"),
            ],
        );
        if !self.is_flood() {
            row("lateness", &self.lateness());
        }
        let cpu = known(self.cpu_ns_per_packet(), quantity::time_mean);
        let in_all = quantity::time_mean(self.cpu_ns as f64);
        row(
            "CPU",
            &[format!("{cpu:>12}"), format!("per packet, {in_all}")],
        );
        lines.extend(self.failures(width));
        lines.join("\n") + "\n"
    }

    /// What was asked for, and of whom.
    fn head(&self) -> String {
        let rate = match self.load.profile {
            profile @ Profile::Burst { .. } => {
                profile.to_string().replace(" every", " packets every")
            }
            profile => match profile.steady_millihertz() {
                Some(millihertz) => quantity::hertz(hz(millihertz)) + " packets/s",
                None => format!("{profile} packets/s"),
            },
        };
        let seed = match self.seed() {
            Some(seed) => format!(", {}", layout::unbroken(&format!("seed {seed}"))),
            None => String::new(),
        };
        format!(
            "{} clients x {rate} x {FRAME_BYTES} bytes for {} s to {}, {}{seed}",
            quantity::count(self.clients.into()),
            quantity::decimal(self.load.duration.as_secs_f64(), 3),
            self.target,
            self.protocol()
        )
    }

    /// What was drawn from. None where nothing was.
    pub(super) fn seed(&self) -> Option<u64> {
        matches!(self.load.profile, Profile::Poisson { .. }).then_some(self.load.seed)
    }

    /// Label, count and what it is. A flood has no schedule, of which packets could be skipped.
    fn counts(&self) -> Vec<(&'static str, String, String)> {
        let counts = self.counts;
        let count =
            |of: fn(&v1::GeneratorCounts) -> u64| known(counts.as_ref().map(of), quantity::count);
        let sent = count(|counts| counts.sent);
        let mut rows = Vec::new();
        if self.is_flood() {
            rows.push(("sent", sent, String::new()));
        } else {
            let share = known(counts, |counts| {
                let percent = counts.sent as f64 * 100.0 / counts.scheduled.max(1) as f64;
                quantity::fixed_down(percent, 2)
            });
            rows.push(("scheduled", count(|counts| counts.scheduled), String::new()));
            rows.push(("sent", sent, format!("{share} % of the schedule")));
            rows.push(("skipped", count(|counts| counts.skipped), String::new()));
        }
        let arrived = known(self.arrived(), quantity::count);
        let meaning = "acknowledged by the target's kernel, read or not";
        rows.push(("arrived", arrived, meaning.into()));
        let why_unknown = match self.acknowledged() {
            Some(_) => "",
            None if self.is_raw => "raw packets are not",
            None => "not by every client's end",
        };
        let acknowledged = known(self.acknowledged(), quantity::count);
        rows.push(("acknowledged", acknowledged, why_unknown.into()));
        rows
    }

    fn lateness(&self) -> [String; 5] {
        let late = self.lateness.as_ref();
        let time = |ns| known(ns, quantity::time);
        let quantile = |ppm| time(late.and_then(|late| quantile_ns(late, ppm)));
        [
            format!("p50 {}", quantile(500_000)),
            format!("p90 {}", quantile(900_000)),
            format!("p99 {}", quantile(990_000)),
            format!("p99.9 {}", quantile(999_000)),
            format!("max {}", time(late.map(|late| late.max_ns))),
        ]
    }

    fn failures(&self, width: usize) -> Vec<String> {
        let named = self.broken().take(CLIENTS_NAMED_MAX);
        let mut lines: Vec<String> = named
            .flat_map(|(client, failure)| {
                let v1::Failure {
                    sentence, remedy, ..
                } = failure;
                let text = format!("client {client}: {sentence}; {remedy}");
                layout::marked("  ", layout::flowed([text], width - 2))
            })
            .collect();
        if let more @ 1.. = self.broken().count().saturating_sub(CLIENTS_NAMED_MAX) {
            let text = format!("and {more} more clients; -o json names them all");
            lines.extend(layout::marked("  ", layout::flowed([text], width - 2)));
        }
        lines
    }
}

/// Packets of one client that the target's kernel has acknowledged, as in [`Summary::arrived`].
pub(super) fn arrived(record: &v1::ClientRecord) -> Option<u64> {
    Some(record.kernel_acknowledged_bytes? / FRAME_BYTES as u64)
}

fn known<T>(figure: Option<T>, text: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| UNKNOWN.into(), text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// A raw load of which every client has these counts, and which took until its last write.
    fn load(profile: Profile, clients: u32, ms: u64, counts: [u64; 2], taken_ns: u64) -> Summary {
        let load = Load {
            profile,
            duration: Duration::from_millis(ms),
            batch: 1,
            seed: 7,
        };
        let [scheduled, sent] = counts;
        let counts = v1::GeneratorCounts {
            scheduled,
            sent,
            skipped: scheduled - sent,
            ..v1::GeneratorCounts::default()
        };
        let record = |client| v1::ClientRecord {
            client,
            counts: Some(counts),
            ..v1::ClientRecord::default()
        };
        let records: Vec<_> = (0..clients).map(record).collect();
        Summary {
            target: "10.0.0.7:8888".into(),
            is_raw: true,
            clients,
            load,
            threads: 1,
            counts: records
                .iter()
                .filter_map(|record| record.counts)
                .reduce(|a, b| a.plus(&b)),
            elapsed: Elapsed::new(&load, scheduled, false, taken_ns.into()),
            lateness: None,
            cpu_ns: 1_000_000,
            writes: sent,
            oversleep_max_ns: 0,
            records,
        }
    }

    #[test]
    fn the_rate_of_a_load_that_keeps_up_is_the_one_that_it_offered() {
        for (clients, millihertz, ms, packets, text) in [
            (1, 1_000, 3_000, 3, "1  packets/s of 1 offered"),
            (10, 1_400, 1_000, 1, "14  packets/s of 14 offered"),
            (3, 1_000_000, 5, 5, "3,000  packets/s of 3,000 offered"),
            (1, 500, 4_000, 2, "0.5  packets/s of 0.5 offered"),
        ] {
            let profile = Profile::constant(millihertz);
            let load = load(profile, clients, ms, [packets; 2], 50_000);
            let shown = load.text(80);
            assert!(shown.contains(text), "{shown}");
        }
    }

    #[test]
    fn a_load_of_any_shape_is_shown_with_its_mean_rate_and_what_it_was_drawn_from() {
        for (profile, head, offered) in [
            (
                "1k..3k".parse().unwrap(),
                "2 clients x 1000..3000 packets/s x",
                "of 4,000 offered",
            ),
            (
                Profile::Burst {
                    packets: 50,
                    every_ns: 5_000_000,
                },
                "2 clients x 50 packets every 5ms x",
                "of 20,000 offered",
            ),
            (
                Profile::Poisson {
                    rate_millihertz: 1_000_000,
                },
                "2 clients x 1000 poisson packets/s x",
                "of 2,000 offered",
            ),
        ] {
            let load = load(profile, 2, 1_000, [100; 2], 1);
            let shown = load.text(200);
            assert!(shown.contains(head) && shown.contains(offered), "{shown}");
            let is_drawn = matches!(profile, Profile::Poisson { .. });
            assert_eq!(shown.contains("seed 7"), is_drawn, "{shown}");
            for width in 40..120 {
                let shown = load.text(width);
                assert_eq!(shown.contains("seed 7"), is_drawn, "{shown}");
            }
        }
    }

    #[test]
    fn a_share_that_is_not_all_is_never_shown_as_all() {
        let profile = Profile::constant(100_000_000);
        let shown = load(profile, 1, 1_000, [100_000, 99_996], 1).text(80);
        assert!(shown.contains("99.99 % of the schedule"), "{shown}");
        let shown = load(profile, 1, 1_000, [100_000, 100_000], 1).text(80);
        assert!(shown.contains("100.00 % of the schedule"), "{shown}");
    }

    #[test]
    fn a_flood_has_neither_a_schedule_nor_a_lateness() {
        let shown = load(Profile::Flood, 2, 100, [7_000; 2], 100_000_000).text(80);
        for word in ["schedule", "skipped", "lateness", "p50"] {
            assert!(!shown.contains(word), "{shown}");
        }
        assert!(
            shown.contains("140,000  packets/s of max offered"),
            "{shown}"
        );
        let shown = load(Profile::constant(1), 1, 100, [1; 2], 1).text(80);
        assert!(shown.contains("lateness      p50 –"), "{shown}");
    }

    #[test]
    fn what_broke_decides_the_exit_code_before_what_was_sent_and_acknowledged() {
        use FailureCode::{ConnectionBroken, EndNotAcknowledged, RefusedProtocol, RefusedRaw};
        let (all, few) = ([100, 100], [100, 90]);
        for (counts, failures, code) in [
            (all, &[][..], OK),
            (few, &[], NOT_AS_ASKED),
            ([0, 0], &[], NOT_AS_ASKED),
            (all, &[EndNotAcknowledged], NOT_AS_ASKED),
            (all, &[ConnectionBroken], FAILED),
            (few, &[ConnectionBroken], FAILED),
            (few, &[EndNotAcknowledged, ConnectionBroken], FAILED),
            (all, &[RefusedProtocol], FAILED),
            (few, &[RefusedRaw], FAILED),
        ] {
            let mut load = load(Profile::constant(1_000), 2, 100, counts, 1);
            for (record, code) in load.records.iter_mut().zip(failures) {
                record.failure = Some(v1::Failure::new(*code, "it failed"));
            }
            assert_eq!(load.exit_code(), code, "{counts:?} {failures:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_screen(
            clients in 1..20_u32,
            counts in prop::array::uniform2(0..1_000_000_000_000_u64),
            failed in any::<bool>(),
            width in 40..=200_usize,
        ) {
            let counts = [counts[0].max(counts[1]), counts[0].min(counts[1])];
            let mut load = load(Profile::constant(1_000), clients, 100, counts, 1);
            for record in load.records.iter_mut().filter(|_| failed) {
                let failure = v1::Failure::new(FailureCode::ConnectionRefused, "nothing listens");
                record.failure = Some(failure);
            }
            for line in load.text(width).lines() {
                prop_assert!(layout::columns(line) <= width, "{line}");
            }
        }

        #[test]
        fn no_load_achieves_more_than_it_offers(
            millihertz in 1..1_000_000_000_u64,
            clients in 1..20_u32,
            ms in 1..100_000_u64,
            taken_ns in 0..200_000_000_000_u64,
        ) {
            let profile = Profile::constant(millihertz);
            let packets = load(profile, 1, ms, [0; 2], 1).load.packets().unwrap();
            let load = load(profile, clients, ms, [packets; 2], taken_ns);
            prop_assert!(load.achieved_millihertz() <= load.offered_millihertz());
        }
    }
}

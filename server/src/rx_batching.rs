//! Batched reads: how long a worker lets packets gather before it reads again.
//!
//! In exact mode a worker waits for the next packet and reads it at once: a wake-up and a read for
//! each packet, and the most accurate read time. With batched reads it pauses after each turn of
//! its loop. What arrives meanwhile is read together; the price is a read time that is up to one
//! pause late, and echoes that are late by as much. An idle worker waits for events in both modes,
//! so the first packet after a silence is always read at once. While a turn leaves something
//! unread, the next turn follows without a pause, so no packet waits for two pauses.
//!
//! In automatic mode a worker batches its reads while it is overloaded by reading each packet, and
//! only as long as the reason lasts: it is in exact mode again as soon as the load is less than the
//! one that overloaded it, or a run comes or goes. So no run is read by what one before it needed.
//!
//! Pure: no clock, no socket. Times are ns of CLOCK_MONOTONIC and of CPU.

use std::{fmt, str::FromStr};

/// Longest pause that may be asked for, µs.
pub(crate) const PAUSE_US_MAX: u16 = 1_000;

/// The pause of a worker that cannot keep up otherwise, ns: two packets of a 10 kHz client, so that
/// nearly every read takes more than one.
pub(crate) const OVERLOAD_PAUSE_NS: u64 = 250_000;

/// How often a worker in automatic mode looks at how much CPU it has used, ns.
const LOOK_EVERY_NS: u64 = 100_000_000;

/// A load of less than this share of the one that overloaded exact mode, in percent of its bytes,
/// is tried in exact mode at once. It is less than the share of a core that makes an overload, so
/// that a load which stays the same is not taken for a smaller one.
const LOAD_PERCENT_MIN: u64 = 90;

/// A worker that uses more than this share of a core, in percent, does not keep up: what is left is
/// less than the kernel's own work on that core.
const CPU_PERCENT_MAX: u64 = 95;

/// Reads that bring more bytes than this on average cost by their bytes, not by their number:
/// batching them would only slow the load down. 16 packets.
const BYTES_PER_READ_MAX: u64 = 16 * metronome_proto::packet::FRAME_BYTES as u64;

/// How long reads are batched until exact mode is tried again, ns. Doubled each time that exact
/// mode is overloaded again at once, so that trying costs less the longer an overload lasts.
const BATCHING_NS_MIN: u64 = 1_000_000_000;
const BATCHING_NS_MAX: u64 = 16_000_000_000;

/// What the user asks for with `--rx-coalesce`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RxBatching {
    /// Exact while the worker keeps up, batched with pauses of 250 µs while it does not.
    Auto,
    /// Batched with a pause of so many µs, 1 to 1,000; 0 is exact mode, always.
    Us(u16),
}

impl FromStr for RxBatching {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let us = text.parse().ok().filter(|us| *us <= PAUSE_US_MAX);
        us.map(Self::Us)
            .ok_or_else(|| format!("0 to {PAUSE_US_MAX} µs or `auto` are allowed, 0 for none"))
    }
}

impl fmt::Display for RxBatching {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Us(us) => us.fmt(formatter),
        }
    }
}

/// What one turn of a worker's loop, or several, have read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    /// Reads that brought bytes.
    pub(crate) reads: u64,
    /// Bytes, as if all packets had 32: what is read costs by its packets, more than by their size.
    pub(crate) bytes: u64,
    /// More is ready already: a read filled its buffer, or more connections were ready than one
    /// turn serves.
    pub(crate) has_left_over: bool,
}

/// Decides after each turn of one worker.
#[derive(Clone, Debug)]
pub(crate) struct BatchedReads {
    asked: RxBatching,
    /// Between two turns, ns; 0 in exact mode.
    pause_ns: u64,
    look_ns: u64,
    looked_ns: u64,
    cpu_ns: u64,
    /// While reads are batched: when exact mode is tried again if the load stays what it is, ns.
    try_exact_ns: u64,
    /// Bytes of clients and the time in which they came, ns, of the look that found an overload.
    overload: (u64, u64),
    /// Reads and bytes since the last look: of clients, and of connections that have not
    /// authenticated.
    since_look: [Turn; 2],
    /// How long reads will be batched if the next look finds an overload.
    batching_ns: u64,
}

impl BatchedReads {
    /// A worker that has not read yet.
    pub(crate) fn new(asked: RxBatching) -> Self {
        let pause_ns = match asked {
            RxBatching::Auto => 0,
            RxBatching::Us(us) => u64::from(us) * 1_000,
        };
        let since_look = [Turn::default(); 2];
        Self {
            asked,
            pause_ns,
            look_ns: 0,
            looked_ns: 0,
            cpu_ns: 0,
            try_exact_ns: 0,
            overload: (0, 0),
            since_look,
            batching_ns: BATCHING_NS_MIN,
        }
    }

    /// How long to let packets gather after this turn, ns. The turn has read from clients and from
    /// connections that have not authenticated. `used_cpu_ns` gives the CPU time that the worker
    /// has used in all; it is called only when a look is due.
    #[inline]
    pub(crate) fn pause_ns(
        &mut self,
        now_ns: u64,
        turn: Turn,
        unauthenticated: Turn,
        used_cpu_ns: impl FnOnce() -> u64,
    ) -> u64 {
        for (sum, turn) in self.since_look.iter_mut().zip([turn, unauthenticated]) {
            sum.reads = sum.reads.saturating_add(turn.reads);
            sum.bytes = sum.bytes.saturating_add(turn.bytes);
        }
        if self.asked == RxBatching::Auto && now_ns >= self.look_ns {
            self.look(now_ns, used_cpu_ns());
        }
        if turn.has_left_over { 0 } else { self.pause_ns }
    }

    /// The load has become another one: what was found of it is void. In automatic mode reads are
    /// exact until the new one is an overload by itself.
    pub(crate) fn begin_again(&mut self) {
        *self = Self::new(self.asked);
    }

    /// Whether reads are batched at present.
    pub(crate) fn is_batching(&self) -> bool {
        self.pause_ns > 0
    }

    fn look(&mut self, now_ns: u64, cpu_ns: u64) {
        let (elapsed_ns, used_ns) = (
            now_ns - self.looked_ns.min(now_ns),
            cpu_ns.saturating_sub(self.cpu_ns),
        );
        let is_first = self.looked_ns == 0;
        let was_batching = self.is_batching();
        let [Turn { reads, bytes, .. }, unauthenticated] = std::mem::take(&mut self.since_look);
        // Where connections without authentication keep the core busy, batching the clients' reads
        // would not free it.
        let cost = |reads: u64, bytes: u64| {
            reads
                .saturating_mul(BYTES_PER_READ_MAX)
                .saturating_add(bytes)
        };
        let clients_cause_it =
            cost(unauthenticated.reads, unauthenticated.bytes) <= cost(reads, bytes);
        let is_overloaded = !is_first
            && !was_batching
            && clients_cause_it
            && bytes <= reads.saturating_mul(BYTES_PER_READ_MAX)
            && u128::from(used_ns) * 100 > u128::from(elapsed_ns) * u128::from(CPU_PERCENT_MAX);
        (self.looked_ns, self.cpu_ns) = (now_ns, cpu_ns);
        self.look_ns = now_ns.saturating_add(LOOK_EVERY_NS);
        if is_overloaded {
            self.pause_ns = OVERLOAD_PAUSE_NS;
            self.overload = (bytes, elapsed_ns);
            self.try_exact_ns = now_ns.saturating_add(self.batching_ns);
            self.batching_ns = (self.batching_ns * 2).min(BATCHING_NS_MAX);
        } else if was_batching {
            if now_ns >= self.try_exact_ns || self.is_less_than_overload(bytes, elapsed_ns) {
                self.pause_ns = 0;
            }
        } else {
            // A whole look in exact mode without an overload: the next overload is a new one.
            self.batching_ns = BATCHING_NS_MIN;
        }
    }

    /// Whether `bytes` in `elapsed_ns` are a load that exact mode was not overloaded by.
    fn is_less_than_overload(&self, bytes: u64, elapsed_ns: u64) -> bool {
        let (overload_bytes, overload_ns) = self.overload;
        let scaled = |bytes: u64, ns: u64, percent: u64| {
            u128::from(bytes).saturating_mul(u128::from(ns) * u128::from(percent))
        };
        scaled(bytes, overload_ns, 100) < scaled(overload_bytes, elapsed_ns, LOAD_PERCENT_MIN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOTHING: Turn = Turn {
        reads: 0,
        bytes: 0,
        has_left_over: false,
    };

    /// One packet, and nothing left behind.
    const ONE_PACKET: Turn = Turn {
        reads: 1,
        bytes: 32,
        has_left_over: false,
    };

    /// A worker that reads loads given in percent of what exact mode can read, one after the other
    /// for a look each; batched reads take a quarter of the CPU and keep up with each of them.
    struct Worker {
        batched_reads: BatchedReads,
        now_ns: u64,
        cpu_ns: u64,
        is_batching: bool,
    }

    impl Worker {
        fn new() -> Self {
            Self {
                batched_reads: BatchedReads::new(RxBatching::Auto),
                now_ns: 5,
                cpu_ns: 7,
                is_batching: false,
            }
        }

        /// Reads a load until the next look; returns whether reads are batched behind it.
        fn read(&mut self, load_percent: u64) -> bool {
            let (read, cpu_percent) = if self.is_batching {
                (load_percent, load_percent.div_ceil(4).min(100))
            } else {
                (load_percent.min(100), load_percent.min(100))
            };
            self.now_ns += LOOK_EVERY_NS;
            self.cpu_ns += LOOK_EVERY_NS / 100 * cpu_percent;
            let turn = Turn {
                reads: 10 * read,
                bytes: 320 * read,
                has_left_over: false,
            };
            let cpu_ns = self.cpu_ns;
            let pause_ns = self
                .batched_reads
                .pause_ns(self.now_ns, turn, NOTHING, || cpu_ns);
            self.is_batching = pause_ns > 0;
            self.is_batching
        }

        /// Reads one load for so many looks; returns how many of these were batched.
        fn looks_batched(&mut self, load_percent: u64, looks: u64) -> u64 {
            (0..looks).map(|_| u64::from(self.read(load_percent))).sum()
        }
    }

    #[test]
    fn a_worker_that_keeps_up_never_pauses() {
        assert_eq!(Worker::new().looks_batched(90, 10_000), 0);
    }

    #[test]
    fn an_overload_is_read_in_batches_and_exact_mode_is_tried_ever_more_rarely() {
        for load_percent in [100, 101, 300] {
            let batched = Worker::new().looks_batched(load_percent, 1_000);
            assert!(batched > 970, "{batched} at {load_percent} %");
        }
    }

    #[test]
    fn it_ends_with_its_cause_and_a_new_one_starts_small() {
        let mut worker = Worker::new();
        worker.looks_batched(100, 1_000);
        assert_eq!(worker.looks_batched(50, 500), 0, "at the first look");
        assert_eq!(worker.batched_reads.batching_ns, BATCHING_NS_MIN);
    }

    #[test]
    fn a_worker_that_is_busy_with_bytes_gains_nothing_by_pauses() {
        for (bytes, pause_ns) in [
            (BYTES_PER_READ_MAX + 1, 0),
            (BYTES_PER_READ_MAX, OVERLOAD_PAUSE_NS),
        ] {
            assert_eq!(
                pause_of_a_busy_core(
                    Turn {
                        bytes,
                        ..ONE_PACKET
                    },
                    NOTHING
                ),
                pause_ns,
                "{bytes}"
            );
        }
    }

    #[test]
    fn unauthenticated_connections_that_keep_a_worker_busy_delay_no_client() {
        let bulk = Turn {
            reads: 1,
            bytes: 65_536,
            ..NOTHING
        };
        let many = Turn {
            reads: 2,
            bytes: 2,
            ..NOTHING
        };
        let few = Turn {
            reads: 1,
            bytes: 32,
            ..NOTHING
        };
        for (unauthenticated, pause_ns) in [
            (bulk, 0),
            (many, 0),
            (few, OVERLOAD_PAUSE_NS),
            (NOTHING, OVERLOAD_PAUSE_NS),
        ] {
            assert_eq!(
                pause_of_a_busy_core(ONE_PACKET, unauthenticated),
                pause_ns,
                "{unauthenticated:?}"
            );
        }
        assert_eq!(pause_of_a_busy_core(NOTHING, bulk), 0);
    }

    /// After two looks between which the worker used all of its core.
    fn pause_of_a_busy_core(turn: Turn, unauthenticated: Turn) -> u64 {
        let mut batched_reads = BatchedReads::new(RxBatching::Auto);
        batched_reads.pause_ns(LOOK_EVERY_NS, turn, unauthenticated, || LOOK_EVERY_NS);
        batched_reads.pause_ns(2 * LOOK_EVERY_NS, turn, unauthenticated, || {
            2 * LOOK_EVERY_NS
        })
    }

    #[test]
    fn a_flag_is_auto_or_at_most_a_millisecond() {
        for (text, asked) in [
            ("auto", RxBatching::Auto),
            ("0", RxBatching::Us(0)),
            ("1000", RxBatching::Us(1_000)),
        ] {
            assert_eq!(text.parse(), Ok(asked));
            assert_eq!(asked.to_string(), text);
        }
        for text in ["", "1001", "-1", "1.5", "on", "65536", "500us"] {
            assert!(
                text.parse::<RxBatching>()
                    .unwrap_err()
                    .contains("0 to 1000 µs"),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_pause_that_was_asked_for_is_kept_whatever_the_load(
            us in 0..=PAUSE_US_MAX,
            now_ns: u64,
            cpu_ns: u64,
        ) {
            let mut batched_reads = BatchedReads::new(RxBatching::Us(us));
            prop_assert_eq!(
                batched_reads.pause_ns(now_ns, ONE_PACKET, NOTHING, || cpu_ns),
                u64::from(us) * 1_000
            );
        }

        #[test]
        fn reads_are_batched_behind_an_overload_only_and_no_longer_than_it_lasts(
            loads in prop::collection::vec((0..400_u64, any::<bool>()), 0..200),
        ) {
            let mut worker = Worker::new();
            for (load_percent, is_another) in loads {
                if is_another {
                    worker.batched_reads.begin_again();
                    worker.is_batching = false;
                }
                let is_batching = worker.read(load_percent);
                let is_overload = load_percent * 100 > LOAD_PERCENT_MIN * CPU_PERCENT_MAX;
                prop_assert!(!is_batching || (is_overload && !is_another), "{}", load_percent);
            }
        }

        #[test]
        fn what_was_asked_for_outlasts_every_change_of_the_load(us in 0..=PAUSE_US_MAX) {
            let mut batched_reads = BatchedReads::new(RxBatching::Us(us));
            batched_reads.begin_again();
            prop_assert_eq!(
                batched_reads.pause_ns(1, ONE_PACKET, NOTHING, || 1),
                u64::from(us) * 1_000
            );
        }

        #[test]
        fn what_is_left_over_never_waits_for_a_pause(
            us in 0..=PAUSE_US_MAX,
            now_ns: u64,
            reads: u64,
            bytes: u64,
        ) {
            for asked in [RxBatching::Auto, RxBatching::Us(us)] {
                let turn = Turn {
                    reads,
                    bytes,
                    has_left_over: true,
                };
                prop_assert_eq!(
                    BatchedReads::new(asked).pause_ns(now_ns, turn, NOTHING, || 0),
                    0
                );
            }
        }

        #[test]
        fn clocks_of_any_kind_are_survived(
            looks in prop::collection::vec((any::<u64>(), any::<u64>()), 0..50),
        ) {
            let mut batched_reads = BatchedReads::new(RxBatching::Auto);
            for (now_ns, cpu_ns) in looks {
                let pause_ns = batched_reads.pause_ns(
                    now_ns,
                    Turn {
                        bytes: cpu_ns,
                        ..ONE_PACKET
                    },
                    NOTHING,
                    || cpu_ns,
                );
                prop_assert!(pause_ns == 0 || pause_ns == OVERLOAD_PAUSE_NS);
            }
        }
    }
}

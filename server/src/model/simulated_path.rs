//! A path with two clocks, for tests: exchanges of readings of which the truth is known. Seeded;
//! times in ns.

use super::{
    clock_history::{ClockHistory, FourReadings},
    clock_window::Exchange,
};

pub(super) const START_NS: u64 = 5_000_000_000_000;

/// A path and two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) forth_ns: u64,
    pub(super) back_ns: u64,
    pub(super) jitter_ns: f64,
    /// One of so many probes comes back; 1 is all.
    pub(super) lost_of: u64,
    /// How much the way forth grows with each probe.
    pub(super) grows_ns: u64,
    pub(super) offset_ns: i64,
    pub(super) drift: f64,
}

pub(super) const STEADY: Path = Path {
    forth_ns: 50_000,
    back_ns: 50_000,
    jitter_ns: 20_000.0,
    lost_of: u64::MAX,
    grows_ns: 0,
    offset_ns: -3_600_000_000_000,
    drift: 0.0,
};

/// Numbers from 0 to 1, the same for every run of the test.
pub(super) fn random(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}

impl Path {
    pub(super) fn truth_ns(self, agent_ns: u64) -> i128 {
        let away_ns = agent_ns as f64 - START_NS as f64;
        i128::from(self.offset_ns) + (self.drift * away_ns).round() as i128
    }

    /// The exchanges of so many probes, 50 a second.
    pub(super) fn readings_of(self, seed: u64, probes: u64) -> Vec<Exchange> {
        let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut jitter =
            |base_ns: u64| base_ns + (-(1.0 - random(&mut state)).ln() * self.jitter_ns) as u64;
        (0..probes)
            .filter(|n| n % self.lost_of != self.lost_of - 1)
            .map(|n| {
                let sent_ns = START_NS + n * 20_000_000;
                let arrived_ns = sent_ns + jitter(self.forth_ns) + n * self.grows_ns;
                let server = i128::from(arrived_ns) + self.truth_ns(arrived_ns);
                Exchange {
                    sent_ns,
                    server_ns: u64::try_from(server).unwrap(),
                    answered_ns: arrived_ns + jitter(self.back_ns),
                }
            })
            .collect()
    }

    /// Those of a window.
    pub(super) fn readings(self, seed: u64) -> Vec<Exchange> {
        self.readings_of(seed, 1_000)
    }

    /// What was exchanged with the agent over the control connection, on the same path, until just
    /// before [`START_NS`]: 16 exchanges at once, and then one a second. Programs that wake up add
    /// some 0.1 ms each way.
    pub(super) fn history(self, seed: u64, seconds: u64) -> ClockHistory {
        let mut state = (seed + 7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut way = |base_ns: u64| {
            let mut more = |mean_ns: f64| (-(1.0 - random(&mut state)).ln() * mean_ns) as u64;
            base_ns + 60_000 + more(self.jitter_ns) + more(40_000.0)
        };
        let begins_ns = START_NS - 200_000_000 - seconds * 1_000_000_000;
        let first = (0..16).map(|n| begins_ns + n * 10_000);
        let later = (1..=seconds).map(|n| begins_ns + n * 1_000_000_000);
        let mut history = ClockHistory::default();
        let mut last_ns = 0;
        for asked_ns in first.chain(later) {
            // Times are the agent's. What is sent on one connection arrives in its order.
            let received_ns = (asked_ns + way(self.back_ns)).max(last_ns);
            last_ns = received_ns + 1_000;
            let answered_ns = last_ns + way(self.forth_ns);
            let servers = |ns: u64| u64::try_from(i128::from(ns) + self.truth_ns(ns)).unwrap();
            history.add(FourReadings {
                asked_ns: servers(asked_ns),
                received_ns,
                sent_ns: last_ns,
                answered_ns: servers(answered_ns),
            });
        }
        history
    }

    /// The exchanges of a run's probes: so many one after the other, at least `every_ns` apart, and
    /// then 50 a second.
    pub(super) fn readings_of_run(self, seed: u64, often: u64, probes: u64) -> Vec<Exchange> {
        let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut jitter =
            |base_ns: u64| base_ns + (-(1.0 - random(&mut state)).ln() * self.jitter_ns) as u64;
        let (mut sent_ns, mut arrived_ns, mut answered_ns) = (START_NS, 0, 0);
        let mut exchanges = Vec::new();
        for n in 0..probes {
            let grown_ns = (sent_ns - START_NS) / 20_000_000 * self.grows_ns;
            // What is sent on one connection arrives in its order.
            arrived_ns = arrived_ns.max(sent_ns + jitter(self.forth_ns) + grown_ns);
            answered_ns = (answered_ns + 1).max(arrived_ns + jitter(self.back_ns));
            let server = i128::from(arrived_ns) + self.truth_ns(arrived_ns);
            if n % self.lost_of != self.lost_of - 1 {
                exchanges.push(Exchange {
                    sent_ns,
                    server_ns: u64::try_from(server).unwrap(),
                    answered_ns,
                });
            }
            sent_ns = match n {
                n if n < 16 => {
                    answered_ns.min(sent_ns + if often > 0 { 2_000_000 } else { 20_000_000 })
                }
                n if n < 16 + often => sent_ns + 2_000_000,
                _ => sent_ns + 20_000_000,
            };
        }
        exchanges
    }
}

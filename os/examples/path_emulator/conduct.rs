//! What one direction of a path does to its packets: when each one leaves, or that it is dropped.
//!
//! Pure: instants are arguments, ns of one clock, and chance is seeded. A packet goes through a
//! link of a rate with a queue, then takes the delay and a jitter, then waits for the end of a
//! stall and for the next bunch. Absent on purpose: the packets themselves.

use std::str::FromStr;

const MICROSECOND_NS: f64 = 1_000.0;

/// Longest delay, jitter, period or stall that is taken, µs: 100 s.
const TIME_US_MAX: u64 = 100_000_000;

const MILLION: u64 = 1_000_000;

/// By how much a packet's delay varies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Jitter {
    /// Anything from 0 to twice the mean.
    Uniform,
    /// Mostly short, now and then many times the mean.
    Exponential,
}

/// The settings of a direction; all 0 passes everything on at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Conduct {
    pub(crate) delay_us: u64,
    pub(crate) jitter_us_mean: u64,
    pub(crate) jitter: Jitter,
    /// Whether packets may overtake each other.
    pub(crate) reorders: bool,
    /// Dropped at random.
    pub(crate) loss_ppm: u64,
    /// 0: as fast as may be.
    pub(crate) bytes_per_s: u64,
    /// What waits for the link beyond these is dropped.
    pub(crate) queue_bytes: u64,
    /// A stall begins with the setting, and every so often; 0: that one alone.
    pub(crate) stall_every_us: u64,
    pub(crate) stall_us: u64,
    /// Packets leave at multiples of this.
    pub(crate) bunch_us: u64,
    /// TCP packets from or to this port; others take the delay alone. 0: all packets.
    pub(crate) port: u16,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            delay_us: 0,
            jitter_us_mean: 0,
            jitter: Jitter::Uniform,
            reorders: false,
            loss_ppm: 0,
            bytes_per_s: 0,
            queue_bytes: 64 * 1024,
            stall_every_us: 0,
            stall_us: 0,
            bunch_us: 0,
            port: 0,
        }
    }
}

impl FromStr for Conduct {
    type Err = String;

    /// Reads `name=value` pairs; what is not named is the default.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut conduct = Self::default();
        for pair in text.split_whitespace() {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("{pair:?} is no NAME=VALUE"))?;
            conduct.set(name, value)?;
        }
        Ok(conduct)
    }
}

impl Conduct {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "delay_us" => self.delay_us = number(name, value, TIME_US_MAX)?,
            "jitter_us_mean" => self.jitter_us_mean = number(name, value, TIME_US_MAX)?,
            "loss_ppm" => self.loss_ppm = number(name, value, MILLION)?,
            "bytes_per_s" => self.bytes_per_s = number(name, value, u64::from(u32::MAX))?,
            "queue_bytes" => self.queue_bytes = number(name, value, u64::from(u32::MAX))?,
            "stall_every_us" => self.stall_every_us = number(name, value, TIME_US_MAX)?,
            "stall_us" => self.stall_us = number(name, value, TIME_US_MAX)?,
            "bunch_us" => self.bunch_us = number(name, value, TIME_US_MAX)?,
            // The limit is that of the type.
            "port" => self.port = number(name, value, u64::from(u16::MAX))? as u16,
            "jitter" => {
                self.jitter = match value {
                    "uniform" => Jitter::Uniform,
                    "exponential" => Jitter::Exponential,
                    _ => return Err(format!("{name} is {value:?}, not uniform or exponential")),
                }
            }
            "order" => {
                self.reorders = match value {
                    "kept" => false,
                    "free" => true,
                    _ => return Err(format!("{name} is {value:?}, not kept or free")),
                }
            }
            _ => return Err(format!("there is no setting {name:?}")),
        }
        Ok(())
    }
}

fn number(name: &str, value: &str, most: u64) -> Result<u64, String> {
    let number = value.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| format!("{name} is {value:?}, not a number from 0 to {most}"))
}

/// Why a packet does not leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dropped {
    /// At random, as the setting asks.
    Lost,
    /// The queue of the link was full.
    Queue,
}

/// One direction: its settings and what they have done so far.
#[derive(Debug)]
pub(crate) struct Direction {
    conduct: Conduct,
    set_ns: u64,
    random: fastrand::Rng,
    /// When the link has sent all that waits for it.
    link_free_ns: u64,
    /// The last departure of packets that keep their order.
    left_ns: u64,
}

impl Direction {
    /// Passes everything on at once. The same seed and the same arrivals give the same departures.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            conduct: Conduct::default(),
            set_ns: 0,
            random: fastrand::Rng::with_seed(seed),
            link_free_ns: 0,
            left_ns: 0,
        }
    }

    /// Changes the settings for packets that arrive from now on.
    pub(crate) fn set(&mut self, conduct: Conduct, now_ns: u64) {
        self.conduct = conduct;
        self.set_ns = now_ns;
    }

    /// Whether the settings are for packets with these TCP ports.
    pub(crate) fn is_for(&self, ports: Option<(u16, u16)>) -> bool {
        let port = self.conduct.port;
        port == 0 || ports.is_some_and(|(from, to)| from == port || to == port)
    }

    /// When a packet leaves that takes the delay alone.
    pub(crate) fn pass(&self, now_ns: u64) -> u64 {
        now_ns + self.conduct.delay_us * 1_000
    }

    /// When a packet of `bytes` leaves that arrives now. Arrivals must not run backwards.
    pub(crate) fn admit(&mut self, now_ns: u64, bytes: usize) -> Result<u64, Dropped> {
        let conduct = self.conduct;
        if conduct.loss_ppm > 0 && self.random.u64(0..MILLION) < conduct.loss_ppm {
            return Err(Dropped::Lost);
        }
        let sent_ns = self.send(now_ns, bytes as u64)?;
        let mut leaves_ns = self.pass(sent_ns) + self.jitter_ns();
        leaves_ns = self.after_stall(leaves_ns);
        if conduct.bunch_us > 0 {
            leaves_ns = leaves_ns.next_multiple_of(conduct.bunch_us * 1_000);
        }
        if !conduct.reorders {
            leaves_ns = leaves_ns.max(self.left_ns);
            self.left_ns = leaves_ns;
        }
        Ok(leaves_ns)
    }

    /// When the link has sent the packet.
    fn send(&mut self, now_ns: u64, bytes: u64) -> Result<u64, Dropped> {
        let rate = u128::from(self.conduct.bytes_per_s);
        if rate == 0 {
            return Ok(now_ns);
        }
        let second_ns = u128::from(MILLION * 1_000);
        let waits_ns = self.link_free_ns.saturating_sub(now_ns);
        let queued = u128::from(waits_ns) * rate / second_ns;
        if queued + u128::from(bytes) > u128::from(self.conduct.queue_bytes) {
            return Err(Dropped::Queue);
        }
        let takes_ns = u128::from(bytes) * second_ns / rate;
        self.link_free_ns = self.link_free_ns.max(now_ns) + takes_ns as u64;
        Ok(self.link_free_ns)
    }

    fn jitter_ns(&mut self) -> u64 {
        let mean_ns = self.conduct.jitter_us_mean as f64 * MICROSECOND_NS;
        if mean_ns == 0.0 {
            return 0;
        }
        // From 0 to just below 1.
        let share = self.random.f64();
        let ns = match self.conduct.jitter {
            Jitter::Uniform => 2.0 * mean_ns * share,
            Jitter::Exponential => -mean_ns * (1.0 - share).ln(),
        };
        ns as u64
    }

    /// The end of the stall in which `ns` lies.
    fn after_stall(&self, ns: u64) -> u64 {
        let stall_ns = self.conduct.stall_us * 1_000;
        let since_ns = ns.saturating_sub(self.set_ns);
        let into_ns = match self.conduct.stall_every_us * 1_000 {
            0 => since_ns,
            every_ns => since_ns % every_ns,
        };
        if into_ns < stall_ns {
            ns + (stall_ns - into_ns)
        } else {
            ns
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn direction(settings: &str, now_ns: u64) -> Direction {
        let mut direction = Direction::new(1);
        direction.set(settings.parse().unwrap(), now_ns);
        direction
    }

    /// The departures of packets of 100 bytes that arrive every `gap_ns` from `from_ns` on.
    fn departures(direction: &mut Direction, from_ns: u64, gap_ns: u64, count: u64) -> Vec<u64> {
        let arrivals = (0..count).map(|n| from_ns + n * gap_ns);
        arrivals
            .filter_map(|ns| direction.admit(ns, 100).ok())
            .collect()
    }

    #[test]
    fn without_settings_everything_leaves_at_once() {
        let mut direction = direction("", 5);
        assert_eq!(departures(&mut direction, 5, 3, 4), [5, 8, 11, 14]);
    }

    #[test]
    fn what_is_no_setting_is_refused_with_its_name() {
        for text in [
            "delay_us",
            "delay_us=-1",
            "delay_us=100000001",
            "loss_ppm=1000001",
            "port=65536",
            "jitter=normal",
            "order=lost",
            "colour=1",
        ] {
            let name = text.split('=').next().unwrap();
            let sentence = text.parse::<Conduct>().unwrap_err();
            assert!(sentence.contains(name), "{sentence}");
        }
    }

    #[test]
    fn a_link_sends_at_its_rate_and_drops_what_its_queue_does_not_hold() {
        // 100 bytes take 1 ms, and 10 of them fit in.
        let mut direction = direction("bytes_per_s=100000 queue_bytes=1000", 0);
        let left = departures(&mut direction, 0, 1, 30);
        assert_eq!(left, Vec::from_iter((1..=10).map(|n| n * 1_000_000)));
        assert_eq!(direction.admit(9_000_000, 100), Ok(11_000_000));
        assert_eq!(direction.admit(SECOND_NS, 100), Ok(SECOND_NS + 1_000_000));
    }

    #[test]
    fn a_stall_holds_everything_until_its_end_and_comes_again() {
        let mut direction = direction("stall_every_us=1000 stall_us=300", 7_000);
        let left = departures(&mut direction, 7_000, 100_000, 20);
        assert_eq!(left[..4], [307_000; 4]);
        assert_eq!(left[4], 407_000);
        assert_eq!(left[10..14], [1_307_000; 4]);
    }

    #[test]
    fn a_stall_that_does_not_come_again_is_over_once() {
        let mut direction = direction("stall_us=300", 0);
        let left = departures(&mut direction, 0, 100_000, 2_000);
        assert_eq!(left[..4], [300_000; 4]);
        assert_eq!(left[1_999], 199_900_000);
    }

    #[test]
    fn bunches_leave_at_multiples_of_their_period() {
        let mut direction = direction("bunch_us=20000", 0);
        let left = departures(&mut direction, 1, SECOND_NS / 1_000, 60);
        assert!(left.iter().all(|ns| ns % 20_000_000 == 0), "{left:?}");
        assert_eq!(left[..20], [20_000_000; 20]);
    }

    #[test]
    fn a_mean_is_the_mean_and_a_share_is_the_share() {
        for jitter in ["uniform", "exponential"] {
            let settings = format!("jitter={jitter} jitter_us_mean=1000 order=free");
            let mut direction = direction(&settings, 0);
            let (count, gap_ns) = (100_000, 10_000);
            let left = departures(&mut direction, 0, gap_ns, count);
            let jitters = (0..).zip(&left).map(|(n, ns)| ns - n * gap_ns);
            let mean_us = jitters.sum::<u64>() / count / 1_000;
            assert!((980..=1_020).contains(&mean_us), "{jitter}: {mean_us}");
        }
        let mut direction = direction("loss_ppm=10000", 0);
        let passed = departures(&mut direction, 0, 10, 1_000_000).len();
        assert!((989_000..991_000).contains(&passed), "{passed}");
    }

    #[test]
    fn packets_of_other_ports_take_the_delay_alone() {
        let direction = direction("port=8888 delay_us=2 loss_ppm=1000000", 0);
        assert!(direction.is_for(Some((8888, 1))) && direction.is_for(Some((1, 8888))));
        assert!(!direction.is_for(Some((1, 2))) && !direction.is_for(None));
        assert_eq!(direction.pass(10), 2_010);
    }

    prop_compose! {
        fn conducts()(
            delay_us in 0_u64..100_000,
            jitter_us_mean in 0_u64..100_000,
            is_exponential in any::<bool>(),
            bytes_per_s in prop_oneof![Just(0), 10_000_u64..1_000_000],
            stall_us in 0_u64..100_000,
            stall_every_us in 100_000_u64..1_000_000,
            bunch_us in prop_oneof![Just(0), 1_u64..50_000],
        ) -> Conduct {
            let jitter = if is_exponential { Jitter::Exponential } else { Jitter::Uniform };
            Conduct {
                delay_us, jitter_us_mean, jitter, bytes_per_s, stall_us, stall_every_us, bunch_us,
                ..Conduct::default()
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_leaves_before_its_delay_and_kept_order_is_kept_over_any_change(
            first in conducts(), second in conducts(), seed: u64, gap_ns in 1_u64..10_000_000,
        ) {
            let mut direction = Direction::new(seed);
            let mut last_ns = 0;
            for (conduct, from_ns) in [(first, 0), (second, 50 * gap_ns)] {
                direction.set(conduct, from_ns);
                for n in 0..50 {
                    let now_ns = from_ns + n * gap_ns;
                    if let Ok(leaves_ns) = direction.admit(now_ns, 1_000) {
                        prop_assert!(leaves_ns >= now_ns + conduct.delay_us * 1_000);
                        prop_assert!(leaves_ns >= last_ns);
                        last_ns = leaves_ns;
                    }
                }
            }
        }

        #[test]
        fn the_same_seed_gives_the_same_departures(conduct in conducts(), seed: u64) {
            let run = || {
                let mut direction = Direction::new(seed);
                direction.set(Conduct { loss_ppm: 100_000, reorders: true, ..conduct }, 0);
                departures(&mut direction, 0, 100_000, 100)
            };
            prop_assert_eq!(run(), run());
        }
    }
}

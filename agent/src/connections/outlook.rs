//! What the clients of a run meet before the first of them has connected: whether another try has a
//! chance, and what a watcher reads meanwhile.
//!
//! A target that has refused every try for [`REFUSED_NS`] does not listen, and patience does not
//! change that. A firewall that drops, a listener whose queue is full and a host that is overloaded
//! refuse nothing, they are silent: there the tries go on. So they do once a client has connected,
//! since a target that refuses after that is one that restarts.
//!
//! Pure: times are the caller's, ns of CLOCK_MONOTONIC.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard},
};

use metronome_proto::v1::{Failure, FailureCode};

const SECOND_NS: u64 = 1_000_000_000;
/// A target that has refused each try for this long does not listen, ns.
const REFUSED_NS: u64 = 3 * SECOND_NS / 2;
/// A target that has been silent for this long is shown, ns.
const SILENT_NS: u64 = SECOND_NS;

/// The outlook of a run, which its threads share with those that show it.
#[derive(Debug, Default)]
pub(crate) struct SharedOutlook(Mutex<Outlook>);

impl SharedOutlook {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Outlook> {
        let outlook = self.0.lock();
        outlook.expect("no thread panics while it holds this lock")
    }
}

/// The tries of a run so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlook {
    /// What is waited for, and since when. `None` before the first try, between two, and for good
    /// once a client has connected.
    waiting: Option<(Waiting, u64)>,
    /// The begin of the first try.
    first_ns: Option<u64>,
    /// When the tries end, whatever they meet.
    deadline_ns: u64,
    /// How many tries have failed.
    failed: u32,
    /// What the last one met.
    last: Option<Met>,
    /// A try has met something else than a refusal: silence, or a connection.
    is_open: bool,
    has_connected: bool,
    /// An obstacle was reported last.
    has_reported: bool,
}

/// What a try waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Waiting {
    /// The addresses of a name.
    Name(String),
    /// A connection.
    Connection(SocketAddr),
    /// The answer to the hello, on a connection that was made.
    Answer(SocketAddr),
}

/// How a try has failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Met {
    pub(super) code: FailureCode,
    pub(super) sentence: String,
    pub(super) address: SocketAddr,
}

/// Whether a failure with this code is an answer that nothing listens there, or that there is no
/// way.
pub(super) fn is_refusal(code: FailureCode) -> bool {
    matches!(code, FailureCode::ConnectionRefused | FailureCode::NoRoute)
}

impl Outlook {
    /// The tries end at `deadline_ns`.
    pub(super) fn end_at(&mut self, deadline_ns: u64) {
        self.deadline_ns = deadline_ns;
    }

    /// From `now_ns` on something is waited for.
    pub(crate) fn wait_for(&mut self, waiting: Waiting, now_ns: u64) {
        if self.has_connected {
            return;
        }
        if matches!(waiting, Waiting::Connection(_)) {
            self.first_ns.get_or_insert(now_ns);
        }
        self.waiting = Some((waiting, now_ns));
    }

    /// A client has connected.
    pub(super) fn connected(&mut self) {
        (self.has_connected, self.waiting, self.last) = (true, None, None);
    }

    /// A try has failed.
    pub(super) fn failed(&mut self, met: Met) {
        if self.has_connected {
            return;
        }
        self.failed = self.failed.saturating_add(1);
        self.is_open |= !is_refusal(met.code);
        (self.waiting, self.last) = (None, Some(met));
    }

    /// When a client whose try has failed tries again, that would rather wait for `wait_ns`. `None`
    /// where that has no chance.
    pub(super) fn next_try_ns(&self, now_ns: u64, wait_ns: u64) -> Option<u64> {
        let next_ns = now_ns.saturating_add(wait_ns);
        match self.refused_until_ns() {
            // The last try is as late as can be.
            Some(until_ns) if now_ns < until_ns => Some(next_ns.min(until_ns)),
            Some(_) => None,
            None => Some(next_ns),
        }
    }

    /// When a target is given up that has only refused so far.
    fn refused_until_ns(&self) -> Option<u64> {
        let first_ns = self.first_ns.filter(|_| self.failed > 0)?;
        let has_only_refused = !self.is_open && !self.has_connected;
        has_only_refused.then_some(first_ns.saturating_add(REFUSED_NS))
    }

    /// What stands in the way at `now_ns`, as a failure that it may yet become. `None`: nothing is
    /// known to.
    fn obstacle(&self, now_ns: u64) -> Option<Failure> {
        let silent = self
            .waiting
            .as_ref()
            .filter(|(_, since_ns)| now_ns.saturating_sub(*since_ns) >= SILENT_NS);
        if let Some((waiting, since_ns)) = silent {
            let seconds = now_ns.saturating_sub(*since_ns) / SECOND_NS;
            return Some(self.silence(waiting, seconds));
        }
        // The end of these tries is near, and it has the same cause.
        if self.refused_until_ns().is_some() {
            return None;
        }
        let Met {
            code,
            sentence,
            address,
        } = self.last.as_ref()?;
        let tries = match self.failed {
            1 => "once".into(),
            many => format!("{many} times"),
        };
        let sentence = format!("{sentence}, tried {tries}{}", self.goes_on());
        let failure = Failure::new(*code, sentence).with("address", address.to_string());
        Some(failure.with("tries", self.failed))
    }

    /// What is to be reported at `now_ns`: the obstacle, and once it is gone that there is none.
    pub(crate) fn report(&mut self, now_ns: u64) -> Option<Option<Failure>> {
        let obstacle = self.obstacle(now_ns);
        let had_reported = std::mem::replace(&mut self.has_reported, obstacle.is_some());
        (obstacle.is_some() || had_reported).then_some(obstacle)
    }

    fn silence(&self, waiting: &Waiting, seconds: u64) -> Failure {
        let goes_on = self.goes_on();
        match waiting {
            Waiting::Name(target) => {
                let sentence = format!("no answer of the resolver about {target} for {seconds} s");
                Failure::new(FailureCode::TargetUnknown, sentence).with("target", target.as_str())
            }
            Waiting::Connection(address) => Failure::new(
                FailureCode::ConnectionTimedOut,
                format!("nothing has answered at {address} for {seconds} s{goes_on}"),
            )
            .with("address", address.to_string()),
            Waiting::Answer(address) => Failure::new(
                FailureCode::HelloNotAnswered,
                format!(
                    "{address} has taken the connection and not answered the hello for {seconds} \
                     s{goes_on}"
                ),
            )
            .with("address", address.to_string()),
        }
    }

    /// For how long it is tried in all.
    fn goes_on(&self) -> String {
        let first_ns = self.first_ns;
        let in_all_ns = first_ns.map_or(0, |first_ns| self.deadline_ns.saturating_sub(first_ns));
        format!(
            "; it is tried for {} s in all",
            in_all_ns.div_ceil(SECOND_NS)
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_NS: u64 = 100 * SECOND_NS;
    const DEADLINE_NS: u64 = NOW_NS + 9 * SECOND_NS;

    fn target() -> SocketAddr {
        ([10, 77, 0, 1], 9999).into()
    }

    fn met(code: FailureCode) -> Met {
        Met {
            code,
            sentence: "connection refused at 10.77.0.1:9999".into(),
            address: target(),
        }
    }

    fn begun() -> Outlook {
        let mut outlook = Outlook::default();
        outlook.end_at(DEADLINE_NS);
        outlook.wait_for(Waiting::Connection(target()), NOW_NS);
        outlook
    }

    fn code() -> impl Strategy<Value = FailureCode> {
        prop::sample::select(vec![
            FailureCode::ConnectionRefused,
            FailureCode::NoRoute,
            FailureCode::ConnectionTimedOut,
            FailureCode::ConnectionClosed,
            FailureCode::HelloNotAnswered,
            FailureCode::RefusedFull,
        ])
    }

    proptest! {
        /// Tries take some time, fail, and come again when they may.
        #[test]
        fn only_a_target_that_refuses_each_try_of_one_and_a_half_seconds_is_given_up(
            tries in prop::collection::vec((code(), 0..SECOND_NS, 0..3 * SECOND_NS), 1..20),
        ) {
            let (mut outlook, mut now_ns) = (begun(), NOW_NS);
            for (index, (code, takes_ns, wait_ns)) in tries.iter().enumerate() {
                outlook.wait_for(Waiting::Connection(target()), now_ns);
                now_ns += takes_ns;
                outlook.failed(met(*code));
                let has_only_refused = tries[..=index].iter().all(|(code, ..)| is_refusal(*code));
                let Some(next_ns) = outlook.next_try_ns(now_ns, *wait_ns) else {
                    prop_assert!(has_only_refused && now_ns >= NOW_NS + REFUSED_NS);
                    return Ok(());
                };
                prop_assert!(next_ns >= now_ns && next_ns <= now_ns + wait_ns);
                if has_only_refused {
                    prop_assert!(next_ns <= NOW_NS + REFUSED_NS);
                } else {
                    prop_assert_eq!(next_ns, now_ns + wait_ns);
                }
                now_ns = next_ns;
            }
        }

        /// Whatever comes after a connection, and whatever came before.
        #[test]
        fn once_a_client_has_connected_nothing_is_given_up_and_nothing_stands_in_the_way(
            before in prop::collection::vec(code(), 0..4),
            after in prop::collection::vec(code(), 1..4),
            later_ns in 0..20 * SECOND_NS,
        ) {
            let mut outlook = begun();
            before.into_iter().for_each(|code| outlook.failed(met(code)));
            outlook.connected();
            for code in after {
                outlook.wait_for(Waiting::Connection(target()), NOW_NS);
                outlook.failed(met(code));
                let next_ns = outlook.next_try_ns(NOW_NS + later_ns, 7);
                prop_assert_eq!(next_ns, Some(NOW_NS + later_ns + 7));
                prop_assert_eq!(outlook.obstacle(NOW_NS + later_ns), None);
            }
        }
    }

    #[test]
    fn a_target_that_refuses_is_tried_once_more_at_the_end_of_its_time() {
        let mut outlook = begun();
        outlook.failed(met(FailureCode::ConnectionRefused));
        let until_ns = NOW_NS + REFUSED_NS;
        assert_eq!(outlook.next_try_ns(until_ns - 1, SECOND_NS), Some(until_ns));
        assert_eq!(outlook.next_try_ns(until_ns, 0), None);
    }

    /// The obstacle's code, sentence.
    fn shown(outlook: &Outlook, after_ns: u64) -> Option<(FailureCode, String)> {
        let obstacle = outlook.obstacle(NOW_NS + after_ns)?;
        Some((obstacle.code(), obstacle.sentence))
    }

    #[test]
    fn silence_is_shown_after_a_second_and_what_a_try_has_met_at_once() {
        let mut outlook = begun();
        assert_eq!(shown(&outlook, SILENT_NS - 1), None);
        let silent = "nothing has answered at 10.77.0.1:9999 for 1 s; it is tried for 9 s in all";
        let expected = Some((FailureCode::ConnectionTimedOut, silent.into()));
        assert_eq!(shown(&outlook, SILENT_NS), expected);
        outlook.failed(met(FailureCode::ConnectionRefused));
        assert_eq!(shown(&outlook, SILENT_NS), None, "it ends soon");
        outlook.failed(met(FailureCode::ConnectionTimedOut));
        let last =
            "connection refused at 10.77.0.1:9999, tried 2 times; it is tried for 9 s in all";
        let expected = Some((FailureCode::ConnectionTimedOut, last.into()));
        assert_eq!(shown(&outlook, SILENT_NS), expected);
        outlook.wait_for(Waiting::Answer(target()), NOW_NS);
        let (code, sentence) = shown(&outlook, 2 * SECOND_NS).unwrap();
        assert_eq!(code, FailureCode::HelloNotAnswered);
        assert!(
            sentence.contains("not answered the hello for 2 s"),
            "{sentence}"
        );
    }

    #[test]
    fn an_obstacle_is_reported_as_long_as_there_is_one_and_its_end_once() {
        let mut outlook = begun();
        let mut reported = |after_ns| {
            let reported = outlook.report(NOW_NS + after_ns);
            reported.map(|obstacle| obstacle.is_some())
        };
        assert_eq!(reported(0), None);
        assert_eq!([reported(SILENT_NS), reported(SILENT_NS)], [Some(true); 2]);
        outlook.connected();
        assert_eq!(outlook.report(NOW_NS), Some(None));
        assert_eq!(outlook.report(NOW_NS), None);
    }

    #[test]
    fn a_resolver_that_is_silent_is_shown_too() {
        let mut outlook = Outlook::default();
        outlook.wait_for(Waiting::Name("bench1:8888".into()), NOW_NS);
        assert_eq!(shown(&outlook, 0), None);
        let sentence = "no answer of the resolver about bench1:8888 for 1 s";
        let expected = Some((FailureCode::TargetUnknown, sentence.into()));
        assert_eq!(shown(&outlook, SILENT_NS), expected);
    }
}

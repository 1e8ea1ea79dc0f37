//! Which connection has a place, and which one goes for it. Pure: times are ns of one clock.
//!
//! A port has so many places. Most are for *residents*, who stay; of these one address has a
//! share at most, so that it never has all. The rest are kept for *visitors*: a connection that
//! finds no place among the residents, where all have an open call, still comes in, for as long
//! as an operator's call or a probe takes. So a port cannot be held shut, neither with
//! connections that do nothing nor with calls that never end.
//!
//! There is no refusal: every connection is admitted, and one other goes for it where that is
//! needed.

use std::net::{IpAddr, Ipv6Addr};

use super::answer_progress::Taken;
use crate::control::api::Activity;

/// How a port gives its places away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// Places for residents, at least one.
    pub(super) residents: usize,
    /// Places for visitors, at least one.
    pub(super) visitors: usize,
    /// Residents of one address.
    pub(super) of_one_address: usize,
    /// From the opening to the first call.
    pub(super) first_call_ns: u64,
    /// Without an open call.
    pub(super) quiet_ns: u64,
    /// For a part of an answer to be read, where no other call of the connection goes on or others
    /// find no room for their answers.
    pub(super) unread_ns: u64,
    /// The longest visit, whatever the visitor does.
    pub(super) visit_ns: u64,
    /// The longest life of a connection that is no stream, unless its peer takes the answer: it
    /// counts from what was last taken. `None` where it may last.
    pub(super) age_ns: Option<u64>,
}

impl Limits {
    /// Out of `places` one in 16, and 32 at most, is for visitors; one address has three quarters
    /// of the others.
    pub(super) fn new(places: usize) -> Self {
        let visitors = (places / VISITORS_ONE_IN).clamp(1, VISITORS_MAX);
        let residents = places.saturating_sub(visitors).max(1);
        Self {
            residents,
            visitors,
            of_one_address: (residents * 3 / 4).max(1),
            first_call_ns: 10 * SECOND,
            quiet_ns: 60 * SECOND,
            unread_ns: 60 * SECOND,
            visit_ns: 10 * SECOND,
            age_ns: None,
        }
    }
}

/// What the peer of a long answer takes of it a second at least, on the whole: it could take one
/// byte from time to time, and keep its place for ever.
const ANSWER_BYTES_PER_S_MIN: u64 = 8 << 10;
const VISITORS_ONE_IN: usize = 16;
const VISITORS_MAX: usize = 32;
const SECOND: u64 = 1_000_000_000;

/// Where connections come from: an IPv4 address, or the 64 bits of an IPv6 network, in which one
/// host has as many addresses as it likes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Origin(IpAddr);

impl Origin {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        })
    }
}

/// A place that is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakenPlace {
    pub(super) id: u64,
    pub(super) origin: Origin,
    pub(super) opened_ns: u64,
    pub(super) is_visitor: bool,
    /// Its answer is a stream.
    pub(super) lasts: bool,
    /// What its peer has taken of its answer.
    pub(super) taken: Taken,
    pub(super) activity: Activity,
    /// Since when a part of an answer waits to be read.
    pub(super) unread_since_ns: Option<u64>,
    /// No other call of the connection goes on.
    pub(super) are_all_unread: bool,
}

impl TakenPlace {
    /// Since when it has had no open call. `None` while it has one.
    fn quiet_since(&self) -> Option<u64> {
        match self.activity {
            Activity::NoCallYet => Some(self.opened_ns),
            Activity::Calling => None,
            Activity::QuietSince(since_ns) => Some(since_ns),
        }
    }

    /// When its time is up, if nothing changes. `None`: never. `is_room_short`: answers find none.
    fn ends_ns(&self, limits: &Limits, is_room_short: bool) -> Option<u64> {
        let opened_ns = self.opened_ns;
        let of_activity = match self.activity {
            Activity::NoCallYet => Some(opened_ns.saturating_add(limits.first_call_ns)),
            Activity::Calling => self
                .unread_since_ns
                .filter(|_| self.are_all_unread || is_room_short)
                .map(|since_ns| since_ns.saturating_add(limits.unread_ns)),
            Activity::QuietSince(since_ns) => Some(since_ns.saturating_add(limits.quiet_ns)),
        };
        let of_visit = self.is_visitor.then_some(limits.visit_ns);
        let of_visit = of_visit.map(|visit_ns| opened_ns.saturating_add(visit_ns));
        let of_life = limits.age_ns.filter(|_| !self.lasts);
        let of_life = of_life.map(|age_ns| self.life_ends_ns(age_ns));
        [of_visit, of_life, of_activity].into_iter().flatten().min()
    }

    /// When a life of this length is over: later while the peer takes the answer, and takes it fast
    /// enough.
    fn life_ends_ns(&self, age_ns: u64) -> u64 {
        let earned_ns = self.taken.bytes.saturating_mul(SECOND) / ANSWER_BYTES_PER_S_MIN;
        let lately = self.opened_ns.max(self.taken.last_ns);
        let steadily = self.opened_ns.saturating_add(earned_ns);
        lately.min(steadily).saturating_add(age_ns)
    }
}

/// How a connection comes in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Admission {
    pub(super) is_visitor: bool,
    /// The one that goes for it.
    pub(super) leaves: Option<u64>,
}

/// Admits a connection from `origin` beside `places`.
pub(super) fn admit(limits: &Limits, places: &[TakenPlace], origin: Origin) -> Admission {
    let residents = || places.iter().filter(|place| !place.is_visitor);
    let ours = || residents().filter(|place| place.origin == origin);
    let is_at_its_share = ours().count() >= limits.of_one_address;
    if !is_at_its_share && residents().count() < limits.residents {
        return Admission {
            is_visitor: false,
            leaves: None,
        };
    }
    let longest_quiet = if is_at_its_share {
        quietest(ours())
    } else {
        quietest(residents())
    };
    if longest_quiet.is_some() {
        return Admission {
            is_visitor: false,
            leaves: longest_quiet,
        };
    }
    let visitors = || places.iter().filter(|place| place.is_visitor);
    let is_full = visitors().count() >= limits.visitors;
    // An origin that floods the port displaces its own before others.
    let own = oldest(visitors().filter(|place| place.origin == origin));
    let leaves = own.or_else(|| oldest(visitors())).filter(|_| is_full);
    Admission {
        is_visitor: true,
        leaves,
    }
}

/// The one that has been without an open call for the longest time.
fn quietest<'a>(places: impl Iterator<Item = &'a TakenPlace>) -> Option<u64> {
    let quiet = places.filter_map(|place| Some((place.quiet_since()?, place.id)));
    quiet.min().map(|(_, id)| id)
}

fn oldest<'a>(places: impl Iterator<Item = &'a TakenPlace>) -> Option<u64> {
    let ages = places.map(|place| (place.opened_ns, place.id));
    ages.min().map(|(_, id)| id)
}

/// The visitor that becomes a resident, since there is a place for it again: the oldest.
pub(super) fn settles(limits: &Limits, places: &[TakenPlace]) -> Option<u64> {
    let residents = || places.iter().filter(|place| !place.is_visitor);
    let has_place = |visitor: &&TakenPlace| {
        let ours = residents().filter(|place| place.origin == visitor.origin);
        residents().count() < limits.residents && ours.count() < limits.of_one_address
    };
    oldest(
        places
            .iter()
            .filter(|place| place.is_visitor)
            .filter(has_place),
    )
}

/// Those whose time is up. `is_room_short`: answers have found no room of late.
pub(super) fn overdue(
    limits: &Limits,
    places: &[TakenPlace],
    is_room_short: bool,
    now_ns: u64,
) -> Vec<u64> {
    let is_over = |place: &&TakenPlace| {
        let ends_ns = place.ends_ns(limits, is_room_short);
        ends_ns.is_some_and(|ends_ns| ends_ns <= now_ns)
    };
    places
        .iter()
        .filter(is_over)
        .map(|place| place.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(host: u8) -> Origin {
        Origin::of(IpAddr::from([10, 0, 0, host]))
    }

    /// A port in which things happen.
    struct Port {
        limits: Limits,
        places: Vec<TakenPlace>,
        is_room_short: bool,
        now_ns: u64,
        next_id: u64,
    }

    impl Port {
        fn new(places: usize) -> Self {
            Self {
                limits: Limits::new(places),
                places: Vec::new(),
                is_room_short: false,
                now_ns: 1,
                next_id: 0,
            }
        }

        fn remove(&mut self, id: u64) -> TakenPlace {
            let at = self.places.iter().position(|place| place.id == id);
            self.places.remove(at.expect("it has a place"))
        }

        /// A connection comes in. Returns its id, and the one that went for it.
        fn enter(&mut self, from: Origin) -> (u64, Option<TakenPlace>) {
            let admission = admit(&self.limits, &self.places, from);
            let left = admission.leaves.map(|id| self.remove(id));
            self.next_id += 1;
            self.places.push(TakenPlace {
                id: self.next_id,
                origin: from,
                opened_ns: self.now_ns,
                is_visitor: admission.is_visitor,
                lasts: false,
                taken: Taken::default(),
                activity: Activity::NoCallYet,
                unread_since_ns: None,
                are_all_unread: false,
            });
            (self.next_id, left)
        }

        /// A second passes: visitors settle, and those go whose time is up.
        fn pass(&mut self, time_ns: u64) {
            self.now_ns += time_ns;
            while let Some(id) = settles(&self.limits, &self.places) {
                let place = self.places.iter_mut().find(|place| place.id == id);
                place.expect("it has a place").is_visitor = false;
            }
            for id in overdue(&self.limits, &self.places, self.is_room_short, self.now_ns) {
                self.remove(id);
            }
        }

        fn call(&mut self, id: u64) {
            for place in self.places.iter_mut().filter(|place| place.id == id) {
                place.activity = Activity::Calling;
            }
        }

        fn has(&self, id: u64) -> bool {
            self.places.iter().any(|place| place.id == id)
        }

        fn check(&self) {
            let visitors = self.places.iter().filter(|place| place.is_visitor).count();
            assert!(visitors <= self.limits.visitors);
            assert!(self.places.len() - visitors <= self.limits.residents);
            for host in 0..=u8::MAX {
                let from = origin(host);
                let ours = self.places.iter().filter(|place| place.origin == from);
                let residents = ours.filter(|place| !place.is_visitor).count();
                assert!(residents <= self.limits.of_one_address);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Happening {
        Enter(u8),
        Call(prop::sample::Index),
        End(prop::sample::Index),
        Pass(u64),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            4 => (0..4_u8).prop_map(Happening::Enter),
            3 => any::<prop::sample::Index>().prop_map(Happening::Call),
            1 => any::<prop::sample::Index>().prop_map(Happening::End),
            1 => (0..20 * SECOND).prop_map(Happening::Pass),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_the_newest_is_in_and_the_limits_hold(
            places in 2..40_usize,
            happenings in prop::collection::vec(happening(), 0..300),
        ) {
            let mut port = Port::new(places);
            for happening in happenings {
                match happening {
                    Happening::Enter(host) => {
                        let before = port.places.clone();
                        let (id, left) = port.enter(origin(host));
                        prop_assert!(port.has(id));
                        if let Some(left) = left.filter(|left| !left.is_visitor) {
                            let since = left.quiet_since();
                            prop_assert!(since.is_some(), "an open call is never cut short");
                            let own = before.iter().filter(|place| place.origin == left.origin);
                            prop_assert!(own
                                .filter(|place| !place.is_visitor)
                                .filter_map(TakenPlace::quiet_since)
                                .all(|other| Some(other) >= since));
                        }
                    }
                    Happening::Call(which) if !port.places.is_empty() => {
                        let at = which.index(port.places.len());
                        port.places[at].activity = Activity::Calling;
                    }
                    Happening::End(which) if !port.places.is_empty() => {
                        let at = which.index(port.places.len());
                        port.places[at].activity = Activity::QuietSince(port.now_ns);
                    }
                    Happening::Pass(time_ns) => port.pass(time_ns),
                    Happening::Call(_) | Happening::End(_) => {}
                }
                prop_assert!(port.places.len() <= places.max(2));
                port.check();
            }
        }

        #[test]
        fn one_address_never_displaces_the_residents_of_another(
            places in 8..64_usize,
            flood in 0..300_usize,
            calls: bool,
        ) {
            let mut port = Port::new(places);
            let (victim, _) = port.enter(origin(1));
            for _ in 0..flood {
                let (id, _) = port.enter(origin(2));
                if calls {
                    port.call(id);
                }
            }
            prop_assert!(port.has(victim));
            let (late, left) = port.enter(origin(3));
            prop_assert!(port.has(late));
            prop_assert!(left.is_none(), "there are places that one address cannot have");
        }
    }

    #[test]
    fn calls_that_never_end_from_everywhere_leave_room_for_a_visit() {
        let mut port = Port::new(64);
        for host in 0..=u8::MAX {
            let (id, _) = port.enter(origin(host));
            port.call(id);
        }
        let residents: Vec<_> = port
            .places
            .iter()
            .filter(|place| !place.is_visitor)
            .collect();
        assert_eq!(residents.len(), port.limits.residents);
        let (visitor, left) = port.enter(origin(7));
        assert!(left.unwrap().is_visitor);
        port.call(visitor);
        port.pass(port.limits.visit_ns - 1);
        assert!(port.has(visitor));
        port.pass(1);
        assert!(!port.has(visitor), "a visit has an end, whatever it does");
    }

    #[test]
    fn a_visitor_stays_once_there_is_a_place_for_it() {
        let mut port = Port::new(2);
        let (first, _) = port.enter(origin(1));
        port.call(first);
        let (visitor, _) = port.enter(origin(2));
        port.call(visitor);
        port.remove(first);
        port.pass(port.limits.visit_ns);
        assert!(port.has(visitor));
    }

    #[test]
    fn a_connection_without_a_call_goes_in_time_and_one_with_a_call_stays() {
        let mut port = Port::new(64);
        let (silent, _) = port.enter(origin(1));
        let (agent, _) = port.enter(origin(1));
        let (operator, _) = port.enter(origin(1));
        port.call(agent);
        port.places[2].activity = Activity::QuietSince(port.now_ns);
        port.pass(port.limits.first_call_ns - 1);
        assert!(port.has(silent));
        port.pass(1);
        assert!(!port.has(silent) && port.has(operator));
        port.pass(port.limits.quiet_ns - port.limits.first_call_ns);
        assert!(!port.has(operator));
        port.pass(1_000_000 * SECOND);
        assert!(port.has(agent));
        port.places[0].unread_since_ns = Some(port.now_ns);
        port.places[0].are_all_unread = true;
        port.pass(port.limits.unread_ns);
        assert!(!port.has(agent), "it does not read its answer");
    }

    #[test]
    fn an_answer_that_is_not_read_ends_no_other_call_unless_room_is_short() {
        let mut port = Port::new(64);
        let (agent, _) = port.enter(origin(1));
        port.call(agent);
        port.places[0].unread_since_ns = Some(port.now_ns);
        port.pass(1_000 * port.limits.unread_ns);
        assert!(port.has(agent), "its session goes on");
        port.is_room_short = true;
        port.pass(1);
        assert!(!port.has(agent), "its place in the budget is needed");
    }

    #[test]
    fn where_connections_are_short_even_an_open_call_has_an_end() {
        let mut port = Port::new(64);
        port.limits.age_ns = Some(SECOND);
        let (id, _) = port.enter(origin(1));
        port.call(id);
        port.pass(SECOND);
        assert!(!port.has(id));
    }

    #[test]
    fn an_answer_that_is_taken_may_take_its_time_and_one_that_is_not_ends() {
        let mut port = Port::new(64);
        port.limits.age_ns = Some(10 * SECOND);
        let ids = [(); 3].map(|()| port.enter(origin(1)).0);
        ids.iter().for_each(|id| port.call(*id));
        let [slow, stalled, trickling] = ids;
        for second in 1..=60 {
            let now_ns = port.now_ns;
            for place in &mut port.places {
                let bytes = match place.id {
                    id if id == slow => ANSWER_BYTES_PER_S_MIN,
                    id if id == stalled && second == 1 => 1 << 30,
                    id if id == trickling => 1,
                    _ => continue,
                };
                place.taken.bytes += bytes;
                place.taken.last_ns = now_ns;
            }
            port.pass(SECOND);
            assert!(port.has(slow), "{second} s");
            assert_eq!(port.has(stalled), second < 10, "{second} s");
            assert_eq!(port.has(trickling), second <= 10, "{second} s");
        }
        port.pass(10 * SECOND);
        assert!(!port.has(slow), "it takes no more");
    }

    proptest! {
        #[test]
        fn no_answer_goes_before_its_age_or_is_held_longer_than_its_bytes_are_worth(
            bytes in any::<u64>(),
            last_ns in any::<u64>(),
            age_ns in 0..100 * SECOND,
        ) {
            let mut port = Port::new(2);
            port.enter(origin(1));
            let place = TakenPlace { taken: Taken { bytes, last_ns }, ..port.places[0] };
            let ends_ns = place.life_ends_ns(age_ns);
            prop_assert!(ends_ns >= place.opened_ns + age_ns);
            let worth_ns = bytes.saturating_mul(SECOND) / ANSWER_BYTES_PER_S_MIN;
            prop_assert!(ends_ns <= (place.opened_ns + age_ns).saturating_add(worth_ns));
        }
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_are_one_origin() {
        let of = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
    }
}

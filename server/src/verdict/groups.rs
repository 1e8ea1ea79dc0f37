//! What each group was asked to send, and how many packets that is of one client.
//!
//! Where the due times are a formula, every client of a group plans the same number. Random
//! arrivals are a walk from packet to packet: it goes on from the last packet that the workers have
//! found at its place, so that only what came after that is walked, and it is bounded, so that no
//! plan and no agent makes a verdict take long: what is not walked lies within bounds that hold for
//! every seed. Times are ns since the start of the client, on whatever clock.

use std::{num::NonZeroU32, ops::Range, rc::Rc, time::Duration};

use metronome_proto::{
    load::Load,
    packet_size::PacketSize,
    plan::Plan,
    profile::Profile,
    schedule::{Cursor, Schedule, arrivals_within},
    threshold::Threshold,
};

use crate::model::{ClientCounters, allowance_ns};

/// Most steps of a walk to the end of one client's schedule …
const STEPS_MAX: u64 = 1 << 20;
/// … and of all clients' in a verdict: less than a second.
const STEPS_OF_ALL_MAX: u64 = 1 << 23;

/// What each client of a group was asked to send.
#[derive(Debug)]
pub(super) struct GroupLoad {
    /// Its index in the plan.
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) load: Load,
    pub(super) packet_size: PacketSize,
    /// Packets whose sequence is a multiple of this ask for a reply.
    pub(super) echo_every: Option<NonZeroU32>,
    /// The caller's objectives over its clients alone.
    pub(super) thresholds: Vec<Threshold>,
    /// That of its first client, from 0 on. `None` for a flood.
    schedule: Option<Schedule>,
    first_client: u32,
}

impl GroupLoad {
    /// Those of a plan, each with the indices of its clients.
    pub(super) fn all(plan: &Plan) -> Vec<(Range<u32>, Rc<Self>)> {
        let groups = plan.clients_of_groups().enumerate();
        let of_group = |(index, (clients, group)): (usize, (Range<u32>, _))| {
            let load = plan.load(group);
            let of = Self {
                index,
                name: group.name.clone(),
                packet_size: group.packet_size,
                echo_every: group.echo_every,
                thresholds: group.thresholds.clone(),
                load,
                schedule: load.schedule(0, clients.start),
                first_client: clients.start,
            };
            (clients, Rc::new(of))
        };
        groups.map(of_group).collect()
    }

    /// A packet is due when it is written, so that none is planned.
    pub(super) fn is_flood(&self) -> bool {
        self.schedule.is_none()
    }

    /// The period that rules use. `None` for a flood.
    pub(super) fn period_ns(&self) -> Option<u64> {
        Some(self.schedule.as_ref()?.period_ns())
    }

    /// How long behind its last due time a client has for its packets. `None` for a flood.
    pub(super) fn allowance_ns(&self) -> Option<u64> {
        self.schedule.as_ref().map(allowance_ns)
    }

    /// The schedule of a client of the group, from 0 on. `None` for a flood.
    pub(super) fn schedule_of(&self, client: u32) -> Option<Schedule> {
        let of_first = self.schedule?;
        if of_first.packets().is_some() || client == self.first_client {
            return Some(of_first);
        }
        self.load.schedule(0, client)
    }
}

/// How many packets a client plans.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Planned {
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Planned {
    fn exactly(packets: u64) -> Self {
        Self {
            least: packets,
            most: packets,
        }
    }

    /// Whether the number is known, and not only its bounds.
    pub(super) fn is_exact(&self) -> bool {
        self.least == self.most
    }
}

/// The steps that are left of those that the walks of a verdict may take.
#[derive(Debug)]
pub(super) struct Walks {
    left: u64,
}

impl Walks {
    pub(super) fn new() -> Self {
        Self {
            left: STEPS_OF_ALL_MAX,
        }
    }

    /// How many packets a client plans: where the walk to the end would be too long, those as far
    /// as it went and the bounds of the rest. `None` for a flood, which plans none.
    pub(super) fn planned(
        &mut self,
        group: &GroupLoad,
        client: u32,
        counted: Option<&ClientCounters>,
    ) -> Option<Planned> {
        let schedule = group.schedule_of(client)?;
        let rate_millihertz = match (schedule.packets(), group.load.profile) {
            (None, Profile::Poisson { rate_millihertz }) => rate_millihertz,
            (packets, _) => return packets.map(Planned::exactly),
        };
        let mut cursor = counted
            .and_then(|counted| at_last(&schedule, counted))
            .unwrap_or_else(|| schedule.first());
        let ahead_ns = |cursor: &Cursor| schedule.end_ns().saturating_sub(cursor.due_ns());
        let most = STEPS_MAX.min(self.left);
        // One that is hopeless takes no steps from the others.
        let is_near = ahead_ns(&cursor) / schedule.period_ns().max(1) <= most;
        for _ in 0..if is_near { most } else { 0 } {
            if cursor.is_over(&schedule) {
                break;
            }
            cursor.advance(&schedule);
            self.left -= 1;
        }
        if cursor.is_over(&schedule) {
            return Some(Planned::exactly(cursor.place()));
        }
        let rest = arrivals_within(rate_millihertz, Duration::from_nanos(ahead_ns(&cursor)));
        let planned = |rest: &u64| cursor.place().saturating_add(1).saturating_add(*rest);
        Some(Planned {
            least: planned(rest.start()),
            most: planned(rest.end()),
        })
    }
}

/// Behind the last packet that was read. `None` without one at a place that the workers have found,
/// and at one that no schedule has: a ledger may hold anything.
fn at_last(schedule: &Schedule, counted: &ClientCounters) -> Option<Cursor> {
    let counts = counted.counts;
    let is_on_schedule = counts.off_schedule == Some(0) && counts.received > 0;
    let places = counts.received.checked_add(counts.left_out?)?;
    if places > schedule.packets_max() {
        return None;
    }
    let start_ns = counted.start.filter(|_| is_on_schedule)?.start_ns;
    let due_ns = counted.last_due_ns.wrapping_sub(start_ns);
    let mut cursor = schedule.resume(places - 1, due_ns);
    cursor.advance(schedule);
    Some(cursor)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{profile::Profile, v1};
    use proptest::prelude::*;

    use super::*;
    use crate::{model::ClientStart, verdict::samples::plan};

    fn arrivals(rate_millihertz: u64, duration: Duration) -> Rc<GroupLoad> {
        let mut plan = plan(&[(Profile::Poisson { rate_millihertz }, 4)]);
        plan.duration = duration;
        GroupLoad::all(&plan).remove(0).1
    }

    fn read_until(start_ns: u64, places: u64, last_due_ns: u64) -> ClientCounters {
        ClientCounters {
            counts: v1::ReceiverCounts {
                received: places,
                off_schedule: Some(0),
                left_out: Some(0),
                ..v1::ReceiverCounts::default()
            },
            start: Some(ClientStart {
                start_ns,
                offset_ns: 0,
            }),
            last_due_ns: start_ns.wrapping_add(last_due_ns),
            ..ClientCounters::default()
        }
    }

    proptest! {
        #[test]
        fn a_walk_from_any_packet_on_any_clock_comes_to_the_same_number(
            client in 0..4_u32,
            start_ns: u64,
            share in 0.0..1.0,
        ) {
            let group = arrivals(2_000_000, Duration::from_millis(100));
            let schedule = group.schedule_of(client).unwrap();
            let mut cursor = schedule.first();
            let mut due = Vec::new();
            while !cursor.is_over(&schedule) {
                due.push(cursor.due_ns());
                cursor.advance(&schedule);
            }
            let planned = due.len() as u64;
            let exactly = Some(Planned::exactly(planned));
            prop_assert_eq!(Walks::new().planned(&group, client, None), exactly);
            let bounds = Walks { left: 0 }.planned(&group, client, None).unwrap();
            prop_assert!((bounds.least..=bounds.most).contains(&planned), "{bounds:?}");
            if planned > 0 {
                let last = (planned as f64 * share) as u64;
                let counted = read_until(start_ns, last + 1, due[last as usize]);
                let mut walks = Walks::new();
                prop_assert_eq!(walks.planned(&group, client, Some(&counted)), exactly);
                let mut walks_no_more = Walks { left: 0 };
                let bounds = walks_no_more.planned(&group, client, Some(&counted)).unwrap();
                prop_assert!((bounds.least..=bounds.most).contains(&planned), "{bounds:?}");
                prop_assert_eq!(STEPS_OF_ALL_MAX - walks.left, planned - last - 1);
            }
        }
    }

    #[test]
    fn a_walk_that_would_be_too_long_takes_no_steps_and_has_bounds_and_a_flood_plans_nothing() {
        let group = arrivals(100_000_000, Duration::from_secs(60));
        let mut walks = Walks::new();
        let bounds = walks.planned(&group, 0, None).unwrap();
        assert!((5_970_000..5_980_000).contains(&bounds.least), "{bounds:?}");
        assert!((6_020_000..6_030_000).contains(&bounds.most), "{bounds:?}");
        assert_eq!(walks.left, STEPS_OF_ALL_MAX);
        let near_the_end = read_until(7, 5_990_000, 59_999_000_000);
        let planned = walks.planned(&group, 0, Some(&near_the_end)).unwrap();
        assert!(planned.is_exact());
        // 1 ms is left, 100 packets in the mean: the longest gaps leave two.
        walks.left = 3;
        let bounds = walks.planned(&group, 1, Some(&near_the_end)).unwrap();
        assert!(
            (5_990_002..=5_990_003).contains(&bounds.least),
            "{bounds:?}"
        );
        assert!((5_990_200..5_990_310).contains(&bounds.most), "{bounds:?}");
        assert_eq!(walks.left, 3);
        let flood = GroupLoad::all(&plan(&[(Profile::Flood, 1)])).remove(0).1;
        assert!(flood.is_flood());
        assert_eq!(walks.planned(&flood, 0, None), None);
    }

    #[test]
    fn an_absurd_record_ends_a_walk() {
        let group = arrivals(1_000_000, Duration::from_millis(100));
        let planned = Walks::new().planned(&group, 0, None);
        for last_due_ns in [0, 5, u64::MAX - 5, u64::MAX] {
            for (received, left_out) in [
                (u64::MAX, 0),
                (u64::MAX, 1),
                (u64::MAX, u64::MAX),
                (1, u64::MAX - 1),
                (1 << 40, 1),
            ] {
                let mut absurd = read_until(5, received, last_due_ns);
                absurd.counts.left_out = Some(left_out);
                // As if no packet had been read.
                assert_eq!(Walks::new().planned(&group, 0, Some(&absurd)), planned);
            }
        }
    }
}

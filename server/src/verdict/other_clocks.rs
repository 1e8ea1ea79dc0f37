//! Times between the server's clock and other ones: whose packets have them, and how far off they
//! can be. Times are ns.
//!
//! They are those of all clients on other clocks. Where the clock of one of their agents has no
//! bound, since it does not probe or its exchanges contradicted each other, they are not known: a
//! distribution over the others would be read as one over all.

use std::collections::BTreeMap;

use metronome_proto::{histogram::Histogram, v1};

use super::{
    bounds::{Between, Bound},
    rows::{Row, sum_of_all},
};
use crate::model::AgentRecords;

impl Between {
    /// The largest bound of the agents of these clients that are on other clocks. `None` where
    /// there is no such agent, or one of them has none.
    pub(super) fn bound(self, rows: &[Row<'_>]) -> Option<Bound> {
        let agents = on_other_clocks(rows).map(|row| (row.agent_index, row.agent));
        let agents: BTreeMap<usize, &AgentRecords> = agents.collect();
        self.largest(agents.into_values())
    }

    /// The largest bound of these agents. `None` where there are none, or one has none.
    fn largest<'a>(self, agents: impl Iterator<Item = &'a AgentRecords>) -> Option<Bound> {
        let mut bounds = agents.map(|agent| self.bound_of(agent));
        let first = bounds.next()??;
        bounds.try_fold(first, |sum, of| Some(sum.with(of?)))
    }

    /// The distribution of the clients among these that are on other clocks, whose times these are.
    /// What was scheduled and has no time is missing, whether its packet was read or not.
    pub(super) fn shown(self, times: &Histogram, rows: &[Row<'_>]) -> Option<v1::Distribution> {
        let bound = self.bound(rows)?;
        let others: Vec<_> = on_other_clocks(rows).cloned().collect();
        let scheduled = sum_of_all(&others, Row::measured_scheduled);
        Some(v1::Distribution {
            missing: scheduled.and_then(|packets| packets.checked_sub(times.count())),
            bound_ns: Some(i64::try_from(bound.ns).unwrap_or(i64::MAX)),
            bound_is_claimed: bound.is_claimed,
            ..times.distribution(true)?
        })
    }
}

/// The clients whose agents are not on the server's clock.
pub(super) fn on_other_clocks<'r, 'a>(
    rows: &'r [Row<'a>],
) -> impl Iterator<Item = &'r Row<'a>> + use<'r, 'a> {
    rows.iter().filter(|row| !row.is_on_our_clock())
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::{NoteCode, ReasonCode, Times};

    use super::*;
    use crate::{
        model::{ClockRelation, PathFigures, TimeKind},
        verdict::samples::{self, PACKETS, Sample, codes, verdict},
    };

    const US: u64 = 1_000;

    fn times(sample: &Sample) -> Times {
        sample.conclude().report.times.unwrap()
    }

    /// What is shown of one-way and queueing: packets, those missing, the bound, and whether that
    /// is claimed.
    type Shown = [Option<(u64, Option<u64>, Option<i64>, bool)>; 2];

    fn shown(times: &Times) -> Shown {
        [&times.one_way, &times.queueing].map(|of| {
            let of = of.as_ref()?;
            Some((of.count, of.missing, of.bound_ns, of.bound_is_claimed))
        })
    }

    fn notes(sample: &Sample) -> Vec<NoteCode> {
        let conclusion = sample.conclude();
        let notes = verdict(&conclusion).notes.iter();
        notes.map(v1::Note::code).collect()
    }

    /// Two agents with two clients each, on two other clocks.
    fn foreign() -> Sample {
        let mut sample = Sample::of(2, 2);
        sample.offset_clock(0, 50 * US);
        sample.offset_clock(1, 70 * US);
        sample
    }

    const KNOWN: Shown = [
        Some((4 * PACKETS, Some(0), Some(70_000), false)),
        Some((4 * PACKETS, Some(0), Some(7_000), false)),
    ];

    #[test]
    fn the_bound_of_several_agents_is_the_largest_and_claimed_where_one_is() {
        let mut sample = foreign();
        assert_eq!(shown(&times(&sample)), KNOWN);
        assert_eq!(notes(&sample), []);
        let of = times(&sample);
        assert_eq!((of.transit, of.latency), (None, None));
        sample.path(0, |path| path.is_claimed = true);
        let claimed = KNOWN.map(|of| of.map(|(count, missing, ns, _)| (count, missing, ns, true)));
        assert_eq!(shown(&times(&sample)), claimed);
    }

    #[test]
    fn where_one_agent_has_no_bound_no_such_time_is_known_whatever_was_recorded() {
        let without = |spoil: fn(&mut PathFigures)| {
            let mut sample = foreign();
            sample.path(1, spoil);
            (shown(&times(&sample)), notes(&sample))
        };
        let unknown = ([None; 2], vec![NoteCode::ClockUnknown]);
        assert_eq!(without(|path| path.one_way_bound_ns = None), unknown);
        let [one_way, _] = KNOWN;
        let no_queueing = without(|path| path.queueing_bound_ns = None);
        assert_eq!(no_queueing, ([one_way, None], vec![]));
        // Whatever bound is left, times by a line that was contradicted are not shown.
        let uneven = without(|path| path.contradictions = 1);
        assert_eq!(uneven, ([None; 2], vec![NoteCode::ClockUneven]));
        let dropped = without(|path| path.is_claim_dropped = true);
        assert_eq!(dropped, (KNOWN, vec![NoteCode::ClockClaimDropped]));
        let refuted = without(|path| (path.is_claimed, path.is_claim_dropped) = (true, true));
        let both = vec![NoteCode::ClockUnknown, NoteCode::ClockClaimDropped];
        assert_eq!(refuted, ([None; 2], both));
        let mut sample = foreign();
        sample.agents[1].path = None;
        assert_eq!((shown(&times(&sample)), notes(&sample)), unknown);
        let mut sample = foreign();
        sample.agents[1].share.clock = ClockRelation::Unknown;
        assert_eq!((shown(&times(&sample)), notes(&sample)), unknown);
    }

    #[test]
    fn an_agent_that_was_found_on_another_clock_in_the_run_has_no_times_between_clocks() {
        let mut sample = foreign();
        sample.agents[1].share.clock = ClockRelation::Same;
        sample.retime();
        let [one_way, _] = shown(&times(&sample));
        assert_eq!(one_way, Some((2 * PACKETS, Some(0), Some(50_000), false)));
        sample.agents[1].contradict_clock();
        assert_eq!(shown(&times(&sample)), [None; 2]);
    }

    #[test]
    fn a_bound_without_a_packet_is_no_time() {
        let mut sample = foreign();
        (0..4).for_each(|client| sample.without_relation(client, PACKETS));
        assert_eq!(shown(&times(&sample)), [None; 2]);
        assert_eq!(notes(&sample), [NoteCode::WithoutRelation]);
    }

    #[test]
    fn a_group_has_the_bound_of_its_own_agents_and_the_run_that_of_all() {
        let steady = metronome_proto::profile::Profile::constant(1_000_000);
        let plan = samples::plan(&[(steady, 2), (steady, 2)]);
        let mut sample = Sample::of_plan(2, plan);
        sample.offset_clock(1, 70 * US);
        let of_groups = |sample: &Sample| {
            let groups = sample.conclude().report.groups;
            let first = |of: v1::GroupReport| shown(&of.times.unwrap())[0];
            groups.into_iter().map(first).collect::<Vec<_>>()
        };
        let second = Some((2 * PACKETS, Some(0), Some(70_000), false));
        assert_eq!(of_groups(&sample), [None, second]);
        assert_eq!(
            shown(&times(&sample))[0],
            second,
            "of a mixed fleet those on other clocks"
        );
        sample.offset_clock(0, 90 * US);
        sample.path(0, |path| path.contradictions = 1);
        assert_eq!(of_groups(&sample), [None, second]);
        assert_eq!(shown(&times(&sample))[0], None);
    }

    #[test]
    fn a_packet_that_was_read_without_a_relation_is_missing_and_noted() {
        let mut sample = foreign();
        sample.break_connection(3, 40);
        sample.without_relation(0, 7);
        let [one_way, queueing] = shown(&times(&sample));
        assert_eq!(one_way, Some((333, Some(67), Some(70_000), false)));
        assert_eq!(queueing, Some((333, Some(67), Some(7_000), false)));
        let conclusion = sample.conclude();
        assert_eq!(
            codes(&conclusion),
            [ReasonCode::ClientLost],
            "no law is broken"
        );
        let [note] = &verdict(&conclusion).notes[..] else {
            panic!("{:?}", verdict(&conclusion).notes);
        };
        assert_eq!(note.code(), NoteCode::WithoutRelation);
        assert_eq!(note.figures["packets"].to_string(), "7");
        // Where no such time is shown, none lacks a packet.
        sample.path(0, |path| path.contradictions = 1);
        assert_eq!(notes(&sample), [NoteCode::ClockUneven]);
    }

    #[test]
    fn times_that_no_packet_can_have_break_a_law() {
        let spoil: [fn(&mut Sample); 3] = [
            // More above the floor than there are by lines.
            |sample| {
                sample.counted(0, |counted| {
                    counted.timed[TimeKind::OneWay] -= 1;
                    counted.histogram_counts[TimeKind::OneWay] -= 1;
                });
                sample.counters().times.one_way = samples::times(4 * PACKETS - 1).transit;
            },
            // More below the floor than have a time above it.
            |sample| sample.counted(0, |of| of.counts.below_floor = Some(PACKETS + 1)),
            // Times by lines of an agent that was not admitted with any.
            |sample| sample.agents[0].share.clock = ClockRelation::Unknown,
        ];
        for (index, spoil) in spoil.into_iter().enumerate() {
            let mut sample = foreign();
            assert_eq!(codes(&sample.conclude()), []);
            spoil(&mut sample);
            let codes = codes(&sample.conclude());
            assert_eq!(codes, [ReasonCode::HistogramMiscounted], "{index}");
        }
    }

    #[test]
    fn a_client_has_a_quantile_where_its_agent_has_a_bound_and_packets_enough() {
        let mut sample = foreign();
        for client in 0..4 {
            sample.counted(client, |counted| {
                samples::set_between_clocks(counted, if client == 1 { 999 } else { 1_000 });
                (counted.one_way_p99_ns, counted.queueing_p99_ns) = (9_000, 7_000);
            });
        }
        sample.path(1, |path| path.queueing_bound_ns = None);
        let p99 = |sample: &Sample| -> Vec<_> {
            let clients = sample.conclude().clients.into_iter();
            clients
                .map(|of| [of.one_way_p99_ns, of.queueing_p99_ns])
                .collect()
        };
        let (both, none) = ([Some(9_000), Some(7_000)], [None; 2]);
        let one_way = [Some(9_000), None];
        assert_eq!(p99(&sample), [both, none, one_way, one_way]);
        sample.path(1, |path| path.contradictions = 1);
        assert_eq!(p99(&sample), [both, none, none, none]);
    }

    #[test]
    fn packets_below_the_floor_are_counted_where_there_is_one() {
        let mut sample = foreign();
        for client in 0..4 {
            sample.counted(client, |counted| counted.counts.below_floor = Some(3));
        }
        let below = |sample: &Sample| {
            let conclusion = sample.conclude();
            let of = |counts: Option<v1::Counts>| counts.unwrap().receiver.unwrap().below_floor;
            (
                of(conclusion.report.counts),
                of(conclusion.clients[3].counts),
            )
        };
        assert_eq!(below(&sample), (Some(12), Some(3)));
        sample.path(1, |path| path.queueing_bound_ns = None);
        assert_eq!(below(&sample), (None, None));
        // Beside clients on the server's clock, which have no floor.
        let mut sample = Sample::of(2, 2);
        sample.offset_clock(1, 50 * US);
        sample.counted(3, |counted| counted.counts.below_floor = Some(3));
        sample.counted(2, |counted| counted.counts.below_floor = Some(0));
        assert_eq!(below(&sample), (Some(3), Some(3)));
    }

    #[test]
    fn a_generator_that_is_late_spoils_no_time_from_write() {
        let mut sample = Sample::of(2, 10);
        sample.offset_clock(0, 50 * US);
        sample.offset_clock(1, 70 * US);
        samples::late(&mut sample, 10);
        let conclusion = sample.conclude();
        assert!(verdict(&conclusion).valid_to_ppm.is_some());
        let times = conclusion.report.times.unwrap();
        let quantiles = |of: Option<v1::Distribution>| of.unwrap().quantiles.len();
        assert!(quantiles(times.spread) < quantiles(times.lateness));
        assert_eq!(quantiles(times.one_way), 3);
    }
}

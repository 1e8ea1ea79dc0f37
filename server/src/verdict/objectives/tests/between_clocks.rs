//! Objectives on times between clocks and on round trips of probes.

use metronome_proto::v1::{Objective, OutcomeStatus, objective::Observed};

use super::{HELD, NOT_HELD, NOT_JUDGED};
use crate::{
    model::ClockRelation,
    verdict::samples::{Sample, late},
};

/// Two agents on two other clocks, with 500 packets each. All one-way times are 10 µs, and so are
/// all of queueing; the bound is 50 µs, and 5 µs.
fn foreign() -> Sample {
    let mut sample = Sample::of(2, 5);
    for agent in [0, 1] {
        sample.offset_clock(agent, 50_000);
    }
    sample
}

/// How the objective comes out that a user has set, with the status of the outcome.
fn asked(sample: &mut Sample, threshold: &str) -> (Objective, OutcomeStatus) {
    sample.plan.thresholds = vec![threshold.parse().unwrap()];
    sample.plan.has_default_objectives = false;
    let outcome = super::outcome(sample);
    let status = outcome.status();
    (outcome.objectives.into_iter().next().unwrap(), status)
}

#[test]
fn one_way_is_judged_with_its_bound_on_the_side_that_is_worse() {
    for (threshold, expected, observed_ns) in [
        ("one_way.p99<=61us", HELD, 60_047),
        ("one_way.p99<=60us", NOT_HELD, 60_047),
        ("one_way.p99<20us", NOT_HELD, 60_047),
        ("one_way.p50>5us", NOT_HELD, 0),
        ("one_way.max<=61us", HELD, 60_047),
        ("one_way.p50==10us", NOT_JUDGED, 10_047),
        ("one_way.p50==61us", NOT_HELD, 10_047),
    ] {
        let (objective, outcome) = asked(&mut foreign(), threshold);
        assert_eq!(
            (objective.status(), outcome),
            (expected, expected),
            "{threshold}"
        );
        let observed = Some(Observed::ObservedNs(observed_ns));
        assert_eq!(objective.observed, observed, "{threshold}");
    }
    let mut sample = foreign();
    let (objective, _) = asked(&mut sample, "one_way.p99<=60us");
    let sentence = "1,000 of 1,000 packets had a one_way of more than 60 µs, where for p99 at most \
                    10 may; the bound of ± 50 µs (proved) is added to each.";
    assert_eq!(objective.sentence, sentence);
    assert_eq!(objective.figures["bound_ns"], 50_000_u64.into());
    sample.path(0, |path| path.is_claimed = true);
    let (objective, _) = asked(&mut sample, "one_way.p99>60us");
    assert_eq!(objective.figures["bound"], "claimed".into());
    assert!(
        objective
            .sentence
            .ends_with("the bound of ± 50 µs (claimed) is taken off each."),
        "{}",
        objective.sentence
    );
}

#[test]
fn queueing_is_judged_with_its_bound_on_the_side_that_is_worse_and_called_an_estimate() {
    for (threshold, expected) in [
        ("queueing.p99<=16us", HELD),
        ("queueing.p99<15us", NOT_HELD),
    ] {
        let (objective, _) = asked(&mut foreign(), threshold);
        assert_eq!(objective.status(), expected, "{threshold}");
        assert_eq!(objective.observed, Some(Observed::ObservedNs(15_047)));
        let is_estimate = objective
            .sentence
            .contains("the bound of ± 5 µs (estimated) is added to each.");
        assert!(is_estimate, "{}", objective.sentence);
    }
}

#[test]
fn a_packet_without_a_relation_is_slower_than_an_upper_limit_and_open_for_a_lower_one() {
    let mut sample = foreign();
    sample.without_relation(3, 10);
    let (objective, _) = asked(&mut sample, "one_way.p99<=1s");
    assert_eq!(objective.status(), HELD);
    assert_eq!(objective.figures["unrelated"], 10_u64.into());
    sample.without_relation(7, 1);
    let (objective, outcome) = asked(&mut sample, "one_way.p99<=1s");
    assert_eq!((objective.status(), outcome), (NOT_HELD, NOT_HELD));
    assert_eq!(objective.observed, None);
    assert_eq!(
        objective.sentence,
        "11 of 1,000 packets had a one_way of more than 1 s or none at all (11 were skipped, \
         lost, or read without a relation), where for p99 at most 10 may; the bound of ± 50 µs \
         (proved) is added to each; of the missing, 11 were read without a relation of the clocks."
    );
    let (objective, outcome) = asked(&mut sample, "one_way.p99>=1s");
    assert_eq!((objective.status(), outcome), (NOT_JUDGED, NOT_JUDGED));
    sample.retime();
    sample.without_relation(3, 10);
    assert_eq!(asked(&mut sample, "one_way.p99>=1s").0.status(), NOT_HELD);
}

#[test]
fn a_time_that_is_not_known_of_one_agent_is_not_judged() {
    let metrics = ["one_way.p50<1s", "one_way.p50>0us", "queueing.max<1s"];
    let spoil: [fn(&mut Sample); 5] = [
        |sample| sample.agents[1].path = None,
        |sample| sample.path(1, |path| path.one_way_bound_ns = None),
        |sample| sample.path(1, |path| path.contradictions = 1),
        |sample| {
            sample.agents[1].share.clock = ClockRelation::Unknown;
            sample.retime();
        },
        |sample| sample.agents[1].contradict_clock(),
    ];
    for (index, spoil) in spoil.iter().enumerate() {
        for metric in metrics {
            let mut sample = foreign();
            if index == 4 {
                sample.agents[1].share.clock = ClockRelation::Same;
                sample.agents[1].path = None;
                sample.retime();
            }
            spoil(&mut sample);
            let (objective, outcome) = asked(&mut sample, metric);
            assert_eq!(
                (objective.status(), outcome),
                (NOT_JUDGED, NOT_JUDGED),
                "{index} {metric}"
            );
            assert_eq!(objective.observed, None);
            assert!(
                objective.sentence.contains("agent-1"),
                "{}",
                objective.sentence
            );
        }
    }
    let mut sample = foreign();
    sample.path(0, |path| path.queueing_bound_ns = None);
    assert_eq!(asked(&mut sample, metrics[0]).0.status(), HELD);
    assert_eq!(asked(&mut sample, metrics[2]).0.status(), NOT_JUDGED);
    sample.counters = None;
    assert_eq!(asked(&mut sample, metrics[0]).0.status(), NOT_JUDGED);
}

#[test]
fn on_one_clock_times_between_clocks_are_not_judged_and_the_sentence_names_those_that_can_be() {
    for metric in ["one_way.p99<1s", "queueing.p99<1s"] {
        let (objective, outcome) = asked(&mut Sample::of(2, 5), metric);
        assert_eq!((objective.status(), outcome), (NOT_JUDGED, NOT_JUDGED));
        assert!(
            objective.sentence.contains("transit and latency"),
            "{}",
            objective.sentence
        );
    }
    let (objective, _) = asked(&mut Sample::of(2, 5), "probe_rtt.p50<1s");
    assert_eq!(objective.status(), NOT_JUDGED);
}

#[test]
fn of_a_mixed_fleet_the_clients_on_other_clocks_are_judged() {
    let mut sample = Sample::of(2, 5);
    sample.offset_clock(1, 50_000);
    let (objective, _) = asked(&mut sample, "one_way.p90<=1ms");
    assert_eq!(objective.status(), HELD);
    let counted = "0 of 500 packets of the agents on other clocks had a one_way of more than 1 ms";
    assert!(
        objective.sentence.starts_with(counted),
        "{}",
        objective.sentence
    );
    assert!(!objective.figures.contains_key("group_names"));
    // A limit that half of all packets meet, and none of those that are judged.
    assert_eq!(asked(&mut sample, "one_way.p50<=55us").0.status(), NOT_HELD);
}

#[test]
fn a_late_generator_leaves_a_time_from_write_as_it_is() {
    let mut sample = foreign();
    late(&mut sample, 10);
    let (objective, _) = asked(&mut sample, "one_way.p99>=20us");
    assert_eq!(objective.status(), NOT_HELD);
    assert!(objective.observed.is_some());
}

#[test]
fn a_probe_without_an_answer_is_slower_than_any_limit() {
    let mut sample = foreign();
    let (objective, _) = asked(&mut sample, "probe_rtt.p90<=101us");
    assert_eq!(objective.status(), HELD);
    assert_eq!(objective.figures["scheduled"], 200_u64.into());
    for (sent, expected) in [(120, HELD), (123, NOT_HELD)] {
        sample.path(1, |path| path.probes_sent = sent);
        let (objective, _) = asked(&mut sample, "probe_rtt.p90<=101us");
        assert_eq!(objective.status(), expected, "{sent}");
    }
    let (objective, _) = asked(&mut sample, "probe_rtt.p90<=101us");
    assert_eq!(
        objective.sentence,
        "23 of 223 probes had a probe_rtt of more than 101 µs or none at all (23 were not \
         answered), where for p90 at most 22 may."
    );
    // Fewer than were answered of one agent, whatever the others sent; an agent that does not
    // probe.
    sample.path(0, |path| path.probes_sent = 1_000);
    sample.path(1, |path| path.probes_sent = 99);
    let (objective, _) = asked(&mut sample, "probe_rtt.p50<=1s");
    assert_eq!(objective.status(), NOT_JUDGED);
    sample.agents[1].path = None;
    let (objective, _) = asked(&mut sample, "probe_rtt.p50<=1s");
    assert_eq!(objective.status(), NOT_JUDGED);
    assert!(
        objective.sentence.contains("agent-1 sent no probes"),
        "{}",
        objective.sentence
    );
}

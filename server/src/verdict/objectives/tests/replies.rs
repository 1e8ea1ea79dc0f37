//! Objectives on round trips: what got no reply counts as slower than any limit.

use std::num::NonZeroU32;

use metronome_proto::{
    profile::Profile,
    v1::{OutcomeStatus, objective::Observed},
};

use crate::verdict::{
    Conclusion,
    samples::{Sample, plan, verdict},
};

/// Status, sentence and whether it was observed of the objective that a user has set.
fn asked(sample: &mut Sample, threshold: &str) -> (OutcomeStatus, String, Option<Observed>) {
    sample.plan.thresholds = vec![threshold.parse().unwrap()];
    sample.plan.has_default_objectives = false;
    let Conclusion { report, .. } = sample.conclude();
    let [objective] = &report.outcome.as_ref().unwrap().objectives[..] else {
        panic!("one objective");
    };
    (
        objective.status(),
        objective.sentence.clone(),
        objective.observed,
    )
}

#[test]
fn a_packet_that_got_no_reply_is_slower_than_any_limit() {
    for metric in ["rtt_from_due", "rtt_from_write"] {
        let threshold = format!("{metric}.p50<=1s");
        let mut sample = Sample::echoing(2, 2, 10);
        let (status, _, observed) = asked(&mut sample, &threshold);
        assert_eq!(status, OutcomeStatus::Held);
        assert!(observed.is_some());
        // 20 of 40 may be above it.
        sample.drop_replies(0, 10);
        sample.drop_replies(1, 10);
        assert_eq!(asked(&mut sample, &threshold).0, OutcomeStatus::Held);
        sample.drop_replies(2, 1);
        let (status, sentence, observed) = asked(&mut sample, &threshold);
        assert_eq!((status, observed), (OutcomeStatus::NotHeld, None));
        assert!(sentence.contains("21 of 40 packets that ask"), "{sentence}");
        assert!(sentence.contains("got no reply"), "{sentence}");
    }
}

#[test]
fn round_trips_that_are_not_known_are_not_judged() {
    let threshold = "rtt_from_write.p50<1s";
    let (status, ..) = asked(&mut Sample::of(1, 1), threshold);
    assert_eq!(status, OutcomeStatus::NotJudged, "no packet asks");
    let mut sample = Sample::echoing(2, 2, 10);
    sample.forget_agent(0);
    assert_eq!(asked(&mut sample, threshold).0, OutcomeStatus::NotJudged);
    let mut sample = Sample::echoing(2, 2, 10);
    sample.counters = None;
    assert_eq!(asked(&mut sample, threshold).0, OutcomeStatus::NotJudged);
}

#[test]
fn they_are_judged_over_the_groups_that_ask_on_any_clock() {
    let mut plan = plan(&[(Profile::constant(1_000_000), 2), (Profile::Flood, 2)]);
    plan.groups[0].echo_every = NonZeroU32::new(4);
    let mut sample = Sample::of_plan(2, plan);
    sample.forget_clock(0);
    sample.plan.thresholds = vec!["rtt_from_due.p50<1ms".parse().unwrap()];
    let conclusion = sample.conclude();
    assert_eq!(verdict(&conclusion).reasons, []);
    let outcome = conclusion.report.outcome.as_ref().unwrap();
    let objective = &outcome.objectives[0];
    assert_eq!(objective.status(), OutcomeStatus::Held, "{objective:?}");
    assert_eq!(objective.figures["scheduled"], 50_u64.into());
    assert!(objective.figures.contains_key("group_names"));
    let times = conclusion.report.times.as_ref().unwrap();
    let count = |of: &Option<metronome_proto::v1::Distribution>| of.as_ref().map(|of| of.count);
    assert_eq!(count(&times.rtt_from_due), Some(50));
    assert_eq!(count(&times.rtt_from_write), Some(50));
    let groups = conclusion.report.groups.iter();
    let of_groups = groups.map(|group| count(&group.times.as_ref().unwrap().rtt_from_due));
    assert!(of_groups.eq([Some(50), None]));
}

#[test]
fn a_late_generator_spoils_the_quantiles_from_due_and_not_those_from_write() {
    let mut sample = Sample::echoing(1, 20, 1);
    crate::verdict::samples::late(&mut sample, 10);
    let report = sample.conclude().report;
    assert_eq!(report.verdict.unwrap().valid_to_ppm, Some(900_000));
    let times = report.times.unwrap();
    let largest = |of: Option<metronome_proto::v1::Distribution>| {
        of.unwrap().quantiles.iter().map(|of| of.ppm).max()
    };
    assert_eq!(largest(times.rtt_from_due), Some(900_000));
    assert_eq!(largest(times.rtt_from_write), Some(990_000));
}

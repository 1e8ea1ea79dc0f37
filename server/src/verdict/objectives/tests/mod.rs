//! Outcomes of whole runs.

mod aborted;
mod between_clocks;
mod rates;
mod replies;
mod spread;
mod stopped;

use metronome_proto::{
    histogram::{Histogram, bucket},
    threshold::Threshold,
    v1::{
        Objective, ObjectiveSource, Outcome, OutcomeStatus, StopCause, VerdictStatus,
        objective::Observed,
    },
};

use crate::verdict::samples::{PACKETS, Sample, late, verdict};

const HELD: OutcomeStatus = OutcomeStatus::Held;
const NOT_HELD: OutcomeStatus = OutcomeStatus::NotHeld;
const NOT_JUDGED: OutcomeStatus = OutcomeStatus::NotJudged;

fn outcome(sample: &Sample) -> Outcome {
    let outcome = sample.conclude().report.outcome.expect("an outcome");
    for objective in &outcome.objectives {
        let sentence = &objective.sentence;
        assert!(
            sentence.ends_with('.') && sentence.len() > 20,
            "{objective:?}"
        );
        assert!(
            !sentence.contains('–') && !sentence.contains('{'),
            "{objective:?}"
        );
    }
    outcome
}

fn text(objective: &Objective) -> String {
    let threshold = objective.threshold.as_ref().expect("a threshold");
    let threshold = Threshold::try_from(threshold).expect("one of this version");
    threshold.to_string()
}

/// The objectives with how they came out.
fn all(sample: &Sample) -> Vec<(String, OutcomeStatus)> {
    let objectives = outcome(sample).objectives;
    objectives
        .iter()
        .map(|of| (text(of), of.status()))
        .collect()
}

#[track_caller]
fn one(sample: &Sample, name: &str) -> Objective {
    let mut objectives = outcome(sample).objectives.into_iter();
    let found = objectives.find(|of| text(of).starts_with(name));
    found.unwrap_or_else(|| panic!("no objective {name}"))
}

fn ask(sample: &mut Sample, thresholds: &[&str]) {
    let parsed = thresholds
        .iter()
        .map(|text| text.parse().expect("a threshold"));
    sample.plan.thresholds = parsed.collect();
}

/// 300 clients: enough packets for a p99.9.
fn large() -> Sample {
    Sample::of(2, 150)
}

fn delay(sample: &mut Sample, packets: u64) {
    let of = |all: u64| {
        let mut times = Histogram::default();
        times.add_count(bucket(10_000), all - packets);
        times.add_count(bucket(250_000_000), packets);
        times
    };
    let times = &mut sample.counters().times;
    (times.latency, times.spread) = (of(times.latency.count()), of(times.spread.count()));
}

#[test]
fn a_clean_run_holds_its_defaults() {
    let sample = large();
    let expected = [
        "lost==0",
        "skipped==0",
        "kept_up>=99.9%",
        "latency.p99.9<=100ms",
    ];
    assert_eq!(all(&sample), expected.map(|text| (text.to_owned(), HELD)));
    assert_eq!(outcome(&sample).status(), HELD);
    let sources = outcome(&sample).objectives;
    assert!(
        sources
            .iter()
            .all(|of| of.source() == ObjectiveSource::Default)
    );
    assert_eq!(
        one(&sample, "latency").observed,
        Some(Observed::ObservedNs(10_047))
    );
    assert_eq!(
        one(&sample, "lost").observed,
        Some(Observed::ObservedCount(0))
    );
    assert_eq!(
        one(&sample, "kept_up").observed,
        Some(Observed::ObservedSharePpm(1_000_000))
    );
}

#[test]
fn a_path_that_carries_half_the_load_is_valid_and_does_not_hold() {
    let mut sample = large();
    for client in 0..300 {
        sample.counted(client, |counted| counted.counts.in_time = Some(PACKETS / 2));
        sample.reported_counts(client, |counts| counts.blocked = PACKETS / 2);
    }
    delay(&mut sample, 14_640);
    late(&mut sample, 14_640);
    let conclusion = sample.conclude();
    assert_eq!(verdict(&conclusion).status(), VerdictStatus::Valid);
    assert_eq!(outcome(&sample).status(), NOT_HELD);
    let kept_up = one(&sample, "kept_up");
    assert_eq!(
        (kept_up.status(), kept_up.observed),
        (NOT_HELD, Some(Observed::ObservedSharePpm(500_000)))
    );
    assert_eq!(
        kept_up.sentence,
        "15,000 of 30,000 packets were read too late or not at all: 50.00 % kept up with the \
         schedule; asked for: at least 99.9 %."
    );
    let latency = one(&sample, "latency");
    assert_eq!(latency.status(), NOT_HELD);
    assert_eq!(
        latency.sentence,
        "14,640 of 30,000 packets had a latency of more than 100 ms, where for p99.9 at most 30 \
         may."
    );
    for (name, figure) in [("above", 14_640_u64), ("beyond", 30), ("scheduled", 30_000)] {
        assert_eq!(latency.figures[name], figure.into(), "{name}");
    }
}

#[test]
fn a_contradicted_clock_leaves_no_one_way_time_to_judge() {
    let mut sample = large();
    sample.agents[1].contradict_clock();
    let last = all(&sample).pop();
    assert_eq!(last, Some(("spread.p99.9<=100ms".into(), HELD)));
    ask(&mut sample, &["latency.p99.9<1s", "transit.p50<1s"]);
    for name in ["latency", "transit"] {
        let objective = one(&sample, name);
        assert_eq!((objective.status(), objective.observed), (NOT_JUDGED, None));
    }
}

#[test]
fn a_threshold_replaces_the_default_on_its_metric_and_comes_first() {
    let mut sample = large();
    ask(&mut sample, &["latency.p99<1us", "lost<=5", "corrupt==0"]);
    assert_eq!(
        all(&sample),
        [
            ("latency.p99<1us".into(), NOT_HELD),
            ("lost<=5".into(), HELD),
            ("corrupt==0".into(), HELD),
            ("skipped==0".into(), HELD),
            ("kept_up>=99.9%".into(), HELD),
        ]
    );
    assert_eq!(outcome(&sample).status(), NOT_HELD);
    sample.plan.has_default_objectives = false;
    assert_eq!(all(&sample).len(), 3);
    sample.plan.thresholds.clear();
    assert_eq!(all(&sample), []);
    assert_eq!(outcome(&sample).status(), NOT_JUDGED);
}

#[test]
fn an_invalid_run_is_not_judged() {
    let mut sample = large();
    sample.counted(0, |counted| counted.counts.corrupt = 1);
    let outcome = outcome(&sample);
    assert_eq!(outcome.status(), NOT_JUDGED);
    assert_eq!(outcome.objectives.len(), 4);
    for objective in outcome.objectives {
        assert_eq!((objective.status(), objective.observed), (NOT_JUDGED, None));
    }
}

#[test]
fn what_is_known_of_a_partial_run_is_judged() {
    let mut sample = large();
    sample.forget_agent(1);
    assert_eq!(outcome(&sample).status(), NOT_JUDGED);
    sample.break_connection(0, 40);
    let lost = one(&sample, "lost");
    assert_eq!((lost.status(), lost.observed), (NOT_HELD, None));
    assert_eq!(
        lost.sentence,
        "At least 60 packets were lost; asked for: 0."
    );
    delay(&mut sample, 30);
    assert_eq!(one(&sample, "latency").status(), NOT_JUDGED);
    delay(&mut sample, 31);
    assert_eq!(
        one(&sample, "latency").status(),
        NOT_HELD,
        "whatever else is missing"
    );
    sample.counters = None;
    sample.forget_agent(0);
    assert!(all(&sample).iter().all(|of| of.1 == NOT_JUDGED));
}

#[test]
fn a_time_of_no_scheduled_packets_is_not_judged_for_that_reason() {
    let mut sample = Sample::of(1, 1);
    sample.send(0, 0);
    sample.retime();
    sample.stopped = Some(StopCause::Operator);
    ask(&mut sample, &["latency.p50<1s"]);
    let latency = one(&sample, "latency");
    assert_eq!(latency.status(), NOT_JUDGED);
    assert_eq!(latency.sentence, "No packet was scheduled.");
}

#[test]
fn lost_and_skipped_packets_are_slower_than_any_limit() {
    let mut sample = large();
    sample.break_connection(0, 69);
    let latency = one(&sample, "latency");
    assert_eq!((latency.status(), latency.observed), (NOT_HELD, None));
    assert_eq!(latency.figures["missing"], 31_u64.into());
    assert!(
        latency
            .sentence
            .contains("100 ms or none at all (31 were skipped or lost),"),
        "{latency:?}"
    );
    let mut sample = large();
    sample.break_connection(0, 70);
    assert_eq!(one(&sample, "latency").status(), HELD);
}

#[test]
fn a_quantile_of_too_few_packets_is_not_judged_by_default_and_fails_a_user() {
    let mut sample = Sample::of(1, 2);
    let latency = one(&sample, "latency");
    assert_eq!((latency.status(), latency.observed), (NOT_JUDGED, None));
    assert_eq!(outcome(&sample).status(), HELD);
    ask(&mut sample, &["latency.p99.9<=100ms"]);
    let latency = one(&sample, "latency");
    assert_eq!(latency.status(), NOT_HELD);
    assert_eq!(latency.figures["scheduled_min"], 10_000_u64.into());
    assert_eq!(
        latency.sentence,
        "latency p99.9 is not known: it takes 10,000 packets, 200 were scheduled; none had more \
         than 100 ms."
    );
    ask(&mut sample, &["transit.p99.99<1s"]);
    assert_eq!(
        one(&sample, "transit").sentence,
        "transit p99.99 is not known: it takes 100,000 packets, 200 were scheduled; none had 1 s \
         or more."
    );
    // The maximum is known of any number.
    ask(
        &mut sample,
        &["latency.max<=100ms", "latency.max>1us", "latency.p50=10us"],
    );
    assert!(
        all(&sample)[..3].iter().all(|of| of.1 == HELD),
        "{:?}",
        all(&sample)
    );
}

#[test]
fn what_a_late_generator_spoils_is_not_judged() {
    let mut sample = large();
    late(&mut sample, 4);
    let latency = one(&sample, "latency");
    assert_eq!((latency.status(), latency.observed), (HELD, None));
    delay(&mut sample, 31);
    assert_eq!(one(&sample, "latency").status(), NOT_JUDGED);
    assert!(
        one(&sample, "latency")
            .sentence
            .contains("late with 4 packets")
    );
    sample.counted(0, |counted| counted.counts.in_time = Some(PACKETS - 70));
    assert_eq!(one(&sample, "kept_up").status(), NOT_JUDGED);
    ask(
        &mut sample,
        &["kept_up=99.88%", "kept_up=99.9%", "kept_up=99.95%"],
    );
    let statuses = all(&sample).into_iter().map(|of| of.1);
    assert!(statuses.take(3).eq([NOT_JUDGED, NOT_JUDGED, NOT_HELD]));
    sample.plan.thresholds.clear();
    sample.counted(0, |counted| counted.counts.in_time = Some(PACKETS - 71));
    assert_eq!(one(&sample, "kept_up").status(), NOT_HELD);
    delay(&mut sample, 71);
    assert_eq!(one(&sample, "latency").status(), NOT_HELD);
    late(&mut sample, 3);
    delay(&mut sample, 0);
    assert_eq!(one(&sample, "latency").status(), HELD);
}

#[test]
fn an_objective_of_which_it_is_not_known_how_many_were_scheduled_gives_the_most() {
    let mut sample = large();
    sample.forget_agent(1);
    delay(&mut sample, 31);
    assert_eq!(
        one(&sample, "latency").sentence,
        "31 of at most 30,000 packets had a latency of more than 100 ms, where for p99.9 at most \
         30 may."
    );
    assert_eq!(one(&sample, "latency").observed, None);
    // Nothing else is certain of them.
    ask(
        &mut sample,
        &["transit.p50>=1s", "transit.p50=1s", "transit.p50<1s"],
    );
    assert!(all(&sample)[..3].iter().all(|of| of.1 == NOT_JUDGED));
}

#[test]
fn each_time_of_a_clean_run_is_judged_by_its_own_histogram() {
    let mut sample = large();
    ask(
        &mut sample,
        &[
            "lateness.p99<1ms",
            "spread.p99<11ms",
            "transit.p99<1ms",
            "latency.p99<1ms",
        ],
    );
    assert!(all(&sample)[..4].iter().all(|of| of.1 == HELD));
    delay(&mut sample, 15_000);
    let came_out = |name| one(&sample, name).status();
    assert_eq!(
        ["lateness", "transit", "latency", "spread"].map(came_out),
        [HELD, HELD, NOT_HELD, NOT_HELD]
    );
}

#[test]
fn a_sentence_has_the_words_of_its_metric_and_of_its_comparison() {
    let mut sample = large();
    let mut sentence = |asked: &str| {
        ask(&mut sample, &[asked]);
        outcome(&sample).objectives.remove(0).sentence
    };
    for (asked, words) in [
        ("spread.p99<1s", "of 1 s or more"),
        ("spread.p99<=1s", "of more than 1 s"),
        ("spread.p99>=1s", "of 1 s or more"),
        ("spread.p99>1s", "of more than 1 s"),
        ("transit.p99=1s", "where p99 has to be as long as that"),
        ("lost=0", "packets were lost"),
        ("skipped=0", "packets were due but never written"),
        ("corrupt=0", "packets were not intact when they were read"),
    ] {
        let sentence = sentence(asked);
        assert!(sentence.contains(words), "{asked}: {sentence}");
    }
    let has_may = |sentence: String| sentence.contains("at most 300 may");
    assert!(has_may(sentence("spread.p99<1s")) && !has_may(sentence("spread.p99>=1s")));
}

#[test]
fn no_sentence_of_a_missed_share_shows_it_as_its_limit() {
    let mut sample = large();
    for (missing, limit, shown) in [
        (31, "99.9%", "99.89 % kept up"),
        (1, "100%", "99.99 % kept up"),
        (3, "99.9901%", "99.9900 % kept up"),
    ] {
        sample.counted(0, |counted| {
            counted.counts.in_time = Some(PACKETS - missing);
        });
        ask(&mut sample, &[&format!("kept_up>={limit}")]);
        let kept_up = one(&sample, "kept_up");
        assert_eq!(kept_up.status(), NOT_HELD);
        assert!(kept_up.sentence.contains(shown), "{kept_up:?}");
        let asked = limit.replace('%', " %.");
        assert!(kept_up.sentence.ends_with(&asked), "{kept_up:?}");
        let Some(Observed::ObservedSharePpm(ppm)) = kept_up.observed else {
            panic!("{kept_up:?}")
        };
        assert!(ppm < 1_000_000);
    }
}

#[test]
fn what_is_asked_and_cannot_be_judged_leaves_the_run_not_judged() {
    // A default of too few packets does not.
    let mut sample = Sample::of(1, 2);
    assert_eq!(outcome(&sample).status(), HELD);
    sample.forget_clock(0);
    ask(&mut sample, &["latency.p50<1s"]);
    assert_eq!(one(&sample, "latency").status(), NOT_JUDGED);
    assert_eq!(outcome(&sample).status(), NOT_JUDGED);
    // A default that spreads could decide does.
    let mut sample = large();
    sample.forget_clock(0);
    assert_eq!(outcome(&sample).status(), HELD);
    sample.counted(0, |counted| counted.counts.spread_uncertain = Some(31));
    assert_eq!(one(&sample, "spread").status(), NOT_JUDGED);
    assert_eq!(outcome(&sample).status(), NOT_JUDGED);
    // And so does one that a late generator could decide.
    let mut sample = large();
    delay(&mut sample, 31);
    late(&mut sample, 4);
    assert_eq!(one(&sample, "latency").status(), NOT_JUDGED);
    assert_eq!(outcome(&sample).status(), NOT_JUDGED);
}

#[test]
fn what_the_transit_alone_takes_is_missed_although_the_generator_was_late() {
    let mut sample = large();
    delay(&mut sample, 31);
    late(&mut sample, 4);
    let take_long = |sample: &mut Sample, packets| {
        let mut transit = Histogram::default();
        transit.add_count(bucket(10_000), 30_000 - packets);
        transit.add_count(bucket(250_000_000), packets);
        sample.counters().times.transit = transit;
    };
    take_long(&mut sample, 30);
    let latency = one(&sample, "latency");
    assert_eq!(latency.status(), NOT_JUDGED);
    assert!(!latency.sentence.contains("transit alone"), "{latency:?}");
    take_long(&mut sample, 31);
    let latency = one(&sample, "latency");
    assert_eq!(latency.status(), NOT_HELD);
    assert!(
        latency.sentence.contains("of 31 the transit alone"),
        "{latency:?}"
    );
    // Without a late generator that is no news.
    late(&mut sample, 0);
    let latency = one(&sample, "latency");
    assert_eq!(latency.status(), NOT_HELD);
    assert!(!latency.sentence.contains("transit alone"), "{latency:?}");
}

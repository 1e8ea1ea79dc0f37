//! Runs that a threshold has ended, and thresholds of groups.

use metronome_proto::{
    profile::Profile,
    v1::{NoteCode, ReasonCode, StopCause, VerdictStatus},
};

use super::{HELD, NOT_HELD, NOT_JUDGED, all, ask, large, one, outcome, text};
use crate::{
    model::{Against, MissedThreshold},
    verdict::samples::{PACKETS, Sample, codes, due_ns, plan, verdict},
};

/// A threshold ended the run when half of its packets had been due.
fn abort(sample: &mut Sample, group: Option<usize>, threshold: &str) {
    sample.stopped = Some(StopCause::Threshold);
    sample.missed = Some(MissedThreshold {
        group,
        threshold: threshold.parse().unwrap(),
        elapsed_ns: 50_000_000,
        against: Against::Packets,
        observed: 301,
        allowed: 300,
        planned: Some(30_000),
    });
    for client in 0..sample.plan.clients() {
        sample.send(client, PACKETS / 2);
        sample.counted(client, |counted| {
            counted.last_due_ns = due_ns(PACKETS / 2 - 1);
            counted.last_read_ns = counted.last_due_ns + 10_000;
        });
    }
    sample.retime();
}

#[test]
fn a_run_that_a_threshold_has_ended_is_valid_and_not_held_with_a_note_that_names_it() {
    let mut sample = large();
    ask(&mut sample, &["latency.p99<5us"]);
    abort(&mut sample, None, "latency.p99<5us");
    let conclusion = sample.conclude();
    assert_eq!(codes(&conclusion), []);
    let verdict = verdict(&conclusion);
    assert_eq!(verdict.status(), VerdictStatus::Valid);
    let note = &verdict.notes[0];
    assert_eq!(note.code(), NoteCode::AbortedOnFail);
    assert_eq!(note.figures["threshold"], "latency.p99<5us".into());
    assert_eq!(note.figures["elapsed_ns"], 50_000_000_u64.into());
    assert_eq!(note.figures["planned"], 30_000_u64.into());
    assert!(
        note.sentence.contains("instead of after 100 ms"),
        "{note:?}"
    );
    assert!(!note.remedy.is_empty());
    assert_eq!(outcome(&sample).status(), NOT_HELD);
    let found = all(&sample);
    let expected = [
        ("latency.p99<5us", NOT_HELD),
        ("lost==0", HELD),
        ("skipped==0", HELD),
    ];
    assert_eq!(
        found,
        expected.map(|(text, status)| (text.to_owned(), status))
    );
    // A stop on request at the same time is one on request.
    (sample.stopped, sample.missed) = (Some(StopCause::Operator), None);
    assert_eq!(codes(&sample.conclude()), [ReasonCode::Stopped]);
}

#[test]
fn a_threshold_that_has_ended_a_run_never_holds_whatever_its_end_shows() {
    let mut sample = large();
    for asked in ["latency.p99<1s", "lost==0", "skipped==0"] {
        ask(&mut sample, &[asked]);
        abort(&mut sample, None, asked);
        assert_eq!(all(&sample)[0], (asked.to_owned(), NOT_JUDGED));
        assert_eq!(outcome(&sample).status(), NOT_JUDGED, "{asked}");
        // What was not scheduled any more is missing, as after any stop.
        let conclusion = sample.conclude();
        assert_eq!(codes(&conclusion), [ReasonCode::Stopped], "{asked}");
        let verdict = verdict(&conclusion);
        assert_eq!(verdict.status(), VerdictStatus::Partial);
        let reason = &verdict.reasons[0];
        assert_eq!(reason.figures["threshold"], asked.into());
        assert_eq!(reason.figures["cause"], "threshold".into());
        assert!(reason.sentence.contains("do not show"), "{reason:?}");
        let mut notes = verdict.notes.iter();
        assert!(notes.all(|of| of.code() != NoteCode::AbortedOnFail));
    }
}

#[test]
fn what_the_end_of_a_run_would_have_shown_is_no_miss_of_another_threshold() {
    let mut sample = large();
    ask(
        &mut sample,
        &["latency.p50<5us", "latency.p99.99<1s", "kept_up>=99.9%"],
    );
    abort(&mut sample, None, "latency.p50<5us");
    let found: Vec<_> = all(&sample).into_iter().map(|of| of.1).collect();
    assert_eq!(found[..3], [NOT_HELD, NOT_JUDGED, NOT_JUDGED]);
    // But what is missing already is.
    for client in 0..sample.plan.clients() {
        sample.reported_counts(client, |counts| {
            (counts.scheduled, counts.skipped, counts.blocked) = (PACKETS / 2 + 1, 1, 1);
        });
    }
    assert_eq!(one(&sample, "kept_up").status(), NOT_HELD);
}

#[test]
fn a_threshold_of_a_group_is_judged_over_its_own_clients() {
    let groups = [
        (Profile::constant(1_000_000), 150),
        (Profile::constant(1_000_000), 150),
    ];
    let mut sample = Sample::of_plan(2, plan(&groups));
    for group in &mut sample.plan.groups {
        let thresholds = [
            "lost==0",
            "latency.p99<5us",
            "latency.p99<1s",
            "kept_up>=99%",
        ];
        group.thresholds = thresholds
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
    }
    sample.break_connection(0, 60);
    let outcome = outcome(&sample);
    let of = |name: &str| {
        let own = outcome.objectives.iter().filter(|of| of.group == name);
        own.map(|of| (text(of), of.status())).collect::<Vec<_>>()
    };
    let found = |lost| {
        let all = [
            ("lost==0", lost),
            ("latency.p99<5us", NOT_HELD),
            ("latency.p99<1s", HELD),
            ("kept_up>=99%", HELD),
        ];
        all.map(|(text, status)| (text.to_owned(), status))
    };
    assert_eq!(of("default"), found(NOT_HELD));
    assert_eq!(of("group-1"), found(HELD));
    let first = outcome.objectives.iter().find(|of| of.group == "default");
    let sentence = &first.unwrap().sentence;
    assert!(
        sentence.starts_with("Group default: 40 packets were lost"),
        "{sentence}"
    );
    // They replace no default.
    let defaults = [
        "lost==0",
        "skipped==0",
        "kept_up>=99.9%",
        "latency.p99.9<=100ms",
    ];
    assert!(of("").into_iter().map(|of| of.0).eq(defaults));
}

#[test]
fn the_times_of_one_group_decide_nothing_of_another() {
    let groups = [
        (Profile::constant(1_000_000), 150),
        (Profile::constant(1_000_000), 150),
    ];
    let mut sample = Sample::of_plan(2, plan(&groups));
    let threshold = "latency.p99<100ms".parse().unwrap();
    for group in &mut sample.plan.groups {
        group.thresholds = vec![threshold];
    }
    let mut times = sample.counters().times_of_groups.clone();
    let all = times[1].latency.count();
    let mut latency = crate::verdict::samples::times(all - 151).latency;
    latency.add_count(metronome_proto::histogram::bucket(250_000_000), 151);
    times[1].latency = latency;
    sample.set_times(times);
    let objectives = outcome(&sample).objectives;
    let status = |name: &str| {
        objectives
            .iter()
            .find(|of| of.group == name)
            .unwrap()
            .status()
    };
    assert_eq!((status("default"), status("group-1")), (HELD, NOT_HELD));
}

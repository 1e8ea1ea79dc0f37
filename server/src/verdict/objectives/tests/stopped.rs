//! Runs that were stopped, and floods: what is judged of a load that had no end of its own.

use metronome_proto::{
    profile::Profile,
    v1::{Counts, StopCause},
};

use super::{HELD, NOT_HELD, NOT_JUDGED, all, ask, large, one, outcome};
use crate::verdict::samples::{PACKETS, Sample, due_ns, verdict};

/// The run was stopped when half of its packets had been due.
fn stop(sample: &mut Sample) {
    sample.stopped = Some(StopCause::Operator);
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
fn a_flood_and_a_stopped_run_are_judged_by_counts() {
    let mut sample = large();
    stop(&mut sample);
    let texts = |sample: &Sample| all(sample).into_iter().map(|of| of.0).collect::<Vec<_>>();
    assert_eq!(texts(&sample), ["lost==0", "skipped==0"]);
    let mut sample = large();
    sample.flood();
    assert_eq!(all(&sample), [("lost==0".into(), HELD)]);
    ask(
        &mut sample,
        &["transit.p99<1ms", "lateness.p99<1ms", "kept_up>=1%"],
    );
    assert_eq!(
        all(&sample)[..3],
        [
            ("transit.p99<1ms".into(), HELD),
            ("lateness.p99<1ms".into(), NOT_JUDGED),
            ("kept_up>=1%".into(), NOT_JUDGED),
        ]
    );
    assert_eq!(sample.plan.groups[0].profile, Profile::Flood);
}

#[test]
fn a_run_that_was_stopped_can_miss_an_objective_and_not_hold() {
    let mut sample = large();
    stop(&mut sample);
    assert!(all(&sample).iter().all(|of| of.1 == HELD));
    assert_eq!(outcome(&sample).status(), NOT_JUDGED);
    // That so few packets do not show it is no miss where the others are missing.
    ask(&mut sample, &["latency.p99.99<1s"]);
    assert_eq!(one(&sample, "latency").status(), NOT_JUDGED);
    assert_eq!(outcome(&sample).status(), NOT_JUDGED);
    ask(&mut sample, &["latency.p50<1us"]);
    assert_eq!(outcome(&sample).status(), NOT_HELD);
}

#[test]
fn whether_a_stopped_run_kept_up_is_not_known() {
    let mut sample = large();
    stop(&mut sample);
    assert_eq!(
        verdict(&sample.conclude()).reasons.len(),
        1,
        "it was stopped"
    );
    // The workers compare with the end of the whole schedule, which every packet is before.
    for asked in ["kept_up>=99.9%", "kept_up<50%", "kept_up>=0.01%"] {
        ask(&mut sample, &[asked]);
        let kept_up = one(&sample, "kept_up");
        assert_eq!(
            (kept_up.status(), kept_up.observed),
            (NOT_JUDGED, None),
            "{asked}"
        );
        assert!(
            kept_up.sentence.contains("stopped before its end"),
            "{kept_up:?}"
        );
    }
    // Nor by the others of its agent, where it was held up as a whole.
    sample.counted(0, |counted| counted.first_read_ns += 50_000_000);
    let conclusion = sample.conclude();
    let in_time = |counts: &Option<Counts>| counts.unwrap().receiver.unwrap().in_time;
    assert_eq!(in_time(&conclusion.report.counts), None);
    assert!(
        conclusion
            .clients
            .iter()
            .all(|of| in_time(&of.counts).is_none())
    );
}

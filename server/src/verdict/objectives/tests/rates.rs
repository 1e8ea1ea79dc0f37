//! The rate that was carried, and means, of whole runs.

use metronome_proto::{
    histogram::bucket,
    profile::Profile,
    v1::{ObjectiveSource, OutcomeStatus, StopCause, objective::Observed},
};
use proptest::prelude::*;

use super::{
    super::{Finding, find, judged::Judged},
    HELD, NOT_HELD, NOT_JUDGED, ask, one,
};
use crate::verdict::{
    rows::pair,
    samples::{PACKETS, START_NS, Sample, late, plan},
};

/// What is found of what a user has asked, whatever the verdict.
fn found(sample: &Sample, asked: &str) -> Finding {
    let evidence = sample.evidence();
    let rows = pair(&evidence);
    let judged = Judged::whole(&evidence, &rows);
    find(&judged, asked.parse().unwrap(), ObjectiveSource::User)
}

fn rate(sample: &Sample, asked: &str) -> (OutcomeStatus, Option<Observed>) {
    let finding = found(sample, asked);
    (finding.status, finding.observed)
}

#[test]
fn a_run_that_keeps_up_has_the_rate_that_it_offered_to_the_last_packet() {
    let share = Some(Observed::ObservedSharePpm(1_000_000));
    let packets = Some(Observed::ObservedCount(10_000));
    for (asked, expected) in [
        ("rate>=100%", (HELD, share)),
        ("rate==100%", (HELD, share)),
        ("rate<100%", (NOT_HELD, share)),
        ("rate>=10k/s", (HELD, packets)),
        ("rate==10000", (HELD, packets)),
        ("rate<=10k/s", (HELD, packets)),
        ("rate>10k/s", (NOT_HELD, packets)),
        ("rate>=10001/s", (NOT_HELD, packets)),
    ] {
        assert_eq!(rate(&Sample::of(1, 10), asked), expected, "{asked}");
    }
}

#[test]
fn a_run_that_took_longer_to_be_read_carried_less_a_second() {
    let mut sample = Sample::of(1, 10);
    sample.counted(3, |counted| counted.last_read_ns = START_NS + 200_000_000);
    let half = Some(Observed::ObservedSharePpm(500_000));
    assert_eq!(rate(&sample, "rate>=99%"), (NOT_HELD, half));
    assert_eq!(rate(&sample, "rate>=50%"), (HELD, half));
    let half = Some(Observed::ObservedCount(5_000));
    assert_eq!(rate(&sample, "rate>=5001/s"), (NOT_HELD, half));
    let sentence = found(&sample, "rate>=5001/s").sentence;
    assert!(
        sentence.contains("in 200 ms: 5,000 packets/s"),
        "{sentence}"
    );
}

#[test]
fn of_a_rate_that_is_not_whole_each_side_is_its_own() {
    let mut sample = Sample::of(1, 1);
    // 100 packets in 300 ms: 333.33 a second.
    sample.counted(0, |counted| counted.last_read_ns = START_NS + 300_000_000);
    for (asked, expected) in [
        ("rate>=333/s", HELD),
        ("rate>333/s", HELD),
        ("rate==333/s", NOT_HELD),
        ("rate<=333/s", NOT_HELD),
        ("rate<334/s", HELD),
        ("rate>=334/s", NOT_HELD),
    ] {
        assert_eq!(rate(&sample, asked).0, expected, "{asked}");
    }
}

#[test]
fn without_a_packet_the_rate_is_0_and_without_a_record_it_is_not_known() {
    let mut sample = Sample::of(1, 10);
    for client in 0..10 {
        sample.counted(client, |counted| counted.counts.received = 0);
    }
    for asked in ["rate>=1%", "rate>=1/s"] {
        assert_eq!(rate(&sample, asked).0, NOT_HELD, "{asked}");
    }
    let mut sample = Sample::of(1, 10);
    sample.counters = None;
    for asked in ["rate>=1%", "rate>=1/s"] {
        assert_eq!(rate(&sample, asked), (NOT_JUDGED, None), "{asked}");
    }
    // An agent that was lost, or ended early, did not offer its load to the end: what the path
    // would have carried of it is not known, so that no limit holds or is missed by that.
    let mut lost = Sample::of(2, 10);
    lost.forget_agent(0);
    let mut early = Sample::of(2, 10);
    early.reported_counts(0, |counts| counts.scheduled -= 1);
    for sample in [lost, early] {
        for asked in ["rate>=99%", "rate>=20k/s", "rate<=3k/s", "rate<=50%"] {
            assert_eq!(rate(&sample, asked), (NOT_JUDGED, None), "{asked}");
        }
    }
}

#[test]
fn what_a_late_generator_may_have_kept_back_is_not_held_against_the_path() {
    let mut sample = Sample::of(1, 100);
    // 1 % of the packets are missing since the path blocked them, and 0.5 % were late.
    for client in 0..10 {
        sample.send(client, PACKETS - 10);
        sample.reported_counts(client, |counts| {
            (counts.scheduled, counts.skipped, counts.blocked) = (PACKETS, 10, 10);
        });
    }
    sample.retime();
    late(&mut sample, 50);
    let mut rate = |asked: &str| {
        ask(&mut sample, &[asked]);
        one(&sample, "rate").status()
    };
    for (asked, expected) in [
        ("rate>=99.5%", NOT_JUDGED),
        ("rate>=99500/s", NOT_JUDGED),
        ("rate>=99%", HELD),
        ("rate>=99k/s", HELD),
        ("rate<=99%", NOT_JUDGED),
    ] {
        assert_eq!(rate(asked), expected, "{asked}");
    }
}

#[test]
fn a_stopped_run_is_judged_over_what_was_scheduled_until_then() {
    let mut sample = Sample::of(1, 10);
    sample.stopped = Some(StopCause::Operator);
    for client in 0..10 {
        sample.send(client, PACKETS / 2);
        sample.counted(client, |counted| {
            counted.last_read_ns = START_NS + 49_010_000;
        });
    }
    for asked in ["rate>=100%", "rate>=10k/s"] {
        assert_eq!(rate(&sample, asked).0, HELD, "{asked}");
    }
    // How long random arrivals had gone on is not known: they can only be missed.
    let mut sample = Sample::of_plan(
        1,
        plan(&[(
            Profile::Poisson {
                rate_millihertz: 1_000_000,
            },
            10,
        )]),
    );
    sample.stopped = Some(StopCause::Operator);
    for client in 0..10 {
        sample.counted(client, |counted| {
            counted.last_read_ns = START_NS + 49_010_000;
        });
    }
    for asked in ["rate>=100%", "rate>=1/s"] {
        assert_eq!(rate(&sample, asked), (NOT_JUDGED, None), "{asked}");
    }
    assert_eq!(rate(&sample, "rate>=1M/s").0, NOT_HELD);
}

#[test]
fn a_flood_has_packets_a_second_and_beside_a_schedule_no_share() {
    let mut sample = Sample::of(1, 10);
    sample.flood();
    let packets = Some(Observed::ObservedCount(10_000));
    assert_eq!(rate(&sample, "rate>=10k/s"), (HELD, packets));
    let groups = [(Profile::Flood, 10), (Profile::constant(1_000_000), 10)];
    let sample = Sample::of_plan(2, plan(&groups));
    let (status, _) = rate(&sample, "rate>=100%");
    let finding = found(&sample, "rate>=100%");
    assert_eq!(status, HELD, "{finding:?}");
    assert_eq!(finding.figures["scheduled"], (10 * PACKETS).into());
    let sentence = finding.sentence;
    let whose = "of the groups with a schedule";
    assert!(sentence.contains(whose), "{sentence}");
    let (_, observed) = rate(&sample, "rate>=1/s");
    assert_eq!(observed, Some(Observed::ObservedCount(20_000)));
}

#[test]
fn a_mean_is_that_of_all_scheduled_packets() {
    let mut sample = Sample::of(1, 10);
    let latency = |sample: &mut Sample, long: u64| {
        let all = 10 * PACKETS;
        let times = &mut sample.counters().times;
        times.latency = metronome_proto::histogram::Histogram::default();
        times.latency.add_count(bucket(10_000), all - long);
        times.latency.add_count(bucket(250_000_000), long);
    };
    latency(&mut sample, 10);
    let (status, observed) = rate(&sample, "latency.mean<3ms");
    assert_eq!(status, HELD);
    let Some(Observed::ObservedNs(ns)) = observed else {
        panic!("{observed:?}");
    };
    // 2.5 ms and 9.9 µs, at most 1/128 high.
    assert!((2_509_900..2_530_000).contains(&ns), "{ns}");
    assert_eq!(rate(&sample, "latency.mean<2509us").0, NOT_HELD);
    // One packet that was lost is infinitely late.
    sample.counted(0, |counted| counted.counts.received -= 1);
    assert_eq!(rate(&sample, "latency.mean<60s"), (NOT_HELD, None));
    let sentence = found(&sample, "latency.mean<60s").sentence;
    assert!(sentence.contains("infinitely late"), "{sentence}");
}

proptest! {
    #[test]
    fn no_rate_is_above_what_was_offered(
        received in 0..=PACKETS,
        taken_ms in 1..500_u64,
    ) {
        let mut sample = Sample::of(1, 1);
        sample.counted(0, |counted| {
            counted.counts.received = received;
            counted.last_read_ns = START_NS + taken_ms * 1_000_000;
        });
        let (_, share) = rate(&sample, "rate>=99%");
        let Some(Observed::ObservedSharePpm(ppm)) = share else {
            panic!("{share:?}");
        };
        prop_assert!(u64::from(ppm) <= received * 10_000);
        let (_, packets) = rate(&sample, "rate>=99/s");
        let Some(Observed::ObservedCount(per_s)) = packets else {
            panic!("{packets:?}");
        };
        prop_assert!(per_s <= 1_000 && per_s <= received * 10);
        let carried = u128::from(per_s) * u128::from(taken_ms.max(100));
        prop_assert!(carried <= u128::from(received) * 1_000);
    }
}

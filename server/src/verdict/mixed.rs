//! Runs of several groups, and of a warm-up: what is shown and judged of each group and of all.

use std::time::Duration;

use metronome_proto::{
    histogram::bucket,
    profile::Profile,
    v1::{self, NoteCode, ObjectiveSource, OutcomeStatus, ReasonCode, VerdictStatus},
};

use super::{
    Conclusion,
    samples::{PACKETS, START_NS, Sample, codes, due_times, plan, verdict},
};
use crate::model::{ClientStart, TimeKind};

/// 4 clients at 1 kHz and 4 at 100 Hz, of two agents: each has one group.
fn paced() -> Sample {
    let groups = [
        (Profile::constant(1_000_000), 4),
        (Profile::constant(100_000), 4),
    ];
    Sample::of_plan(2, plan(&groups))
}

/// 150 clients at 1 kHz and 150 of a flood, of two agents: each has one group.
fn with_a_flood() -> Sample {
    let groups = [(Profile::constant(1_000_000), 150), (Profile::Flood, 150)];
    Sample::of_plan(2, plan(&groups))
}

/// So many packets of a group were written so late.
fn late(sample: &mut Sample, group: usize, packets: u64, lateness_ns: u64) {
    let mut groups = sample.counters().times_of_groups.clone();
    let lateness = &mut groups[group].lateness;
    let all = lateness.count();
    *lateness = super::samples::times(all - packets).lateness;
    lateness.add_count(bucket(lateness_ns), packets);
    sample.set_times(groups);
}

fn received(group: &v1::GroupReport) -> u64 {
    group.counts.unwrap().receiver.unwrap().received
}

#[test]
fn each_group_has_its_own_figures_and_the_run_their_sums() {
    let Conclusion { report, clients } = paced().conclude();
    let [fast, slow] = &report.groups[..] else {
        panic!("two groups");
    };
    assert_eq!(
        (fast.group.as_str(), slow.group.as_str()),
        ("default", "group-1")
    );
    assert_eq!((fast.clients, slow.clients), (4, 4));
    assert_eq!(
        (received(fast), received(slow)),
        (4 * PACKETS, 4 * PACKETS / 10)
    );
    let rate = |offered, achieved| {
        Some(v1::Rate {
            offered_millihertz: Some(offered),
            achieved_millihertz: Some(achieved),
        })
    };
    assert_eq!(fast.rate, rate(4_000_000, 4_000_000));
    assert_eq!(slow.rate, rate(400_000, 400_000));
    assert_eq!(report.rate, rate(4_400_000, 4_400_000));
    let count = |times: &Option<v1::Times>| times.as_ref().unwrap().spread.as_ref().unwrap().count;
    assert_eq!((count(&fast.times), count(&slow.times)), (396, 36));
    assert_eq!(count(&report.times), 432);
    let limits = [&fast.punctuality, &slow.punctuality].map(|of| of.unwrap().limit_ns);
    assert_eq!(limits, [1_000_000, 10_000_000]);
    // No one limit belongs to the late packets of both.
    assert_eq!(report.verdict.unwrap().punctuality, None);
    let names = clients.iter().map(|client| client.group.as_str());
    assert!(names.eq([["default"; 4], ["group-1"; 4]].concat()));
}

#[test]
fn a_packet_is_late_by_the_limit_of_its_own_group() {
    let mut sample = paced();
    late(&mut sample, 1, 40, 5_000_000);
    assert_eq!(verdict(&sample.conclude()).reasons, []);
    late(&mut sample, 0, 5, 5_000_000);
    // 5 of 440 are more than 1 %, as 5 of 400 are.
    let conclusion = sample.conclude();
    assert_eq!(codes(&conclusion), [ReasonCode::Lateness]);
    let reason = &verdict(&conclusion).reasons[0];
    assert_eq!(reason.figures["group"], "default".into());
    assert!(
        reason
            .sentence
            .starts_with("5 of 400 packets of group default (1.25 %) were late"),
        "{reason:?}"
    );
}

#[test]
fn a_small_group_does_not_hide_among_many_packets() {
    let mut sample = paced();
    late(&mut sample, 1, 1, 11_000_000);
    let conclusion = sample.conclude();
    assert_eq!(codes(&conclusion), [ReasonCode::Lateness]);
    assert_eq!(
        verdict(&conclusion).reasons[0].figures["group"],
        "group-1".into()
    );
    // Blocked packets of another group do not make up for it.
    sample.reported_counts(0, |counts| counts.blocked = 100);
    assert_eq!(codes(&sample.conclude()), [ReasonCode::Lateness]);
    sample.reported_counts(4, |counts| counts.blocked = 1);
    assert_eq!(verdict(&sample.conclude()).reasons, []);
}

#[test]
fn what_a_late_generator_spoils_is_that_of_its_group() {
    let groups = [(1_000_000, 40), (100_000, 40)];
    let groups = groups.map(|(rate, clients)| (Profile::constant(rate), clients));
    let mut sample = Sample::of_plan(2, plan(&groups));
    late(&mut sample, 0, 5, 5_000_000);
    let report = sample.conclude().report;
    let valid_to = [0, 1].map(|group| report.groups[group].valid_to_ppm);
    assert_eq!(valid_to, [Some(900_000), None]);
    assert_eq!(report.verdict.unwrap().valid_to_ppm, Some(900_000));
    let ppms = |times: &Option<v1::Times>| {
        let latency = times.as_ref().unwrap().latency.as_ref().unwrap();
        latency
            .quantiles
            .iter()
            .map(|of| of.ppm)
            .collect::<Vec<_>>()
    };
    assert_eq!(ppms(&report.groups[0].times), [500_000, 900_000]);
    assert_eq!(ppms(&report.groups[1].times), [500_000, 900_000]);
    assert_eq!(ppms(&report.times), [500_000, 900_000]);
}

#[test]
fn a_distribution_of_some_packets_only_is_not_one_of_the_run() {
    let sample = with_a_flood();
    assert_eq!(verdict(&sample.conclude()).reasons, []);
    let report = sample.conclude().report;
    let is_known = |times: &Option<v1::Times>| {
        let times = times.clone().unwrap();
        [times.lateness, times.transit, times.latency, times.spread].map(|of| of.is_some())
    };
    assert_eq!(is_known(&report.times), [false, true, true, false]);
    assert_eq!(is_known(&report.groups[0].times), [true; 4]);
    assert_eq!(
        is_known(&report.groups[1].times),
        [false, true, true, false]
    );
    assert_eq!(report.groups[1].punctuality, None);
    let rate = report.rate.unwrap();
    assert_eq!(rate.offered_millihertz, None);
    assert_eq!(rate.achieved_millihertz, Some(300_000_000));
}

fn objectives(sample: &Sample) -> Vec<(v1::Metric, OutcomeStatus, String)> {
    let outcome = sample.conclude().report.outcome.unwrap();
    let of = |of: v1::Objective| {
        assert_eq!(of.source(), ObjectiveSource::Default);
        (
            of.threshold.as_ref().unwrap().metric(),
            of.status(),
            of.sentence,
        )
    };
    outcome.objectives.into_iter().map(of).collect()
}

#[test]
fn beside_a_flood_what_needs_a_schedule_is_judged_over_the_groups_that_have_one() {
    use v1::Metric as M;
    let mut sample = with_a_flood();
    let found = objectives(&sample);
    let metrics = found.iter().map(|of| of.0);
    assert!(metrics.eq([M::Lost, M::Skipped, M::KeptUp, M::Latency]));
    assert!(
        found.iter().all(|of| of.1 == OutcomeStatus::Held),
        "{found:?}"
    );
    assert!(
        found[2]
            .2
            .contains("0 of 15,000 packets of the groups with a schedule"),
        "{found:?}"
    );
    assert!(
        found[3]
            .2
            .contains("0 of 15,000 packets of the groups with a schedule"),
        "{found:?}"
    );
    let outcome = sample.conclude().report.outcome.unwrap();
    let judged = outcome.objectives.iter();
    let judged = judged.map(|of| of.figures.get("group_names").cloned());
    let paced = || Some("default".into());
    assert!(judged.eq([None, None, paced(), paced()]));
    // A flood that fills its path is no miss, and a packet of the others is.
    let slow = |sample: &mut Sample, group: usize, packets: u64| {
        let mut groups = sample.counters().times_of_groups.clone();
        let latency = &mut groups[group].latency;
        *latency = super::samples::times(latency.count() - packets).latency;
        latency.add_count(bucket(250_000_000), packets);
        sample.set_times(groups);
    };
    slow(&mut sample, 1, 15_000);
    assert_eq!(objectives(&sample)[3].1, OutcomeStatus::Held);
    slow(&mut sample, 0, 16);
    assert_eq!(objectives(&sample)[3].1, OutcomeStatus::NotHeld);
    sample.counted(0, |counted| counted.counts.in_time = Some(PACKETS - 16));
    assert_eq!(objectives(&sample)[2].1, OutcomeStatus::NotHeld);
}

#[test]
fn a_group_of_which_no_packet_was_read_adds_nothing_to_what_was_achieved() {
    let rare = Profile::Poisson {
        rate_millihertz: 1_000,
    };
    let groups = [(Profile::constant(1_000_000), 1), (rare, 1)];
    let sample = Sample::of_plan(1, plan(&groups));
    assert_eq!(due_times(&sample.load_of(1), 1).len(), 0, "by this seed");
    let conclusion = sample.conclude();
    assert_eq!(verdict(&conclusion).reasons, []);
    let report = conclusion.report;
    assert_eq!(report.groups[1].rate.unwrap().achieved_millihertz, None);
    assert_eq!(report.rate.unwrap().achieved_millihertz, Some(1_000_000));
}

#[test]
fn a_flood_of_one_group_is_ended_early_by_those_agents_alone_that_bring_it() {
    let mut sample = with_a_flood();
    sample.finished_early.insert(0, 1_000_000);
    assert_eq!(verdict(&sample.conclude()).reasons, []);
    sample.finished_early.insert(1, 1_000_000);
    assert_eq!(codes(&sample.conclude()), [ReasonCode::FloodEndedEarly]);
}

#[test]
fn a_note_on_the_schedule_is_of_the_groups_that_have_one() {
    let mut sample = with_a_flood();
    for agent in 0..2 {
        sample.last_report(agent, |finished| {
            finished.environment = Some(v1::Environment {
                priority: v1::ThreadPriority::Ordinary.into(),
                ..v1::Environment::default()
            });
        });
    }
    late(&mut sample, 0, 8_000, 1_010_000);
    let conclusion = sample.conclude();
    let notes = &verdict(&conclusion).notes;
    let real_time = notes.iter().find(|of| of.code() == NoteCode::NoRealTime);
    let names = &real_time.expect("a note").figures["agent_names"];
    assert_eq!(*names, vec!["agent-0".to_owned()].into());
    let bunched = notes.iter().find(|of| of.code() == NoteCode::Bunched);
    let bunched = bunched.expect("a note");
    assert_eq!(bunched.figures["group"], "default".into());
    assert!(
        bunched.sentence.contains("packets of group default"),
        "{bunched:?}"
    );
}

/// A warm-up of 30 ms, of which a client has skipped two packets, and two behind it.
fn with_a_warm_up() -> Sample {
    let mut sample = Sample::of(1, 100);
    sample.warm_up(Duration::from_millis(30));
    let start = ClientStart {
        start_ns: START_NS,
        offset_ns: 0,
    };
    let sent = (0..PACKETS).filter(|packet| !matches!(packet, 7 | 8 | 50 | 51));
    let due: Vec<_> = sent.map(|packet| START_NS + packet * 1_000_000).collect();
    sample.send_due(0, start, &due);
    sample.reported_counts(0, |counts| {
        counts.scheduled = PACKETS;
        (counts.skipped, counts.blocked) = (4, 2);
    });
    sample.retime();
    sample
}

#[test]
fn the_packets_of_a_warm_up_are_in_every_count_and_in_no_distribution() {
    let sample = with_a_warm_up();
    let conclusion = sample.conclude();
    assert_eq!(verdict(&conclusion).status(), VerdictStatus::Valid);
    let counts = conclusion.report.counts.unwrap();
    let (generator, receiver) = (counts.generator.unwrap(), counts.receiver.unwrap());
    assert_eq!((generator.scheduled, receiver.received), (10_000, 9_996));
    assert_eq!(
        (receiver.warm_up, receiver.warm_up_left_out),
        (Some(2_998), Some(2))
    );
    let times = conclusion.report.times.as_ref().unwrap();
    for of in [
        &times.lateness,
        &times.transit,
        &times.latency,
        &times.spread,
    ] {
        let of = of.as_ref().unwrap();
        assert_eq!((of.count, of.missing), (6_998, Some(2)));
        assert_eq!(of.count + 2 + 2_998 + 2, generator.scheduled);
    }
    // Two of those skipped count, which were blocked.
    let punctuality = verdict(&conclusion).punctuality.unwrap();
    assert_eq!(punctuality.late, 0);
    let notes = &verdict(&conclusion).notes;
    let warm_up = notes.iter().find(|of| of.code() == NoteCode::WarmUp);
    let warm_up = warm_up.expect("a note");
    assert_eq!(warm_up.figures["packets"], 2_998_u64.into());
    assert_eq!(
        warm_up.sentence,
        "The packets that were due in the first 30 ms are in no distribution of times, but in \
         every count: 2,998 of them were received."
    );
}

#[test]
fn a_quantile_is_that_of_the_packets_behind_the_warm_up() {
    let mut sample = with_a_warm_up();
    sample.plan.thresholds = vec!["latency.p99<1s".parse().unwrap()];
    let outcome = sample.conclude().report.outcome.unwrap();
    let latency = &outcome.objectives[0];
    assert_eq!(latency.status(), OutcomeStatus::Held);
    assert_eq!(latency.figures["scheduled"], 7_000_u64.into());
    assert_eq!(latency.figures["missing"], 2_u64.into());
}

#[test]
fn a_client_whose_packets_are_all_of_the_warm_up_has_no_longest_latency() {
    let mut sample = Sample::of(1, 1);
    sample.warm_up(Duration::from_nanos(99_999_999));
    let counted = &sample.counters().clients[0];
    assert_eq!(counted.timed[TimeKind::Latency], 0);
    let Conclusion { report, clients } = sample.conclude();
    assert_eq!(clients[0].latency_max_ns, None);
    assert_eq!(report.times, None);
    assert_eq!(report.verdict.unwrap().reasons, []);
}

#[test]
fn late_bursts_of_many_writes_are_to_take_fewer() {
    let burst = Profile::Burst {
        packets: 5_000,
        every_ns: 50_000_000,
    };
    let judged = |batch: u32| {
        let mut plan = plan(&[(burst, 1)]);
        plan.groups[0].batch = batch;
        let mut sample = Sample::of_plan(1, plan);
        let lateness = &mut sample.counters().times.lateness;
        *lateness = super::samples::times(8_000).lateness;
        lateness.add_count(bucket(15_000_000), 2_000);
        let conclusion = sample.conclude();
        assert_eq!(codes(&conclusion), [ReasonCode::Lateness]);
        verdict(&conclusion).reasons[0].clone()
    };
    let long = judged(1);
    assert_eq!(long.remedy, metronome_proto::reason::LATE_BURST_REMEDY);
    assert_eq!(long.figures["burst_writes"], 5_000_u32.into());
    let why = "may be. A burst of 5,000 packets takes 5,000 writes.";
    assert!(long.sentence.ends_with(why), "{long:?}");
    // 10 writes fit into 10 ms by far, so the host is the cause.
    assert_eq!(judged(500).remedy, ReasonCode::Lateness.remedy());
}

#[test]
fn a_stopped_run_offered_what_was_due_until_then() {
    let ramp = Profile::Ramp {
        from_millihertz: 0,
        to_millihertz: 2_000_000,
    };
    let rates = |sample: &Sample| {
        let report = sample.conclude().report;
        let rate =
            |of: Option<v1::Rate>| of.map(|of| (of.offered_millihertz, of.achieved_millihertz));
        (rate(report.groups[0].rate), rate(report.rate))
    };
    let mut sample = Sample::of_plan(1, plan(&[(ramp, 2)]));
    assert_eq!(rates(&sample).1.unwrap().0, Some(2_000_000));
    // 25 of the 100 packets of each are due in the first half.
    sample.stopped = Some(v1::StopCause::Operator);
    for client in 0..2 {
        sample.send(client, 25);
        sample.counted(client, |counted| {
            counted.last_read_ns = START_NS + 50_000_000;
        });
    }
    let offered = Some((Some(1_000_000), Some(1_000_000)));
    assert_eq!(rates(&sample), (offered, offered));
    sample.forget_agent(0);
    let unknown = Some((None, Some(1_000_000)));
    assert_eq!(rates(&sample), (unknown, unknown));
}

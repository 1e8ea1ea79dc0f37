//! What is certain is never taken back, whatever the rest of the run does.

use metronome_proto::{
    counters::CounterList as _,
    histogram::Histogram,
    plan::Plan,
    profile::Profile,
    threshold::Threshold,
    v1::{self, GeneratorCounts, StopCause},
};
use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        AgentRecords, AgentShare, BehindOfGroups, ClockRelation, LiveCounters, RoundTrips, Times,
    },
    verdict::samples::{PACKETS, Sample, plan},
};

/// What is known of a run in mid-run, for tests to change.
struct Live {
    plan: Plan,
    agents: Vec<AgentRecords>,
    counters: LiveCounters,
    reported: Vec<Option<GeneratorCounts>>,
    behind: Vec<BehindOfGroups>,
    round_trips: Vec<RoundTrips>,
}

fn times(short: u64, long: u64, long_ns: u64) -> Histogram {
    let mut times = Histogram::default();
    times.add_count(bucket(10_000), short);
    times.add_count(bucket(long_ns), long);
    times
}

impl Live {
    /// Clients at 1 kHz for 100 ms, each group with so many, of one agent each; `thresholds` are of
    /// the whole run.
    fn of(clients: &[u32], thresholds: &[&str]) -> Self {
        let groups: Vec<_> = clients
            .iter()
            .map(|of| (Profile::constant(1_000_000), *of))
            .collect();
        let mut plan = plan(&groups);
        plan.abort_on_fail = true;
        plan.thresholds = thresholds
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let agents = plan.clients_of_groups().map(|(clients, group)| {
            let mut share = AgentShare::of(clients, ClockRelation::Same);
            share.shares[0].group = group.name.clone();
            AgentRecords::new("a".into(), share)
        });
        let agents: Vec<_> = agents.collect();
        let none = v1::ReceiverCounts::zero();
        let groups = plan.groups.len();
        Self {
            counters: LiveCounters {
                counts: none,
                counts_of_groups: vec![none; groups],
                times: Some(Times::default()),
                times_of_groups: vec![Times::default(); groups],
                ..LiveCounters::default()
            },
            reported: vec![Some(GeneratorCounts::zero()); agents.len()],
            behind: vec![BehindOfGroups::default(); agents.len()],
            round_trips: vec![RoundTrips::default(); groups],
            agents,
            plan,
        }
    }

    /// So many packets of a group came at once, and so many after 250 ms.
    fn receive(&mut self, group: usize, short: u64, long: u64) {
        let of_group = Times {
            lateness: times(short + long, 0, 0),
            transit: times(short, long, 250_000_000),
            latency: times(short, long, 250_000_000),
            spread: times(short, long, 250_000_000),
            ..Times::default()
        };
        self.counters.counts_of_groups[group].received += short + long;
        self.counters.times_of_groups[group].merge(&of_group);
        self.counters.times.as_mut().unwrap().merge(&of_group);
    }

    fn missed(&self) -> Option<MissedThreshold> {
        missed(&SoFar {
            plan: &self.plan,
            agents: &self.agents,
            counters: &self.counters,
            reported: &self.reported,
            behind: &self.behind,
            round_trips: &self.round_trips,
            has_bounds: false,
            elapsed_ns: 7,
        })
    }

    fn count(&mut self, group: usize, change: impl FnOnce(&mut v1::ReceiverCounts)) {
        change(&mut self.counters.counts_of_groups[group]);
    }
}

#[test]
fn a_quantile_is_missed_when_more_packets_are_above_it_than_of_all_that_are_planned_may_be() {
    // 1 % of 100 clients with 100 packets each.
    let mut live = Live::of(&[100], &["latency.p99<200ms"]);
    live.receive(0, 100, 100);
    assert_eq!(live.missed(), None, "the rest can make it up");
    live.receive(0, 0, 1);
    let missed = live.missed().expect("101 of 10,000");
    assert_eq!(missed.threshold, "latency.p99<200ms".parse().unwrap());
    assert_eq!((missed.observed, missed.allowed), (101, 100));
    assert_eq!((missed.planned, missed.elapsed_ns), (Some(10_000), 7));
    live.counters.times = None;
    assert_eq!(live.missed(), None, "no reading of the times");
}

#[test]
fn a_maximum_a_corrupt_and_a_skipped_packet_are_certain_at_the_first() {
    let all = ["latency.max<200ms", "corrupt==0", "skipped<1"];
    let mut live = Live::of(&[100], &all);
    live.receive(0, 5_000, 0);
    assert_eq!(live.missed(), None);
    let by = |change: &dyn Fn(&mut Live)| {
        let mut live = Live::of(&[100], &all);
        live.receive(0, 5_000, 0);
        change(&mut live);
        live.missed().map(|of| of.threshold.to_string())
    };
    assert_eq!(by(&|live| live.receive(0, 0, 1)).as_deref(), Some(all[0]));
    assert_eq!(
        by(&|live| live.count(0, |of| of.corrupt = 1)).as_deref(),
        Some(all[1])
    );
    // As its agent reports, and as the workers find.
    let skipped = |live: &mut Live| live.reported[0].as_mut().unwrap().skipped = 1;
    assert_eq!(by(&skipped).as_deref(), Some("skipped<1"));
    let mut live = Live::of(&[100], &["skipped==0"]);
    live.receive(0, 5_000, 0);
    live.count(0, |of| of.left_out = Some(3));
    assert_eq!(live.missed().map(|of| of.observed), Some(3));
    // A place that was left out for a packet that came corrupt was sent.
    live.count(0, |of| of.corrupt = 3);
    assert_eq!(live.missed(), None);
}

#[test]
fn lost_is_certain_when_a_connection_has_broken_and_only_where_none_may_be() {
    for (text, is_certain) in [
        ("lost==0", true),
        ("lost<=0", true),
        ("lost<1", true),
        ("lost<=5", false),
        ("lost>0", false),
    ] {
        let mut live = Live::of(&[100], &[text]);
        live.receive(0, 5_000, 0);
        assert_eq!(live.missed(), None, "{text}");
        live.counters.broken = vec![3];
        assert_eq!(live.missed().is_some(), is_certain, "{text}");
    }
}

#[test]
fn kept_up_is_missed_when_what_is_left_cannot_make_it_up() {
    let mut live = Live::of(&[100], &["kept_up>=99%"]);
    live.receive(0, 5_000, 0);
    // They were blocked, so that no late generator is why.
    live.reported[0].as_mut().unwrap().blocked = 1_000;
    live.count(0, |of| of.left_out = Some(100));
    assert_eq!(live.missed(), None);
    live.count(0, |of| of.left_out = Some(101));
    let missed = live.missed().expect("101 of 10,000");
    assert_eq!((missed.observed, missed.allowed), (101, 100));
    live.plan.thresholds = vec!["kept_up>99%".parse().unwrap()];
    assert_eq!(live.missed().map(|of| of.allowed), Some(99));
}

#[test]
fn nothing_is_certain_that_a_late_generator_may_have_done() {
    let late = |live: &mut Live, packets| {
        let times = live.counters.times.as_mut().unwrap();
        times.lateness.add_count(bucket(5_000_000), packets);
    };
    let mut live = Live::of(&[100], &["spread.p99<200ms"]);
    live.receive(0, 5_000, 130);
    assert_eq!(live.missed().map(|of| of.observed), Some(130));
    // Each may have delayed ten.
    late(&mut live, 3);
    assert_eq!(live.missed(), None);
    // What the path alone took is certain.
    live.plan.thresholds = vec!["latency.p99<200ms".parse().unwrap()];
    assert!(live.missed().is_some());
    // More than 1 % were late: the run would be invalid, and not judged.
    late(&mut live, 60);
    assert_eq!(live.missed(), None);
    live.reported[0].as_mut().unwrap().blocked = 63;
    assert!(live.missed().is_some(), "they were blocked by the path");
    // More than 1 % were skipped by the generator itself.
    let mut live = Live::of(&[100], &["skipped==0"]);
    live.receive(0, 5_000, 0);
    live.reported[0].as_mut().unwrap().skipped = 60;
    assert_eq!(live.missed(), None);
}

/// Two groups with 50 clients each, all of one agent.
fn on_one_agent(thresholds: &[&str]) -> Live {
    let mut live = Live::of(&[50, 50], &[]);
    let second = live.agents.pop().unwrap();
    let mut share = live.agents[0].share.clone();
    share.shares.extend(second.share.shares);
    live.agents[0] = AgentRecords::new("a".into(), share);
    live.reported.truncate(1);
    live.behind.truncate(1);
    live.plan.groups[1].thresholds = thresholds
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    live
}

#[test]
fn what_an_agent_reports_of_each_of_its_groups_is_known_of_it() {
    let behind = |live: &mut Live, skipped, blocked| {
        let of_group = v1::GroupBehind {
            group: live.plan.groups[1].name.clone(),
            skipped,
            blocked,
        };
        let plan = live.plan.clone();
        live.behind[0].take(&[of_group], &plan, |_| 5_000);
        let counts = live.reported[0].as_mut().unwrap();
        (counts.skipped, counts.blocked) = (skipped, blocked);
    };
    let mut live = on_one_agent(&["skipped==0"]);
    live.receive(0, 2_000, 0);
    live.receive(1, 2_000, 0);
    // More than 1 % of the group, and not blocked, were the generator's fault.
    behind(&mut live, 100, 0);
    assert_eq!(live.missed(), None);
    behind(&mut live, 100, 100);
    let missed = live.missed().expect("the path has blocked them");
    assert_eq!((missed.group, missed.observed), (Some(1), 100));
    // The sum alone is of no group.
    live.behind[0] = BehindOfGroups::default();
    assert_eq!(live.missed(), None);
}

#[test]
fn a_rate_is_missed_when_what_is_left_cannot_make_it_up() {
    // 100 clients with 100 packets each, in 100 ms: 100,000 packets/s.
    for (asked, allowed) in [("rate>=99%", 100), ("rate>=99k/s", 100), ("rate>99k/s", 99)] {
        let mut live = Live::of(&[100], &[asked]);
        let lose = |live: &mut Live, packets: u64| {
            live.count(0, |of| of.left_out = Some(packets));
            let reported = live.reported[0].as_mut().unwrap();
            (reported.skipped, reported.blocked) = (packets, packets);
        };
        live.receive(0, 9_000, 0);
        lose(&mut live, allowed);
        assert_eq!(live.missed(), None, "{asked}");
        lose(&mut live, allowed + 1);
        let missed = live.missed().expect(asked);
        let found = (missed.observed, missed.allowed, missed.planned);
        assert_eq!(found, (allowed + 1, allowed, Some(10_000)), "{asked}");
        assert_eq!(missed.against, Against::Packets);
    }
    // Only the end decides whether it was too much, and one that nothing can meet.
    for asked in ["rate<=1%", "rate>=101k/s", "rate<1/s", "rate==99%"] {
        let mut live = Live::of(&[100], &[asked]);
        live.receive(0, 9_000, 0);
        assert_eq!(live.missed(), None, "{asked}");
    }
}

#[test]
fn a_mean_is_missed_by_a_missing_packet_and_by_times_that_the_rest_cannot_make_up_for() {
    let asked = "latency.mean<5ms";
    let mut live = Live::of(&[100], &[asked]);
    // 200 of 250 ms are 5 ms each of 10,000.
    live.receive(0, 1_000, 195);
    assert_eq!(live.missed(), None, "the rest can make it up");
    live.receive(0, 0, 5);
    let missed = live.missed().expect(asked);
    assert_eq!(
        (missed.against, missed.allowed),
        (Against::MeanNs, 4_999_999)
    );
    assert!(
        (5_000_000..5_060_000).contains(&missed.observed),
        "{missed:?}"
    );
    let mut live = Live::of(&[100], &[asked]);
    live.receive(0, 1_000, 0);
    live.count(0, |of| of.left_out = Some(1));
    assert_eq!(live.missed(), None, "the generator may have skipped it");
    live.reported[0].as_mut().unwrap().blocked = 1;
    let missed = live.missed().expect(asked);
    let found = (missed.against, missed.observed, missed.allowed);
    assert_eq!(found, (Against::Packets, 1, 0));
    // A lower limit may be met by the rest.
    let mut live = Live::of(&[100], &["latency.mean>1s"]);
    live.receive(0, 9_999, 0);
    assert_eq!(live.missed(), None);
}

#[test]
fn packets_of_the_warm_up_are_against_no_quantile() {
    let mut live = Live::of(&[100], &["latency.max<200ms"]);
    live.plan.warm_up = std::time::Duration::from_millis(10);
    live.receive(0, 5_000, 0);
    // 10 packets of each client are due in it, and those that are missing may be among them.
    live.count(0, |of| {
        (of.warm_up, of.warm_up_left_out) = (Some(990), Some(4));
    });
    live.count(0, |of| of.left_out = Some(4));
    live.reported[0].as_mut().unwrap().skipped = 10;
    live.reported[0].as_mut().unwrap().blocked = 100;
    assert_eq!(live.missed(), None);
    live.count(0, |of| of.left_out = Some(5));
    assert!(live.missed().is_some(), "one behind it");
}

#[test]
fn a_threshold_of_a_group_is_missed_by_its_own_packets_alone() {
    let mut live = Live::of(&[50, 50], &[]);
    live.plan.groups[1].thresholds = vec!["latency.p99<200ms".parse().unwrap()];
    live.receive(0, 100, 1_000);
    live.receive(1, 100, 50);
    assert_eq!(live.missed(), None);
    live.receive(1, 0, 1);
    let missed = live.missed().expect("51 of 5,000");
    assert_eq!((missed.group, missed.planned), (Some(1), Some(5_000)));
    assert_eq!((missed.observed, missed.allowed), (51, 50));
    live.plan.groups[1].thresholds = vec!["lost==0".parse().unwrap()];
    live.counters.broken = vec![0, 49];
    assert_eq!(live.missed(), None, "clients of the other group");
    live.counters.broken = vec![50];
    assert!(live.missed().is_some());
}

#[test]
fn of_a_flood_a_maximum_is_certain_and_beside_one_what_has_a_schedule() {
    let mut live = Live::of(&[50, 50], &["transit.max<200ms"]);
    live.plan.groups[1].profile = Profile::Flood;
    live.receive(1, 1_000, 0);
    assert_eq!(live.missed(), None);
    live.receive(1, 0, 1);
    assert!(live.missed().is_some());
    live.plan.thresholds = vec!["latency.p99<200ms".parse().unwrap()];
    live.receive(1, 0, 5_000);
    assert_eq!(live.missed(), None, "the flood's own");
    live.receive(0, 1_000, 51);
    assert_eq!(live.missed().and_then(|of| of.planned), Some(5_000));
}

#[test]
fn random_arrivals_are_planned_at_six_deviations_above_their_mean() {
    let mut live = Live::of(&[100], &["latency.p99<200ms"]);
    live.plan.groups[0].profile = Profile::Poisson {
        rate_millihertz: 1_000_000,
    };
    live.receive(0, 5_000, 200);
    // Their mean is 10,000, and its deviation 100.
    assert_eq!(live.missed().and_then(|of| of.planned), Some(10_600));
}

#[test]
fn round_trips_are_those_that_ask_and_others_clocks_are_not_ours() {
    let mut live = Live::of(&[100], &["rtt_from_write.p90<200ms"]);
    live.plan.groups[0].echo_every = std::num::NonZeroU32::new(10);
    live.receive(0, 5_000, 0);
    live.round_trips[0].from_write = times(100, 100, 250_000_000);
    assert_eq!(live.missed(), None);
    live.round_trips[0].from_write = times(100, 101, 250_000_000);
    assert_eq!(live.missed().and_then(|of| of.planned), Some(1_000));
    let mut live = Live::of(&[100], &["latency.max<1us", "one_way.max<1us"]);
    live.receive(0, 5_000, 0);
    assert!(live.missed().is_some());
    live.agents[0] = AgentRecords::new("a".into(), AgentShare::of(0..100, ClockRelation::Unknown));
    assert_eq!(live.missed(), None);
}

/// The same run to its end, all the rest of its plan perfect, judged by this threshold.
fn judged_at_the_end(live: &Live, long: u64, left_out: u64, is_cut: bool) -> v1::OutcomeStatus {
    let clients = live.plan.clients();
    let mut sample = Sample::of(1, clients);
    sample.plan.thresholds = live.plan.thresholds.clone();
    sample.plan.has_default_objectives = false;
    if is_cut {
        (sample.stopped, sample.missed) = (Some(StopCause::Threshold), live.missed());
    }
    let skipped = left_out / u64::from(clients);
    for client in 0..clients {
        sample.reported_counts(client, |counts| {
            (counts.sent, counts.skipped) = (PACKETS - skipped, skipped);
            counts.blocked = skipped;
        });
        sample.counted(client, |counted| {
            counted.counts.received = PACKETS - skipped;
            counted.counts.in_time = Some(PACKETS - skipped);
        });
    }
    let received = u64::from(clients) * (PACKETS - skipped);
    let distribution = times(received - long, long, 250_000_000);
    let counters = sample.counters();
    counters.times.lateness = times(received, 0, 0);
    for times in [
        &mut counters.times.transit,
        &mut counters.times.latency,
        &mut counters.times.spread,
    ] {
        *times = distribution.clone();
    }
    let evidence = sample.evidence();
    let rows = crate::verdict::rows::pair(&evidence);
    let punctuality = crate::verdict::punctuality::Punctualities::of(&evidence, &rows);
    let valid = v1::VerdictStatus::Valid;
    let outcome = crate::verdict::objectives::judge(&evidence, &rows, &punctuality, valid);
    outcome.objectives[0].status()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a_threshold_that_is_missed_never_holds_when_all_the_rest_is_perfect(
        clients in 1..40_u32,
        short_percent in 0..100_u64,
        long_percent in 0..12_u64,
        skipped_each in 0..12_u64,
        text in prop::sample::select(vec![
            "latency.p99<200ms", "latency.p90<=200ms", "latency.p50<200ms", "latency.max<200ms",
            "transit.p95<200ms", "spread.p99<200ms", "skipped==0", "skipped<=100", "kept_up>=95%",
            "kept_up>99.9%", "latency.p99<1us", "latency.p99>1s", "lost==0", "rate>=95%",
            "rate>99.9%", "rate>=1k/s", "rate>10k/s", "rate>=20k/s", "latency.mean<5ms",
            "transit.mean<=1ms", "spread.mean<25ms", "latency.mean>1us",
        ]),
        is_cut: bool,
    ) {
        let mut live = Live::of(&[clients], &[text]);
        let planned = u64::from(clients) * PACKETS;
        let left_out = skipped_each * u64::from(clients);
        let long = planned * long_percent / 100;
        let short = (planned * short_percent / 100).min(planned - left_out - long);
        live.receive(0, short, long);
        live.count(0, |of| of.left_out = Some(left_out));
        live.reported[0].as_mut().unwrap().blocked = left_out;
        if live.missed().is_some() {
            let status = judged_at_the_end(&live, long, left_out, is_cut);
            prop_assert_eq!(status, v1::OutcomeStatus::NotHeld, "{}", text);
        }
    }

    #[test]
    fn what_is_missed_stays_missed_as_packets_come(
        steps in prop::collection::vec((0..200_u64, 0..30_u64), 1..10),
        text in prop::sample::select(vec![
            "latency.p99<200ms", "latency.max<200ms", "transit.p90<200ms", "latency.p50<1us",
            "latency.mean<5ms", "transit.mean<=1ms",
        ]),
    ) {
        let mut live = Live::of(&[20], &[text]);
        let mut was_missed = false;
        for (short, long) in steps {
            live.receive(0, short, long);
            let is_missed = live.missed().is_some();
            prop_assert!(is_missed || !was_missed);
            was_missed = is_missed;
        }
    }
}

#[test]
fn a_threshold_has_to_be_an_upper_limit_to_be_certain() {
    for text in [
        "latency.p99>200ms",
        "latency.max==10us",
        "skipped>0",
        "kept_up<=1%",
    ] {
        let mut live = Live::of(&[100], &[]);
        live.plan.thresholds = vec![text.parse::<Threshold>().unwrap()];
        live.receive(0, 5_000, 5_000);
        live.count(0, |of| of.left_out = Some(1));
        assert_eq!(live.missed(), None, "{text}");
    }
}

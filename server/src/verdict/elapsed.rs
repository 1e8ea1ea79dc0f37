//! The time that the packets of a group took: what was due of a client, and when the last one was
//! read. The arithmetic is the contract's, [`metronome_proto::elapsed`].

use std::collections::BTreeMap;

use metronome_proto::{elapsed::Elapsed, load::Load};

use super::{evidence::Evidence, rows::Row};

/// That of the clients of one group. `None` when no packet was read, or none took any time.
pub(super) fn of(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Elapsed> {
    let load = &rows.first()?.group.load;
    let is_stopped = evidence.stopped.is_some() || rows.iter().all(|row| is_cut(evidence, row));
    let due = due(load, is_stopped, rows);
    Elapsed::new(load, due, is_stopped, read_ns(evidence, rows)?)
}

/// Whether the agent of a client was lost, or ended its load before the schedule was over although
/// nothing had stopped the run.
pub(super) fn is_cut(evidence: &Evidence<'_>, row: &Row<'_>) -> bool {
    let is_short = |scheduled| row.planned.is_some_and(|planned| scheduled < planned.least);
    match row.scheduled() {
        None => true,
        Some(scheduled) => evidence.stopped.is_none() && is_short(scheduled),
    }
}

/// Packets of a client that were due: all of the schedule, or those until the run was stopped. None
/// where no formula has them, and of a flood, which plans none.
fn due(load: &Load, is_stopped: bool, rows: &[Row<'_>]) -> u64 {
    let planned = load.packets().unwrap_or(0);
    if !is_stopped {
        return planned;
    }
    let scheduled = rows.iter().filter_map(scheduled_at_least).max();
    scheduled.unwrap_or(0).min(planned)
}

/// Packets of a client that were due: those that its agent reports, or the places of those read.
fn scheduled_at_least(row: &Row<'_>) -> Option<u64> {
    let places = || {
        let counts = row.receiver?;
        Some(counts.received.saturating_add(counts.left_out.unwrap_or(0)))
    };
    row.scheduled().or_else(places)
}

/// When the first and the last packet of an agent's clients were read, ns.
struct Read {
    first_ns: u64,
    last_ns: u64,
}

/// From the start to the last packet read, the longest of all agents. An agent on another clock has
/// no start here: its first packet read is the nearest to it.
fn read_ns(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<u128> {
    let mut agents: BTreeMap<usize, Read> = BTreeMap::new();
    for row in rows {
        if let Some(counted) = row.with_packets() {
            let (first_ns, last_ns) = (counted.first_read_ns, counted.last_read_ns);
            let read = agents.entry(row.agent_index);
            let read = read.or_insert(Read { first_ns, last_ns });
            read.first_ns = read.first_ns.min(first_ns);
            read.last_ns = read.last_ns.max(last_ns);
        }
    }
    let taken_ns = agents.into_iter().map(|(agent, read)| {
        let is_on_our_clock = evidence.agents[agent].is_on_our_clock();
        let start_ns = evidence.start_at_ns.filter(|_| is_on_our_clock);
        let from_ns = start_ns.unwrap_or(read.first_ns);
        u128::from(read.last_ns.saturating_sub(from_ns))
    });
    taken_ns.max()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{profile::Profile, v1::StopCause};
    use proptest::prelude::*;

    use super::*;
    use crate::verdict::{
        rows::pair,
        samples::{PACKETS, START_NS, Sample},
    };

    fn of(sample: &Sample) -> Option<Elapsed> {
        let evidence = sample.evidence();
        super::of(&evidence, &pair(&evidence))
    }

    fn elapsed(sample: &Sample) -> Option<u128> {
        of(sample).map(Elapsed::shown_ns)
    }

    /// A run of one client in which the packets that were read came so late.
    fn run(rate_millihertz: u64, duration_ns: u64, received: u64, latency_ns: u64) -> Sample {
        let mut sample = Sample::of(1, 1);
        sample.plan.groups[0].profile = Profile::constant(rate_millihertz);
        sample.plan.duration = Duration::from_nanos(duration_ns);
        let schedule = sample
            .plan
            .load(&sample.plan.groups[0])
            .schedule(START_NS, 0)
            .unwrap();
        let packets = schedule.packets().unwrap();
        sample.reported_counts(0, |counts| {
            (counts.scheduled, counts.sent) = (packets, packets);
        });
        sample.counted(0, |counted| {
            counted.counts.received = received;
            counted.first_read_ns = START_NS + latency_ns;
            let last_due_ns = schedule.due_at(received.saturating_sub(1)).unwrap();
            counted.last_read_ns = last_due_ns + latency_ns;
        });
        sample
    }

    #[test]
    fn half_a_packet_a_second_is_achieved_as_that() {
        let seconds = 1_000_000_000;
        for (received, achieved) in [(2, 500), (1, 250)] {
            let elapsed = of(&run(500, 4 * seconds, received, 50_000)).unwrap();
            assert_eq!(elapsed.shown_ns(), u128::from(4 * seconds));
            assert_eq!(elapsed.achieved_millihertz(received), Some(achieved));
        }
        // Dead at 1.2 s of 3 s.
        let elapsed = of(&run(10_000_000, 3 * seconds, 11_850, 50_000)).unwrap();
        assert_eq!(elapsed.achieved_millihertz(11_850), Some(3_950_000));
    }

    #[test]
    fn a_period_that_is_longer_than_the_run_is_not_shown_as_its_time() {
        let seconds = 1_000_000_000;
        let elapsed = of(&run(1, seconds, 1, 50_000)).unwrap();
        assert_eq!(elapsed.shown_ns(), u128::from(seconds));
        assert_eq!(elapsed.achieved_millihertz(1), Some(1));
        let late = of(&run(1, seconds, 1, 3 * seconds)).unwrap();
        assert_eq!(late.shown_ns(), u128::from(3 * seconds));
    }

    #[test]
    fn a_run_that_took_longer_than_its_schedule_is_measured_until_its_last_read() {
        let mut sample = Sample::of(2, 1);
        sample.counted(1, |counted| counted.last_read_ns = START_NS + 250_000_000);
        assert_eq!(elapsed(&sample), Some(250_000_000));
        // On another clock the first read is what the last one is measured from.
        sample.forget_clock(1);
        sample.counted(1, |counted| counted.first_read_ns = START_NS + 60_000_000);
        assert_eq!(elapsed(&sample), Some(190_000_000));
        let mut sample = Sample::of(2, 1);
        sample.counted(1, |counted| {
            counted.first_read_ns = START_NS + 60_000_000;
            counted.last_read_ns = START_NS + 250_000_000;
        });
        sample.agents[1].contradict_clock();
        assert_eq!(elapsed(&sample), Some(190_000_000));
    }

    #[test]
    fn a_stopped_run_takes_until_the_last_packet_that_was_due_or_read() {
        let mut sample = Sample::of(1, 1);
        sample.stopped = Some(StopCause::Operator);
        sample.reported_counts(0, |counts| (counts.scheduled, counts.sent) = (40, 40));
        sample.counted(0, |counted| {
            counted.counts.received = 40;
            counted.last_read_ns = START_NS + 39_010_000;
        });
        assert_eq!(elapsed(&sample), Some(39_010_000));
        sample.reported_counts(0, |counts| counts.scheduled = u64::MAX);
        assert_eq!(elapsed(&sample), Some((PACKETS as u128 - 1) * 1_000_000));
        // Without the agent's word it is what the places of the packets take.
        sample.forget_agent(0);
        sample.counted(0, |counted| counted.counts.left_out = Some(3));
        assert_eq!(elapsed(&sample), Some(42_000_000));
        sample.counted(0, |counted| counted.counts.received = 0);
        assert_eq!(elapsed(&sample), None);
    }

    #[test]
    fn a_flood_takes_its_duration_or_until_it_was_stopped() {
        let mut sample = Sample::of(1, 1);
        sample.plan.groups[0].profile = Profile::Flood;
        sample.counted(0, |counted| counted.last_read_ns = START_NS + 30_000_000);
        assert_eq!(elapsed(&sample), Some(100_000_000));
        sample.stopped = Some(StopCause::Shutdown);
        assert_eq!(elapsed(&sample), Some(30_000_000));
    }

    proptest! {
        #[test]
        fn no_run_achieves_more_than_it_offered(
            rate_millihertz in 1..1_000_000_000_u64,
            duration_ns in 1_000_000..100_000_000_000_u64,
            latency_ns in 0..100_000_000_000_u64,
            part in 0.0..=1.0,
        ) {
            let mut sample = run(rate_millihertz, duration_ns, 0, latency_ns);
            let planned = sample.plan.load(&sample.plan.groups[0]).packets().unwrap();
            let received = 1 + ((planned - 1) as f64 * part) as u64;
            sample = run(rate_millihertz, duration_ns, received, latency_ns);
            let achieved = of(&sample).unwrap().achieved_millihertz(received).unwrap();
            prop_assert!(achieved <= rate_millihertz);
            // Packets that never came make it less; those that did not come late take nothing away.
            let alone_ns = u128::from(planned) * 1_000_000_000_000 / u128::from(rate_millihertz);
            if u128::from(latency_ns) <= alone_ns / u128::from(planned) {
                let offered = u128::from(received) * u128::from(rate_millihertz);
                let expected = offered / u128::from(planned);
                prop_assert!(u128::from(achieved).abs_diff(expected) <= 1 + expected / 1_000_000);
            }
        }

        #[test]
        fn an_outage_never_raises_the_achieved_rate(
            received in 1..=PACKETS,
            latency_ns in 0..50_000_000_u64,
        ) {
            let achieved = |received| {
                let elapsed = of(&run(1_000_000, PACKETS * 1_000_000, received, latency_ns));
                elapsed.unwrap().achieved_millihertz(received).unwrap()
            };
            prop_assert!(achieved(received) <= achieved(PACKETS).max(1_000_000));
            prop_assert!(received == 1 || achieved(received - 1) <= achieved(received));
        }
    }

    #[test]
    fn a_run_that_took_no_time_has_no_rate() {
        let mut sample = Sample::of(1, 1);
        sample.flood();
        sample.stopped = Some(StopCause::Operator);
        sample.counted(0, |counted| counted.last_read_ns = START_NS + 1);
        assert_eq!(elapsed(&sample), Some(1));
        sample.counted(0, |counted| counted.last_read_ns = START_NS);
        assert_eq!(elapsed(&sample), None);
    }
}

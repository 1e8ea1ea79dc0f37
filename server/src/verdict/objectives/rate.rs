//! Objectives on the rate that was carried: packets received in the time of the schedule, or until
//! the last one was read where that is longer, a second or as a share of what was offered.
//!
//! What a late generator may have held back is not held against the path, so a rate is known as
//! what it was and as what it would have been at most. Of a load that was stopped, and has no
//! formula, it is not known how long its schedule went on: only the most is known.

use metronome_proto::{
    elapsed::Elapsed,
    threshold::{PPM, Threshold},
    v1::{Comparison, OutcomeStatus, objective::Observed},
};

use super::{
    finding::{Finding, bound, status},
    judged::{Covered, Judged},
};
use crate::verdict::{
    elapsed,
    rows::{Row, by_group, sum_of_all},
    sentence::{Figures, figures},
};

/// Millihertz of one packet a second.
const MILLIHERTZ: u64 = 1_000;

/// A figure between two whole numbers, which are one where it is whole itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Between {
    floor: u128,
    ceiling: u128,
}

impl Between {
    fn of(whole: u128) -> Self {
        Self {
            floor: whole,
            ceiling: whole,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            floor: self.floor.saturating_add(other.floor),
            ceiling: self.ceiling.saturating_add(other.ceiling),
        }
    }

    /// Whether the figure lies to a whole limit as it has to.
    fn holds(self, comparison: Comparison, limit: u128) -> bool {
        match comparison {
            Comparison::Less | Comparison::GreaterOrEqual => comparison.holds(self.floor, limit),
            Comparison::Equal => self == Self::of(limit),
            _ => comparison.holds(self.ceiling, limit),
        }
    }
}

/// How a figure that is at least `least` and at most `most` came out.
fn decide(least: Between, most: Between, comparison: Comparison, limit: u128) -> OutcomeStatus {
    let is_certain = match comparison {
        Comparison::Equal => least == most || !(least.floor..=most.ceiling).contains(&limit),
        _ => least.holds(comparison, limit) == most.holds(comparison, limit),
    };
    if is_certain {
        status(least.holds(comparison, limit))
    } else {
        OutcomeStatus::NotJudged
    }
}

/// What a group carried.
struct Group {
    received: u64,
    /// `None` where no packet was read.
    elapsed: Option<Elapsed>,
}

/// What each group of these clients carried. `None` where what was received is not known of all, or
/// not in what time, and where an agent did not offer its load to the end.
fn carried(judged: &Judged<'_>, rows: &[Row<'_>]) -> Option<Vec<Group>> {
    if rows.iter().any(|row| elapsed::is_cut(judged.evidence, row)) {
        return None;
    }
    let group = |rows: &[Row<'_>]| {
        let received = sum_of_all(rows, Row::received)?;
        let elapsed = elapsed::of(judged.evidence, rows);
        (received == 0 || elapsed.is_some()).then_some(Group { received, elapsed })
    };
    by_group(rows).map(group).collect()
}

/// Whether the load was stopped, and how long a schedule went on is not known.
fn is_open(judged: &Judged<'_>, groups: &[Group]) -> bool {
    let mut known = groups.iter().filter_map(|group| group.elapsed);
    judged.evidence.stopped.is_some() && known.any(|elapsed| !elapsed.has_schedule_time())
}

/// Packets a second.
pub(super) fn packets_a_second(judged: &Judged<'_>, threshold: Threshold) -> Finding {
    let Some(groups) = carried(judged, judged.rows) else {
        return Finding::not_judged("It is not known how many packets were received a second.");
    };
    let sum = |of: fn(Elapsed) -> Elapsed| {
        let rates = groups
            .iter()
            .filter_map(|group| of(group.elapsed?).achieved_within_millihertz(group.received));
        rates.fold(Between::default(), |sum, (floor, ceiling)| {
            sum.plus(Between {
                floor: floor.into(),
                ceiling: ceiling.into(),
            })
        })
    };
    let shown = sum(|elapsed| elapsed);
    let limit = u128::from(threshold.limit) * u128::from(MILLIHERTZ);
    let delayed = judged.delayed(share_of_offered_ppm(judged, limit));
    let most = if delayed > 0 {
        sum(Elapsed::without_delay).plus(Between::of(rate_of(judged, delayed)))
    } else {
        shown
    };
    let is_open = is_open(judged, &groups);
    let least = if is_open { Between::default() } else { shown };
    let status = decide(least, most, threshold.comparison, limit);
    let per_s = u64::try_from(shown.floor / u128::from(MILLIHERTZ)).unwrap_or(u64::MAX);
    let received = groups.iter().map(|of| of.received);
    let elapsed_ns = groups.iter().filter_map(|of| Some(of.elapsed?.shown_ns()));
    let mut figures = figures([
        ("received", received.fold(0, u64::saturating_add).into()),
        ("rate_per_s", per_s.into()),
        ("limit_per_s", threshold.limit.into()),
    ]);
    let time = match elapsed_ns.max() {
        Some(elapsed_ns) => {
            figures.insert("elapsed_ns".into(), elapsed_ns.into());
            " in {elapsed_ns}"
        }
        None => "",
    };
    let asked = bound(threshold.comparison, "{limit_per_s}");
    let template = format!(
        "{{received}} packets were received{time}: {{rate_per_s}} packets/s; asked for: {asked}"
    );
    let observed = (!is_open).then_some(Observed::ObservedCount(per_s));
    concluded(judged, (status, observed), (template, figures), is_open)
}

/// The rate that was asked for, millihertz, of the groups that have one.
fn rate_of_offered(judged: &Judged<'_>) -> u128 {
    let rates = judged
        .rows
        .iter()
        .filter_map(|row| row.group.load.mean_millihertz());
    rates.map(u128::from).fold(0, u128::saturating_add)
}

/// The rate of so many of the scheduled packets, millihertz, rounded up.
fn rate_of(judged: &Judged<'_>, packets: u64) -> u128 {
    let paced = judged.rows.iter().filter(|row| row.is_paced());
    let scheduled = paced
        .filter_map(Row::scheduled)
        .fold(0, u64::saturating_add);
    let packets = packets.min(scheduled);
    let rate = rate_of_offered(judged).saturating_mul(packets.into());
    rate.div_ceil(u128::from(scheduled).max(1))
}

/// Which share of the offered rate this rate is, millionths; all where nothing is offered.
fn share_of_offered_ppm(judged: &Judged<'_>, millihertz: u128) -> u32 {
    let share = millihertz
        .saturating_mul(PPM.into())
        .checked_div(rate_of_offered(judged));
    let share = share.and_then(|ppm| u32::try_from(ppm).ok());
    share.unwrap_or(PPM).min(PPM)
}

/// The share of what was offered.
pub(super) fn share(judged: &Judged<'_>, threshold: Threshold) -> Finding {
    let Covered { rows, whose, .. } = judged.scheduled();
    let scheduled = sum_of_all(rows, Row::scheduled);
    if scheduled == Some(0) {
        return Finding::not_judged("No packet was scheduled.");
    }
    let Some((scheduled, groups)) = scheduled.zip(carried(judged, rows)) else {
        return Finding::not_judged("It is not known which share of the packets was received.");
    };
    let received = groups.iter().map(|of| of.received);
    let received = received.fold(0, u64::saturating_add).min(scheduled);
    let in_time = |group: &Group| {
        let within = group
            .elapsed
            .map_or(Some(0), |of| of.within_schedule(group.received));
        within.unwrap_or(group.received)
    };
    let in_time = groups.iter().map(in_time).fold(0, u64::saturating_add);
    let in_time = in_time.min(received);
    let limit_ppm = u32::try_from(threshold.limit).unwrap_or(PPM);
    let delayed = judged.delayed(limit_ppm);
    let most = match delayed {
        0 => in_time,
        _ => received.saturating_add(delayed).min(scheduled),
    };
    let is_open = is_open(judged, &groups);
    let least = if is_open { 0 } else { in_time };
    let scaled = |packets: u64| Between::of(u128::from(packets) * u128::from(PPM));
    let limit = u128::from(threshold.limit) * u128::from(scheduled);
    let status = decide(scaled(least), scaled(most), threshold.comparison, limit);
    let ppm = u128::from(in_time) * u128::from(PPM) / u128::from(scheduled);
    // One rounding, as that of the limit, so that equal shares are equal numbers.
    let rate_percent = (u128::from(in_time) * 100) as f64 / scheduled as f64;
    let mut figures = figures([
        ("received", received.into()),
        ("scheduled", scheduled.into()),
        ("rate_percent", rate_percent.into()),
        ("limit_percent", (threshold.limit as f64 / 1e4).into()),
    ]);
    let time = if in_time < received {
        figures.insert("in_time".into(), in_time.into());
        ", {in_time} in the time of the schedule"
    } else {
        ""
    };
    let asked = bound(threshold.comparison, "{limit_percent} %");
    let template = format!(
        "{{received}} of {{scheduled}} packets{whose} were received{time}: \
         {{rate_percent|limit_percent}} % of the offered rate; asked for: {asked}"
    );
    let observed = (!is_open).then_some(Observed::ObservedSharePpm(ppm as u32));
    concluded(judged, (status, observed), (template, figures), is_open)
}

/// With the reason where it is not judged.
fn concluded(
    judged: &Judged<'_>,
    (status, observed): (OutcomeStatus, Option<Observed>),
    (mut template, mut figures): (String, Figures),
    is_open: bool,
) -> Finding {
    if status == OutcomeStatus::NotJudged && is_open {
        template += "; the run was stopped, and how long its load had gone on by then is not known";
    } else if status == OutcomeStatus::NotJudged {
        let late = judged.punctuality.map_or(0, |of| of.late());
        figures.insert("late".into(), late.into());
        template += "; the generator was late with {late} packets, which may be why";
    }
    template += ".";
    Finding::new(status, observed, &template, figures)
}

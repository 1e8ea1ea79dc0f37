//! Objectives on numbers of packets, and on the share of them that the path and the receiver kept
//! up with.

use metronome_proto::{
    threshold::{PPM, Threshold},
    v1::{Comparison, Metric, OutcomeStatus, objective::Observed},
};

use super::{
    finding::{Finding, bound, status},
    judged::Judged,
};
use crate::verdict::{
    rows::{Row, sum_of_all, total},
    sentence::figures,
};

/// A number of packets. Of one that is not known of every client, what is known of the others is
/// the least that it can be, and decides where it is too much already.
pub(super) fn count(judged: &Judged<'_>, threshold: Threshold) -> Finding {
    let figure = match threshold.metric {
        Metric::Lost => Row::lost,
        Metric::Skipped => Row::skipped,
        _ => |row: &Row<'_>| Some(row.receiver?.corrupt),
    };
    let what = match threshold.metric {
        Metric::Lost => "lost",
        Metric::Skipped => "due but never written",
        _ => "not intact when they were read",
    };
    let exact = sum_of_all(judged.rows, figure);
    let least = u64::try_from(total(judged.rows, figure)).unwrap_or(u64::MAX);
    let Some(status) = decide(exact, least, threshold) else {
        let sentence = format!("It is not known how many packets were {what}.");
        return Finding::not_judged(&sentence);
    };
    let asked = bound(threshold.comparison, "{limit}");
    let how_many = if exact.is_some() { "" } else { "At least " };
    let template = format!("{how_many}{{packets}} packets were {what}; asked for: {asked}.");
    let figures = figures([("packets", least.into()), ("limit", threshold.limit.into())]);
    Finding::new(
        status,
        exact.map(Observed::ObservedCount),
        &template,
        figures,
    )
}

/// `None` where what is known does not decide it.
fn decide(exact: Option<u64>, least: u64, threshold: Threshold) -> Option<OutcomeStatus> {
    let (comparison, limit) = (threshold.comparison, threshold.limit);
    if let Some(exact) = exact {
        return Some(status(comparison.holds(exact, limit)));
    }
    match comparison {
        Comparison::Greater | Comparison::GreaterOrEqual => comparison
            .holds(least, limit)
            .then_some(OutcomeStatus::Held),
        Comparison::Less => (least >= limit).then_some(OutcomeStatus::NotHeld),
        Comparison::LessOrEqual | Comparison::Equal => {
            (least > limit).then_some(OutcomeStatus::NotHeld)
        }
        Comparison::Unspecified => None,
    }
}

/// `in_time` of the scheduled packets, exact in integers. It counts from due, so that what a late
/// generator may have delayed is not held against the path.
pub(super) fn kept_up(judged: &Judged<'_>, threshold: Threshold) -> Finding {
    let covered = judged.scheduled();
    let is_paced = covered.rows.iter().all(Row::is_paced);
    let is_stopped = is_paced && judged.evidence.stopped.is_some();
    let of_stopped =
        || Finding::not_judged("The run was stopped before its end, by which this is measured.");
    if is_stopped && judged.evidence.missed.is_none() {
        return of_stopped();
    }
    let scheduled = sum_of_all(covered.rows, Row::scheduled);
    // Before its end no packet that was read is known to be late, but those that are missing are.
    let in_time = sum_of_all(covered.rows, |row| {
        let counts = row.receiver?;
        if is_stopped {
            Some(counts.received)
        } else {
            counts.in_time
        }
    });
    let known = scheduled.filter(|packets| *packets > 0).zip(in_time);
    let Some((scheduled, in_time)) = known else {
        let sentence = "It is not known how many of the scheduled packets were read in time.";
        return Finding::not_judged(sentence);
    };
    let behind = scheduled.saturating_sub(in_time);
    let comparison = threshold.comparison;
    let holds = |behind: u64| {
        let kept_up = u128::from(scheduled - behind) * u128::from(PPM);
        comparison.holds(kept_up, u128::from(threshold.limit) * u128::from(scheduled))
    };
    if is_stopped && holds(behind) {
        return of_stopped();
    }
    let limit_ppm = u32::try_from(threshold.limit).unwrap_or(PPM);
    let delayed = judged.delayed(limit_ppm);
    let least = behind.saturating_sub(delayed);
    // Between the two ends an equation alone may hold where it does at neither.
    let is_between = || {
        let limit = u128::from(threshold.limit) * u128::from(scheduled);
        let kept_up = |behind: u64| u128::from(scheduled - behind) * u128::from(PPM);
        (kept_up(behind)..=kept_up(least)).contains(&limit)
    };
    let is_certain = match comparison {
        Comparison::Equal => least == behind || !is_between(),
        _ => holds(behind) == holds(least),
    };
    let asked = bound(comparison, "{limit_percent} %");
    let whose = covered.whose;
    let mut template = format!(
        "{{behind}} of {{scheduled}} packets{whose} were read too late or not at all: \
         {{kept_up_percent|limit_percent}} % kept up with the schedule; asked for: {asked}."
    );
    // One rounding, as that of the limit, so that equal shares are equal numbers.
    let kept_up_percent = (u128::from(scheduled - behind) * 100) as f64 / scheduled as f64;
    let mut figures = figures([
        ("behind", behind.into()),
        ("scheduled", scheduled.into()),
        ("kept_up_percent", kept_up_percent.into()),
        ("limit_percent", (threshold.limit as f64 / 1e4).into()),
    ]);
    let ppm = u128::from(scheduled - behind) * u128::from(PPM) / u128::from(scheduled);
    let observed = Observed::ObservedSharePpm(ppm as u32);
    if is_certain {
        return Finding::new(status(holds(behind)), Some(observed), &template, figures);
    }
    template += " The generator was late with {late} packets, which may be why.";
    let late = judged.punctuality.map_or(0, |of| of.late());
    figures.insert("late".into(), late.into());
    Finding::new(OutcomeStatus::NotJudged, Some(observed), &template, figures)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::verdict::{
        rows::pair,
        samples::{PACKETS, Sample},
    };

    proptest! {
        #[test]
        fn what_is_known_of_some_clients_decides_only_what_the_rest_cannot_change(
            least in 0..20_u64,
            rest in 0..20_u64,
            limit in 0..20_u64,
            operator in prop::sample::select(vec!["<", "<=", ">", ">=", "="]),
        ) {
            // Nothing is less than 0: no threshold.
            prop_assume!(operator != "<" || limit > 0);
            let threshold: Threshold = format!("lost{operator}{limit}").parse().unwrap();
            let whole = decide(Some(least + rest), least, threshold);
            prop_assert_eq!(whole, Some(status(threshold.comparison.holds(least + rest, limit))));
            let early = decide(None, least, threshold);
            prop_assert!(early.is_none() || early == whole);
        }
    }

    #[test]
    fn each_count_is_the_one_of_its_name() {
        let mut sample = Sample::of(1, 2);
        sample.reported_counts(0, |counts| (counts.sent, counts.skipped) = (PACKETS - 5, 5));
        sample.reported(0, |reported| reported.acknowledged = Some(PACKETS - 8));
        sample.counted(0, |counted| {
            (counted.counts.received, counted.counts.corrupt) = (PACKETS - 8, 2);
        });
        let evidence = sample.evidence();
        let rows = pair(&evidence);
        let judged = Judged::whole(&evidence, &rows);
        let observed = |text: &str| count(&judged, text.parse().unwrap()).observed;
        for (text, packets) in [("lost=0", 3), ("skipped=0", 5), ("corrupt=0", 2)] {
            let expected = Some(Observed::ObservedCount(packets));
            assert_eq!(observed(text), expected, "{text}");
        }
    }

    #[test]
    fn of_no_scheduled_packets_none_has_kept_up_or_not() {
        let mut sample = Sample::of(1, 1);
        sample.reported_counts(0, |counts| (counts.scheduled, counts.sent) = (0, 0));
        let evidence = sample.evidence();
        let rows = pair(&evidence);
        let judged = Judged::whole(&evidence, &rows);
        let finding = kept_up(&judged, "kept_up>=99%".parse().unwrap());
        assert_eq!(finding.status, OutcomeStatus::NotJudged);
        assert!(finding.observed.is_none());
    }
}

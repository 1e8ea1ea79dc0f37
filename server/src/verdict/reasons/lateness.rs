//! The reasons that have to do with time: packets that were sent late, or so late that a
//! packet cannot carry it.

use metronome_proto::{
    histogram::{bucket, bucket_floor_ns},
    load::Load,
    packet::LATENESS_NS_MAX,
    profile::Profile,
    reason::LATE_BURST_REMEDY,
    v1::{Figure, Reason, ReasonCode, VerdictStatus},
};

use super::reason::{first_of, reason};
use crate::verdict::{
    evidence::Evidence,
    limit,
    punctuality::{LATE_PERCENT_MAX, Punctualities, Punctuality, is_late, limit_of},
    rows::{Row, by_group, sum_of_all},
    sentence::{Figures, figures, write},
};

/// What a write may take on a small virtual machine, ns.
const WRITE_NS: u64 = 10_000;

/// The load of a group, the first such one, was another one. The whole run has no more late packets
/// in a hundred than the worst of its groups.
pub(super) fn lateness(evidence: &Evidence<'_>, punctuality: &Punctualities) -> Option<Reason> {
    let mut groups = punctuality.groups();
    let (index, late) = groups.find(|(_, of)| of.is_another_load())?;
    Some(lateness_of_group(evidence, index, late))
}

fn lateness_of_group(evidence: &Evidence<'_>, index: usize, punctuality: &Punctuality) -> Reason {
    let periods = match punctuality.limit_periods() {
        1.0 => "period",
        _ => "periods",
    };
    let late_percent = punctuality.late_percent();
    let share = late_percent.map_or("", |_| " ({late_percent|late_percent_max} %)");
    let of_group = of_group(evidence);
    let template = format!(
        "{{late}} of {{scheduled}} packets{of_group}{share} were late \
         although their connections had room: {{written_late}} were written more than {{limit_ns}} \
         after they were due ({{limit_periods}} {periods} of the schedule) and {{skipped}} never, \
         while {{blocked}} were blocked; at most {{late_percent_max}} % may be."
    );
    let mut figures = figures([
        ("late", punctuality.late().into()),
        ("late_percent_max", LATE_PERCENT_MAX.into()),
        ("written_late", punctuality.written_late.into()),
        ("skipped", punctuality.skipped.into()),
        ("blocked", punctuality.blocked.into()),
        ("scheduled", punctuality.scheduled.into()),
        ("limit_ns", punctuality.limit_ns.into()),
        ("limit_periods", punctuality.limit_periods().into()),
    ]);
    figures.extend(late_percent.map(|percent| ("late_percent".to_owned(), percent.into())));
    figures.extend(group_named(evidence, index));
    let code = ReasonCode::Lateness;
    let reason = reason(code, VerdictStatus::Invalid, &template, figures);
    let group = evidence.plan.groups.get(index);
    match group.and_then(|group| long_burst(&evidence.plan.load(group), punctuality.limit_ns)) {
        Some(burst) => of_bursts(reason, burst),
        None => reason,
    }
}

/// The reason with what the agent's host was doing meanwhile, where that is known.
pub(super) fn with_doing(evidence: &Evidence<'_>, reason: Reason) -> Reason {
    let Some((doing, of_doing)) = limit::slowest_agent(evidence) else {
        return reason;
    };
    let meanwhile = write(&format!(" Meanwhile {doing}."), &of_doing);
    let mut figures = of_doing;
    figures.extend(reason.figures);
    Reason {
        sentence: reason.sentence + &meanwhile,
        figures,
        ..reason
    }
}

/// Packets and writes of a burst that takes more writes than there is time for until the last of
/// them is late: then the burst is the cause, and no CPU helps. `None` of any other load.
fn long_burst(load: &Load, limit_ns: u64) -> Option<Figures> {
    let Profile::Burst { packets, .. } = load.profile else {
        return None;
    };
    let writes = packets.div_ceil(load.batch.max(1));
    (u64::from(writes) * WRITE_NS > limit_ns).then(|| {
        figures([
            ("burst_packets", packets.into()),
            ("burst_writes", writes.into()),
        ])
    })
}

/// A reason of late packets that are those of long bursts.
fn of_bursts(reason: Reason, mut burst: Figures) -> Reason {
    let why = write(
        " A burst of {burst_packets} packets takes {burst_writes} writes.",
        &burst,
    );
    burst.extend(reason.figures);
    Reason {
        sentence: reason.sentence + &why,
        remedy: LATE_BURST_REMEDY.into(),
        figures: burst,
        ..reason
    }
}

/// Its place in a template.
fn of_group(evidence: &Evidence<'_>) -> &'static str {
    if evidence.has_several_groups() {
        " of group {group}"
    } else {
        ""
    }
}

/// The name of a group, where the plan has several.
fn group_named(evidence: &Evidence<'_>, index: usize) -> Option<(String, Figure)> {
    let name = evidence.plan.groups.get(index)?.name.as_str();
    evidence
        .has_several_groups()
        .then(|| ("group".to_owned(), name.into()))
}

/// The same judgement as [`lateness`], of one client among many that were in time.
pub(super) fn client_lateness(rows: &[Row<'_>]) -> Option<Reason> {
    let (first, count) = first_of(rows.iter().filter(|row| is_late(row)))?;
    let limit_ns = limit_of(first)?;
    let counts = first.generator().unwrap_or_default();
    let mut figures = figures([
        ("clients_late", count.into()),
        ("clients", rows.len().into()),
        ("late_percent_max", LATE_PERCENT_MAX.into()),
        ("first_client", first.client.into()),
        ("agent", first.agent.name.as_str().into()),
        ("skipped", counts.skipped.into()),
        ("blocked", counts.blocked.into()),
        ("scheduled", counts.scheduled.into()),
        ("limit_ns", limit_ns.into()),
    ]);
    let mut template = "In {clients_late} of {clients} clients more than {late_percent_max} % of \
                        the packets were late; the first is client {first_client} of agent \
                        {agent}: of {scheduled} packets {skipped} were never written and {blocked} \
                        were blocked"
        .to_owned();
    if let Some(counted) = first.with_packets() {
        figures.insert("lateness_p99_ns".into(), counted.lateness_p99_ns.into());
        template += ", its lateness p99 is {lateness_p99_ns|limit_ns} and the limit is {limit_ns}";
    }
    template += ".";
    let code = ReasonCode::ClientLateness;
    let reason = reason(code, VerdictStatus::Invalid, &template, figures);
    Some(match long_burst(&first.group.load, limit_ns) {
        Some(burst) => of_bursts(reason, burst),
        None => reason,
    })
}

/// A packet carries its lateness in 32 bits. Transit, latency and spread beyond the last bucket are
/// no reason: a path can have caused them, and a lateness of as many packets as were blocked.
pub(super) fn saturated(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    let top = bucket(LATENESS_NS_MAX);
    let beyond = |rows: &[Row<'_>]| {
        let index = rows[0].group.index;
        let packets = evidence.times_of(index)?.lateness.count_from(top);
        // What an agent has not reported may have been blocked as well.
        let blocked = sum_of_all(rows, Row::blocked)?;
        (packets > blocked).then_some((index, packets, blocked))
    };
    let (index, packets, blocked) = by_group(rows).find_map(beyond)?;
    let of_group = of_group(evidence);
    let template = format!(
        "{{packets}} packets{of_group} were written {{lateness_ns}} or longer after they were due, \
         which a packet cannot carry, while {{blocked}} were blocked."
    );
    let mut figures = figures([
        ("packets", packets.into()),
        ("blocked", blocked.into()),
        ("lateness_ns", bucket_floor_ns(top).into()),
    ]);
    figures.extend(group_named(evidence, index));
    let code = ReasonCode::Saturated;
    Some(reason(code, VerdictStatus::Invalid, &template, figures))
}

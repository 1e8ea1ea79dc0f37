//! The packets of a run and their rate.

use metronome_proto::{
    json::{
        counts::{Counter, Counts},
        values,
    },
    packet::FRAME_BYTES,
    profile::hz,
    v1,
};

use super::{
    explain::Label,
    figures::{self, known},
    rows::Rows,
};

/// Counters that are shown in any case; another one is shown unless it is 0.
const ALWAYS_SHOWN: [&str; 6] = [
    "scheduled",
    "sent",
    "skipped",
    "received",
    "corrupt",
    "lost",
];

/// Whether a counter is about replies, by its name in JSON: those have lines and columns of their
/// own.
pub(super) fn is_about_replies(counter: &str) -> bool {
    counter.starts_with("replies_")
}

/// Whether a counter is unset where nothing that it counts is asked for or measured, by its name in
/// JSON: then it is not shown, whereas another one that is unset is shown as not known.
pub(super) fn is_unset_unless_measured(counter: &str) -> bool {
    is_about_replies(counter) || counter == "below_floor"
}

/// The counters that a summary shows, by their names in JSON: the generator's, then the receiver's
/// and what was lost.
pub(super) fn shown(run: &v1::Run) -> [Vec<Counter>; 2] {
    let counts = run.report.as_ref().and_then(|report| report.counts);
    let counts = counts.unwrap_or_default();
    let lost = [
        ("lost", counts.lost),
        ("lost_unacknowledged", counts.lost_unacknowledged),
        ("lost_unread", counts.lost_unread),
    ];
    let lost = match counts.lost {
        // Where it was lost is a question only then.
        Some(1..) => &lost[..],
        _ => &lost[..1],
    };
    let scheduled = counts.generator.map(|generator| generator.scheduled);
    let is_flood = has_flood(run);
    let has_warm_up = run.plan.as_ref().is_some_and(|plan| plan.warm_up.is_some());
    let of_list = |counters: &[Counter], is_known: bool| {
        let shown = counters
            .iter()
            .filter(|(name, _)| !is_about_replies(name))
            .filter(|(name, value)| match (*name, value) {
                (name, _) if ALWAYS_SHOWN.contains(&name) => true,
                // The rate has it.
                ("in_time", Some(_)) if *value == scheduled => false,
                (_, Some(value)) => *value != 0,
                (name, None) if is_unset_unless_measured(name) => false,
                (name, None) if name.starts_with("warm_up") && !has_warm_up => false,
                // In a flood the counters that follow from a schedule do not exist.
                (_, None) => is_known && !is_flood,
            });
        shown.copied().collect::<Vec<_>>()
    };
    let generator = Counts::of_list(counts.generator.as_ref());
    let receiver = Counts::of_list(counts.receiver.as_ref());
    let receiver = [receiver.counters(), lost].concat();
    [
        of_list(generator.counters(), counts.generator.is_some()),
        of_list(&receiver, counts.receiver.is_some()),
    ]
}

/// One equation where all that was scheduled was sent and received and no law is broken; else each
/// counter for itself.
pub(super) fn packets(rows: &mut Rows, run: &v1::Run) {
    let [generator, receiver] = shown(run);
    let part = |(name, value): &Counter| {
        let name = match *name {
            "lost_unacknowledged" => "never acknowledged".into(),
            "lost_unread" => "unread".into(),
            name => figures::counter_name(name),
        };
        format!("{name} {}", known(*value, figures::count))
    };
    let Some(packets) = all_received(run) else {
        rows.labelled(Label::Packets, generator.iter().map(part));
        let lines = figures::flowed(receiver.iter().map(part), rows.room());
        let indent = " ".repeat(rows.width - rows.room());
        rows.add(None, figures::marked(&indent, lines));
        return;
    };
    let equation = match has_flood(run) {
        true => "sent = received",
        false => "scheduled = sent = received",
    };
    let equation = format!("{} {equation}", figures::count(packets));
    let in_equation = |(name, _): &&Counter| {
        ["scheduled", "sent", "received"].contains(name) || (*name == "skipped" && has_flood(run))
    };
    let (first, others): (Vec<Counter>, Vec<Counter>) = [generator, receiver]
        .iter()
        .flatten()
        .filter(|counter| !in_equation(counter))
        .partition(|(name, _)| *name == "lost");
    let others = first.iter().chain(&others).map(part);
    rows.labelled(Label::Packets, std::iter::once(equation).chain(others));
}

/// The packets of a run of which all were sent and received, and no law is broken.
fn all_received(run: &v1::Run) -> Option<u64> {
    let counts = run.report.as_ref()?.counts?;
    let (generator, receiver) = (counts.generator?, counts.receiver?);
    let is_equal = generator.scheduled == generator.sent
        && generator.sent == receiver.received
        && counts.lost == Some(0)
        && generator.skipped == 0;
    (laws_hold(run) && is_equal).then_some(generator.sent)
}

/// Whether laws were checked and none of them is broken.
pub(super) fn laws_hold(run: &v1::Run) -> bool {
    let verdict = run.report.as_ref().and_then(|of| of.verdict.as_ref());
    let is_broken = |law: &v1::Law| law.status() == v1::LawStatus::Broken;
    verdict.is_some_and(|of| !of.laws.is_empty() && !of.laws.iter().any(is_broken))
}

/// `100,000/s of 100,000/s`, and how much was read in time.
pub(super) fn rate(run: &v1::Run, report: &v1::Report) -> Vec<String> {
    let rate = report.rate.unwrap_or_default();
    let offered = match rate.offered_millihertz {
        // A flood has no offered rate.
        None if has_flood(run) => "max".into(),
        offered => known(offered, |millihertz| {
            format!("{}/s", figures::hertz(hz(millihertz)))
        }),
    };
    let achieved = known(rate.achieved_millihertz, |millihertz| {
        format!("{}/s", figures::rate(hz(millihertz)))
    });
    let elapsed = values::seconds(report.elapsed.as_ref());
    let elapsed = known(elapsed, |seconds| figures::time_mean(seconds * 1e9));
    let mut parts = vec![format!("{achieved} of {offered}")];
    parts.extend(bytes_rate(run, report));
    parts.push(format!("in {elapsed}"));
    if !has_flood(run) {
        parts.push(format!(
            "kept up {}",
            known(kept_up_ppm(report), figures::share)
        ));
    }
    parts
}

/// Bytes of packets received per second. `None` where all packets are of 32 bytes, which have no
/// payload, and where it is not known.
fn bytes_rate(run: &v1::Run, report: &v1::Report) -> Option<String> {
    let groups = &run.plan.as_ref()?.groups;
    if groups
        .iter()
        .all(|group| figures::packet_bytes(group) == FRAME_BYTES as u32)
    {
        return None;
    }
    let of_group = |group: &v1::Group| {
        let rate = match groups.len() {
            1 => report.rate,
            _ => report.groups.iter().find(|of| of.group == group.name)?.rate,
        };
        let achieved = hz(rate?.achieved_millihertz?);
        Some(achieved * f64::from(figures::packet_bytes(group)))
    };
    let rates = groups.iter().map(of_group);
    rates.sum::<Option<f64>>().map(figures::bytes_per_second)
}

/// The share of the scheduled packets that was read in time, rounded down. Not known in a run that
/// was stopped, and of nothing.
fn kept_up_ppm(report: &v1::Report) -> Option<u32> {
    let counts = report.counts?;
    let scheduled = u128::from(counts.generator?.scheduled);
    let in_time = u128::from(counts.receiver?.in_time?);
    let ppm = (in_time * 1_000_000).checked_div(scheduled)?;
    u32::try_from(ppm).ok().filter(|ppm| *ppm <= 1_000_000)
}

pub(super) fn has_flood(run: &v1::Run) -> bool {
    let groups = run.plan.iter().flat_map(|plan| &plan.groups);
    let mut shapes = groups.filter_map(|group| group.profile.as_ref()?.shape.as_ref());
    shapes.any(|shape| matches!(shape, v1::profile::Shape::Flood(_)))
}

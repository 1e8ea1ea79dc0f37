//! What stands in each row of a view: figures in words, and lines of characters over time.

use metronome_proto::{
    json::values,
    profile::hz,
    v1::{self, RunState},
};
use ratatui_core::text::Span;

use super::{
    bars,
    groups::clients_in_words,
    phrases::{Phrase, Tone},
    view::{QUANTILES, ShownTime, View},
};
use crate::render::text::{
    figures::{self, UNKNOWN, known},
    progress::{self, LONG_S, WAITING_FOR_REPORT},
};

/// A time takes so many columns at most.
pub(super) const TIME: usize = 7;

/// A client that needs so many times what the one in the middle needs stands out; and one of so
/// many times even more.
const SLOW: i64 = 4;

const VERY_SLOW: i64 = 16;

/// `6.2 of 10 s` with its percentage, or the state of a run that has no part of its schedule.
pub(super) fn part_of_time(view: &View) -> String {
    match view.state() {
        RunState::Running => progress::part_of_schedule(view.elapsed_s(), view.planned.duration_s),
        state => {
            let snapshot = view.snapshot.as_ref();
            let connected = snapshot.and_then(|snapshot| snapshot.clients_connected);
            let connected = connected.map(u64::from);
            let word = figures::word(values::state(state.into()));
            match (state, connected, view.planned.clients) {
                (RunState::Unspecified, ..) => "starting".into(),
                (RunState::Preparing | RunState::Starting, Some(connected), Some(all)) => {
                    let of = figures::number_of(all, "client");
                    format!("{word}  {} of {of}", figures::count(connected))
                }
                _ => word,
            }
        }
    }
}

/// How long the schedule still lasts.
pub(super) fn left(view: &View) -> Option<String> {
    if view.state() != RunState::Running {
        return None;
    }
    let duration_s = view.planned.duration_s?;
    let left_s = (duration_s - view.elapsed_s()?).max(0.0);
    Some(match duration_s >= LONG_S {
        true => format!("{} left", progress::clock(left_s)),
        false => format!("{} s left", figures::fixed(left_s, 1)),
    })
}

/// What was received in a second, of what is offered.
pub(super) fn rate(view: &View) -> Vec<Phrase> {
    let snapshot = view.snapshot.as_ref();
    let received = snapshot.and_then(|snapshot| snapshot.received_millihertz);
    let shown = known(received, |millihertz| figures::rate(hz(millihertz)));
    let mut parts = vec![Phrase::new(0, format!("{shown}/s"))];
    if let Some(offered) = view.offered_millihertz() {
        let offered = figures::rate(hz(offered));
        parts[0].text.push_str(&format!(" of {offered}/s"));
    }
    let connected = snapshot.and_then(|snapshot| snapshot.clients_connected);
    let connected = connected.map(u64::from);
    let clients = known(connected, |number| figures::number_of(number, "client"));
    let is_short = connected
        .zip(view.planned.clients)
        .is_some_and(|(connected, all)| view.state() == RunState::Running && connected < all);
    if connected.is_some() {
        let tone = if is_short { Tone::Bad } else { Tone::Plain };
        let of = view.planned.clients.filter(|_| is_short);
        let of = of.map_or_else(String::new, |all| format!(" of {}", figures::count(all)));
        parts.push(Phrase::new(1, clients + &of).toned(tone));
    }
    parts
}

/// The rate over time: full where all that was offered came, or, where that is not known, where
/// most came.
pub(super) fn rate_line(view: &View, width: usize) -> Vec<Span<'static>> {
    let seconds = view.history.last(width, |second| {
        (second.received_millihertz, second.offered_millihertz)
    });
    let highest = seconds.iter().filter_map(|(received, _)| *received).max();
    let shares: Vec<_> = seconds
        .iter()
        .map(|(received, offered)| {
            let whole = view.planned.offered_millihertz.or(*offered).or(highest)?;
            Some((*received)? as f64 / (whole as f64).max(1.0))
        })
        .collect();
    vec![bars::shares(&shares).into()]
}

/// One counter of the receiver.
type Counter = fn(&v1::ReceiverCounts) -> u64;

/// Packets of both ends, and each counter of something wrong that is above 0.
pub(super) fn packets(view: &View) -> Vec<Phrase> {
    let snapshot = view.snapshot.as_ref();
    let generator = snapshot.and_then(|snapshot| snapshot.generator);
    let receiver = snapshot.and_then(|snapshot| snapshot.receiver);
    let text =
        |name: &str, figure: Option<u64>| format!("{name} {}", known(figure, figures::count));
    let received = receiver.map(|counts| counts.received);
    let skipped = generator.map(|counts| counts.skipped);
    let mut parts = vec![
        Phrase::new(3, text("sent", generator.map(|counts| counts.sent))),
        Phrase::new(0, text("received", received)),
    ];
    let bad = |figure: Option<u64>| match figure {
        Some(1..) => Tone::Bad,
        _ => Tone::Plain,
    };
    parts.push(Phrase::new(1, text("skipped", skipped)).toned(bad(skipped)));
    let wrong: [(&str, Counter); 4] = [
        ("corrupt", |counts| counts.corrupt),
        ("duplicated", |counts| counts.duplicated),
        ("reordered", |counts| counts.reordered),
        ("gaps", |counts| counts.gaps),
    ];
    for (name, of) in wrong {
        let figure = receiver.as_ref().map(of).filter(|figure| *figure > 0);
        parts.extend(figure.map(|_| Phrase::new(2, text(name, figure)).toned(Tone::Bad)));
    }
    parts
}

pub(super) fn quantiles(shown: &ShownTime) -> Vec<Phrase> {
    let quantiles = QUANTILES.iter().zip(shown.quantiles_ns);
    let parts = quantiles.map(|((_, name), ns)| {
        let rank = u8::from(*name != "p99");
        Phrase::new(rank, format!("{name} {:>TIME$}", time(ns)))
    });
    parts.collect()
}

pub(super) fn time(ns: Option<i64>) -> String {
    known(ns, figures::time)
}

/// The p99 of a time, second by second.
pub(super) fn time_line(view: &View, shown: &ShownTime, width: usize) -> Vec<Span<'static>> {
    let index = shown.time as usize;
    let seconds = view.history.last(width, |second| second.p99_ns[index]);
    vec![bars::line(&seconds).into()]
}

/// The clients by their p99 in the last second: the slow ones are high, and have a colour.
pub(super) fn strip(view: &View, width: usize) -> Vec<Span<'static>> {
    let Some(clients) = view.clients() else {
        return Vec::new();
    };
    let cells = bars::gathered(&clients.by_row(), width);
    let median = bars::median(&cells);
    let tone = |figure: Option<i64>| match figure.zip(median.filter(|median| *median > 0)) {
        Some((figure, median)) if figure / median >= VERY_SLOW => Tone::Bad,
        Some((figure, median)) if figure / median >= SLOW => Tone::Warning,
        _ => Tone::Plain,
    };
    let characters = bars::line(&cells);
    let cells = characters.chars().zip(cells);
    cells
        .map(|(character, figure)| Span::styled(character.to_string(), tone(figure).style()))
        .collect()
}

/// The client that was the slowest in the last second.
pub(super) fn worst(view: &View) -> String {
    let Some(clients) = view.clients() else {
        return UNKNOWN.into();
    };
    let rows = (0_u32..).zip(clients.by_row());
    let slowest = rows.filter_map(|(row, p99_ns)| Some((row, p99_ns?)));
    let Some((row, p99_ns)) = slowest.max_by_key(|(row, p99_ns)| (*p99_ns, u32::MAX - row)) else {
        return UNKNOWN.into();
    };
    let name = clients_in_words(&clients.clients_of(row));
    format!("worst {name}, p99 {}", figures::time(p99_ns))
}

/// What went wrong, what stands in the way, what the run waits for. `None`: nothing.
pub(super) fn event(view: &View, room: usize) -> Option<Phrase> {
    let snapshot = view.snapshot.as_ref()?;
    let sentence = |of: &v1::Failure| {
        let code = figures::word(values::failure_code(of.code));
        format!("{code}: {}", figures::clean(&of.sentence))
    };
    if let Some(first) = snapshot.failures.first() {
        let number = figures::number_of(snapshot.failures.len() as u64, "failure");
        let text = format!("{number}, {}", sentence(first));
        return Some(Phrase::new(0, text).toned(Tone::Bad));
    }
    if let Some(first) = snapshot.obstacles.first() {
        return Some(Phrase::new(0, sentence(first)).toned(Tone::Warning));
    }
    let waiting = progress::waiting_for(&snapshot.waiting_for, room);
    let is_draining = view.state() == RunState::Draining;
    let waiting = waiting.or_else(|| is_draining.then(|| WAITING_FOR_REPORT.to_owned()));
    waiting.map(|text| Phrase::new(0, text))
}

//! A view as rows of a width, and those of them that a height has room for. Three forms: the wide
//! one of 80 columns, the narrow one of 40, of which a line over time is a row of its own, and the
//! tiny one. A row has what fits; what is missed least is left out first.

use metronome_proto::{
    layout::{columns, shortened},
    names::is_harmful,
    profile::hz,
    v1::{self, RunState},
};
use ratatui_core::{
    style::Style,
    text::{Line, Span},
};

use super::{
    bars, hosts,
    view::{QUANTILES, ShownTime, View},
};
use crate::render::text::{
    figures::{self, UNKNOWN, known},
    progress::{self, LONG_S, WAITING_FOR_REPORT},
};

/// Room for a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// No row is wider, however wide the terminal is: what belongs together stays together, and a
/// terminal that is made half as wide breaks it once.
const WIDTH_MAX: usize = 79;
/// The least width of the wide form and of the narrow one.
const WIDE: usize = 66;
const NARROW: usize = 34;
/// Columns of what stands before the figures of a row, in the wide form.
const LABEL: usize = 10;
/// A time takes so many columns at most.
const TIME: usize = 7;
/// A progress bar below this width shows nothing.
const BAR_MIN: usize = 6;
/// A client that needs so many times what the one in the middle needs stands out; and one of so
/// many times even more.
const SLOW: i64 = 4;
const VERY_SLOW: i64 = 16;

/// How a part looks; its words say the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    Plain,
    Faint,
    Warning,
    Bad,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Faint => Style::new().dim(),
            Self::Warning => Style::new().yellow(),
            Self::Bad => Style::new().red().bold(),
        }
    }
}

/// A part of a row.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// How little it is missed: 0 is never left out.
    pub(super) rank: u8,
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Part {
    pub(super) fn new(rank: u8, text: impl Into<String>) -> Self {
        Self {
            rank,
            text: legible(&text.into()),
            tone: Tone::Plain,
        }
    }

    pub(super) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// A text of characters that every terminal gives one column: foreign words may have others.
fn legible(text: &str) -> String {
    let is_narrow = |of: char| of < '\u{300}' || matches!(of, '–' | '…' | '’' | '“' | '”' | '→');
    let character = |of: char| match is_narrow(of) && !is_harmful(of) {
        true => of,
        false => '?',
    };
    text.chars().map(character).collect()
}

/// One row and how little it is missed.
#[derive(Clone, Debug)]
struct Row {
    rank: u8,
    line: Line<'static>,
}

/// The rows of a view for this size, at most as many and none wider. At least one where there is
/// room at all.
pub(super) fn rows(view: &View, size: Size) -> Vec<Line<'static>> {
    let width = size.columns.min(WIDTH_MAX);
    if width == 0 {
        return Vec::new();
    }
    let mut rows = match width {
        WIDE.. => wide(view, width),
        NARROW.. => narrow(view, width),
        _ => tiny(view, width),
    };
    while rows.len() > size.rows {
        let ranks = rows.iter().enumerate();
        let Some((least, _)) = ranks.max_by_key(|(_, row)| row.rank) else {
            break;
        };
        rows.remove(least);
    }
    rows.into_iter().map(|row| row.line).collect()
}

fn wide(view: &View, width: usize) -> Vec<Row> {
    let room = width - LABEL;
    let figures = 3 * (TIME + 1) + "p50p99p99.9".len() + 2 * 2;
    let over_time = room - figures - 2;
    let labelled = |rank, label, parts| Row {
        rank,
        line: row(label, LABEL, parts, width),
    };
    let beside = |rank, label, line, wide, parts| Row {
        rank,
        line: with_label(label, LABEL, drawn(line, wide, parts, room)),
    };
    let mut rows = vec![Row {
        rank: 0,
        line: head(view, width),
    }];
    let line = rate_line(view, over_time);
    rows.push(beside(2, "rate", line, over_time, rate(view)));
    rows.push(labelled(4, "packets", packets(view)));
    for (index, shown) in view.times().iter().enumerate() {
        let rank = if index == 0 { 1 } else { 5 };
        let line = time_line(view, shown, over_time);
        rows.push(beside(
            rank,
            shown.time.name(),
            line,
            over_time,
            quantiles(shown),
        ));
    }
    let worst = worst(view);
    let wide = over_time.max(room.saturating_sub(columns(&worst) + 2));
    let clients = strip(view, wide);
    // Beside the others as long as it is no longer than they are.
    let wide = if clients.len() > over_time {
        wide
    } else {
        over_time
    };
    let worst = vec![Part::new(0, worst)];
    rows.push(beside(6, "clients", clients, wide, worst));
    rows.push(labelled(7, "agents", hosts::agents(view.hosts())));
    rows.push(labelled(7, "server", hosts::server(view.hosts())));
    rows.push(last(view, LABEL, width));
    rows
}

fn narrow(view: &View, width: usize) -> Vec<Row> {
    let label = LABEL - 1;
    let room = width - label;
    let row_of = |rank, spans| Row {
        rank,
        line: Line::from(spans),
    };
    let below = |rank, line: Vec<Span<'static>>| Row {
        rank,
        line: with_label("", label, line),
    };
    let labelled = |rank, name, parts| Row {
        rank,
        line: row(name, label, parts, width),
    };
    let mut rows = vec![
        row_of(
            0,
            ends(view.planned.load.clone(), part_of_time(view), width),
        ),
        row_of(6, bar_and_percent(view, width)),
        labelled(2, "rate", rate(view)),
        below(9, rate_line(view, room)),
        labelled(4, "packets", packets(view)),
    ];
    let heads = QUANTILES.map(|(_, name)| format!("{name:>TIME$}"));
    let heads = Span::styled(heads.join("  "), Tone::Faint.style());
    rows.push(below(3, vec![heads]));
    for (index, shown) in view.times().iter().enumerate() {
        let times = shown.quantiles_ns.map(|ns| format!("{:>TIME$}", time(ns)));
        rows.push(Row {
            rank: if index == 0 { 1 } else { 5 },
            line: with_label(shown.time.name(), label, vec![times.join("  ").into()]),
        });
        rows.push(below(9, time_line(view, shown, room)));
    }
    rows.push(Row {
        rank: 6,
        line: with_label("clients", label, strip(view, room)),
    });
    rows.push(below(7, vec![shortened(&worst(view), room).into()]));
    rows.push(labelled(8, "agents", hosts::agents(view.hosts())));
    rows.push(labelled(8, "server", hosts::server(view.hosts())));
    rows.push(last(view, label, width));
    rows
}

fn tiny(view: &View, width: usize) -> Vec<Row> {
    let cut = |rank, text: String| Row {
        rank,
        line: Line::from(shortened(&text, width)),
    };
    let mut rows = vec![cut(0, part_of_time(view).trim_start().to_owned())];
    let received = rate(view).into_iter().next();
    rows.extend(received.map(|part| {
        let received = part.text.split(" of ").next().unwrap_or_default();
        cut(2, format!("rate {received}"))
    }));
    for (index, shown) in view.times().iter().enumerate() {
        let [_, p99, _] = shown.quantiles_ns;
        let text = format!("{} p99 {}", shown.time.name(), time(p99));
        rows.push(cut(if index == 0 { 1 } else { 5 }, text));
    }
    rows.push(last(view, 0, width));
    rows
}

/// The load, how much of the schedule is over as a bar and in words, and what is left of it.
fn head(view: &View, width: usize) -> Line<'static> {
    let load = shortened(&view.planned.load, width / 2);
    let gap = if load.is_empty() { 0 } else { 2 };
    let mut words = vec![part_of_time(view)];
    words.extend(left(view));
    let mut words = words.join("  ");
    let taken = |words: &str| columns(&load) + gap + columns(words) + 2;
    if taken(&words) + BAR_MIN > width {
        words = part_of_time(view);
    }
    let room = width.saturating_sub(taken(&words));
    let mut spans = vec![Span::from(load.clone())];
    if room >= BAR_MIN {
        spans.push(" ".repeat(gap).into());
        spans.extend(bar(view, room));
    }
    let words = shortened(&words, width.saturating_sub(columns(&load) + 2).max(1));
    spans.extend(["  ".into(), words.into()]);
    Line::from(spans)
}

/// `6.2 of 10 s` with its percentage, or the state of a run that has no part of its schedule.
fn part_of_time(view: &View) -> String {
    match view.state() {
        RunState::Running => progress::part_of_schedule(view.elapsed_s(), view.planned.duration_s),
        state => {
            let snapshot = view.snapshot.as_ref();
            let connected = snapshot.and_then(|snapshot| snapshot.clients_connected);
            let connected = connected.map(u64::from);
            let word = figures::word(metronome_proto::json::values::state(state.into()));
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
fn left(view: &View) -> Option<String> {
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

fn bar(view: &View, width: usize) -> Vec<Span<'static>> {
    let share = match view.state() {
        RunState::Draining | RunState::Ended => Some(1.0),
        _ => view.share(),
    };
    let full = bars::full_cells(share.unwrap_or(0.0), width);
    vec![
        "█".repeat(full).into(),
        Span::styled("░".repeat(width - full), Tone::Faint.style()),
    ]
}

fn bar_and_percent(view: &View, width: usize) -> Vec<Span<'static>> {
    let words = left(view).unwrap_or_default();
    let room = width.saturating_sub(columns(&words) + 2);
    if words.is_empty() || room < BAR_MIN {
        return bar(view, width);
    }
    let mut spans = bar(view, room);
    spans.extend(["  ".into(), words.into()]);
    spans
}

/// What was received in a second, of what is offered.
fn rate(view: &View) -> Vec<Part> {
    let snapshot = view.snapshot.as_ref();
    let received = snapshot.and_then(|snapshot| snapshot.received_millihertz);
    let shown = known(received, |millihertz| figures::rate(hz(millihertz)));
    let mut parts = vec![Part::new(0, format!("{shown}/s"))];
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
        parts.push(Part::new(1, clients + &of).toned(tone));
    }
    parts
}

/// The rate over time: full where all that was offered came, or, where that is not known, where
/// most came.
fn rate_line(view: &View, width: usize) -> Vec<Span<'static>> {
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

/// Packets of both ends, and each counter of something wrong that is above 0.
fn packets(view: &View) -> Vec<Part> {
    let snapshot = view.snapshot.as_ref();
    let generator = snapshot.and_then(|snapshot| snapshot.generator);
    let receiver = snapshot.and_then(|snapshot| snapshot.receiver);
    let text =
        |name: &str, figure: Option<u64>| format!("{name} {}", known(figure, figures::count));
    let received = receiver.map(|counts| counts.received);
    let skipped = generator.map(|counts| counts.skipped);
    let mut parts = vec![
        Part::new(3, text("sent", generator.map(|counts| counts.sent))),
        Part::new(0, text("received", received)),
    ];
    let bad = |figure: Option<u64>| match figure {
        Some(1..) => Tone::Bad,
        _ => Tone::Plain,
    };
    parts.push(Part::new(1, text("skipped", skipped)).toned(bad(skipped)));
    let wrong: [(&str, fn(&v1::ReceiverCounts) -> u64); 4] = [
        ("corrupt", |counts| counts.corrupt),
        ("duplicated", |counts| counts.duplicated),
        ("reordered", |counts| counts.reordered),
        ("gaps", |counts| counts.gaps),
    ];
    for (name, of) in wrong {
        let figure = receiver.as_ref().map(of).filter(|figure| *figure > 0);
        parts.extend(figure.map(|_| Part::new(2, text(name, figure)).toned(Tone::Bad)));
    }
    parts
}

fn quantiles(shown: &ShownTime) -> Vec<Part> {
    let quantiles = QUANTILES.iter().zip(shown.quantiles_ns);
    let parts = quantiles.map(|((_, name), ns)| {
        let rank = u8::from(*name != "p99");
        Part::new(rank, format!("{name} {:>TIME$}", time(ns)))
    });
    parts.collect()
}

fn time(ns: Option<i64>) -> String {
    known(ns, figures::time)
}

/// The p99 of a time, second by second.
fn time_line(view: &View, shown: &ShownTime, width: usize) -> Vec<Span<'static>> {
    let index = shown.time as usize;
    let seconds = view.history.last(width, |second| second.p99_ns[index]);
    vec![bars::line(&seconds).into()]
}

/// The clients by their p99 in the last second: the slow ones are high, and have a colour.
fn strip(view: &View, width: usize) -> Vec<Span<'static>> {
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
fn worst(view: &View) -> String {
    let Some(clients) = view.clients() else {
        return UNKNOWN.into();
    };
    let rows = (0_u32..).zip(clients.by_row());
    let slowest = rows.filter_map(|(row, p99_ns)| Some((row, p99_ns?)));
    let Some((row, p99_ns)) = slowest.max_by_key(|(row, p99_ns)| (*p99_ns, u32::MAX - row)) else {
        return UNKNOWN.into();
    };
    let of = clients.clients_of(row);
    let name = match of.len() {
        0 | 1 => format!("client {}", of.start),
        _ => format!("clients {}–{}", of.start, of.end - 1),
    };
    format!("worst {name}, p99 {}", figures::time(p99_ns))
}

/// What happened last, else what Ctrl-C does.
fn last(view: &View, label: usize, width: usize) -> Row {
    let room = width - label;
    let (name, part) = match event(view, room) {
        Some(part) => ("last", part),
        None => ("", Part::new(9, view.hint).toned(Tone::Faint)),
    };
    let text = shortened(&part.text, room.max(1));
    let text = Span::styled(text, part.tone.style());
    Row {
        rank: if name.is_empty() { 10 } else { 3 },
        line: with_label(name, label, vec![text]),
    }
}

/// What went wrong, what stands in the way, what the run waits for. `None`: nothing.
fn event(view: &View, room: usize) -> Option<Part> {
    let snapshot = view.snapshot.as_ref()?;
    let sentence = |of: &v1::Failure| {
        let code = figures::word(metronome_proto::json::values::failure_code(of.code));
        format!("{code}: {}", figures::clean(&of.sentence))
    };
    if let Some(first) = snapshot.failures.first() {
        let number = figures::number_of(snapshot.failures.len() as u64, "failure");
        let text = format!("{number}, {}", sentence(first));
        return Some(Part::new(0, text).toned(Tone::Bad));
    }
    if let Some(first) = snapshot.obstacles.first() {
        return Some(Part::new(0, sentence(first)).toned(Tone::Warning));
    }
    let waiting = progress::waiting_for(&snapshot.waiting_for, room);
    let is_draining = view.state() == RunState::Draining;
    let waiting = waiting.or_else(|| is_draining.then(|| WAITING_FOR_REPORT.to_owned()));
    waiting.map(|text| Part::new(0, text))
}

/// Text at the left end and text at the right one.
fn ends(left: String, right: String, width: usize) -> Vec<Span<'static>> {
    let right = shortened(right.trim_start(), width);
    let room = width.saturating_sub(columns(&right) + 2);
    let left = if room == 0 {
        String::new()
    } else {
        shortened(&left, room)
    };
    let gap = width.saturating_sub(columns(&left) + columns(&right));
    vec![left.into(), " ".repeat(gap).into(), right.into()]
}

/// A line over time in `width` columns, and the figures beside it where `room` has some left.
fn drawn(
    mut line: Vec<Span<'static>>,
    width: usize,
    parts: Vec<Part>,
    room: usize,
) -> Vec<Span<'static>> {
    let taken: usize = line.iter().map(Span::width).sum();
    line.push(" ".repeat(width.saturating_sub(taken) + 2).into());
    line.extend(fitting(parts, room.saturating_sub(width + 2)));
    line
}

/// A row of parts behind a label.
fn row(label: &'static str, label_width: usize, parts: Vec<Part>, width: usize) -> Line<'static> {
    with_label(label, label_width, fitting(parts, width - label_width))
}

fn with_label(label: &'static str, width: usize, mut spans: Vec<Span<'static>>) -> Line<'static> {
    if width > 0 {
        spans.insert(
            0,
            Span::styled(format!("{label:width$}"), Tone::Faint.style()),
        );
    }
    Line::from(spans)
}

/// The parts that fit a width, two blanks between them: the least missed are left out, and one that
/// is alone is shortened.
fn fitting(mut parts: Vec<Part>, width: usize) -> Vec<Span<'static>> {
    let taken = |parts: &[Part]| {
        let texts: usize = parts.iter().map(|part| columns(&part.text)).sum();
        texts + 2 * parts.len().saturating_sub(1)
    };
    while parts.len() > 1 && taken(&parts) > width {
        let ranks = parts.iter().enumerate();
        let least = ranks.max_by_key(|(_, part)| part.rank);
        let least = least.map_or(0, |(index, _)| index);
        parts.remove(least);
    }
    let mut spans: Vec<Span<'static>> = Vec::new();
    for part in parts {
        if !spans.is_empty() {
            spans.push("  ".into());
        }
        let text = shortened(&part.text, width.max(1));
        spans.push(Span::styled(text, part.tone.style()));
    }
    spans
}

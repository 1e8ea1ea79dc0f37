//! A view as rows of a width, and those of them that a height has room for. Three forms: the wide
//! one of 80 columns, the narrow one of 40, of which a line over time is a row of its own, and the
//! tiny one. A row has what fits; what is missed least is left out first.

use std::iter;

use metronome_proto::{
    layout::{columns, shortened},
    v1::RunState,
};
use ratatui_core::text::{Line, Span};

use super::{
    bars,
    contents::{
        TIME, event, left, packets, part_of_time, quantiles, rate, rate_line, strip, time,
        time_line, worst,
    },
    groups, hosts,
    phrases::{Phrase, Tone, drawn, ends, row, with_label},
    view::{QUANTILES, View},
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
/// Rows behind those of groups: agents, server and the last event.
const BEHIND_GROUPS: usize = 3;
/// A progress bar below this width shows nothing.
const BAR_MIN: usize = 6;
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
    let (mut rows, label) = match width {
        WIDE.. => (wide(view, width), LABEL),
        NARROW.. => (narrow(view, width), LABEL - 1),
        _ => (tiny(view, width), width),
    };
    let groups = groups::lines(view, size.rows.saturating_sub(rows.len()), width >= WIDE);
    if label < width && !groups.is_empty() {
        add_groups(&mut rows, groups, label, width);
    }
    while rows.len() > size.rows {
        let ranks = rows.iter().enumerate();
        let Some((least, _)) = ranks.max_by_key(|(_, row)| row.rank) else {
            break;
        };
        rows.remove(least);
    }
    rows.into_iter().map(|row| row.line).collect()
}

/// Adds the lines of groups behind the clients: they have the room that nothing else takes.
fn add_groups(rows: &mut Vec<Row>, groups: Vec<Vec<Phrase>>, label: usize, width: usize) {
    let behind = rows.split_off(rows.len().saturating_sub(BEHIND_GROUPS));
    let names = iter::once("groups").chain(iter::repeat(""));
    rows.extend(names.zip(groups).map(|(name, parts)| Row {
        rank: 11,
        line: row(name, label, parts, width),
    }));
    rows.extend(behind);
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
    let worst = vec![Phrase::new(0, worst)];
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

/// What happened last, else what Ctrl-C does.
fn last(view: &View, label: usize, width: usize) -> Row {
    let room = width - label;
    let (name, part) = match event(view, room) {
        Some(part) => ("last", part),
        None => ("", Phrase::new(9, view.hint).toned(Tone::Faint)),
    };
    let text = shortened(&part.text, room.max(1));
    let text = Span::styled(text, part.tone.style());
    Row {
        rank: if name.is_empty() { 10 } else { 3 },
        line: with_label(name, label, vec![text]),
    }
}

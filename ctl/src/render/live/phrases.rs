//! Phrases of a row: words with a tone, those that fit a width, and what stands beside what.

use metronome_proto::{
    layout::{columns, shortened},
    names::is_harmful,
};
use ratatui_core::{
    style::Style,
    text::{Line, Span},
};

/// How a part looks; its words say the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    Plain,
    Faint,
    Warning,
    Bad,
}

impl Tone {
    pub(super) fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Faint => Style::new().dim(),
            Self::Warning => Style::new().yellow(),
            Self::Bad => Style::new().red().bold(),
        }
    }
}

/// A phrase of a row.
#[derive(Clone, Debug)]
pub(super) struct Phrase {
    /// How little it is missed: 0 is never left out.
    pub(super) rank: u8,
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Phrase {
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

/// Characters of ours that every terminal gives one column, beside those of the Latin alphabets.
const ALSO_NARROW: [char; 7] = ['–', '…', '’', '“', '”', '→', '≤'];

/// A text of characters that every terminal gives one column: foreign words may have others.
fn legible(text: &str) -> String {
    let is_narrow = |of: char| of < '\u{300}' || ALSO_NARROW.contains(&of);
    let character = |of: char| match is_narrow(of) && !is_harmful(of) {
        true => of,
        false => '?',
    };
    text.chars().map(character).collect()
}

/// Text at the left end and text at the right one.
pub(super) fn ends(left: String, right: String, width: usize) -> Vec<Span<'static>> {
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
pub(super) fn drawn(
    mut line: Vec<Span<'static>>,
    width: usize,
    parts: Vec<Phrase>,
    room: usize,
) -> Vec<Span<'static>> {
    let taken: usize = line.iter().map(Span::width).sum();
    line.push(" ".repeat(width.saturating_sub(taken) + 2).into());
    line.extend(fitting(parts, room.saturating_sub(width + 2)));
    line
}

/// A row of parts behind a label.
pub(super) fn row(
    label: &'static str,
    label_width: usize,
    parts: Vec<Phrase>,
    width: usize,
) -> Line<'static> {
    with_label(label, label_width, fitting(parts, width - label_width))
}

pub(super) fn with_label(
    label: &'static str,
    width: usize,
    mut spans: Vec<Span<'static>>,
) -> Line<'static> {
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
pub(super) fn fitting(mut parts: Vec<Phrase>, width: usize) -> Vec<Span<'static>> {
    let taken = |parts: &[Phrase]| {
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

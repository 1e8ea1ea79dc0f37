//! Rows in cells, and these as what a terminal takes.
//!
//! A frame is drawn from where the cursor stands, which is a blank row above it, and leaves the
//! cursor there. So it needs neither the place of the cursor nor the size of the frame before: a
//! terminal that was made narrower and has broken the rows of that one is drawn over all the same,
//! and there is nothing to set back at the end. That is why this is not the inline viewport of
//! ratatui, which asks the terminal for the place of its cursor: in raw mode, from standard input,
//! waiting for an answer; a job in the background would be stopped by that.
//!
//! The first frame, and the first one after the terminal has changed its size, stands at the bottom
//! of the terminal: a terminal that is made narrower and breaks rows moves as many rows above them
//! out of reach, and those are not to be ours.

use metronome_proto::names::is_harmful;
use ratatui_core::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};

use super::{
    rows::{Size, rows},
    view::View,
};
use crate::render::text::colour::Colour;

/// What is written at once has room where a terminal reports room. A frame that would be longer
/// lacks rows.
pub(crate) const BYTES_MAX: usize = 4096;

const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";
/// A terminal that has it shows the frame when it is whole.
const UPDATE_BEGINS: &str = "\x1b[?2026h";
const UPDATE_ENDS: &str = "\x1b[?2026l";
const CLEAR_TO_END_OF_LINE: &str = "\x1b[K";
const CLEAR_TO_END: &str = "\x1b[J";
const PLAIN: &str = "\x1b[0m";

/// Takes a frame away. A terminal that `has_kept_its_size` since the first one goes on where that
/// was begun; another one where the cursor is, since what was above it may have moved.
pub(crate) fn clear(has_kept_its_size: bool) -> &'static str {
    match has_kept_its_size {
        true => "\x1b8\x1b[J",
        false => "\r\x1b[J",
    }
}

/// A frame: its rows in cells.
#[derive(Clone, Debug)]
pub(crate) struct Frame(Buffer);

impl Frame {
    /// A view in a terminal of this size.
    pub(crate) fn of(view: &View, terminal: Size) -> Self {
        let size = Size {
            // A character in the last column leaves the cursor between two rows.
            columns: terminal.columns.saturating_sub(1),
            // The blank row.
            rows: terminal.rows.saturating_sub(1),
        };
        let lines = rows(view, size);
        let area = Rect::new(0, 0, limited(size.columns), limited(lines.len()));
        let mut buffer = Buffer::empty(area);
        for (y, line) in (0..area.height).zip(&lines) {
            buffer.set_line(0, y, line, area.width);
        }
        Self(buffer)
    }

    /// A view as what a terminal of this size takes: at most [`BYTES_MAX`]. `is_first` for this
    /// size.
    pub(crate) fn text(view: &View, terminal: Size, colour: Colour, is_first: bool) -> String {
        let mut rows = terminal.rows;
        loop {
            let frame = Self::of(view, Size { rows, ..terminal });
            let text = frame.painted(colour, is_first);
            if text.len() <= BYTES_MAX || rows <= 1 {
                return text;
            }
            rows = rows.min(usize::from(u16::MAX)).saturating_sub(1).min(40);
        }
    }

    /// Its cells, for what looks at them.
    #[cfg(test)]
    pub(super) fn cells(&self) -> &Buffer {
        &self.0
    }

    fn painted(&self, colour: Colour, is_first: bool) -> String {
        let area = self.0.area;
        let mut text = format!("{UPDATE_BEGINS}{WRAP_OFF}\r");
        if is_first {
            text.push_str(&to_the_bottom(area.height));
        }
        text.push_str(CLEAR_TO_END_OF_LINE);
        for y in 0..area.height {
            text.push_str("\r\n");
            let mut style = Style::new();
            let mut blanks = 0;
            for x in 0..area.width {
                let cell = &self.0[(x, y)];
                let sequence = sequence(cell.style());
                if cell.symbol() == " " {
                    blanks += 1;
                    continue;
                }
                text.extend(std::iter::repeat_n(' ', std::mem::take(&mut blanks)));
                if colour == Colour::Ansi && sequence != self::sequence(style) {
                    text.push_str(PLAIN);
                    text.push_str(sequence);
                    style = cell.style();
                }
                // Foreign words were cleaned where they were taken; this holds for what was not.
                text.push_str(&cell.symbol().replace(is_harmful, "?"));
            }
            if colour == Colour::Ansi && !sequence(style).is_empty() {
                text.push_str(PLAIN);
            }
            text.push_str(CLEAR_TO_END_OF_LINE);
        }
        text.push_str(CLEAR_TO_END);
        text.push_str(&up(area.height));
        text.push('\r');
        text + WRAP_ON + UPDATE_ENDS
    }
}

/// Makes room for so many rows below the cursor, keeps its place, and moves it so far down that the
/// last of them is the last one of the terminal.
fn to_the_bottom(rows: u16) -> String {
    let room = "\r\n".repeat(rows.into());
    let up = up(rows);
    format!("{CLEAR_TO_END}{room}{up}\x1b7\x1b[999B{up}")
}

/// Moves the cursor up. None would be one.
fn up(rows: u16) -> String {
    match rows {
        0 => String::new(),
        rows => format!("\x1b[{rows}A"),
    }
}

/// The one sequence of a style that rows have (ECMA-48, SGR); empty for a plain one.
fn sequence(style: Style) -> &'static str {
    match style.fg {
        Some(Color::Yellow) => "\x1b[33m",
        Some(Color::Red) => "\x1b[1;31m",
        _ if style.add_modifier.contains(Modifier::DIM) => "\x1b[2m",
        _ => "",
    }
}

/// Cells are counted in 16 bits.
fn limited(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

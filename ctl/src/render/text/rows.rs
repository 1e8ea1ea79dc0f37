//! Lines of a text in which the first word names what the line is about.

use super::{explain::Label, figures};

/// Columns of the labels, with the blanks behind them.
pub(super) const LABEL_WIDTH: usize = 11;

/// A text that grows line by line, and the labels that it has.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) width: usize,
    pub(super) text: String,
    pub(super) labels: Vec<Label>,
}

impl Rows {
    /// Without a line.
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            text: String::new(),
            labels: Vec::new(),
        }
    }

    /// Columns beside the labels.
    pub(super) fn room(&self) -> usize {
        self.width - LABEL_WIDTH
    }

    /// Parts in as many lines as they need, the first one with the label.
    pub(super) fn labelled(&mut self, label: Label, parts: impl IntoIterator<Item = String>) {
        self.labelled_lines(label, figures::flowed(parts, self.room()));
    }

    /// Lines that fit beside the labels, the first one with the label, which has a line of its own
    /// where it is too long.
    pub(super) fn labelled_lines(&mut self, label: Label, lines: Vec<String>) {
        let word = label.word();
        let is_long = word.chars().count() >= LABEL_WIDTH;
        let beside = if is_long { "" } else { word };
        let above = is_long.then(|| word.to_owned());
        self.add(Some(label), above.into_iter().collect());
        let mark = format!("{beside:<LABEL_WIDTH$}");
        self.add(Some(label), figures::marked(&mark, lines));
    }

    /// Lines as they are, about what has this label.
    pub(super) fn add(&mut self, label: Option<Label>, lines: Vec<String>) {
        self.labels
            .extend(label.filter(|label| !self.labels.contains(label)));
        for line in lines {
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    /// Appends what `rows` has.
    pub(super) fn append(&mut self, rows: Self) {
        self.labels.extend(rows.labels);
        self.text.push_str(&rows.text);
    }

    /// A line without text, between two subjects.
    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }
}

//! A table for the width of a screen.
//!
//! Each column has a rank. Where not all fit, texts are shortened first, as far as each allows it;
//! then columns go, those of the highest rank first, but one that still fits stays. Spare columns
//! go before a text is shortened. A column of
//! rank 0 never goes: where those alone are too wide, or where a screen of less than 60 columns
//! would lack any, each row is a record instead, with all that it has. A column without any text is
//! left out everywhere.

use metronome_proto::layout;

use super::figures;

/// Below this width a row is a record rather than a part of one, columns.
const RECORDS_BELOW: usize = 60;
/// Blanks between two columns.
const GAP: usize = 2;
/// Before what is below the first line of a record.
const INDENT: &str = "  ";

/// A column: its head and a cell per row.
#[derive(Clone, Debug)]
pub(super) struct Column {
    head: String,
    cells: Vec<String>,
    is_number: bool,
    rank: u8,
    /// The width that it may be shortened to.
    least: Option<usize>,
    /// No text of another column is shortened for it.
    is_spare: bool,
}

impl Column {
    /// To the left. It never goes, unless it is given a rank.
    pub(super) fn text<R>(head: &str, rows: &[R], cell: impl Fn(&R) -> String) -> Self {
        Self {
            head: head.into(),
            cells: rows.iter().map(cell).collect(),
            is_number: false,
            rank: 0,
            least: None,
            is_spare: false,
        }
    }

    /// To the right. It never goes, unless it is given a rank.
    pub(super) fn number<R>(head: &str, rows: &[R], cell: impl Fn(&R) -> String) -> Self {
        Self {
            is_number: true,
            ..Self::text(head, rows, cell)
        }
    }

    /// The higher its rank, the earlier it goes.
    pub(super) fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    /// Its texts may be shortened to this width, and as far as a record needs it.
    pub(super) fn shortened_to(self, least: usize) -> Self {
        Self {
            least: Some(least),
            ..self
        }
    }

    /// It comes only where the texts of all that have come before it stay whole.
    pub(super) fn spare(self) -> Self {
        Self {
            is_spare: true,
            ..self
        }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| layout::columns(cell));
        cells
            .chain([layout::columns(&self.head)])
            .max()
            .unwrap_or(0)
    }

    fn width_min(&self) -> usize {
        let least = self
            .least
            .map(|least| least.max(layout::columns(&self.head)));
        least.map_or(self.width(), |least| least.min(self.width()))
    }

    fn is_empty(&self) -> bool {
        self.cells.iter().all(String::is_empty)
    }
}

/// The table as text: a grid of the columns that fit, or a record for each row.
pub(super) fn table(columns: Vec<Column>, width: usize) -> String {
    let columns: Vec<Column> = columns.into_iter().filter(|of| !of.is_empty()).collect();
    let mut is_kept: Vec<bool> = columns.iter().map(|column| column.rank == 0).collect();
    let mut used = total(
        columns
            .iter()
            .filter(|of| of.rank == 0)
            .map(Column::width_min),
    );
    let mut by_rank: Vec<usize> = (0..columns.len()).filter(|at| !is_kept[*at]).collect();
    by_rank.sort_by_key(|at| columns[*at].rank);
    let has_room_for_least = used <= width;
    for at in by_rank {
        let gap = if used > 0 { GAP } else { 0 };
        let column = &columns[at];
        let wider = used + gap + column.width_min();
        let kept = || columns.iter().zip(&is_kept).filter(|(_, is)| **is);
        let cut: usize = kept().map(|(of, _)| of.width() - of.width_min()).sum();
        let needed = wider + if column.is_spare { cut } else { 0 };
        if needed <= width {
            is_kept[at] = true;
            used = wider;
        }
    }
    let lacks_some = is_kept.contains(&false);
    if !has_room_for_least || (lacks_some && width < RECORDS_BELOW) {
        return records(&columns, width);
    }
    let kept = columns.into_iter().zip(is_kept);
    let kept: Vec<Column> = kept.filter_map(|(of, is)| is.then_some(of)).collect();
    grid(&kept, width - used)
}

fn total(widths: impl Iterator<Item = usize>) -> usize {
    widths
        .reduce(|total, width| total + GAP + width)
        .unwrap_or(0)
}

/// `spare` columns are left for what would have to be shortened.
fn grid(columns: &[Column], mut spare: usize) -> String {
    let widths = columns.iter().map(|column| {
        let more = (column.width() - column.width_min()).min(spare);
        spare -= more;
        column.width_min() + more
    });
    let widths: Vec<usize> = widths.collect();
    let line = |cell: &dyn Fn(&Column) -> String| {
        let cells = columns.iter().zip(&widths).map(|(column, width)| {
            let cell = layout::shortened(&cell(column), *width);
            let blanks = " ".repeat(width - layout::columns(&cell));
            match column.is_number {
                true => blanks + &cell,
                false => cell + &blanks,
            }
        });
        let line = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        line.trim_end().to_owned() + "\n"
    };
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let head = line(&|column| column.head.clone());
    let lines = (0..rows).map(|row| line(&|column| column.cells[row].clone()));
    std::iter::once(head).chain(lines).collect()
}

/// What never goes stands first, its texts without their heads; the others with theirs.
fn records(columns: &[Column], width: usize) -> String {
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let record = |row: usize| {
        let mut parts: Vec<(u8, String)> = Vec::new();
        for column in columns.iter().filter(|of| !of.cells[row].is_empty()) {
            let cell = &column.cells[row];
            let part = match column.rank == 0 && !column.is_number {
                true => cell.clone(),
                false => format!("{} {cell}", shown_head(&column.head)),
            };
            let part = match column.least {
                Some(_) => layout::shortened(&part, width - INDENT.len()),
                None => part,
            };
            parts.push((column.rank, part));
        }
        parts.sort_by_key(|(rank, _)| *rank);
        hanging(parts.into_iter().map(|(_, part)| part), width)
    };
    (0..rows).map(record).collect()
}

/// A head among words: `latency p99`.
fn shown_head(head: &str) -> String {
    head.to_lowercase()
}

/// Parts in lines, of which all but the first are indented.
pub(super) fn hanging(parts: impl IntoIterator<Item = String>, width: usize) -> String {
    let mut parts = parts.into_iter().peekable();
    let mut first = parts.next().unwrap_or_default();
    let gap = " ".repeat(GAP);
    let fits =
        |first: &str, part: &str| layout::columns(first) + GAP + layout::columns(part) <= width;
    while let Some(part) = parts.next_if(|part| fits(&first, part)) {
        first = first + &gap + &part;
    }
    let lines = figures::flowed([first], width).into_iter();
    let others = figures::flowed(parts, width - INDENT.len()).into_iter();
    let lines = lines.chain(others.map(|line| INDENT.to_owned() + &line));
    lines.map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns() -> Vec<Column> {
        let rows = [
            ["0199f0c2", "held", "10", "host=a rack=seven"],
            ["0199f0c3", "not held", "1,000", "測定"],
        ];
        vec![
            Column::text("RUN", &rows, |row| row[0].into()),
            Column::text("RESULT", &rows, |row| row[1].into()),
            Column::number("LOST", &rows, |row| row[2].into()).rank(1),
            Column::text("LABELS", &rows, |row| row[3].into())
                .rank(2)
                .shortened_to(8),
            Column::text("EMPTY", &rows, |_| String::new()),
        ]
    }

    #[test]
    fn what_fits_is_a_grid_and_long_texts_are_shortened_before_columns_go() {
        let wide = "\
RUN       RESULT     LOST  LABELS
0199f0c2  held         10  host=a rack=seven
0199f0c3  not held  1,000  測定
";
        assert_eq!(table(columns(), 80), wide);
        let mut padded = columns();
        padded.insert(1, Column::text("FILLER", &[0, 0], |_| "x".repeat(24)));
        let narrow = table(padded.clone(), 61);
        assert!(narrow.contains("  host=a…\n"), "{narrow}");
        let narrower = table(padded, 60);
        assert!(!narrower.contains("LABELS"), "{narrower}");
        assert!(narrower.contains("LOST"), "{narrower}");
    }

    #[test]
    fn a_narrow_screen_has_records_with_all_that_a_row_has() {
        let expected = "\
0199f0c2  held  lost 10
  labels host=a rack=seven
0199f0c3  not held  lost 1,000
  labels 測定
";
        let mut padded = columns();
        padded.push(Column::text("FILLER", &["", " "], |of| {
            of.trim().to_owned()
        }));
        assert_eq!(table(padded, 32), expected);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_screen_and_no_row_lacks_what_must_stand(
            rows in prop::collection::vec(("[a-z0-9]{1,16}", "[a-z測 ]{0,60}", 0..u64::MAX), 1..5),
            ranks in prop::array::uniform8(1..9_u8),
            width in 40..200_usize,
        ) {
            let mut columns = vec![Column::text("ID", &rows, |row| row.0.clone())];
            columns.extend(ranks.iter().map(|rank| {
                let number = |row: &(String, String, u64)| figures::count(row.2 >> (rank * 7));
                Column::number("NUMBER", &rows, number).rank(*rank)
            }));
            let text = Column::text("TEXT", &rows, |row| row.1.trim().into());
            columns.push(text.rank(9).shortened_to(8));
            let text = table(columns, width);
            for line in text.lines() {
                prop_assert!(layout::columns(line) <= width, "{line}");
            }
            prop_assert!(rows.iter().all(|row| text.contains(&row.0)), "{text}");
        }
    }
}

//! Figures as characters. Times and rates differ by powers, so that heights are their logarithms:
//! what is twice as long is a step higher, and what hardly differs is level.

/// The heights of a figure, the lowest first.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// What stands where a figure is not known.
pub(super) const BLANK: char = '·';
/// The highest figure of a line is at least so many times the lowest one of its scale: a line that
/// hardly moves is not drawn as if it did.
const RANGE_MIN: f64 = 16.0;
/// The lowest figure stands on this level, so that there is room to see one that is lower.
const FLOOR: usize = 1;

/// Figures over time, or over clients, on a scale of their own: the lowest is low, and one 16 times
/// as high is at the top, or the highest where that is more.
pub(super) fn line(figures: &[Option<i64>]) -> String {
    let known = || figures.iter().flatten().map(|figure| above_zero(*figure));
    let lowest = known().fold(f64::INFINITY, f64::min);
    let range = (known().fold(0.0, f64::max) / lowest).max(RANGE_MIN);
    let level = |figure: i64| {
        let share = (above_zero(figure) / lowest).ln() / range.ln();
        let steps = (LEVELS.len() - 1 - FLOOR) as f64;
        LEVELS[(FLOOR + (share * steps).round() as usize).min(LEVELS.len() - 1)]
    };
    let characters = figures.iter();
    characters
        .map(|figure| figure.map_or(BLANK, level))
        .collect()
}

/// The heights of a share, which leave a seam to the row above.
const SHARES: usize = LEVELS.len() - 1;

/// A second has some packets more or less of a steady load, by where it begins.
const ALL: f64 = 0.98;

/// Shares of what was to be: the highest is all of it, and nothing but 0 looks like 0.
pub(super) fn shares(shares: &[Option<f64>]) -> String {
    let level = |share: f64| match share {
        share if share <= 0.0 => ' ',
        ALL.. => LEVELS[SHARES - 1],
        share => {
            // Rounded down: what is not all is not drawn as all.
            let parts = (share * SHARES as f64).floor() as usize;
            LEVELS[parts.saturating_sub(1).min(SHARES - 2)]
        }
    };
    let known = shares
        .iter()
        .map(|share| share.filter(|share| !share.is_nan()));
    known.map(|share| share.map_or(BLANK, level)).collect()
}

/// How many of `width` cells are full at this share of all: all of them at 1 only.
pub(super) fn full_cells(share: f64, width: usize) -> usize {
    // A share that is no number is none.
    let cells = (share.clamp(0.0, 1.0) * width as f64).floor();
    (cells as usize).min(width)
}

/// Figures of many in at most `width` cells of as many neighbours each: of these the highest, and
/// which ones they are does not move from one time to the next.
pub(super) fn gathered(figures: &[Option<i64>], width: usize) -> Vec<Option<i64>> {
    let size = figures.len().div_ceil(width.max(1)).max(1);
    let cells = figures.chunks(size);
    cells
        .map(|cell| cell.iter().flatten().copied().max())
        .collect()
}

/// What lies in the middle of those that are known.
pub(super) fn median(figures: &[Option<i64>]) -> Option<i64> {
    let mut known: Vec<i64> = figures.iter().flatten().copied().collect();
    known.sort_unstable();
    known.get(known.len() / 2).copied()
}

/// A logarithm needs more than 0; what is shorter than a microsecond is of no interest here.
fn above_zero(figure: i64) -> f64 {
    (figure as f64).max(1_000.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_that_hardly_moves_is_level_and_a_spike_stands_out() {
        let us = |figures: &[i64]| -> Vec<_> {
            figures.iter().map(|figure| Some(figure * 1_000)).collect()
        };
        assert_eq!(line(&us(&[26, 27, 25, 28, 26])), "▂▂▂▂▂");
        assert_eq!(line(&us(&[26, 27, 1_400, 28, 26])), "▂▂█▂▂");
        assert_eq!(line(&us(&[100, 200, 400, 800, 1_600])), "▂▄▅▇█");
        assert_eq!(line(&[Some(26_000), None, Some(0)]), "█·▂");
        assert_eq!(line(&[None, None]), "··");
        assert_eq!(line(&[]), "");
    }

    #[test]
    fn a_share_below_one_is_never_full_and_above_nothing_never_empty() {
        let shown = [Some(1.0), Some(1.7), Some(0.97), Some(0.5), Some(0.001)];
        assert_eq!(shares(&shown), "▇▇▆▃▁");
        assert_eq!(shares(&[Some(0.0), None, Some(f64::NAN)]), " ··");
        assert_eq!((full_cells(0.999, 10), full_cells(1.0, 10)), (9, 10));
        assert_eq!((full_cells(f64::NAN, 10), full_cells(7.0, 10)), (0, 10));
    }

    #[test]
    fn of_many_neighbours_the_slowest_is_seen() {
        let mut clients = vec![Some(26_000); 100];
        clients[70] = Some(1_400_000);
        let cells = gathered(&clients, 10);
        assert_eq!(line(&cells), "▂▂▂▂▂▂▂█▂▂");
        assert_eq!(gathered(&clients, 0).len(), 1);
        assert_eq!(gathered(&[], 10), []);
        assert_eq!(gathered(&[None, Some(3), None, None], 2), [Some(3), None]);
        assert_eq!(median(&clients), Some(26_000));
        assert_eq!(median(&[None]), None);
    }

    proptest! {
        #[test]
        fn each_figure_has_one_character_whatever_it_is(
            figures in prop::collection::vec(prop::option::of(any::<i64>()), 0..50),
            part in prop::collection::vec(prop::option::of(any::<f64>()), 0..50),
            width in 0_usize..60,
        ) {
            prop_assert_eq!(line(&figures).chars().count(), figures.len());
            prop_assert_eq!(shares(&part).chars().count(), part.len());
            prop_assert!(gathered(&figures, width).len() <= width.max(1));
            for (figure, character) in figures.iter().zip(line(&figures).chars()) {
                prop_assert_eq!(figure.is_none(), character == BLANK);
            }
        }
    }
}

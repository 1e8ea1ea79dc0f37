//! Where a value lies on an axis, and which values are marked.

/// Most marks of an axis.
const MARKS_MAX: f64 = 8.0;

/// An axis from one value to another.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    is_logarithmic: bool,
    /// The values that are marked.
    pub(super) marks: Vec<f64>,
}

impl Scale {
    /// From `from` to `to`, marked at round values.
    pub(super) fn linear(from: f64, to: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        let rough = (to - from) / MARKS_MAX;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let marks = (0..=(MARKS_MAX as u32 + 1)).map(|index| from + f64::from(index) * step);
        Self {
            from,
            to,
            is_logarithmic: false,
            marks: marks.filter(|mark| *mark <= to).collect(),
        }
    }

    /// Whole decades around the values above 0, at most twelve.
    pub(super) fn decades(values: impl Iterator<Item = f64>) -> Self {
        let above = values.filter(|value| *value > 0.0 && value.is_finite());
        let (least, most) = above.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let (first, last) = match most > 0.0 {
            true => (least.log10().floor() as i32, most.log10().ceil() as i32),
            false => (3, 4),
        };
        let first = first.clamp(last - 12, last - 1);
        Self {
            from: 10_f64.powi(first),
            to: 10_f64.powi(last),
            is_logarithmic: true,
            marks: (first..=last).map(|power| 10_f64.powi(power)).collect(),
        }
    }

    /// Evenly spaced marks, which are at least two.
    pub(super) fn marked(marks: &[f64]) -> Self {
        let (from, to) = (marks[0], marks[marks.len() - 1]);
        Self {
            from,
            to,
            is_logarithmic: false,
            marks: marks.to_vec(),
        }
    }

    /// Where it lies: 0 at the beginning, 1 at the end, and never outside.
    pub(super) fn share(&self, value: f64) -> f64 {
        let share = match self.is_logarithmic {
            true => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        };
        share.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_are_round() {
        assert_eq!(
            Scale::linear(0.0, 60.0).marks,
            [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
        );
        assert_eq!(
            Scale::decades([25.0, 1_300.0].into_iter()).marks,
            [10.0, 100.0, 1_000.0, 10_000.0]
        );
        assert_eq!(Scale::decades([100.0].into_iter()).marks, [10.0, 100.0]);
    }

    proptest! {
        #[test]
        fn every_value_lies_on_its_axis(values in prop::collection::vec(0.0..1e18_f64, 0..9)) {
            let most = values.iter().copied().fold(0.0, f64::max);
            for scale in [Scale::decades(values.iter().copied()), Scale::linear(0.0, most)] {
                prop_assert!(!scale.marks.is_empty() && scale.marks.len() <= 13);
                for value in values.iter().chain(&scale.marks) {
                    let share = scale.share(*value);
                    prop_assert!((0.0..=1.0).contains(&share), "{value}: {share}");
                }
            }
        }
    }
}

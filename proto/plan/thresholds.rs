//! The thresholds of a plan: which can be judged of such a load, and go together. A plan that is
//! stored is not asked again, since an earlier version may have let it pass.

use super::{FieldError, Group, Plan, threshold_list::check_number};
use crate::{
    profile::Profile,
    threshold::{PPM, Threshold},
    v1::{Comparison, Metric},
};

impl Plan {
    /// Every threshold with the group that it is of, `None` for the whole run: those of the run,
    /// then those of the groups in their order.
    pub fn all_thresholds(&self) -> impl Iterator<Item = (Option<usize>, Threshold)> {
        let of_groups = self.groups.iter().enumerate();
        let of_groups = of_groups
            .flat_map(|(index, group)| group.thresholds.iter().map(move |of| (Some(index), *of)));
        self.thresholds
            .iter()
            .map(|of| (None, *of))
            .chain(of_groups)
    }

    /// Those of the run and of the groups together are no more than are allowed.
    pub(super) fn check_number_of_thresholds(&self) -> Result<(), FieldError> {
        check_number(self.all_thresholds().count())
    }

    /// Whether each threshold is on what such a load measures, none stands there twice, and each
    /// can end the run where the plan asks for that.
    ///
    /// # Errors
    /// The first that is not, by its field.
    pub fn check_thresholds(&self) -> Result<(), FieldError> {
        if self.abort_on_fail && self.all_thresholds().next().is_none() {
            let problem = "there is no threshold that could end the run; give one (--threshold), \
                           since default objectives end none";
            return Err(FieldError::out_of_range("abort_on_fail", problem));
        }
        let all: Vec<_> = self.groups.iter().collect();
        self.check_list(&self.thresholds, &all, false)?;
        for (index, group) in self.groups.iter().enumerate() {
            self.check_list(&group.thresholds, &[group], true)
                .map_err(|error| error.below(&format!("groups[{index}]")))?;
        }
        Ok(())
    }

    fn check_list(
        &self,
        thresholds: &[Threshold],
        groups: &[&Group],
        is_of_group: bool,
    ) -> Result<(), FieldError> {
        for (index, threshold) in thresholds.iter().enumerate() {
            let earlier = thresholds[..index]
                .iter()
                .find(|of| is_twice(of, threshold));
            let problem = unmeasured(threshold, groups, is_of_group)
                .or_else(|| earlier.map(|of| twice(of, threshold)))
                .or_else(|| never_certain(threshold, groups).filter(|_| self.abort_on_fail));
            if let Some(problem) = problem {
                let field = format!("thresholds[{index}]");
                return Err(FieldError::out_of_range(field, problem));
            }
        }
        Ok(())
    }
}

/// Why such a load does not measure what the threshold is on.
fn unmeasured(threshold: &Threshold, groups: &[&Group], is_of_group: bool) -> Option<String> {
    let is_flood = groups.iter().all(|group| group.profile.is_flood());
    let asks = groups.iter().any(|group| group.echo_every.is_some());
    match threshold.metric {
        Metric::RttFromDue | Metric::RttFromWrite if !asks && is_of_group => Some(format!(
            "{threshold} is not measured, since the group asks for no replies; give it echo_every, \
             or take the threshold away"
        )),
        Metric::RttFromDue | Metric::RttFromWrite if !asks => Some(format!(
            "{threshold} is not measured, since no group asks for replies; give a group \
             echo_every (--echo-every), or take the threshold away"
        )),
        Metric::Skipped | Metric::KeptUp | Metric::Lateness | Metric::Spread if is_flood => {
            Some(format!(
                "{threshold} is not measured in a flood, which has no schedule; give lost, \
                 corrupt, transit or latency a limit, or the load a rate"
            ))
        }
        Metric::RateShare if is_flood => Some(format!(
            "{threshold} is not measured in a flood, which offers no rate that it could be a share \
             of; give packets per second, as in rate>=100k/s, or the load a rate"
        )),
        Metric::Rate if groups.iter().any(|group| !has_one_rate(group.profile)) => Some(format!(
            "{threshold} is not measured where a rate changes or comes in bursts; give a share of \
             what is offered, as in rate>=99%, or each group one rate"
        )),
        Metric::ProbeRtt if is_of_group => Some(format!(
            "{threshold} is of the probes of agents, not of a group; give it for the whole run"
        )),
        _ => None,
    }
}

/// Whether packets per second are one figure of such a load: its rate never changes, or a flood
/// has none.
fn has_one_rate(profile: Profile) -> bool {
    matches!(
        profile,
        Profile::Constant { .. } | Profile::Poisson { .. } | Profile::Flood
    )
}

/// Whether both limit the same figure in the same direction.
fn is_twice(one: &Threshold, other: &Threshold) -> bool {
    let sides = |comparison| match comparison {
        Comparison::Less | Comparison::LessOrEqual => [true, false],
        Comparison::Greater | Comparison::GreaterOrEqual => [false, true],
        Comparison::Equal | Comparison::Unspecified => [true, true],
    };
    let (one_sides, other_sides) = (sides(one.comparison), sides(other.comparison));
    let figure = |of: &Threshold| (of.metric, of.quantile_ppm);
    figure(one) == figure(other) && one_sides.iter().zip(other_sides).any(|(of, it)| *of && it)
}

fn twice(earlier: &Threshold, threshold: &Threshold) -> String {
    if earlier == threshold {
        return format!("{threshold} stands there twice; leave out one of the two");
    }
    format!(
        "{threshold} limits what {earlier} limits already; leave out one of the two (--threshold \
         adds to a plan file)"
    )
}

/// Why it is never certain before the end that a threshold cannot hold: it is on a share of the
/// packets of a flood, which plans none.
fn never_certain(threshold: &Threshold, groups: &[&Group]) -> Option<String> {
    let floods = groups
        .iter()
        .filter(|group| group.profile.is_flood())
        .count();
    // Beside groups with a schedule, what counts from due is judged over these alone.
    let has_flood = match threshold.metric {
        Metric::Rate
        | Metric::Transit
        | Metric::RttFromWrite
        | Metric::OneWay
        | Metric::Queueing
        | Metric::ProbeRtt => floods > 0,
        _ => floods == groups.len(),
    };
    let is_certain = threshold.metric == Metric::Lost || threshold.quantile_ppm == Some(PPM);
    (has_flood && !is_certain).then(|| {
        format!(
            "{threshold} cannot end a flood before its end, since it is not known how many packets \
             a flood will have; give a maximum (.max) or lost==0, or do without abort_on_fail \
             (--abort-on-fail)"
        )
    })
}

//! A list of thresholds of the API: their number, and each within its ranges.

use super::field::FieldError;
use crate::{limits::THRESHOLDS_MAX, threshold::Threshold, v1};

/// Those of a list of the API, each within its ranges.
pub(super) fn checked(thresholds: &[v1::Threshold]) -> Result<Vec<Threshold>, FieldError> {
    check_number(thresholds.len())?;
    let checked = thresholds.iter().enumerate().map(|(index, threshold)| {
        Threshold::try_from(threshold)
            .map_err(|problem| FieldError::out_of_range(format!("thresholds[{index}]"), problem))
    });
    checked.collect()
}

/// So many are no more than are allowed.
pub(super) fn check_number(thresholds: usize) -> Result<(), FieldError> {
    if thresholds <= THRESHOLDS_MAX {
        return Ok(());
    }
    let problem = format!("{thresholds} thresholds; at most {THRESHOLDS_MAX} are allowed");
    Err(FieldError::out_of_range("thresholds", problem))
}

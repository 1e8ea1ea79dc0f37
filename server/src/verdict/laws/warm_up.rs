//! Whether the workers count those packets as the warm-up's that the plan does: a part of the law
//! of histograms, since no histogram has them. Times are ns.

use metronome_proto::plan::Plan;

use crate::verdict::rows::Row;

/// Whether so many packets of a client, and places without one, are counted as those of the warm-up
/// as its schedule has there up to its last packet. Of random arrivals that is known only where
/// there is no warm-up, or the last packet lies in it; of a flood, where the times of the reads
/// count, where the first or the last read has all on one side. `None` without the workers' record.
pub(super) fn is_the_plans(plan: &Plan, row: &Row<'_>) -> Option<bool> {
    let counted = row.counted?;
    let counts = counted.counts;
    let (received, left_out) = (counts.received, counts.left_out.unwrap_or(0));
    let warm_up = counts.warm_up.unwrap_or(0);
    let warm_up_left_out = counts.warm_up_left_out.unwrap_or(0);
    let warm_up_ns = u64::try_from(plan.warm_up.as_nanos()).unwrap_or(u64::MAX);
    if warm_up_ns == 0 || received == 0 {
        return Some((warm_up, warm_up_left_out) == (0, 0));
    }
    if warm_up > received || warm_up_left_out > left_out {
        return Some(false);
    }
    // Where these laws are broken, or there is no start, they are the reason.
    let off_schedule = counts.off_schedule.unwrap_or(0);
    let is_in_order = (counts.duplicated, counts.reordered, off_schedule) == (0, 0, 0);
    let Some(start) = row.start().filter(|_| is_in_order) else {
        return Some(true);
    };
    if !row.is_paced() {
        let start_ns = if row.is_recorded_on_our_clock() {
            start.start_ns.wrapping_sub(start.offset_ns)
        } else {
            counted.first_read_ns
        };
        let after_ns = |read_ns: u64| read_ns.checked_sub(start_ns);
        let of_reads = after_ns(counted.first_read_ns).zip(after_ns(counted.last_read_ns));
        // What is read before the start breaks a law of its own.
        return Some(of_reads.is_none_or(|(first_ns, last_ns)| {
            (first_ns < warm_up_ns || warm_up == 0)
                && (last_ns >= warm_up_ns || warm_up == received)
        }));
    }
    let Some(of_client_ns) = warm_up_ns.checked_sub(start.offset_ns).filter(|ns| *ns > 0) else {
        return Some((warm_up, warm_up_left_out) == (0, 0));
    };
    let places = received.saturating_add(left_out);
    let in_warm_up = warm_up.saturating_add(warm_up_left_out);
    let of_schedule = row.schedule().map(|of| of.due_by(of_client_ns - 1));
    let last_ns = counted.last_due_ns.wrapping_sub(start.start_ns);
    Some(match of_schedule {
        Some(Some(due)) => in_warm_up == due.min(places),
        _ => last_ns >= of_client_ns || in_warm_up == places,
    })
}

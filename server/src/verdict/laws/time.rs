//! The laws of time: the packets came when the schedule asks for them, not just as many as it asks
//! for.
//!
//! A packet carries when it was due, and an agent can write there what it likes. So due times are
//! held against the formula of the schedule, and against this host's own clock at the reads: ns of
//! CLOCK_MONOTONIC, of which only agents that share it have the same zero.

use super::law::{Checked, for_every_client};
use crate::{
    model::ClientCounters,
    verdict::{
        evidence::Evidence,
        rows::{Row, total},
    },
};

/// Rounding, at the rates where a period is no whole number of ns.
const ROUNDING_NS: u64 = 1_000;
/// Two clocks of CLOCK_MONOTONIC run apart by less than one part in this many.
const DRIFT_PARTS: u64 = 1_000;

/// Checks every law of time, in the order of docs/verdict.md.
pub(super) fn check(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> [Checked; 5] {
    [
        nothing_precedes_the_start(evidence, rows),
        nothing_precedes_its_write(rows),
        the_last_comes_after_its_time(evidence, rows),
        due_times_follow_the_schedule(evidence, rows),
        phases_lie_within_a_period(evidence, rows),
    ]
}

/// A packet that is read before the first one was due was not sent by the schedule. This holds for
/// every agent: one that does not share our clock starts a while after the order has reached it.
fn nothing_precedes_the_start(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let start_ns = evidence.start_at_ns.unwrap_or(u64::MAX);
    let after_ns = |row: &Row<'_>| {
        packets_of(row).map(|counted| i128::from(counted.first_read_ns) - i128::from(start_ns))
    };
    let figures = match rows.iter().filter_map(after_ns).min() {
        Some(after_ns) if evidence.start_at_ns.is_some() => format!("{after_ns} ns after it"),
        Some(_) => "there was no start".into(),
        None => "no packet was read".into(),
    };
    let law = "first packet read after the start";
    let holds = |row: &Row<'_>| after_ns(row).is_none_or(|after_ns| after_ns >= 0);
    for_every_client(law, "READ_BEFORE_START", figures, rows, holds, |row| {
        format!("{} packets", row.received())
    })
}

/// Due + lateness is the agent's time of writing. Workers compare it with their time of reading
/// where the clock is shared.
fn nothing_precedes_its_write(rows: &[Row<'_>]) -> Checked {
    let read_before_written = |row: &Row<'_>| {
        row.counted
            .map_or(0, |counted| counted.counts.read_before_written)
    };
    let figures = total(rows, read_before_written).to_string();
    let law = "packets read before they were written = 0";
    for_every_client(
        law,
        "READ_BEFORE_WRITTEN",
        figures,
        rows,
        |row| read_before_written(row) == 0,
        |row| format!("{} packets", read_before_written(row)),
    )
}

/// The whole schedule cannot have been read before its time has passed, whatever the due times are.
fn the_last_comes_after_its_time(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let start_ns = evidence.start_at_ns.unwrap_or(u64::MAX);
    let passed_ns = |counted: &ClientCounters| counted.last_read_ns.saturating_sub(start_ns);
    let holds = |row: &Row<'_>| {
        packets_of(row).is_none_or(|counted| {
            // A span that runs backwards is the next law's.
            let span_ns = span_ns(counted).unwrap_or(0);
            passed_ns(counted) >= span_ns - span_ns / DRIFT_PARTS
        })
    };
    let figures = fraction(rows, holds);
    let law = "last packet read after its due time";
    for_every_client(law, "READ_BEFORE_DUE", figures, rows, holds, |row| {
        let read_ns = packets_of(row).map_or(0, passed_ns);
        let due_ns = packets_of(row).and_then(span_ns).unwrap_or(0);
        format!("read {read_ns} ns after the start, due {due_ns} ns after the first one")
    })
}

/// The time from the first due time to the last is the one that the formula gives. A client that
/// skipped packets or broke off may lack some of them, but never has more than the time had room
/// for.
fn due_times_follow_the_schedule(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let Some(schedule) = evidence.plan.schedule(0) else {
        return due_times_lie_in_the_flood(evidence, rows);
    };
    let planned_ns = schedule.end_ns();
    let expected_ns = |row: &Row<'_>| {
        if is_whole(row) {
            schedule.due_at(row.scheduled().saturating_sub(1))
        } else {
            planned_ns
        }
    };
    let holds = |row: &Row<'_>| {
        packets_of(row).is_none_or(|counted| {
            let Some(span_ns) = span_ns(counted) else {
                return false;
            };
            let most_ns = span_ns.saturating_add(ROUNDING_NS);
            if is_whole(row) {
                span_ns.abs_diff(expected_ns(row)) <= ROUNDING_NS
            } else {
                span_ns <= planned_ns.saturating_add(ROUNDING_NS)
                    && counted.counts.received <= schedule.due_by(most_ns)
            }
        })
    };
    let figures = fraction(rows, holds);
    let law = "due times follow the schedule";
    for_every_client(law, "SCHEDULE_NOT_FOLLOWED", figures, rows, holds, |row| {
        let span = packets_of(row)
            .and_then(span_ns)
            .map_or("less than 0".into(), |span_ns| span_ns.to_string());
        format!(
            "{} packets due within {span} ns, planned within {} ns",
            row.received(),
            expected_ns(row)
        )
    })
}

/// A flood has no schedule, only a time that it lasts.
fn due_times_lie_in_the_flood(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let duration_ns = duration_ns(evidence);
    let holds = |row: &Row<'_>| {
        packets_of(row).is_none_or(|counted| {
            span_ns(counted)
                .is_some_and(|span_ns| span_ns <= duration_ns.saturating_add(ROUNDING_NS))
        })
    };
    let law = "due times follow the schedule";
    for_every_client(
        law,
        "SCHEDULE_NOT_FOLLOWED",
        fraction(rows, holds),
        rows,
        holds,
        |row| {
            let span = packets_of(row)
                .and_then(span_ns)
                .map_or("less than 0".into(), |span_ns| span_ns.to_string());
            format!("due within {span} ns of a flood of {duration_ns} ns")
        },
    )
}

/// A client starts with the run, or as much later as its phase may be.
fn phases_lie_within_a_period(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let duration_ns = duration_ns(evidence);
    // In a flood a client may come to its first packet at any time.
    let (room_ns, end_ns) = evidence
        .plan
        .schedule(0)
        .map_or((duration_ns, 0), |schedule| {
            (schedule.room_ns(duration_ns), schedule.end_ns())
        });
    let start_ns = evidence.start_at_ns.unwrap_or(0);
    let is_judged =
        |row: &Row<'_>| row.agent.share.clock.is_same() && evidence.start_at_ns.is_some();
    let holds = |row: &Row<'_>| {
        packets_of(row)
            .filter(|_| is_judged(row))
            .is_none_or(|counted| {
                let Some(first_ns) = counted.first_due_ns.checked_sub(start_ns) else {
                    return false;
                };
                let last_ns = counted.last_due_ns.saturating_sub(start_ns);
                let is_early_enough = !is_whole(row) || first_ns < room_ns.max(1);
                is_early_enough
                    && last_ns <= room_ns.saturating_add(end_ns).saturating_add(ROUNDING_NS)
            })
    };
    let figures = fraction(rows, holds);
    let law = "start ≤ first packet due < start + one period";
    for_every_client(law, "STARTED_ELSEWHEN", figures, rows, holds, |row| {
        let first_ns = packets_of(row).map_or(0, |counted| {
            i128::from(counted.first_due_ns) - i128::from(start_ns)
        });
        format!("due {first_ns} ns after the start, where less than {room_ns} ns are allowed")
    })
}

/// Its whole schedule was sent, and all of it can have been counted.
fn is_whole(row: &Row<'_>) -> bool {
    row.exchanged_ends() && row.skipped() == 0
}

fn duration_ns(evidence: &Evidence<'_>) -> u64 {
    u64::try_from(evidence.plan.duration.as_nanos()).unwrap_or(u64::MAX)
}

fn packets_of<'a>(row: &Row<'a>) -> Option<&'a ClientCounters> {
    row.counted.filter(|counted| counted.counts.received > 0)
}

/// From the first due time to the last, ns. `None` when that runs backwards.
fn span_ns(counted: &ClientCounters) -> Option<u64> {
    counted.last_due_ns.checked_sub(counted.first_due_ns)
}

fn fraction(rows: &[Row<'_>], holds: impl Fn(&Row<'_>) -> bool) -> String {
    let judged = || rows.iter().filter(|row| packets_of(row).is_some());
    format!(
        "{} of {} clients",
        judged().filter(|row| holds(row)).count(),
        judged().count()
    )
}

#[cfg(test)]
mod tests {
    use crate::verdict::samples::{PACKETS, START_NS, Sample, breaks, due_ns};

    const PERIOD_NS: u64 = 1_000_000;

    #[test]
    fn a_burst_is_caught_whatever_due_times_it_carries() {
        // All due at once, as it was sent.
        breaks(&["SCHEDULE_NOT_FOLLOWED"], |sample| {
            sample.counted(0, |counted| counted.last_due_ns = due_ns(0));
        });
        // Due as planned, but sent and read at the start: a clock that is shared shows it …
        breaks(&["READ_BEFORE_WRITTEN", "READ_BEFORE_DUE"], |sample| {
            sample.counted(0, |counted| {
                counted.counts.read_before_written = PACKETS - 1;
                counted.last_read_ns = START_NS + 20_000;
            });
        });
        // … and one that is not does as well.
        breaks(&["READ_BEFORE_DUE"], |sample| {
            sample.forget_clock(0);
            sample.counted(0, |counted| counted.last_read_ns = START_NS + 20_000);
        });
    }

    #[test]
    fn a_schedule_at_another_pace_or_another_time_is_not_the_plans() {
        for (first_ns, last_ns) in [
            (0, 50 * PERIOD_NS),
            (0, 98 * PERIOD_NS),
            (0, 99 * PERIOD_NS + 1_001),
        ] {
            breaks(&["SCHEDULE_NOT_FOLLOWED"], |sample| {
                sample.counted(0, |counted| {
                    counted.first_due_ns = START_NS + first_ns;
                    counted.last_due_ns = START_NS + last_ns;
                    counted.last_read_ns = START_NS + 200 * PERIOD_NS;
                });
            });
        }
        breaks(&["SCHEDULE_NOT_FOLLOWED", "STARTED_ELSEWHEN"], |sample| {
            sample.counted(0, |counted| {
                std::mem::swap(&mut counted.first_due_ns, &mut counted.last_due_ns);
            });
        });
        for shift_ns in [-1, 1_000_000] {
            breaks(&["STARTED_ELSEWHEN"], |sample| {
                sample.counted(0, |counted| {
                    counted.first_due_ns = counted.first_due_ns.wrapping_add_signed(shift_ns);
                    counted.last_due_ns = counted.last_due_ns.wrapping_add_signed(shift_ns);
                });
            });
        }
    }

    #[test]
    fn a_client_that_lost_some_may_have_gaps_in_time_but_no_more_packets_than_it_had_room_for() {
        let mut sample = Sample::of(1, 2);
        sample.break_connection(0, 40);
        let law = |sample: &Sample| {
            let laws = sample.conclude().report.laws;
            laws.into_iter()
                .find(|law| law.law == "due times follow the schedule")
                .map(|law| law.holds)
        };
        assert_eq!(law(&sample), Some(true));
        sample.counted(0, |counted| counted.last_due_ns = due_ns(90));
        assert_eq!(law(&sample), Some(true));
        sample.counted(0, |counted| counted.last_due_ns = due_ns(38));
        assert_eq!(law(&sample), Some(false));
        sample.counted(0, |counted| counted.last_due_ns = due_ns(PACKETS));
        assert_eq!(law(&sample), Some(false));
    }
}

//! The laws of time: the packets came when the schedule asks for them, not just as many as it asks
//! for.
//!
//! A packet carries when it was due, and an agent can write there what it likes. So due times are
//! held against the formula of the schedule, and against this host's own clock at the reads: ns of
//! CLOCK_MONOTONIC, of which only agents that share it have the same zero.

use std::collections::BTreeMap;

use metronome_proto::{
    schedule::Schedule,
    v1::{Figure, ReasonCode},
};

use super::law::{Checked, Law};
use crate::{
    model::{CLOCK_DRIFT_PARTS, ClientCounters},
    verdict::{
        evidence::Evidence,
        rows::Row,
        sentence::{Figures, figures, signed},
    },
};

/// The last packet of a flood may be due so much after the time of the run: it is due when it is
/// written, and that its time was not over was found out before.
const FLOOD_END_NS: u64 = 1_000;

/// Why a law of the packets' times cannot be checked.
const NO_PACKET: &str = "no packet was read";
/// Both sides of a law that has none but for each client.
const CLIENTS_BROKEN: &str = "{clients_broken} of {clients} clients break it";

/// Checks every law of time, in the order of docs/verdict.md.
pub(super) fn check(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> [Checked; 5] {
    [
        nothing_precedes_the_start(evidence, rows),
        nothing_precedes_its_write(rows),
        nothing_precedes_its_due_time(evidence, rows),
        due_times_follow_the_schedule(evidence, rows),
        phases_lie_within_a_period(evidence, rows),
    ]
}

/// A packet that is read before the first one was due was not sent by the schedule. This holds for
/// every agent: one that does not share our clock starts a while after the order has reached it.
fn nothing_precedes_the_start(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::ReadBeforeStart,
        law: "first packet read after the start",
        sides: "the first one {after_start_ns} after it",
        first: "{first_packets} packets, the first one {first_after_start_ns} after it",
        missing: NO_PACKET,
    };
    let after_ns = |counted: &ClientCounters| {
        let start_ns = evidence.start_at_ns?;
        Some(i128::from(counted.first_read_ns) - i128::from(start_ns))
    };
    let named = |after_ns: Option<i128>| {
        let known = after_ns.map(|nanos| ("after_start_ns".to_owned(), signed(nanos)));
        known.into_iter().collect::<Figures>()
    };
    let counted = rows.iter().filter_map(Row::with_packets);
    let of_run = named(counted.filter_map(after_ns).min());
    // Without a start there is no packet that could come after it.
    let holds = |row: &Row<'_>| {
        let after_ns = after_ns(row.with_packets()?);
        Some(after_ns.is_some_and(|after_ns| after_ns >= 0))
    };
    law.for_every_client(rows, of_run, holds, |row| {
        let mut of_client = named(row.with_packets().and_then(after_ns));
        of_client.insert("packets".into(), row.received().unwrap_or(0).into());
        of_client
    })
}

/// Due + lateness is the agent's time of writing. Workers compare it with their time of reading
/// where the clock is shared.
fn nothing_precedes_its_write(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::ReadBeforeWritten,
        law: "packets read before they were written = 0",
        sides: "{left}",
        first: "{first_left} packets",
        missing: "the workers have no record of a client on their clock",
    };
    law.compare(rows, |row| {
        let counts = row.counted.filter(|_| row.is_on_our_clock())?.counts;
        Some((counts.read_before_written?, 0))
    })
}

/// No packet can have been read before it was due, whatever due time it carries. On our clock that
/// is a comparison. On another one the first due time is no earlier than the start: a packet that
/// is due later by a span is read later than the start by that span, less what clocks run apart.
/// The zero of that clock is in no figure.
fn nothing_precedes_its_due_time(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::ReadBeforeDue,
        law: "packets read after their due times",
        sides: CLIENTS_BROKEN,
        first: "a packet was read {first_early_ns} before it can have been due",
        missing: "no packet was read after a start",
    };
    let early_ns = |row: &Row<'_>| {
        let counted = row.with_packets()?;
        let start_ns = evidence.start_at_ns?;
        Some(early_ns(counted, row.is_on_our_clock(), start_ns))
    };
    let holds = |row: &Row<'_>| early_ns(row).map(|early_ns| early_ns <= 0);
    law.for_every_client(rows, Figures::new(), holds, |row| {
        figures([("early_ns", signed(early_ns(row).unwrap_or(0)))])
    })
}

/// How long before it can have been due the earliest packet of a client was read, ns; 0 or less
/// when none was. In a flood it is the last packet alone.
fn early_ns(counted: &ClientCounters, is_on_our_clock: bool, start_ns: u64) -> i128 {
    // A span that runs backwards is the next law's.
    let span_ns = i128::from(span_ns(counted).unwrap_or(0));
    let drift_ns = span_ns / i128::from(CLOCK_DRIFT_PARTS);
    let last_read_ns = i128::from(counted.last_read_ns) - i128::from(start_ns);
    let of_last = span_ns - drift_ns - last_read_ns;
    let Some(least_ns) = counted.least_ns.map(i128::from) else {
        return of_last;
    };
    let first_read_ns = i128::from(counted.first_read_ns);
    let of_earliest = if is_on_our_clock {
        i128::from(counted.first_due_ns) - first_read_ns - least_ns
    } else {
        i128::from(start_ns) - drift_ns - first_read_ns - least_ns
    };
    of_last.max(of_earliest)
}

/// Every due time is a place of the schedule behind that of the packet before, as the workers found
/// packet by packet. A client that stayed to the end left out no more places than it skipped or
/// are absent, and none has used more places than the plan has. Where the due times are a formula,
/// the first one and the last, which need no more of the workers than those two, are those of their
/// places; random arrivals lie within the duration. A flood has no schedule, only a time that it
/// lasts.
fn due_times_follow_the_schedule(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::ScheduleNotFollowed,
        law: "due times follow the schedule",
        sides: CLIENTS_BROKEN,
        first: "{first_packets} packets due within {first_span_ns|first_planned_ns}, planned \
                within {first_planned_ns}; {first_off_schedule} due at no place of the schedule, \
                {first_left_out} places left out, {first_skipped} skipped",
        missing: NO_PACKET,
    };
    let duration_ns = duration_ns(evidence);
    let holds = |row: &Row<'_>| {
        let Some(due) = Due::of(row.with_packets()?) else {
            return Some(false);
        };
        Some(match row.schedule() {
            Some(schedule) => {
                keeps_to_its_places(row) && due.is_of_places(row, &schedule, duration_ns)
            }
            None => due.last_ns <= duration_ns.saturating_add(FLOOD_END_NS),
        })
    };
    law.for_every_client(rows, Figures::new(), holds, |row| {
        let planned_ns = || row.schedule()?.due_at(last_place(row)?);
        let mut of_client = figures([
            ("packets", row.received().unwrap_or(0).into()),
            ("span_ns", signed(span_from_start_ns(row).into())),
            ("planned_ns", planned_ns().unwrap_or(duration_ns).into()),
        ]);
        let known = [
            ("off_schedule", row.receiver.and_then(|of| of.off_schedule)),
            ("left_out", row.receiver.and_then(|of| of.left_out)),
            ("skipped", row.skipped()),
        ];
        for (name, packets) in known {
            of_client.extend(packets.map(|packets| (name.to_owned(), packets.into())));
        }
        of_client
    })
}

/// When the first and the last packet of a client were due since its start; since its first packet,
/// where it has not sent from where its schedule counts.
struct Due {
    first_ns: u64,
    last_ns: u64,
}

impl Due {
    /// `None` where these times run backwards.
    fn of(counted: &ClientCounters) -> Option<Self> {
        let from_ns = start_ns(counted);
        let since = |due_ns: u64| u64::try_from(due_ns.wrapping_sub(from_ns).cast_signed()).ok();
        let due = Self {
            first_ns: since(counted.first_due_ns)?,
            last_ns: since(counted.last_due_ns)?,
        };
        (due.first_ns <= due.last_ns).then_some(due)
    }

    /// Whether these are the times of the first and the last place of a client's packets in its
    /// schedule, as far as that gives them.
    fn is_of_places(&self, row: &Row<'_>, schedule: &Schedule, duration_ns: u64) -> bool {
        if row.start().is_none() {
            // The next law's.
            return true;
        }
        let Some(due_by_first) = schedule.due_by(self.first_ns) else {
            return self.last_ns < duration_ns;
        };
        let Some(last_place) = last_place(row) else {
            return self.last_ns <= schedule.end_ns();
        };
        let left_out = row.receiver.and_then(|of| of.left_out).unwrap_or(0);
        let before_first = match self.first_ns {
            0 => Some(0),
            first_ns => schedule.due_by(first_ns - 1),
        };
        let first_place = due_by_first.checked_sub(1);
        first_place.and_then(|place| schedule.due_at(place)) == Some(self.first_ns)
            && before_first.is_some_and(|places| places <= left_out)
            && schedule.due_at(last_place) == Some(self.last_ns)
    }
}

/// The place in its schedule of the last packet that was read of a client. `None` where packets
/// came twice or after a later one, so that this does not follow from their number, and where it is
/// none that the client plans.
fn last_place(row: &Row<'_>) -> Option<u64> {
    let counts = row.with_packets()?.counts;
    let places = counts.received.checked_add(counts.left_out.unwrap_or(0))?;
    let is_in_order = (counts.duplicated, counts.reordered) == (0, 0);
    let is_planned = row.planned.is_none_or(|planned| places <= planned.most);
    (is_in_order && is_planned).then(|| places - 1)
}

/// Whether the places that the workers found are those of the schedule, as far as these are known.
fn keeps_to_its_places(row: &Row<'_>) -> bool {
    let Some(counts) = row.receiver else {
        return true;
    };
    let left_out = counts.left_out.unwrap_or(0);
    let absent = row.absent().unwrap_or(0);
    let explained = |skipped: u64| left_out <= skipped.saturating_add(absent);
    let stayed = row.skipped().filter(|_| row.exchanged_ends());
    let places = counts.received.saturating_add(left_out);
    counts.off_schedule.unwrap_or(0) == 0
        && row.planned.is_none_or(|planned| places <= planned.most)
        && stayed.is_none_or(explained)
}

/// A client starts with the run, or as much later as its phase may be, and its last packet is due
/// within the run. When the run started is known on our clock; on another one it is at least the
/// same for all clients of an agent. A client that has sent packets has sent its start before.
fn phases_lie_within_a_period(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let mut law = Law {
        code: ReasonCode::StartedElsewhen,
        law: "start ≤ start of the client < start + one period",
        sides: CLIENTS_BROKEN,
        first: "{first_after_start_ns|first_room_ns} after the start, where its phase is \
                {first_offset_ns|first_room_ns} and has to be less than {first_room_ns}, and its \
                last packet due {first_last_ns|duration_ns} after it, of {duration_ns}",
        missing: "no client on a clock whose start is known has sent its own",
    };
    let duration_ns = duration_ns(evidence);
    let starts = RunStarts::of(evidence, rows);
    let holds = |row: &Row<'_>| {
        let Some(start) = row.start() else {
            return row.with_packets().map(|_| false);
        };
        let last_ns = starts.last_ns(row)?;
        let is_within = if row.is_paced() {
            last_ns < duration_ns
        } else {
            last_ns <= duration_ns.saturating_add(FLOOD_END_NS)
        };
        let is_at_its_phase = starts.after_ns(row)? == i128::from(start.offset_ns);
        Some(is_within && is_at_its_phase && start.offset_ns < room_ns(row, duration_ns))
    };
    let mut broken = rows.iter().filter(|row| holds(row) == Some(false));
    if broken.next().is_some_and(|row| row.start().is_none()) {
        law.first = "{first_packets} packets, and no start before them";
    }
    let of_run = figures([("duration_ns", duration_ns.into())]);
    law.for_every_client(rows, of_run, holds, |row| {
        let mut of_client = figures([
            ("packets", row.received().unwrap_or(0).into()),
            ("room_ns", room_ns(row, duration_ns).into()),
        ]);
        let known = [
            ("after_start_ns", starts.after_ns(row).map(signed)),
            ("offset_ns", row.start().map(|start| start.offset_ns.into())),
            ("last_ns", starts.last_ns(row).map(Figure::from)),
        ];
        for (name, figure) in known {
            of_client.extend(figure.map(|figure| (name.to_owned(), figure)));
        }
        of_client
    })
}

/// The phase of a client is less than this, ns: it has none where that is 1.
fn room_ns(row: &Row<'_>, duration_ns: u64) -> u64 {
    let schedule = row.schedule();
    schedule.map_or(1, |schedule| schedule.room_ns(duration_ns).max(1))
}

/// When the run started on the clock of each agent, ns.
struct RunStarts {
    agents: BTreeMap<usize, u64>,
}

impl RunStarts {
    fn of(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Self {
        let mut agents = BTreeMap::new();
        for row in rows {
            if row.is_on_our_clock() {
                agents.extend(
                    evidence
                        .start_at_ns
                        .map(|start_ns| (row.agent_index, start_ns)),
                );
            } else if let Some(start) = row.start() {
                // The first client's, which the others have to have too.
                let start_ns = start.start_ns.wrapping_sub(start.offset_ns);
                agents.entry(row.agent_index).or_insert(start_ns);
            }
        }
        Self { agents }
    }

    /// How much later than the run a client starts, ns.
    fn after_ns(&self, row: &Row<'_>) -> Option<i128> {
        let start_ns = self.agents.get(&row.agent_index)?;
        let after_ns = row.start()?.start_ns.wrapping_sub(*start_ns);
        Some(after_ns.cast_signed().into())
    }

    /// How much later than that its last packet was due, ns; 0 where that runs backwards, and
    /// without a packet.
    fn last_ns(&self, row: &Row<'_>) -> Option<u64> {
        let start_ns = self.agents.get(&row.agent_index)?;
        let last_ns = row.with_packets().map_or(0, |counted| {
            counted.last_due_ns.wrapping_sub(*start_ns).cast_signed()
        });
        Some(u64::try_from(last_ns).unwrap_or(0))
    }
}

fn duration_ns(evidence: &Evidence<'_>) -> u64 {
    u64::try_from(evidence.plan.duration.as_nanos()).unwrap_or(u64::MAX)
}

/// From where the due times of a client count, ns on its own clock: its start, or the first of them
/// where it has not sent that.
fn start_ns(counted: &ClientCounters) -> u64 {
    let start = counted.start.map(|start| start.start_ns);
    start.unwrap_or(counted.first_due_ns)
}

/// From there to the last due time, ns; below 0 when that runs backwards. The zero of that clock
/// may lie anywhere.
fn span_from_start_ns(row: &Row<'_>) -> i64 {
    row.with_packets().map_or(0, |counted| {
        counted
            .last_due_ns
            .wrapping_sub(start_ns(counted))
            .cast_signed()
    })
}

/// From the first due time to the last, ns. `None` when that runs backwards.
fn span_ns(counted: &ClientCounters) -> Option<u64> {
    let span_ns = counted.last_due_ns.wrapping_sub(counted.first_due_ns);
    span_ns.cast_signed().try_into().ok()
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::{LawStatus, ReasonCode, StopCause};

    use crate::verdict::samples::{PACKETS, START_NS, Sample, breaks, due_ns, law, verdict};

    const PERIOD_NS: u64 = 1_000_000;

    #[test]
    fn a_burst_is_caught_whatever_due_times_it_carries() {
        // All due at once, as it was sent.
        breaks(&[ReasonCode::ScheduleNotFollowed], |sample| {
            sample.counted(0, |counted| counted.last_due_ns = due_ns(0));
        });
        // Due as planned, but sent and read at the start: a clock that is shared shows it …
        breaks(
            &[ReasonCode::ReadBeforeWritten, ReasonCode::ReadBeforeDue],
            |sample| {
                sample.counted(0, |counted| {
                    counted.counts.read_before_written = Some(PACKETS - 1);
                    counted.last_read_ns = START_NS + 20_000;
                });
            },
        );
        // … and one that is not does as well.
        breaks(&[ReasonCode::ReadBeforeDue], |sample| {
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
            breaks(&[ReasonCode::ScheduleNotFollowed], |sample| {
                sample.counted(0, |counted| {
                    counted.first_due_ns = START_NS + first_ns;
                    counted.last_due_ns = START_NS + last_ns;
                    counted.last_read_ns = START_NS + 200 * PERIOD_NS;
                });
            });
        }
        breaks(
            &[ReasonCode::ReadBeforeDue, ReasonCode::ScheduleNotFollowed],
            |sample| {
                sample.counted(0, |counted| {
                    std::mem::swap(&mut counted.first_due_ns, &mut counted.last_due_ns);
                });
            },
        );
    }

    #[test]
    fn a_client_starts_with_the_run_by_its_phase_on_any_clock() {
        let shift = |sample: &mut Sample, start_ns: i64, offset_ns: i64| {
            sample.counted(0, |counted| {
                counted.first_read_ns += 2_000_000;
                for due_ns in [&mut counted.first_due_ns, &mut counted.last_due_ns] {
                    *due_ns = due_ns.wrapping_add_signed(start_ns);
                }
                let start = counted
                    .start
                    .as_mut()
                    .expect("the sample's clients send it");
                start.start_ns = start.start_ns.wrapping_add_signed(start_ns);
                start.offset_ns = start.offset_ns.wrapping_add_signed(offset_ns);
            });
        };
        for is_ours in [true, false] {
            let foreign = |sample: &mut Sample| {
                if !is_ours {
                    sample.forget_clock(0);
                }
            };
            // A phase of less than a period, which is 1 ms.
            for phase_ns in [1, 999_999] {
                let mut sample = Sample::of(2, 2);
                foreign(&mut sample);
                shift(&mut sample, phase_ns, phase_ns);
                assert_eq!(verdict(&sample.conclude()).reasons, [], "{phase_ns}");
            }
            for (start_ns, offset_ns) in [(-1, 0), (1, 0), (1_000_000, 0), (5, 4)] {
                breaks(&[ReasonCode::StartedElsewhen], |sample| {
                    foreign(sample);
                    shift(sample, start_ns, offset_ns);
                });
            }
            // The last packet is due a period after the end as well.
            breaks(&[ReasonCode::StartedElsewhen], |sample| {
                foreign(sample);
                shift(sample, 1_000_000, 1_000_000);
            });
            breaks(&[ReasonCode::StartedElsewhen], |sample| {
                foreign(sample);
                sample.counted(1, |counted| counted.start = None);
            });
        }
    }

    #[test]
    fn a_client_that_lost_some_may_have_gaps_in_time_but_no_more_packets_than_it_had_room_for() {
        let mut sample = Sample::of(1, 2);
        sample.break_connection(0, 40);
        let status =
            |sample: &Sample| law(&sample.conclude(), ReasonCode::ScheduleNotFollowed).status();
        assert_eq!(status(&sample), LawStatus::Holds);
        for (left_out, last_due_ns, expected) in [
            (51, due_ns(90), LawStatus::Holds),
            (50, due_ns(90), LawStatus::Broken),
            (0, due_ns(38), LawStatus::Broken),
            (0, due_ns(39) + 1, LawStatus::Broken),
            (61, due_ns(PACKETS), LawStatus::Broken),
        ] {
            sample.counted(0, |counted| {
                counted.counts.left_out = Some(left_out);
                counted.last_due_ns = last_due_ns;
            });
            assert_eq!(status(&sample), expected, "{left_out} {last_due_ns}");
        }
    }

    #[test]
    fn a_packet_that_is_read_before_it_can_have_been_due_is_found_in_the_middle_as_well() {
        // The first one was read 10 µs after it was due.
        for least_ns in [-10_001, i64::MIN] {
            breaks(&[ReasonCode::ReadBeforeDue], |sample| {
                sample.counted(0, |counted| counted.least_ns = Some(least_ns));
            });
        }
        let mut sample = Sample::of(1, 2);
        sample.counted(0, |counted| counted.least_ns = Some(-10_000));
        assert_eq!(verdict(&sample.conclude()).reasons, []);
    }

    #[test]
    fn the_zero_of_another_clock_is_in_no_law() {
        // Where that clock stands at the start; it may drift by 1/1000 of the 99 ms.
        let zeros = [0, (1 << 63) - 1, (1 << 63) + 100_000_000_000, u64::MAX - 5];
        for zero_ns in zeros {
            let foreign = |sample: &mut Sample, least_ns: i64| {
                sample.forget_clock(0);
                for client in 0..2 {
                    sample.counted(client, |counted| {
                        let start = counted.start.as_mut().expect("a start");
                        let times = [
                            &mut counted.first_due_ns,
                            &mut counted.last_due_ns,
                            &mut start.start_ns,
                        ];
                        for time_ns in times {
                            *time_ns = (*time_ns - START_NS).wrapping_add(zero_ns);
                        }
                        counted.least_ns = Some(least_ns);
                    });
                }
            };
            for honest_ns in [0, -109_000] {
                let mut sample = Sample::of(2, 2);
                foreign(&mut sample, honest_ns);
                assert_eq!(verdict(&sample.conclude()).reasons, [], "{zero_ns}");
            }
            for early_ns in [-109_001, -200_000_000, i64::MIN] {
                breaks(&[ReasonCode::ReadBeforeDue], |sample| {
                    foreign(sample, early_ns);
                });
            }
        }
    }

    #[test]
    fn a_due_time_that_is_no_place_of_the_schedule_breaks_the_law() {
        breaks(&[ReasonCode::ScheduleNotFollowed], |sample| {
            sample.counted(0, |counted| counted.counts.off_schedule = Some(1));
        });
        // Left out, and yet not skipped.
        breaks(&[ReasonCode::ScheduleNotFollowed], |sample| {
            sample.counted(0, |counted| counted.counts.left_out = Some(1));
        });
        // A client that broke off has skipped it is not known how many, but none beyond the plan.
        let mut sample = Sample::of(1, 2);
        sample.break_connection(0, 40);
        for (left_out, status) in [
            (PACKETS - 40, LawStatus::Holds),
            (PACKETS - 39, LawStatus::Broken),
        ] {
            sample.counted(0, |counted| {
                counted.counts.left_out = Some(left_out);
                counted.last_due_ns = due_ns(39 + left_out);
            });
            let conclusion = sample.conclude();
            let law = law(&conclusion, ReasonCode::ScheduleNotFollowed);
            assert_eq!(law.status(), status, "{law:?}");
        }
    }

    /// The first client skips so many packets before its first one, and so many behind it.
    fn skip_first(sample: &mut Sample, first: u64, later: u64) {
        let received = PACKETS - first - later;
        sample.reported(0, |reported| {
            let counts = reported.counts.as_mut().expect("the sample has counts");
            (counts.sent, counts.skipped, counts.blocked) =
                (received, first + later, first + later);
            reported.acknowledged = Some(received);
            reported.kernel_acknowledged_bytes = Some(received * 32);
        });
        sample.counted(0, |counted| {
            counted.counts.received = received;
            counted.counts.in_time = Some(received);
            counted.counts.left_out = Some(first + later);
            counted.next_sequence = received;
            counted.reported_sent = Some(received);
            counted.first_due_ns = due_ns(first);
            counted.first_read_ns = due_ns(first) + 10_000;
        });
        sample.counters().workers[0].packets -= first + later;
        sample.retime();
    }

    #[test]
    fn a_client_may_start_later_by_the_packets_that_it_skipped_first() {
        let mut sample = Sample::of(2, 2);
        skip_first(&mut sample, 3, 2);
        let conclusion = sample.conclude();
        assert_eq!(verdict(&conclusion).reasons, []);
        // A place beyond those that were left out, and none at all.
        for first_due_ns in [due_ns(6), due_ns(3) + 1] {
            breaks(&[ReasonCode::ScheduleNotFollowed], |sample| {
                skip_first(sample, 3, 2);
                sample.counted(0, |counted| {
                    counted.first_due_ns = first_due_ns;
                    counted.first_read_ns = due_ns(7);
                });
            });
        }
    }

    #[test]
    fn a_client_that_starts_before_the_run_does_so_by_a_negative_figure() {
        let mut sample = Sample::of(1, 1);
        sample.counted(0, |counted| {
            counted.start.as_mut().expect("a start").start_ns -= 5;
        });
        let conclusion = sample.conclude();
        let phases = law(&conclusion, ReasonCode::StartedElsewhen);
        assert_eq!(phases.status(), LawStatus::Broken);
        assert_eq!(phases.figures["first_after_start_ns"], (-5_i64).into());
        sample.counted(0, |counted| counted.start = None);
        let conclusion = sample.conclude();
        let phases = law(&conclusion, ReasonCode::StartedElsewhen);
        assert_eq!(
            phases.sentence,
            "1 of 1 clients break it; broken by 1 clients, first client 0: 100 packets, and no \
             start before them"
        );
    }

    #[test]
    fn a_schedule_that_was_sent_whole_took_its_time_and_no_longer() {
        // Half of the plan, in a run that was stopped.
        let came_out = |last_due_ns| {
            let mut sample = Sample::of(1, 1);
            sample.stopped = Some(StopCause::Operator);
            sample.reported_counts(0, |counts| (counts.scheduled, counts.sent) = (50, 50));
            sample.counted(0, |counted| {
                counted.counts.received = 50;
                counted.last_due_ns = last_due_ns;
            });
            let conclusion = sample.conclude();
            let followed = law(&conclusion, ReasonCode::ScheduleNotFollowed);
            (
                followed.status(),
                followed.figures.get("first_span_ns").cloned(),
            )
        };
        assert_eq!(came_out(due_ns(49)), (LawStatus::Holds, None));
        for span in [0_i64, 60] {
            let expected = Some((span * PERIOD_NS as i64).into());
            assert_eq!(came_out(due_ns(span as u64)), (LawStatus::Broken, expected));
        }
    }

    #[test]
    fn the_last_packet_of_a_flood_may_be_read_as_early_as_two_clocks_drift_apart() {
        let came_out = |early_ns| {
            let mut sample = Sample::of(1, 1);
            sample.flood();
            // Its last packet is due 99 ms behind the first: a thousandth of that is drift.
            sample.counted(0, |counted| counted.last_read_ns = due_ns(99) - early_ns);
            law(&sample.conclude(), ReasonCode::ReadBeforeDue).status()
        };
        assert_eq!(came_out(99_000), LawStatus::Holds);
        assert_eq!(came_out(99_001), LawStatus::Broken);
    }
}

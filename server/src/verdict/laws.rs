//! The laws of the ledger: equations that hold at the end of every run, whatever died on the way.
//!
//! Each is checked for every client and for the sums, and told as it came out. A broken one means
//! that a packet was miscounted somewhere, by us or by an agent that does not tell the truth. The
//! laws that have to do with time are in [`super::pace`].

use std::collections::BTreeSet;

use metronome_proto::{packet::FRAME_BYTES, v1};

use super::{
    Evidence, pace,
    rows::{Row, total},
};

/// Most bytes that a connection may have taken in and no worker read, when it ends before its time:
/// a receive buffer of 128 KiB, which the kernel doubles, and a worker's buffer of 64 KiB.
const UNREAD_BYTES_MAX: u128 = (256 + 64) << 10;

/// One law as it came out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Checked {
    /// The equation, as docs/verdict.md spells it.
    pub(super) law: &'static str,
    /// Code of the reason that breaking it gives.
    pub(super) code: &'static str,
    pub(super) holds: bool,
    /// Both sides, and the first client that breaks it.
    pub(super) figures: String,
}

impl Checked {
    pub(super) fn into_proto(self) -> v1::Law {
        v1::Law {
            law: self.law.into(),
            holds: self.holds,
            figures: self.figures,
        }
    }
}

/// Checks every law, in the order of docs/verdict.md.
pub(super) fn check(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Vec<Checked> {
    let mut laws = vec![
        schedule_is_sent_or_skipped(rows),
        schedule_is_the_plans(evidence, rows),
        sent_is_received_or_placed(rows),
        unread_fits_the_buffers(rows),
        taken_is_worked_off(rows),
        end_tells_what_was_counted(rows),
        clean_end_loses_nothing(rows),
        sequence_is_whole(rows),
        nothing_is_corrupt(rows),
        histograms_count_the_received(evidence, rows),
        clients_and_workers_agree(evidence, rows),
        end_tells_what_was_sent(rows),
        end_ack_tells_what_was_received(rows),
        digests_agree(rows),
        records_belong(evidence),
    ];
    laws.extend(pace::check(evidence, rows));
    laws
}

fn schedule_is_sent_or_skipped(rows: &[Row<'_>]) -> Checked {
    let law = "scheduled = sent + skipped";
    let adds_up = |row: &Row<'_>| {
        u128::from(row.scheduled()) == u128::from(row.sent()) + u128::from(row.skipped())
    };
    let figures = format!(
        "{} = {} + {}",
        total(rows, Row::scheduled),
        total(rows, Row::sent),
        total(rows, Row::skipped)
    );
    for_every_client(law, "SCHEDULE_MISCOUNTED", figures, rows, adds_up, |row| {
        format!("{} and {} + {}", row.scheduled(), row.sent(), row.skipped())
    })
}

/// Of a client that exchanged ends in a run that was not stopped, by an agent that stayed to the
/// end, every packet of the plan was scheduled; of any other at most that many.
fn schedule_is_the_plans(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = "scheduled = planned";
    let Some(planned) = evidence.plan.packets_per_client() else {
        let figures = format!("{}, as a flood plans none", total(rows, Row::scheduled));
        return Checked {
            law,
            code: "PLAN_NOT_SCHEDULED",
            holds: true,
            figures,
        };
    };
    let whole = |row: &Row<'_>| {
        evidence.stopped.is_none() && row.exchanged_ends() && row.agent.missing().is_none()
    };
    let holds = |row: &Row<'_>| {
        if whole(row) {
            row.scheduled() == planned
        } else {
            row.scheduled() <= planned
        }
    };
    let (clean, others): (Vec<_>, Vec<_>) = rows.iter().partition(|row| whole(row));
    let mut figures = format!(
        "{} = {}",
        clean
            .iter()
            .map(|row| u128::from(row.scheduled()))
            .sum::<u128>(),
        clean.len() as u128 * u128::from(planned)
    );
    if !others.is_empty() {
        let sum: u128 = others.iter().map(|row| u128::from(row.scheduled())).sum();
        let limit = others.len() as u128 * u128::from(planned);
        figures += &format!("; stopped or ended early: {sum} of at most {limit}");
    }
    for_every_client(law, "PLAN_NOT_SCHEDULED", figures, rows, holds, |row| {
        format!("{} of {planned}", row.scheduled())
    })
}

/// Every lost packet is placed by what the agent's kernel told, and nothing was received or
/// acknowledged that was not sent.
fn sent_is_received_or_placed(rows: &[Row<'_>]) -> Checked {
    let law = "sent = received + lost";
    let placed = |row: &Row<'_>| {
        let acknowledged = row.kernel_acknowledged();
        let is_known = row.lost() == 0 || acknowledged.is_some();
        row.received() <= row.sent()
            && is_known
            && acknowledged.is_none_or(|packets| packets <= row.sent())
    };
    let figures = format!(
        "{} = {} + ({} not acknowledged + {} unread)",
        total(rows, Row::sent),
        total(rows, Row::received),
        total(rows, Row::lost_unacknowledged),
        total(rows, Row::lost_unread)
    );
    for_every_client(law, "LOSS_NOT_PLACED", figures, rows, placed, |row| {
        let acknowledged = row
            .kernel_acknowledged()
            .map_or("unknown".into(), |packets| packets.to_string());
        format!(
            "{} sent, {} received, {acknowledged} acknowledged by the kernel",
            row.sent(),
            row.received()
        )
    })
}

/// "Acknowledged, but unread" is an explanation only for what a connection has room for.
fn unread_fits_the_buffers(rows: &[Row<'_>]) -> Checked {
    let law = "lost unread ≤ buffers of the connection";
    let unread_bytes = |row: &Row<'_>| u128::from(row.lost_unread()) * FRAME_BYTES as u128;
    let most = rows.iter().map(unread_bytes).max().unwrap_or(0);
    let figures = format!("at most {most} of {UNREAD_BYTES_MAX} bytes");
    let fits = |row: &Row<'_>| unread_bytes(row) <= UNREAD_BYTES_MAX;
    for_every_client(law, "UNREAD_BEYOND_BUFFERS", figures, rows, fits, |row| {
        format!("{} bytes", unread_bytes(row))
    })
}

/// The kernel's own count of what was taken off a socket, where it could be read.
fn taken_is_worked_off(rows: &[Row<'_>]) -> Checked {
    let both = |row: &Row<'_>| {
        row.counted
            .and_then(|counted| Some((counted.bytes_taken?, counted.bytes)))
    };
    compare("bytes taken = bytes processed", "BYTES_DIFFER", rows, both)
}

/// The workers' own figures alone: no word of the agent's record is needed.
fn end_tells_what_was_counted(rows: &[Row<'_>]) -> Checked {
    let figures_of = |row: &Row<'_>| {
        let counted = row.counted?;
        Some([counted.told_sent?, counted.received, counted.next_sequence])
    };
    let sums = [0, 1, 2].map(|index| {
        total(rows, |row| {
            figures_of(row).map_or(0, |figures| figures[index])
        })
    });
    let law = "told by end = received = next sequence";
    let figures = format!("{} = {} = {}", sums[0], sums[1], sums[2]);
    let holds = |row: &Row<'_>| {
        figures_of(row).is_none_or(|[told, received, next]| told == received && received == next)
    };
    for_every_client(law, "END_MISCOUNTED", figures, rows, holds, |row| {
        figures_of(row).map_or(String::new(), |[told, received, next]| {
            format!("{told}, {received} and {next}")
        })
    })
}

fn clean_end_loses_nothing<'a>(rows: &[Row<'a>]) -> Checked {
    let clean: Vec<_> = rows.iter().filter(|row| row.exchanged_ends()).collect();
    let sum = |figure: fn(&Row<'a>) -> u64| {
        clean
            .iter()
            .map(|row| u128::from(figure(row)))
            .sum::<u128>()
    };
    let figures = format!("{} = {}", sum(Row::sent), sum(Row::received));
    let law = "sent = received on a clean end";
    let holds = |row: &Row<'_>| !row.exchanged_ends() || row.sent() == row.received();
    for_every_client(law, "LOSS_ON_CLEAN_END", figures, rows, holds, |row| {
        format!("{} and {}", row.sent(), row.received())
    })
}

fn sequence_is_whole(rows: &[Row<'_>]) -> Checked {
    let of = |row: &Row<'_>| {
        row.counted.map_or([0; 3], |counted| {
            [counted.gaps, counted.duplicated, counted.reordered]
        })
    };
    let sums = [0, 1, 2].map(|index| total(rows, |row| of(row)[index]));
    let figures = format!("{}, {}, {}", sums[0], sums[1], sums[2]);
    let law = "gaps = duplicated = reordered = 0";
    for_every_client(
        law,
        "SEQUENCE_BROKEN",
        figures,
        rows,
        |row| of(row) == [0; 3],
        |row| {
            let [gaps, duplicated, reordered] = of(row);
            format!("{gaps}, {duplicated}, {reordered}")
        },
    )
}

fn nothing_is_corrupt(rows: &[Row<'_>]) -> Checked {
    let corrupt = |row: &Row<'_>| row.counted.map_or(0, |counted| counted.corrupt);
    let figures = total(rows, corrupt).to_string();
    for_every_client(
        "corrupt = 0",
        "CORRUPT",
        figures,
        rows,
        |row| corrupt(row) == 0,
        |row| corrupt(row).to_string(),
    )
}

/// Lateness is counted of every packet; transit and latency of agents that share our clock, and of
/// no others.
fn histograms_count_the_received(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = "histogram counts = received";
    let expected = |row: &Row<'_>| {
        let one_way = if row.agent.share.shares_clock {
            row.received()
        } else {
            0
        };
        [row.received(), one_way, one_way]
    };
    let counts = |row: &Row<'_>| {
        row.counted
            .map_or([0; 3], |counted| counted.histogram_counts)
    };
    let times = evidence.record.map(|record| &record.times);
    let sums = times.map_or([0; 3], |times| {
        [&times.lateness, &times.transit, &times.latency].map(|of| of.count())
    });
    let sums_expected = [0, 1, 2].map(|index| total(rows, |row| expected(row)[index]));
    let figures = format!(
        "{}, {}, {} = {}, {}, {}",
        sums[0], sums[1], sums[2], sums_expected[0], sums_expected[1], sums_expected[2]
    );
    let mut checked = for_every_client(
        law,
        "HISTOGRAM_MISCOUNTED",
        figures,
        rows,
        |row| counts(row) == expected(row),
        |row| format!("{:?} and {} received", counts(row), row.received()),
    );
    checked.holds &= sums.map(u128::from) == sums_expected;
    checked
}

fn clients_and_workers_agree(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let clients = total(rows, Row::received);
    let (workers, recovered) = evidence.record.map_or((0, 0), |record| {
        let workers: u128 = record
            .workers
            .iter()
            .map(|worker| u128::from(worker.packets))
            .sum();
        (workers, u128::from(record.recovered_packets))
    });
    Checked {
        law: "sum over clients = sum over workers + recovered",
        code: "SUMS_DIFFER",
        holds: clients == workers + recovered,
        figures: format!("{clients} = {workers} + {recovered}"),
    }
}

fn end_tells_what_was_sent(rows: &[Row<'_>]) -> Checked {
    // Of both, or there is nothing to compare.
    let both = |row: &Row<'_>| Some((row.told?.sent, row.counted?.told_sent?));
    compare("told by end = sent", "END_DIFFERS", rows, both)
}

fn end_ack_tells_what_was_received(rows: &[Row<'_>]) -> Checked {
    let both = |row: &Row<'_>| Some((row.told?.acknowledged?, row.counted?.received));
    compare("told by end-ack = received", "END_ACK_DIFFERS", rows, both)
}

fn digests_agree(rows: &[Row<'_>]) -> Checked {
    let law = "digest sent = digest received on a clean end";
    let both = |row: &Row<'_>| {
        Some((row.told?.digest, row.counted?.digest)).filter(|_| row.exchanged_ends())
    };
    let same = |row: &Row<'_>| both(row).is_none_or(|(sent, received)| sent == received);
    let compared = rows.iter().filter(|row| both(row).is_some()).count();
    let figures = format!(
        "{} of {compared} clients",
        rows.iter()
            .filter(|row| both(row).is_some() && same(row))
            .count()
    );
    for_every_client(law, "DIGESTS_DIFFER", figures, rows, same, |row| {
        both(row).map_or(String::new(), |(sent, received)| {
            format!("{sent:016x} and {received:016x}")
        })
    })
}

fn records_belong(evidence: &Evidence<'_>) -> Checked {
    let told: u128 = evidence
        .agents
        .iter()
        .map(|agent| u128::from(agent.strays()))
        .sum();
    let mut seen = BTreeSet::new();
    let is_stray = |client: u32| client >= evidence.plan.clients || !seen.insert(client);
    let clients = evidence
        .record
        .iter()
        .flat_map(|record| &record.clients)
        .map(|count| count.client);
    let counted = clients.map(is_stray).filter(|stray| *stray).count();
    let mut figures = format!("{told} stray from agents, {counted} from workers");
    if let Some(agent) = evidence.agents.iter().find(|agent| agent.strays() > 0) {
        figures += &format!("; first {}", agent.name);
    }
    let law = "one record per client and end";
    Checked {
        law,
        code: "RECORDS_CONTRADICT",
        holds: told == 0 && counted == 0,
        figures,
    }
}

/// A law that says that two figures of each client are equal where both are known.
fn compare(
    law: &'static str,
    code: &'static str,
    rows: &[Row<'_>],
    both: impl Fn(&Row<'_>) -> Option<(u64, u64)>,
) -> Checked {
    let sum = |pick: fn((u64, u64)) -> u64| {
        rows.iter()
            .filter_map(&both)
            .map(|pair| u128::from(pick(pair)))
            .sum::<u128>()
    };
    let figures = format!("{} = {}", sum(|pair| pair.0), sum(|pair| pair.1));
    let same = |row: &Row<'_>| both(row).is_none_or(|(one, other)| one == other);
    for_every_client(law, code, figures, rows, same, |row| {
        both(row).map_or(String::new(), |(one, other)| format!("{one} and {other}"))
    })
}

/// A law that holds when it does for each client. `figures` are those of the run; `tell` gives one
/// client's.
pub(super) fn for_every_client(
    law: &'static str,
    code: &'static str,
    mut figures: String,
    rows: &[Row<'_>],
    holds: impl Fn(&Row<'_>) -> bool,
    tell: impl Fn(&Row<'_>) -> String,
) -> Checked {
    let mut breakers = rows.iter().filter(|row| !holds(row));
    let first = breakers.next();
    if let Some(row) = first {
        figures += &format!(
            "; broken by {} clients, first client {}: {}",
            1 + breakers.count(),
            row.client,
            tell(row)
        );
    }
    Checked {
        law,
        code,
        holds: first.is_none(),
        figures,
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::VerdictStatus;
    use proptest::prelude::*;

    use super::super::samples::{PACKETS, START_NS, Sample, breaks, due_ns, times};

    #[test]
    fn a_clean_run_keeps_every_law() {
        let conclusion = Sample::of(2, 3).conclude();
        assert!(
            conclusion.report.laws.iter().all(|law| law.holds),
            "{:?}",
            conclusion.report.laws
        );
        assert_eq!(conclusion.report.laws.len(), 20);
    }

    #[test]
    fn each_law_is_broken_by_its_own_lie() {
        breaks(&["SCHEDULE_MISCOUNTED"], |sample| {
            sample.told(3, |told| told.skipped = 1)
        });
        breaks(&["PLAN_NOT_SCHEDULED"], |sample| {
            sample.told(3, |told| {
                told.scheduled = PACKETS + 1;
                told.skipped = 1;
            });
        });
        breaks(
            &["UNREAD_BEYOND_BUFFERS", "CLIENT_LOST"],
            lose_more_than_any_buffer_holds,
        );
        breaks(&["BYTES_DIFFER"], |sample| {
            sample.counted(2, |counted| counted.bytes_taken = Some(counted.bytes + 1))
        });
        breaks(&["END_MISCOUNTED"], |sample| {
            sample.counted(2, |counted| counted.next_sequence += 1)
        });
        breaks(&["SEQUENCE_BROKEN"], |sample| {
            sample.counted(0, |counted| counted.gaps = 1)
        });
        breaks(&["SEQUENCE_BROKEN"], |sample| {
            sample.counted(0, |counted| counted.duplicated = 1)
        });
        breaks(&["SEQUENCE_BROKEN"], |sample| {
            sample.counted(0, |counted| counted.reordered = 1)
        });
        breaks(&["CORRUPT"], |sample| {
            sample.counted(1, |counted| counted.corrupt = 1)
        });
        for kind in 0..3 {
            breaks(&["HISTOGRAM_MISCOUNTED"], |sample| {
                sample.counted(2, |counted| counted.histogram_counts[kind] -= 1);
            });
        }
        breaks(&["HISTOGRAM_MISCOUNTED"], |sample| {
            sample.record().times = times(4 * PACKETS - 1)
        });
        breaks(&["SUMS_DIFFER"], |sample| {
            sample.record().workers[1].packets += 1
        });
        breaks(&["SUMS_DIFFER"], |sample| {
            sample.record().recovered_packets = 1
        });
        breaks(&["END_MISCOUNTED", "END_DIFFERS"], |sample| {
            sample.counted(0, |counted| counted.told_sent = Some(PACKETS + 1));
        });
        breaks(&["END_ACK_DIFFERS"], |sample| {
            sample.told(0, |told| told.acknowledged = Some(PACKETS - 1))
        });
        breaks(&["DIGESTS_DIFFER"], |sample| {
            sample.told(0, |told| told.digest ^= 1)
        });
        breaks(&["READ_BEFORE_START"], |sample| {
            sample.counted(0, |counted| counted.first_read_ns = START_NS - 1)
        });
        breaks(&["READ_BEFORE_WRITTEN"], |sample| {
            sample.counted(0, |counted| counted.acausal = 1)
        });
        breaks(&["RECORDS_CONTRADICT"], |sample| {
            let again = metronome_proto::v1::ClientRecord::default();
            sample.agents[0].take(metronome_proto::v1::ClientRecords {
                run_id: String::new(),
                clients: vec![again],
            });
        });
    }

    /// A client of a hundred times the packets, of which the kernel says that nearly all arrived.
    fn lose_more_than_any_buffer_holds(sample: &mut Sample) {
        let packets = 100 * PACKETS + 1_000;
        sample.plan.duration *= 110;
        for client in 0..4 {
            sample.told(client, |told| {
                (told.scheduled, told.sent, told.acknowledged) = (packets, packets, None);
                told.kernel_acknowledged_bytes =
                    Some((PACKETS + u64::from(client == 0) * 10_241) * 32);
                told.error = "the connection broke".into();
            });
            sample.counted(client, |counted| counted.told_sent = None);
        }
    }

    #[test]
    fn a_loss_at_the_tail_is_found_whatever_the_agent_says_of_it() {
        for error in ["", "the server acknowledges 99 packets of 100 sent"] {
            let mut expected = vec!["END_MISCOUNTED", "LOSS_ON_CLEAN_END", "END_ACK_DIFFERS"];
            expected.extend((!error.is_empty()).then_some("CLIENT_LOST"));
            breaks(&expected, |sample| {
                sample.told(0, |told| told.error = error.into());
                sample.counted(0, |counted| {
                    counted.received -= 1;
                    counted.next_sequence -= 1;
                    counted.last_due_ns = due_ns(PACKETS - 1);
                    counted.histogram_counts = [counted.received; 3];
                });
                let record = sample.record();
                record.workers[0].packets -= 1;
                record.times = times(4 * PACKETS - 1);
            });
        }
        // As workers that lost it would tell it together, and an agent that agrees with them.
        breaks(&["LOSS_ON_CLEAN_END", "END_DIFFERS"], |sample| {
            sample.told(0, |told| told.acknowledged = Some(PACKETS - 1));
            sample.counted(0, |counted| {
                counted.received -= 1;
                counted.next_sequence -= 1;
                counted.told_sent = Some(PACKETS - 1);
                counted.histogram_counts = [counted.received; 3];
            });
            let record = sample.record();
            record.workers[0].packets -= 1;
            record.times = times(4 * PACKETS - 1);
        });
    }

    #[test]
    fn a_lost_packet_must_be_placed() {
        breaks(&["LOSS_NOT_PLACED", "CLIENT_LOST"], |sample| {
            sample.break_connection(0, 40);
            sample.told(0, |told| told.kernel_acknowledged_bytes = None);
        });
        breaks(&["LOSS_NOT_PLACED", "CLIENT_LOST"], |sample| {
            sample.break_connection(0, 40);
            sample.told(0, |told| {
                told.kernel_acknowledged_bytes = Some((PACKETS + 1) * 32)
            });
        });
    }

    #[test]
    fn a_worker_record_of_an_unknown_client_or_of_one_twice_is_a_contradiction() {
        for client in [0, 4, u32::MAX] {
            breaks(&["RECORDS_CONTRADICT"], |sample| {
                let mut stray = sample.record().clients[0].clone();
                stray.client = client;
                sample.record().clients.push(stray);
            });
        }
    }

    proptest! {
        #[test]
        fn whatever_an_agent_claims_the_verdict_is_a_value_and_a_lie_is_never_valid(
            scheduled: u64, sent: u64, skipped: u64, digest: u64, blocked: u64,
            acknowledged: Option<u64>, kernel: Option<u64>, cpu_ns: u64, error in "\\PC{0,9}",
        ) {
            let mut sample = Sample::of(1, 2);
            let honest = Sample::of(1, 2).conclude();
            sample.told(1, |told| {
                *told = metronome_proto::v1::ClientRecord {
                    client: 1, scheduled, sent, skipped, digest, acknowledged,
                    kernel_acknowledged_bytes: kernel, attempts: u32::MAX, error, blocked,
                };
            });
            sample.agents[0].finish(metronome_proto::v1::Finished { cpu_ns, writes: u64::MAX, ..Default::default() });
            let conclusion = sample.conclude();
            let valid = conclusion.report.verdict.as_ref().unwrap().status() == VerdictStatus::Valid;
            prop_assert!(!valid || conclusion.report.packets == honest.report.packets);
        }

        #[test]
        fn whatever_times_packets_carry_a_valid_run_has_the_planned_rate_and_phase(
            first_due in times_near_the_start(), span in times_near_the_start(), last_read in times_near_the_start(),
            acausal in 0..=1_u64, received in 0..=PACKETS, is_honest: [bool; 5],
        ) {
            let mut sample = Sample::of(1, 1);
            let pick = |field: usize, lie: u64, truth: u64| if is_honest[field] { truth } else { lie };
            let received = pick(4, received, PACKETS);
            sample.told(0, |told| {
                (told.sent, told.skipped, told.acknowledged) = (received, PACKETS - received, Some(received));
                told.kernel_acknowledged_bytes = Some(received * 32);
            });
            sample.counted(0, |counted| {
                counted.first_due_ns = pick(0, first_due, due_ns(0));
                counted.last_due_ns = counted.first_due_ns.saturating_add(pick(1, span, 99_000_000));
                counted.last_read_ns = pick(2, last_read, START_NS + 100_000_000);
                counted.acausal = pick(3, acausal, 0);
                (counted.received, counted.next_sequence, counted.told_sent) = (received, received, Some(received));
                counted.histogram_counts = [received; 3];
            });
            let record = sample.record();
            record.workers[0].packets = received;
            record.times = times(received);
            let report = sample.conclude().report;
            if report.verdict.as_ref().unwrap().status() == VerdictStatus::Valid {
                let counted = &sample.record().clients[0];
                let phase_ns = counted.first_due_ns - START_NS;
                let span_ns = counted.last_due_ns - counted.first_due_ns;
                prop_assert!(counted.acausal == 0 && report.packets.unwrap().received >= PACKETS - 1);
                prop_assert!(phase_ns + span_ns <= 100_001_000, "all is due within the run's 100 ms");
                prop_assert!(span_ns >= 98_000_000 - 1_000);
                let rate = report.rate.unwrap();
                prop_assert!(rate.achieved_hz <= 1.04 * rate.offered_hz.unwrap(), "{rate:?}");
            }
        }
    }

    fn times_near_the_start() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            0..200_000_000_u64,
            (0..200_000_000_u64).prop_map(|ns| START_NS + ns)
        ]
    }
}

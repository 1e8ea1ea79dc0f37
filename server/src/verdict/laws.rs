//! The laws of the ledger: equations that hold at the end of every run, whatever died on the way.
//!
//! Each is checked for every client and for the sums, and told as it came out. A broken one means
//! that a packet was miscounted somewhere, by us or by an agent that does not tell the truth.

use std::collections::BTreeSet;

use metronome_proto::v1;

use super::{
    Evidence,
    rows::{Row, total},
};

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
        v1::Law { law: self.law.into(), holds: self.holds, figures: self.figures }
    }
}

/// Checks every law, in the order of docs/verdict.md.
pub(super) fn check(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Vec<Checked> {
    vec![
        schedule_is_sent_or_skipped(rows),
        schedule_is_the_plans(evidence, rows),
        sent_is_received_or_placed(rows),
        clean_end_loses_nothing(rows),
        sequence_is_whole(rows),
        nothing_is_corrupt(rows),
        histograms_count_the_received(evidence, rows),
        clients_and_workers_agree(evidence, rows),
        end_tells_what_was_sent(rows),
        end_ack_tells_what_was_received(rows),
        digests_agree(rows),
        nothing_precedes_the_start(evidence, rows),
        records_belong(evidence),
    ]
}

fn schedule_is_sent_or_skipped(rows: &[Row<'_>]) -> Checked {
    let law = "scheduled = sent + skipped";
    let adds_up = |row: &Row<'_>| u128::from(row.scheduled()) == u128::from(row.sent()) + u128::from(row.skipped());
    let figures =
        format!("{} = {} + {}", total(rows, Row::scheduled), total(rows, Row::sent), total(rows, Row::skipped));
    for_every_client(law, "SCHEDULE_MISCOUNTED", figures, rows, adds_up, |row| {
        format!("{} and {} + {}", row.scheduled(), row.sent(), row.skipped())
    })
}

/// Of a client that ended cleanly in a run that was not stopped, every packet of the plan was
/// scheduled; of any other at most that many.
fn schedule_is_the_plans(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = "scheduled = planned";
    let planned = evidence.plan.packets_per_client();
    let whole = |row: &Row<'_>| evidence.stopped.is_none() && row.ended_cleanly();
    let holds = |row: &Row<'_>| {
        if whole(row) { row.scheduled() == planned } else { row.scheduled() <= planned }
    };
    let (clean, others): (Vec<_>, Vec<_>) = rows.iter().partition(|row| whole(row));
    let mut figures = format!(
        "{} = {}",
        clean.iter().map(|row| u128::from(row.scheduled())).sum::<u128>(),
        clean.len() as u128 * u128::from(planned)
    );
    if !others.is_empty() {
        let sum: u128 = others.iter().map(|row| u128::from(row.scheduled())).sum();
        let limit = others.len() as u128 * u128::from(planned);
        figures += &format!("; stopped or ended early: {sum} of at most {limit}");
    }
    for_every_client(law, "PLAN_NOT_SCHEDULED", figures, rows, holds, |row| format!("{} of {planned}", row.scheduled()))
}

/// Every lost packet is placed by what the agent's kernel told, and nothing was received that was
/// not sent.
fn sent_is_received_or_placed(rows: &[Row<'_>]) -> Checked {
    let law = "sent = received + lost";
    let placed = |row: &Row<'_>| {
        let known = row.kernel_acknowledged().is_some_and(|acknowledged| acknowledged <= row.sent());
        row.received() <= row.sent() && (row.lost() == 0 || known)
    };
    let figures = format!(
        "{} = {} + ({} not acknowledged + {} unread)",
        total(rows, Row::sent),
        total(rows, Row::received),
        total(rows, Row::lost_unacknowledged),
        total(rows, Row::lost_unread)
    );
    for_every_client(law, "LOSS_NOT_PLACED", figures, rows, placed, |row| {
        let acknowledged = row.kernel_acknowledged().map_or("unknown".into(), |packets| packets.to_string());
        format!("{} sent, {} received, {acknowledged} acknowledged by the kernel", row.sent(), row.received())
    })
}

fn clean_end_loses_nothing<'a>(rows: &[Row<'a>]) -> Checked {
    let clean: Vec<_> = rows.iter().filter(|row| row.ended_cleanly()).collect();
    let sum = |figure: fn(&Row<'a>) -> u64| clean.iter().map(|row| u128::from(figure(row))).sum::<u128>();
    let figures = format!("{} = {}", sum(Row::sent), sum(Row::received));
    let law = "sent = received on a clean end";
    let holds = |row: &Row<'_>| !row.ended_cleanly() || row.sent() == row.received();
    for_every_client(law, "LOSS_ON_CLEAN_END", figures, rows, holds, |row| {
        format!("{} and {}", row.sent(), row.received())
    })
}

fn sequence_is_whole(rows: &[Row<'_>]) -> Checked {
    let of =
        |row: &Row<'_>| row.counted.map_or([0; 3], |counted| [counted.gaps, counted.duplicated, counted.reordered]);
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
    for_every_client("corrupt = 0", "CORRUPT", figures, rows, |row| corrupt(row) == 0, |row| corrupt(row).to_string())
}

/// Lateness is counted of every packet; transit and latency of agents that share our clock, and of
/// no others.
fn histograms_count_the_received(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = "histogram counts = received";
    let expected = |row: &Row<'_>| {
        let one_way = if row.agent.shares_clock { row.received() } else { 0 };
        [row.received(), one_way, one_way]
    };
    let counts = |row: &Row<'_>| row.counted.map_or([0; 3], |counted| counted.histogram_counts);
    let times = evidence.record.map(|record| &record.times);
    let sums = times.map_or([0; 3], |times| [&times.lateness, &times.transit, &times.latency].map(|of| of.count()));
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
        let workers: u128 = record.workers.iter().map(|worker| u128::from(worker.packets)).sum();
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
    let both = |row: &Row<'_>| Some((row.told?.digest, row.counted?.digest)).filter(|_| row.ended_cleanly());
    let same = |row: &Row<'_>| both(row).is_none_or(|(sent, received)| sent == received);
    let compared = rows.iter().filter(|row| both(row).is_some()).count();
    let figures =
        format!("{} of {compared} clients", rows.iter().filter(|row| both(row).is_some() && same(row)).count());
    for_every_client(law, "DIGESTS_DIFFER", figures, rows, same, |row| {
        both(row).map_or(String::new(), |(sent, received)| format!("{sent:016x} and {received:016x}"))
    })
}

/// A packet that is read before the first one was due was not sent by the schedule. This holds with
/// any agent's clock: one that does not share ours starts a while after it was told to.
fn nothing_precedes_the_start(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let start_ns = evidence.start_at_ns.unwrap_or(u64::MAX);
    let first_ns =
        |row: &Row<'_>| row.counted.filter(|counted| counted.received > 0).map(|counted| counted.first_read_ns);
    let after_ns = |row: &Row<'_>| first_ns(row).map(|first_ns| i128::from(first_ns) - i128::from(start_ns));
    let figures = match rows.iter().filter_map(after_ns).min() {
        Some(after_ns) if evidence.start_at_ns.is_some() => format!("{after_ns} ns after it"),
        Some(_) => "there was no start".into(),
        None => "no packet was read".into(),
    };
    let law = "first packet read after the start";
    let holds = |row: &Row<'_>| after_ns(row).is_none_or(|after_ns| after_ns >= 0);
    for_every_client(law, "READ_BEFORE_START", figures, rows, holds, |row| format!("{} packets", row.received()))
}

fn records_belong(evidence: &Evidence<'_>) -> Checked {
    let told: u128 = evidence.agents.iter().map(|agent| u128::from(agent.strays())).sum();
    let mut seen = BTreeSet::new();
    let is_stray = |client: u32| client >= evidence.plan.clients || !seen.insert(client);
    let clients = evidence.record.iter().flat_map(|record| &record.clients).map(|count| count.client);
    let counted = clients.map(is_stray).filter(|stray| *stray).count();
    let mut figures = format!("{told} stray from agents, {counted} from workers");
    if let Some(agent) = evidence.agents.iter().find(|agent| agent.strays() > 0) {
        figures += &format!("; first {}", agent.name);
    }
    let law = "one record per client and end";
    Checked { law, code: "RECORDS_CONTRADICT", holds: told == 0 && counted == 0, figures }
}

/// A law that says that two figures of each client are equal where both are known.
fn compare(
    law: &'static str,
    code: &'static str,
    rows: &[Row<'_>],
    both: impl Fn(&Row<'_>) -> Option<(u64, u64)>,
) -> Checked {
    let sum =
        |pick: fn((u64, u64)) -> u64| rows.iter().filter_map(&both).map(|pair| u128::from(pick(pair))).sum::<u128>();
    let figures = format!("{} = {}", sum(|pair| pair.0), sum(|pair| pair.1));
    let same = |row: &Row<'_>| both(row).is_none_or(|(one, other)| one == other);
    for_every_client(law, code, figures, rows, same, |row| {
        both(row).map_or(String::new(), |(one, other)| format!("{one} and {other}"))
    })
}

fn for_every_client(
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
        figures += &format!("; broken by {} clients, first client {}: {}", 1 + breakers.count(), row.client, tell(row));
    }
    Checked { law, code, holds: first.is_none(), figures }
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::VerdictStatus;
    use proptest::prelude::*;

    use super::super::samples::{PACKETS, Sample, codes, times};

    #[track_caller]
    fn breaks(expected: &[&str], spoil: impl FnOnce(&mut Sample)) {
        let mut sample = Sample::of(2, 2);
        spoil(&mut sample);
        let conclusion = sample.conclude();
        assert_eq!(codes(&conclusion), expected);
        let report = conclusion.report;
        assert_eq!(report.verdict.unwrap().status(), VerdictStatus::Invalid);
        let broken: Vec<_> = report.laws.iter().filter(|law| !law.holds).collect();
        assert!(!broken.is_empty() && broken.iter().all(|law| !law.figures.is_empty()), "{:?}", report.laws);
    }

    #[test]
    fn a_clean_run_keeps_every_law() {
        let conclusion = Sample::of(2, 3).conclude();
        assert!(conclusion.report.laws.iter().all(|law| law.holds), "{:?}", conclusion.report.laws);
        assert_eq!(conclusion.report.laws.len(), 13);
    }

    #[test]
    fn each_law_is_broken_by_its_own_lie() {
        breaks(&["SCHEDULE_MISCOUNTED"], |sample| sample.told(3, |told| told.skipped = 1));
        breaks(&["PLAN_NOT_SCHEDULED"], |sample| {
            sample.told(3, |told| {
                told.scheduled = PACKETS + 1;
                told.skipped = 1;
            });
        });
        breaks(&["SEQUENCE_BROKEN"], |sample| sample.counted(0, |counted| counted.gaps = 1));
        breaks(&["SEQUENCE_BROKEN"], |sample| sample.counted(0, |counted| counted.duplicated = 1));
        breaks(&["SEQUENCE_BROKEN"], |sample| sample.counted(0, |counted| counted.reordered = 1));
        breaks(&["CORRUPT"], |sample| sample.counted(1, |counted| counted.corrupt = 1));
        for kind in 0..3 {
            breaks(&["HISTOGRAM_MISCOUNTED"], |sample| {
                sample.counted(2, |counted| counted.histogram_counts[kind] -= 1);
            });
        }
        breaks(&["HISTOGRAM_MISCOUNTED"], |sample| sample.record().times = times(4 * PACKETS - 1));
        breaks(&["SUMS_DIFFER"], |sample| sample.record().workers[1].packets += 1);
        breaks(&["SUMS_DIFFER"], |sample| sample.record().recovered_packets = 1);
        breaks(&["END_DIFFERS"], |sample| sample.counted(0, |counted| counted.told_sent = Some(PACKETS + 1)));
        breaks(&["END_ACK_DIFFERS"], |sample| sample.told(0, |told| told.acknowledged = Some(PACKETS - 1)));
        breaks(&["DIGESTS_DIFFER"], |sample| sample.told(0, |told| told.digest ^= 1));
        breaks(&["READ_BEFORE_START"], |sample| sample.counted(0, |counted| counted.first_read_ns = 999_999_999));
        breaks(&["RECORDS_CONTRADICT"], |sample| {
            let again = metronome_proto::v1::ClientRecord::default();
            sample.agents[0].take(metronome_proto::v1::ClientRecords { run_id: String::new(), clients: vec![again] });
        });
    }

    #[test]
    fn a_packet_that_is_gone_after_a_clean_end_breaks_the_law_even_when_it_is_placed() {
        breaks(&["LOSS_ON_CLEAN_END", "END_ACK_DIFFERS"], |sample| {
            sample.counted(0, |counted| {
                counted.received -= 1;
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
            sample.told(0, |told| told.kernel_acknowledged_bytes = Some((PACKETS + 1) * 32));
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
            scheduled: u64, sent: u64, skipped: u64, digest: u64,
            acknowledged: Option<u64>, kernel: Option<u64>, cpu_ns: u64, error in "\\PC{0,9}",
        ) {
            let mut sample = Sample::of(1, 2);
            let honest = Sample::of(1, 2).conclude();
            sample.told(1, |told| {
                *told = metronome_proto::v1::ClientRecord {
                    client: 1, scheduled, sent, skipped, digest, acknowledged,
                    kernel_acknowledged_bytes: kernel, attempts: u32::MAX, error,
                };
            });
            sample.agents[0].finish(metronome_proto::v1::Finished { cpu_ns, writes: u64::MAX, ..Default::default() });
            let conclusion = sample.conclude();
            let valid = conclusion.report.verdict.as_ref().unwrap().status() == VerdictStatus::Valid;
            prop_assert!(!valid || conclusion.report.packets == honest.report.packets);
        }
    }
}

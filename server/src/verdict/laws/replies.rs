//! The laws of replies: every packet that asks gets one, exactly one, and its round trip is in the
//! distributions once.
//!
//! What a group does not ask for is held against the same laws: there each figure is 0. An agent's
//! record without these figures claims that there is none.

use std::collections::BTreeMap;

use metronome_proto::v1::{LawStatus, ReasonCode};

use super::law::{Checked, Law};
use crate::{
    model::RoundTrips,
    verdict::{
        evidence::Evidence,
        replies::{AgentReplies, WorkerReplies, asking, asking_in_warm_up},
        rows::{Row, by_group, total},
        sentence::{Figures, figures},
    },
};

/// Every echo_every-th packet asks, counted from the client's first: of those sent and, where none
/// is absent, of those received.
pub(super) fn asked_is_the_plans(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::RepliesMissing,
        law: "replies requested = ⌈sent / echo every⌉, wanted = ⌈received / echo every⌉",
        sides: "{requested} = {of_sent}, {wanted} = {of_received}",
        first: "{first_requested} = {first_of_sent}, {first_wanted} = {first_of_received}",
        missing: "neither end has a record of a client",
    };
    let of_agent = |row: &Row<'_>| {
        let requested = AgentReplies::of(row)?.requested;
        Some([requested, asking(row.sent()?, row.group.echo_every)])
    };
    let of_workers = |row: &Row<'_>| {
        let wanted = WorkerReplies::of(row)?.wanted;
        let counts = row.receiver?;
        // A packet that is absent may be one that asked.
        let is_in_order =
            row.absent() == Some(0) && (counts.duplicated, counts.reordered) == (0, 0);
        let of_received = asking(counts.received, row.group.echo_every);
        (is_in_order || row.group.echo_every.is_none()).then_some([wanted, of_received])
    };
    let holds = |row: &Row<'_>| {
        let both = [of_agent(row), of_workers(row)];
        let mut known = both.into_iter().flatten().peekable();
        known.peek()?;
        Some(known.all(|[left, right]| left == right))
    };
    let sums = [
        ("requested", total(rows, |row| Some(of_agent(row)?[0]))),
        ("of_sent", total(rows, |row| Some(of_agent(row)?[1]))),
        ("wanted", total(rows, |row| Some(of_workers(row)?[0]))),
        ("of_received", total(rows, |row| Some(of_workers(row)?[1]))),
    ];
    let of_run = figures(sums.map(|(name, sum)| (name, sum.into())));
    law.for_every_client(rows, of_run, holds, |row| {
        let [requested, of_sent] = of_agent(row).unwrap_or_default();
        let [wanted, of_received] = of_workers(row).unwrap_or_default();
        figures([
            ("requested", requested.into()),
            ("of_sent", of_sent.into()),
            ("wanted", wanted.into()),
            ("of_received", of_received.into()),
        ])
    })
}

/// No reply is read that was not wanted, and none is wanted that was not asked for; after a clean
/// end none is missing but those of packets that are absent: these have laws of their own.
pub(super) fn asked_is_answered(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::RepliesMissing,
        law: "replies requested = wanted = read + dropped on a clean end",
        sides: "{requested}, {wanted}, {read} + {dropped}, {absent} absent",
        first: "{first_requested}, {first_wanted}, {first_read} + {first_dropped}, {first_absent} \
                absent",
        missing: "there is no client of which both ends have reported",
    };
    let counts_of = |row: &Row<'_>| {
        let (of_agent, of_workers) = (AgentReplies::of(row)?, WorkerReplies::of(row)?);
        let requested = of_agent.requested;
        let (wanted, dropped) = (of_workers.wanted, of_workers.dropped);
        Some([requested, wanted, of_agent.read, dropped, row.absent()?])
    };
    let named = |[requested, wanted, read, dropped, absent]: [u128; 5]| {
        figures([
            ("requested", requested.into()),
            ("wanted", wanted.into()),
            ("read", read.into()),
            ("dropped", dropped.into()),
            ("absent", absent.into()),
        ])
    };
    let sums = [0, 1, 2, 3, 4].map(|side| total(rows, |row| Some(counts_of(row)?[side])));
    let holds = |row: &Row<'_>| {
        let [requested, wanted, read, dropped, absent] = counts_of(row)?.map(u128::from);
        let is_possible = read + dropped <= wanted && wanted <= requested;
        let is_whole = read + dropped == wanted && requested <= wanted + absent;
        Some(is_possible && (is_whole || !row.exchanged_ends()))
    };
    law.for_every_client(rows, named(sums), holds, |row| {
        named(counts_of(row).unwrap_or_default().map(u128::from))
    })
}

/// What is read in the place of a reply is one, of a packet that asked and had none yet.
pub(super) fn nothing_else_is_read(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::RepliesUnexpected,
        law: "replies unexpected = 0",
        sides: "{left}",
        first: "{first_left}",
        missing: "no agent has reported a client",
    };
    law.compare(rows, |row| Some((AgentReplies::of(row)?.unexpected, 0)))
}

/// The distributions that an agent reports have the replies that its clients read, but those of the
/// warm-up, and no others.
pub(super) fn histograms_count_the_round_trips(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
) -> Checked {
    let law = Law {
        code: ReasonCode::HistogramMiscounted,
        law: "round trip counts = replies read − warm-up",
        sides: "{round_trips} of {read} read",
        first: "{first_round_trips} of {first_read} read, and {first_in_warm_up} asked in the \
                warm-up",
        missing: "no agent has reported a client",
    };
    let has_warm_up = !evidence.plan.warm_up.is_zero();
    let of = |row: &Row<'_>| AgentReplies::of(row).map(|of| [of.round_trips, of.read]);
    let holds = |row: &Row<'_>| {
        let [round_trips, read] = of(row)?.map(u128::from);
        if !has_warm_up {
            return Some(round_trips == read);
        }
        let is_whole = row.is_paced() && row.absent() == Some(0);
        let in_warm_up = asking_in_warm_up(row).filter(|_| is_whole).map(u128::from);
        let wanted = WorkerReplies::of(row).map_or(0, |of| u128::from(of.wanted));
        let is_cut_by_the_plan = |in_warm_up: u128| {
            let both = round_trips + in_warm_up;
            read <= both && both <= wanted
        };
        Some(round_trips <= read && in_warm_up.is_none_or(is_cut_by_the_plan))
    };
    let sums = figures([
        ("round_trips", total(rows, |row| Some(of(row)?[0])).into()),
        ("read", total(rows, |row| Some(of(row)?[1])).into()),
    ]);
    let checked = law.for_every_client(rows, sums, holds, |row| {
        let [round_trips, read] = of(row).unwrap_or_default();
        figures([
            ("round_trips", round_trips.into()),
            ("read", read.into()),
            ("in_warm_up", asking_in_warm_up(row).unwrap_or(0).into()),
        ])
    });
    if checked.status == LawStatus::Broken {
        return checked;
    }
    // Each agent's clients of a group are held against its own distributions.
    let mut held = by_group(rows).flat_map(Held::of_agents);
    let broken = held.find(|held| !held.agrees());
    broken.map_or(checked, |held| {
        let figures = held.figures();
        let sides = "{from_due} and {from_write} in the distributions of agent {agent} in group \
                     {group}, {round_trips} of its clients";
        law.broken_by_a_part(sides, figures)
    })
}

/// How many round trips an agent's distributions of a group hold, and its clients have.
struct Held<'r> {
    agent: &'r str,
    group: &'r str,
    from_due: u64,
    from_write: u64,
    round_trips: u128,
}

impl<'r> Held<'r> {
    /// Those of each agent that has finished, of one group; none where the group asks for none.
    fn of_agents(rows: &'r [Row<'_>]) -> impl Iterator<Item = Self> {
        let mut of_agents: BTreeMap<usize, (&Row<'_>, u128)> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.group.echo_every.is_some()) {
            let (_, sum) = of_agents.entry(row.agent_index).or_insert((row, 0));
            *sum += AgentReplies::of(row).map_or(0, |of| u128::from(of.round_trips));
        }
        of_agents.into_values().filter_map(|(row, round_trips)| {
            let group = row.group.name.as_str();
            let held = row.agent.add_round_trips(RoundTrips::default(), group)?;
            Some(Self {
                agent: row.agent.name.as_str(),
                group,
                from_due: held.from_due.count(),
                from_write: held.from_write.count(),
                round_trips,
            })
        })
    }

    fn agrees(&self) -> bool {
        [self.from_due, self.from_write].map(u128::from) == [self.round_trips; 2]
    }

    fn figures(&self) -> Figures {
        figures([
            ("from_due", self.from_due.into()),
            ("from_write", self.from_write.into()),
            ("round_trips", self.round_trips.into()),
            ("agent", self.agent.into()),
            ("group", self.group.into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use metronome_proto::{
        packet_size::PacketSize,
        profile::Profile,
        v1::{GeneratorCounts, LawStatus, ReasonCode, VerdictStatus},
    };
    use proptest::prelude::*;

    use crate::verdict::samples::{Sample, codes, law, plan, verdict};

    /// 2 agents with 2 clients each, which send 100 packets, of which 10 ask for a reply.
    fn sample() -> Sample {
        Sample::echoing(2, 2, 10)
    }

    #[track_caller]
    fn keeps_every_law(sample: &Sample) {
        let conclusion = sample.conclude();
        assert_eq!(verdict(&conclusion).reasons, []);
        let mut laws = verdict(&conclusion).laws.iter();
        assert!(
            laws.all(|law| law.status() != LawStatus::Broken),
            "{conclusion:?}"
        );
    }

    /// A run that was spoiled like this is invalid, for these reasons and no others.
    #[track_caller]
    fn breaks(mut sample: Sample, expected: &[ReasonCode], spoil: impl FnOnce(&mut Sample)) {
        spoil(&mut sample);
        let conclusion = sample.conclude();
        assert_eq!(codes(&conclusion), expected);
        let verdict = verdict(&conclusion);
        assert_eq!(verdict.status(), VerdictStatus::Invalid);
        for reason in &verdict.reasons {
            assert!(!reason.sentence.contains('–'), "{reason:?}");
        }
    }

    /// An agent claims so many more replies of a client, and so many more round trips.
    fn claim(sample: &mut Sample, client: u32, replies: i64, round_trips: i64) {
        let more = |of: &mut Option<u64>, by: i64| {
            *of = of.map(|of| of.wrapping_add_signed(by));
        };
        sample.reported(client, |record| more(&mut record.round_trips, round_trips));
        sample.reported_counts(client, |counts| more(&mut counts.replies_read, replies));
    }

    #[test]
    fn a_run_with_replies_keeps_every_law_whatever_the_size_the_shape_and_the_warm_up() {
        keeps_every_law(&sample());
        let mut warm = sample();
        warm.warm_up(Duration::from_millis(25));
        keeps_every_law(&warm);
        let mut dropped = sample();
        dropped.drop_replies(3, 10);
        keeps_every_law(&dropped);
        for (profile, size, every) in [
            (Profile::Flood, 33, 1),
            (Profile::constant(1_000_000), 1_472, 1_000_000),
            (
                Profile::Poisson {
                    rate_millihertz: 1_000_000,
                },
                200,
                7,
            ),
        ] {
            let mut plan = plan(&[(profile, 2), (Profile::constant(500_000), 2)]);
            plan.groups[0].packet_size = PacketSize::new(size).unwrap();
            plan.groups[0].echo_every = NonZeroU32::new(every);
            keeps_every_law(&Sample::of_plan(2, plan));
        }
    }

    #[test]
    fn an_agent_that_reports_replies_that_it_never_got_is_found() {
        use ReasonCode as C;
        breaks(sample(), &[C::RepliesMissing], |sample| {
            claim(sample, 1, 1, 1);
            sample.retime_replies();
        });
        breaks(sample(), &[C::RepliesMissing], |sample| {
            claim(sample, 1, -1, -1);
            sample.retime_replies();
        });
        breaks(
            sample(),
            &[C::RepliesMissing, C::HistogramMiscounted],
            |sample| claim(sample, 1, i64::MAX, 0),
        );
        breaks(sample(), &[C::HistogramMiscounted], |sample| {
            claim(sample, 1, 0, -1);
            sample.retime_replies();
        });
        // It drops what the workers sent.
        breaks(sample(), &[C::RepliesMissing], |sample| {
            sample.drop_replies(0, 2);
            sample.counted(0, |counted| {
                counted.counts.replies_dropped = Some(1);
            });
        });
        breaks(sample(), &[C::RepliesUnexpected], |sample| {
            sample.reported_counts(2, |counts| counts.replies_unexpected = Some(1));
        });
    }

    #[test]
    fn more_or_less_asked_for_than_the_plan_has_is_found() {
        use ReasonCode::RepliesMissing;
        for requested in [0, 9, 11, u64::MAX] {
            let sample = sample();
            let changed = |sample: &mut Sample| {
                sample.reported_counts(0, |counts| counts.replies_requested = Some(requested));
            };
            breaks(sample, &[RepliesMissing; 2], changed);
        }
        for wanted in [0, 9, 11, u64::MAX] {
            let changed = |sample: &mut Sample| {
                sample.counted(3, |counted| counted.counts.replies_wanted = Some(wanted));
            };
            breaks(sample(), &[RepliesMissing; 2], changed);
        }
    }

    #[test]
    fn buckets_that_do_not_sum_to_the_clients_round_trips_are_found() {
        for change in [-1_i64, 1] {
            for from_due in [true, false] {
                breaks(sample(), &[ReasonCode::HistogramMiscounted], |sample| {
                    sample.last_report(1, |finished| {
                        let of = &mut finished.round_trips[0];
                        let buckets = if from_due {
                            &mut of.from_due
                        } else {
                            &mut of.from_write
                        };
                        let count = &mut buckets.as_mut().unwrap().counts[0];
                        *count = count.wrapping_add_signed(change);
                    });
                });
            }
        }
        breaks(sample(), &[ReasonCode::HistogramMiscounted], |sample| {
            sample.last_report(0, |finished| finished.round_trips.clear());
        });
    }

    #[test]
    fn a_slow_reply_cannot_be_left_out_as_one_of_the_warm_up() {
        let mut warm = sample();
        warm.warm_up(Duration::from_millis(25));
        breaks(warm, &[ReasonCode::HistogramMiscounted], |sample| {
            claim(sample, 0, 0, -1);
            sample.retime_replies();
        });
        let mut warm = sample();
        warm.warm_up(Duration::from_millis(25));
        breaks(warm, &[ReasonCode::HistogramMiscounted], |sample| {
            claim(sample, 0, 0, 1);
            sample.retime_replies();
        });
    }

    #[test]
    fn where_none_is_asked_for_there_is_none() {
        use ReasonCode as C;
        let silent = || Sample::of(2, 2);
        breaks(
            silent(),
            &[C::RepliesMissing, C::HistogramMiscounted],
            |sample| {
                sample.reported_counts(1, |counts| counts.replies_read = Some(1));
            },
        );
        breaks(silent(), &[C::RepliesMissing; 2], |sample| {
            sample.counted(1, |counted| counted.counts.replies_wanted = Some(1));
        });
        breaks(silent(), &[C::RepliesUnexpected], |sample| {
            sample.reported_counts(1, |counts| counts.replies_unexpected = Some(1));
        });
    }

    #[test]
    fn a_broken_connection_may_lack_replies_and_has_no_more_than_the_workers_wanted() {
        let broken = |read: u64| {
            let mut sample = sample();
            sample.break_connection(0, 41);
            sample.counted(0, |counted| counted.counts.replies_wanted = Some(5));
            claim(&mut sample, 0, read as i64 - 10, read as i64 - 10);
            sample.retime_replies();
            sample.conclude()
        };
        for read in [0, 4, 5] {
            let conclusion = broken(read);
            assert_eq!(codes(&conclusion), [ReasonCode::ClientLost], "{read}");
            let counts = conclusion.clients[0].counts.unwrap();
            assert_eq!(counts.replies_unanswered, Some(10 - read));
        }
        assert!(codes(&broken(6)).contains(&ReasonCode::RepliesMissing));
    }

    #[test]
    fn frames_of_another_size_than_the_plans_are_found() {
        let sized = || {
            let mut plan = plan(&[(Profile::constant(1_000_000), 2)]);
            plan.groups[0].packet_size = PacketSize::new(200).unwrap();
            Sample::of_plan(1, plan)
        };
        keeps_every_law(&sized());
        let frames = 100 + 2;
        for bytes in [
            32 * (frames + 1),
            200 * frames + 31,
            200 * (frames + 1) + 32,
        ] {
            breaks(sized(), &[ReasonCode::BytesDiffer], |sample| {
                sample.counted(1, |counted| {
                    (counted.bytes, counted.bytes_taken) = (bytes, Some(bytes));
                });
            });
        }
        // The kernel's bytes are packets of that size.
        breaks(sized(), &[ReasonCode::LossNotPlaced], |sample| {
            sample.reported(0, |reported| {
                reported.kernel_acknowledged_bytes = Some(200 * 101);
            });
        });
    }

    proptest! {
        #[test]
        fn whatever_both_ends_claim_of_replies_the_verdict_is_a_value_and_a_lie_is_never_valid(
            of_agent: [Option<u64>; 4],
            wanted: Option<u64>,
            dropped: Option<u64>,
            p99: Option<i64>,
            bucket in 0..4_000_u32,
            count: u64,
        ) {
            let honest = sample().conclude();
            let mut sample = sample();
            let [requested, read, unexpected, round_trips] = of_agent;
            sample.reported(1, |record| {
                record.round_trips = round_trips;
                (record.rtt_from_due_p99_ns, record.rtt_from_write_p99_ns) = (p99, p99);
                let counts = record.counts.as_mut().unwrap();
                *counts = GeneratorCounts {
                    replies_requested: requested,
                    replies_read: read,
                    replies_unexpected: unexpected,
                    ..*counts
                };
            });
            sample.counted(1, |counted| {
                counted.counts.replies_wanted = wanted;
                counted.counts.replies_dropped = dropped;
            });
            sample.last_report(0, |finished| {
                let of = &mut finished.round_trips[0];
                for buckets in [&mut of.from_due, &mut of.from_write] {
                    let buckets = buckets.as_mut().unwrap();
                    (buckets.indices, buckets.counts) = (vec![bucket], vec![count]);
                }
            });
            let conclusion = sample.conclude();
            let is_valid = verdict(&conclusion).status() == VerdictStatus::Valid;
            prop_assert!(!is_valid || conclusion.report.counts == honest.report.counts);
        }
    }

    #[test]
    fn the_figures_of_a_broken_law_name_client_and_agent() {
        let mut sample = sample();
        claim(&mut sample, 2, 0, -1);
        let conclusion = sample.conclude();
        let figures = &law_of(&conclusion).figures;
        assert_eq!(figures["first_client"], 2_u32.into());
        let mut sample = self::sample();
        sample.last_report(1, |finished| finished.round_trips.clear());
        let conclusion = sample.conclude();
        let figures = &law_of(&conclusion).figures;
        assert_eq!(figures["agent"], "agent-1".into());
        assert_eq!(figures["round_trips"], 20_u64.into());
    }

    fn law_of(conclusion: &crate::verdict::Conclusion) -> &metronome_proto::v1::Law {
        let _ = law(conclusion, ReasonCode::RepliesMissing);
        let mut laws = verdict(conclusion).laws.iter();
        let found = laws.find(|law| law.law.starts_with("round trip counts"));
        found.expect("the law of round trips")
    }
}

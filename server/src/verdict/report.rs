//! The report: the figures of both ends put together, for each group and in all. It judges nothing.
//!
//! A figure that is not known is unset, and so is a message of which none is known.

use metronome_proto::{
    counters::CounterList,
    elapsed::Elapsed,
    histogram::{Histogram, bucket, is_known},
    host_point,
    packet::LATENESS_NS_MAX,
    profile::Profile,
    v1,
};

use super::{
    bounds::Between,
    client_failure::client_failure,
    elapsed,
    evidence::Evidence,
    hidden::Hidden,
    other_clocks::on_other_clocks,
    paths::{Probes, path, start_skews},
    punctuality::{Punctualities, Punctuality, spoils_p99},
    replies,
    rows::{Row, by_group, missing, sum_of_all},
    tcp::{self, End},
};
use crate::model::{AgentRecords, ClientCounters, TimeKind, Times, WorkerCounters};

/// A second in ns.
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The quantile that a client's row has of each of its times, millionths.
const P99_PPM: u32 = 990_000;

/// The name of the server itself among the receivers.
pub(crate) const RECEIVER: &str = "server";

pub(super) fn assemble(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
    punctuality: &Punctualities,
    (verdict, outcome): (v1::Verdict, v1::Outcome),
) -> v1::Report {
    let counts = counts_of_all(rows);
    let (groups, elapsed): (Vec<_>, Vec<_>) = by_group(rows)
        .map(|rows| {
            let elapsed = elapsed::of(evidence, rows);
            (group(evidence, rows, punctuality, elapsed), elapsed)
        })
        .unzip();
    let rate = known(v1::Rate {
        offered_millihertz: offered_by_all(evidence, &groups),
        achieved_millihertz: achieved_by_all(&groups),
    });
    let times = evidence.counters.map(|counters| &counters.times);
    let elapsed = elapsed.into_iter().flatten().map(Elapsed::shown_ns);
    let workers = evidence
        .counters
        .map_or(&[][..], |counters| &counters.workers);
    v1::Report {
        verdict: Some(verdict),
        outcome: Some(outcome),
        limit: None,
        counts: known(counts),
        times: shown(times, rows, punctuality, punctuality.whole()),
        groups,
        agents: agents(evidence.agents),
        receivers: vec![v1::ReceiverReport {
            receiver: RECEIVER.into(),
            workers: workers.iter().map(worker).collect(),
            data_address: evidence.data_address.into(),
        }],
        // The server puts its own in front.
        environments: finished(evidence)
            .filter_map(|finished| finished.environment.clone())
            .collect(),
        rate,
        cpu: known(cpu(evidence, &counts)),
        elapsed: elapsed.max().map(|nanos| prost_types::Duration {
            seconds: (nanos / NANOS_PER_SECOND) as i64,
            nanos: (nanos % NANOS_PER_SECOND) as i32,
        }),
        generator_tcp: End::Agents.of_all(rows),
        receiver_tcp: End::Server.of_all(rows),
        probe_rtt: Probes::of(evidence.agents).and_then(|of| of.to_proto()),
        host_uses: evidence.hosts.iter().filter_map(host_use).collect(),
    }
}

/// All points of one process together. `None` without one.
fn host_use(series: &v1::HostSeries) -> Option<v1::HostUse> {
    Some(v1::HostUse {
        role: series.role,
        name: series.name.clone(),
        total: Some(host_point::sum(&series.points)?),
    })
}

/// The report of the clients of one group.
fn group(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
    punctuality: &Punctualities,
    elapsed: Option<Elapsed>,
) -> v1::GroupReport {
    let of = &rows[0].group;
    let counts = counts_of_all(rows);
    let own = punctuality.of_group(of.index);
    let times = evidence.times_of(of.index);
    v1::GroupReport {
        group: of.name.clone(),
        clients: rows.len() as u32,
        counts: known(counts),
        rate: known(v1::Rate {
            offered_millihertz: offered(evidence, rows, elapsed),
            achieved_millihertz: counts
                .receiver
                .and_then(|of| elapsed?.achieved_millihertz(of.received)),
        }),
        times: shown(times, rows, punctuality, own),
        punctuality: own.and_then(|of| of.to_proto()),
        valid_to_ppm: own.and_then(Punctuality::valid_to_ppm),
    }
}

/// The mean rate that was asked for. The load of a run that was stopped had another one, unless its
/// rate never changes: then it is that of the packets that were due until it was, in the time by
/// which the achieved rate is divided. `None` for a flood.
fn offered(evidence: &Evidence<'_>, rows: &[Row<'_>], elapsed: Option<Elapsed>) -> Option<u64> {
    let load = &rows.first()?.group.load;
    let of_each = load.mean_millihertz()?;
    let is_steady = matches!(
        load.profile,
        Profile::Constant { .. } | Profile::Poisson { .. }
    );
    if evidence.stopped.is_none() || is_steady {
        return Some(of_each.saturating_mul(rows.len() as u64));
    }
    elapsed?.achieved_millihertz(sum_of_all(rows, Row::scheduled)?)
}

/// The sum over the groups. `None` where that of one is not known.
fn offered_by_all(evidence: &Evidence<'_>, groups: &[v1::GroupReport]) -> Option<u64> {
    if evidence.stopped.is_none() {
        return evidence.plan.offered_millihertz();
    }
    let mut each = groups.iter().map(|group| group.rate?.offered_millihertz);
    each.try_fold(0, |sum: u64, of| Some(sum.saturating_add(of?)))
}

/// The sum over the groups; one of which no packet was read adds nothing. `None` where that of one
/// is not known, or no packet was read at all.
fn achieved_by_all(groups: &[v1::GroupReport]) -> Option<u64> {
    let achieved = |group: &v1::GroupReport| group.rate?.achieved_millihertz;
    let of_group = |group: &v1::GroupReport| {
        let is_silent = || Some(group.counts?.receiver?.received == 0);
        achieved(group).or_else(|| is_silent()?.then_some(0))
    };
    let has_any = groups.iter().any(|group| achieved(group).is_some());
    let mut each = groups.iter().map(of_group);
    let sum = each.try_fold(0, |sum: u64, of| Some(sum.saturating_add(of?)));
    sum.filter(|_| has_any)
}

/// The row of a client.
pub(super) fn client(row: &Row<'_>) -> v1::ClientReport {
    let counted = row.with_packets();
    let one_way = counted.filter(|_| row.is_on_our_clock());
    let between = |time: Between| counted.filter(|_| time.bound_of(row.agent).is_some());
    // The p99 of one of its histograms, where that has packets enough.
    let p99 = |of: Option<&ClientCounters>, kind: TimeKind, ns: fn(&ClientCounters) -> u64| {
        let of = of.filter(|of| is_known(P99_PPM, of.timed[kind]))?;
        Some(signed(ns(of)))
    };
    let is_spoilt = spoils_p99(row);
    let is_spread_known = Hidden::of(std::slice::from_ref(row)).shows(P99_PPM);
    let counts = v1::Counts {
        replies_unanswered: replies::unanswered(row),
        generator: row.generator(),
        receiver: row.receiver,
        lost: row.lost(),
        lost_unacknowledged: row.lost_unacknowledged(),
        lost_unread: row.lost_unread(),
    };
    let round_trip = |of: fn(&v1::ClientRecord) -> Option<i64>| {
        let is_enough = |of: &&v1::ClientRecord| is_known(P99_PPM, of.round_trips.unwrap_or(0));
        known_time(of(row.reported.filter(is_enough)?))
    };
    v1::ClientReport {
        rtt_from_due_p99_ns: round_trip(|of| of.rtt_from_due_p99_ns).filter(|_| !is_spoilt),
        rtt_from_write_p99_ns: round_trip(|of| of.rtt_from_write_p99_ns),
        client: row.client,
        group: row.group.name.clone(),
        agent: row.agent.name.clone(),
        worker: row.counted.map(|counted| counted.worker),
        counts: known(counts),
        attempts: row.reported.map(|reported| reported.attempts),
        lateness_p99_ns: p99(counted, TimeKind::Lateness, |of| of.lateness_p99_ns),
        transit_p99_ns: p99(one_way, TimeKind::Transit, |of| of.transit_p99_ns),
        latency_p99_ns: p99(one_way.filter(|_| !is_spoilt), TimeKind::Latency, |of| {
            of.latency_p99_ns
        }),
        latency_max_ns: one_way
            .filter(|of| of.timed[TimeKind::Latency] > 0)
            .map(|counted| signed(counted.latency_max_ns)),
        spread_p99_ns: p99(
            counted.filter(|_| !is_spoilt && is_spread_known),
            TimeKind::Spread,
            |of| of.spread_p99_ns,
        ),
        one_way_p99_ns: p99(between(Between::OneWay), TimeKind::OneWay, |of| {
            of.one_way_p99_ns
        }),
        queueing_p99_ns: p99(between(Between::Queueing), TimeKind::Queueing, |of| {
            of.queueing_p99_ns
        }),
        generator_tcp: End::Agents.of_client(row),
        receiver_tcp: End::Server.of_client(row),
        failure: client_failure(row),
    }
}

fn counts_of_all(rows: &[Row<'_>]) -> v1::Counts {
    let receiver = sum(rows.iter().map(|row| row.receiver));
    v1::Counts {
        replies_unanswered: sum_of_all(rows, replies::unanswered),
        generator: sum(rows.iter().map(Row::generator)),
        receiver: receiver.map(|counts| v1::ReceiverCounts {
            below_floor: below_floor(rows),
            ..counts
        }),
        lost: sum_of_all(rows, Row::lost),
        lost_unacknowledged: sum_of_all(rows, Row::lost_unacknowledged),
        lost_unread: sum_of_all(rows, Row::lost_unread),
    }
}

/// Packets faster than the floor of their path: those of the clients on other clocks. `None` where
/// there is no such client, and where it is not known of one.
fn below_floor(rows: &[Row<'_>]) -> Option<u64> {
    let mut each = on_other_clocks(rows).map(|row| row.receiver?.below_floor);
    let first = each.next()??;
    each.try_fold(first, |sum, of| Some(sum.saturating_add(of?)))
}

/// `None` unless all are known.
fn sum<L: CounterList>(mut lists: impl Iterator<Item = Option<L>>) -> Option<L> {
    lists.try_fold(L::zero(), |sum, counts| Some(sum.plus(&counts?)))
}

/// The times of these clients as a report shows them: those of the workers, and the round trips of
/// the agents.
fn shown(
    times: Option<&Times>,
    rows: &[Row<'_>],
    punctualities: &Punctualities,
    own: Option<&Punctuality>,
) -> Option<v1::Times> {
    let of_workers = times.map(|times| of_workers(times, rows, own));
    let [rtt_from_due, rtt_from_write] = of_replies(rows, punctualities, own).unwrap_or_default();
    known(v1::Times {
        rtt_from_due,
        rtt_from_write,
        ..of_workers.unwrap_or_default()
    })
}

/// Round trips from due and from write. Those from due hold the generator's lateness: that of the
/// groups which ask, and what spoils the other times of these clients spoils theirs.
fn of_replies(
    rows: &[Row<'_>],
    punctualities: &Punctualities,
    own: Option<&Punctuality>,
) -> Option<[Option<v1::Distribution>; 2]> {
    let round_trips = replies::round_trips(rows)?;
    let missing = replies::missing(rows);
    let shown = |times: &Histogram| {
        Some(v1::Distribution {
            missing,
            ..times.distribution(true)?
        })
    };
    let asking = replies::asking_groups(rows).filter_map(|index| punctualities.of_group(index));
    let judging: Vec<_> = asking.chain(own).collect();
    let mut from_due = shown(&round_trips.from_due);
    if let Some(from_due) = &mut from_due {
        let stands = |of: &v1::Quantile| judging.iter().all(|it| it.shows(of.ppm));
        from_due.quantiles.retain(stands);
    }
    Some([from_due, shown(&round_trips.from_write)])
}

/// The times that the workers have recorded. A distribution over some of the packets only
/// would be read as one over all of them: where a client has no schedule, there is none of what
/// needs one. Times that count from due hold the generator's lateness: a late one spoils the
/// quantiles of its share.
fn of_workers(times: &Times, rows: &[Row<'_>], punctuality: Option<&Punctuality>) -> v1::Times {
    let has_one_way = rows.iter().all(Row::is_on_our_clock);
    let has_schedule = rows.iter().all(Row::is_paced);
    let missing = missing(rows);
    let whole = |times: &Histogram| {
        let mut distribution = times.distribution(true)?;
        distribution.missing = missing;
        Some(distribution)
    };
    let from_due = |times: &Histogram| {
        let mut distribution = whole(times)?;
        let stands = |of: &v1::Quantile| punctuality.is_none_or(|it| it.shows(of.ppm));
        distribution.quantiles.retain(stands);
        Some(distribution)
    };
    let lateness = whole(&times.lateness).filter(|_| has_schedule);
    let spread = from_due(&times.spread).filter(|_| has_schedule);
    v1::Times {
        lateness: lateness.map(|of| v1::Distribution {
            saturated: times.lateness.count_from(bucket(LATENESS_NS_MAX)),
            ..of
        }),
        transit: whole(&times.transit).filter(|_| has_one_way),
        latency: from_due(&times.latency).filter(|_| has_one_way),
        spread: spread.map(|mut spread| {
            let hidden = Hidden::of(rows);
            spread.quantiles.retain(|of| hidden.shows(of.ppm));
            spread
        }),
        one_way: Between::OneWay.shown(&times.one_way, rows),
        queueing: Between::Queueing.shown(&times.queueing, rows),
        ..v1::Times::default()
    }
}

fn cpu(evidence: &Evidence<'_>, counts: &v1::Counts) -> v1::Cpu {
    let of_agents = |figure: fn(&v1::Finished) -> Option<u64>| {
        let finished = evidence.agents.iter().map(AgentRecords::finished);
        finished
            .map(|finished| finished.and_then(figure))
            .try_fold(0, |sum: u64, figure| Some(sum.saturating_add(figure?)))
    };
    let of_workers = |figure: fn(&WorkerCounters) -> Option<u64>| {
        let mut figures = evidence.counters?.workers.iter().map(figure);
        figures.try_fold(0, |sum: u64, figure| Some(sum.saturating_add(figure?)))
    };
    let generator_ns = of_agents(|finished| unsigned(finished.cpu_ns?));
    let receiver_ns = of_workers(|worker| worker.cpu_ns);
    let sent = counts.generator.map(|counts| counts.sent);
    let received = counts.receiver.map(|counts| counts.received);
    v1::Cpu {
        generator_ns: generator_ns.map(signed),
        receiver_ns: receiver_ns.map(signed),
        generator_ns_per_packet: quotient(generator_ns, sent),
        receiver_ns_per_packet: quotient(receiver_ns, received),
        packets_per_write: quotient(sent, of_agents(|finished| finished.writes)),
        packets_per_read: quotient(received, of_workers(|worker| worker.reads)),
    }
}

/// The last reports of the agents that have come.
fn finished<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = &'a v1::Finished> {
    evidence.agents.iter().filter_map(AgentRecords::finished)
}

fn agents(agents: &[AgentRecords]) -> Vec<v1::AgentReport> {
    let mut reports: Vec<_> = agents.iter().map(agent).collect();
    for (report, skew) in reports.iter_mut().zip(start_skews(agents)) {
        report.start_skew_ns = Some(skew.ns);
        report.start_skew_bound_ns = Some(signed(skew.bound_ns));
    }
    reports
}

fn agent(agent: &AgentRecords) -> v1::AgentReport {
    let finished = agent.finished();
    v1::AgentReport {
        payloads: agent.payloads().to_vec(),
        agent: agent.name.clone(),
        clients: agent.share.clients(),
        clock: Some(agent.clock().to_proto()),
        counts: agent.counts(),
        cpu_ns: finished.and_then(|finished| known_time(finished.cpu_ns)),
        writes: finished.and_then(|finished| finished.writes),
        oversleep_max_ns: finished.and_then(|finished| known_time(finished.oversleep_max_ns)),
        failure: agent.missing(),
        path: agent.path.as_ref().map(|of| v1::Path {
            tcp: tcp::of_probes(agent),
            ..path(of)
        }),
        start_skew_ns: None,
        start_skew_bound_ns: None,
    }
}

fn worker(count: &WorkerCounters) -> v1::WorkerReport {
    v1::WorkerReport {
        worker: count.worker,
        pid: count.pid,
        packets: count.packets,
        cpu_ns: count.cpu_ns.map(signed),
        reads: count.reads,
        wakeups: count.wakeups,
        restarts: count.restarts,
        pauses: count.pauses,
        pause_mean_ns: pause_mean_ns(count).map(signed),
    }
}

/// `None` without a pause, or where that is not known.
fn pause_mean_ns(count: &WorkerCounters) -> Option<u64> {
    count.paused_ns?.checked_div(count.pauses?)
}

/// `None` where none of it is known.
fn known<M: Default + PartialEq>(message: M) -> Option<M> {
    (message != M::default()).then_some(message)
}

/// A time from an agent, which may hold anything. A negative one is none.
fn unsigned(nanos: i64) -> Option<u64> {
    u64::try_from(nanos).ok()
}

fn known_time(nanos: Option<i64>) -> Option<i64> {
    nanos.filter(|nanos| *nanos >= 0)
}

/// Times in the API are signed; none of ours is that long.
fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// `None` where one of the two is not known or there is nothing to divide by.
fn quotient(amount: Option<u64>, per: Option<u64>) -> Option<f64> {
    let (amount, per) = (amount?, per.filter(|per| *per > 0)?);
    Some(amount as f64 / per as f64)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Conclusion,
            samples::{PACKETS, Sample, late, set_timed},
        },
        *,
    };

    #[test]
    fn the_figures_of_a_clean_run_add_up() {
        let conclusion = Sample::of(2, 5).conclude();
        let report = conclusion.report;
        let counts = report.counts.unwrap();
        let (generator, receiver) = (counts.generator.unwrap(), counts.receiver.unwrap());
        assert_eq!(
            [generator.scheduled, generator.sent, receiver.received],
            [10 * PACKETS; 3]
        );
        assert_eq!(
            [
                generator.skipped,
                counts.lost.unwrap(),
                receiver.gaps,
                receiver.corrupt
            ],
            [0; 4]
        );
        let elapsed = report.elapsed.unwrap();
        assert_eq!((elapsed.seconds, elapsed.nanos), (0, 100_000_000));
        let rate = report.rate.unwrap();
        assert_eq!(
            (rate.offered_millihertz, rate.achieved_millihertz),
            (Some(10_000_000), Some(10_000_000))
        );
        let cpu = report.cpu.unwrap();
        assert_eq!(
            (cpu.generator_ns, cpu.receiver_ns),
            (Some(2_000_000), Some(1_000_000))
        );
        assert_eq!(
            (cpu.generator_ns_per_packet, cpu.receiver_ns_per_packet),
            (Some(2_000.0), Some(1_000.0))
        );
        let times = report.times.clone().unwrap();
        for distribution in [times.lateness, times.transit, times.latency] {
            let distribution = distribution.unwrap();
            assert_eq!(distribution.count, 10 * PACKETS);
            assert!(!distribution.hdr_v2_deflated.is_empty());
        }
        let sent = |agent: &v1::AgentReport| (agent.clients, agent.counts.map(|of| of.sent));
        assert_eq!(
            report.agents.iter().map(sent).collect::<Vec<_>>(),
            [(5, Some(5 * PACKETS)); 2]
        );
        let group = &report.groups[0];
        assert_eq!(
            (&group.counts, &group.times, &group.rate),
            (&report.counts, &report.times, &report.rate)
        );
        let clients = conclusion.clients.iter().map(|client| client.client);
        assert!(clients.eq(0..10));
    }

    #[test]
    fn every_agent_that_has_finished_has_its_environment_where_it_states_one() {
        let mut sample = Sample::of(3, 1);
        for agent in [0, 2] {
            sample.last_report(agent, |finished| {
                finished.environment = Some(v1::Environment {
                    host: format!("vm{agent}"),
                    ..v1::Environment::default()
                });
            });
        }
        let report = sample.conclude().report;
        let of = |it: &v1::Environment| (it.role(), it.name.clone(), it.host.clone());
        let agent = v1::EnvironmentRole::Agent;
        assert_eq!(
            report.environments.iter().map(of).collect::<Vec<_>>(),
            [
                (agent, "agent-0".into(), "vm0".into()),
                (agent, "agent-2".into(), "vm2".into())
            ]
        );
    }

    #[test]
    fn what_is_missing_with_an_agent_is_unset_and_the_others_are_shown() {
        let mut sample = Sample::of(2, 2);
        sample.forget_agent(1);
        let Conclusion { report, clients } = sample.conclude();
        let counts = report.counts.unwrap();
        assert_eq!((counts.generator, counts.lost), (None, None));
        assert_eq!(counts.receiver.unwrap().received, 4 * PACKETS);
        assert_eq!(report.groups[0].counts, Some(counts));
        let has_counts = report.agents.iter().map(|agent| agent.counts.is_some());
        assert!(has_counts.eq([true, false]));
        let generator = |client: &v1::ClientReport| client.counts.unwrap().generator.is_some();
        assert!(clients.iter().map(generator).eq([true, true, false, false]));
        let cpu = report.cpu.unwrap();
        assert_eq!((cpu.generator_ns, cpu.packets_per_write), (None, None));
        assert!(cpu.receiver_ns_per_packet.is_some());
    }

    #[test]
    fn what_is_missing_with_the_workers_record_is_unset() {
        let mut sample = Sample::of(1, 2);
        sample.counters = None;
        let Conclusion { report, clients } = sample.conclude();
        let counts = report.counts.unwrap();
        assert_eq!((counts.receiver, counts.lost), (None, None));
        assert_eq!(counts.generator.unwrap().sent, 2 * PACKETS);
        assert_eq!((report.times, report.elapsed), (None, None));
        assert_eq!(report.rate.unwrap().achieved_millihertz, None);
        assert!(report.receivers[0].workers.is_empty());
        let unknown = |client: &v1::ClientReport| (client.worker, client.lateness_p99_ns);
        assert!(clients.iter().all(|of| unknown(of) == (None, None)));
    }

    #[test]
    fn what_a_shared_worker_has_for_several_loads_is_unset() {
        let mut sample = Sample::of(1, 2);
        let shared = &mut sample.counters().workers[1];
        (shared.cpu_ns, shared.reads, shared.pauses) = (None, None, None);
        let report = sample.conclude().report;
        let cpu = report.cpu.unwrap();
        assert_eq!((cpu.receiver_ns, cpu.receiver_ns_per_packet), (None, None));
        assert_eq!(cpu.packets_per_read, None);
        assert!(cpu.generator_ns.is_some());
        let worker = &report.receivers[0].workers[1];
        assert_eq!(
            (worker.cpu_ns, worker.reads, worker.pause_mean_ns),
            (None, None, None)
        );
    }

    #[test]
    fn a_lost_packet_without_a_place_leaves_the_places_unset_and_not_the_loss() {
        let mut sample = Sample::of(1, 2);
        sample.break_connection(0, 40);
        sample.reported(0, |reported| reported.kernel_acknowledged_bytes = None);
        let counts = sample.conclude().report.counts.unwrap();
        assert_eq!(counts.lost, Some(PACKETS - 40));
        assert_eq!(
            (counts.lost_unacknowledged, counts.lost_unread),
            (None, None)
        );
    }

    #[test]
    fn a_clients_p99_needs_a_thousand_packets_and_a_worker_without_a_pause_has_no_mean() {
        let mut sample = Sample::of(1, 3);
        for (client, packets) in [(0, 0), (1, 999), (2, 1_000)] {
            sample.counted(client, |counted| {
                counted.counts.received = packets;
                set_timed(counted, [packets; 4]);
            });
        }
        sample.counters().workers[1].pauses = Some(2);
        sample.counters().workers[1].paused_ns = Some(7);
        let Conclusion { report, clients } = sample.conclude();
        let times = |client: &v1::ClientReport| {
            [
                client.lateness_p99_ns,
                client.transit_p99_ns,
                client.latency_p99_ns,
                client.spread_p99_ns,
                client.latency_max_ns,
            ]
            .map(|time| time.is_some())
        };
        let expected = [[false; 5], [false, false, false, false, true], [true; 5]];
        assert!(clients.iter().map(times).eq(expected));
        let means = report.receivers[0].workers.iter();
        assert!(means.map(|worker| worker.pause_mean_ns).eq([None, Some(3)]));
    }

    #[test]
    fn each_p99_of_a_client_is_that_of_its_own_histogram() {
        for kind in TimeKind::ALL.0 {
            let mut sample = Sample::of(1, 1);
            if matches!(kind, TimeKind::OneWay | TimeKind::Queueing) {
                sample.offset_clock(0, 50_000);
            }
            sample.counted(0, |counted| {
                counted.counts.received = 1_000;
                counted.timed[kind] = 1_000;
                counted.timed[TimeKind::Spread] =
                    if kind == TimeKind::Spread { 1_000 } else { 999 };
            });
            let client = &sample.conclude().clients[0];
            let expected = TimeKind::ALL.map(|of| (of == kind).then_some(0));
            let found = [
                client.lateness_p99_ns,
                client.transit_p99_ns,
                client.latency_p99_ns,
                client.spread_p99_ns,
                client.one_way_p99_ns,
                client.queueing_p99_ns,
            ];
            assert_eq!(found, expected.0, "{kind:?}");
        }
    }

    #[test]
    fn a_late_client_has_no_p99_of_a_time_that_counts_from_due() {
        let mut sample = Sample::of(1, 2);
        sample.counted(0, |counted| {
            counted.counts.received = 1_000;
            set_timed(counted, [1_000; 4]);
            counted.lateness_p99_9_ns = 1_020_000;
        });
        let row = &sample.conclude().clients[0];
        assert_eq!((row.latency_p99_ns, row.spread_p99_ns), (None, None));
        assert_eq!(
            (row.lateness_p99_ns, row.transit_p99_ns),
            (Some(0), Some(0))
        );
    }

    #[test]
    fn a_quantile_of_spreads_is_shown_where_few_enough_are_uncertain() {
        let mut sample = Sample::of(2, 10);
        let mut shown = |uncertain| {
            sample.counted(0, |counted| {
                counted.counts.spread_uncertain = Some(uncertain);
                // Enough for a p99 of the client's own.
                counted.counts.received = 1_000;
                set_timed(counted, [1_000; 4]);
            });
            let Conclusion { report, clients } = sample.conclude();
            let quantiles = report.times.unwrap().spread.unwrap().quantiles;
            let ppms: Vec<_> = quantiles.iter().map(|of| of.ppm).collect();
            (ppms, clients[0].spread_p99_ns.is_some())
        };
        // 2,900 packets: 290 beyond p90, of which a tenth may be uncertain, and 29 beyond p99.
        assert_eq!(shown(1), (vec![500_000, 900_000, 990_000], true));
        assert_eq!(shown(2), (vec![500_000, 900_000, 990_000], false));
        assert_eq!(shown(3), (vec![500_000, 900_000], false));
        assert_eq!(shown(29), (vec![500_000, 900_000], false));
        assert_eq!(shown(30), (vec![500_000], false));
        assert_eq!(shown(1_000), (vec![], false));
    }

    #[test]
    fn a_distribution_gives_how_many_scheduled_packets_have_no_time() {
        let mut sample = Sample::of(1, 2);
        sample.break_connection(0, 40);
        let missing = |sample: &Sample| {
            let times = sample.conclude().report.times.unwrap();
            let of = [times.lateness, times.transit, times.latency, times.spread];
            of.map(|of| of.unwrap().missing)
        };
        assert_eq!(missing(&sample), [Some(PACKETS - 40); 4]);
        sample.forget_agent(0);
        assert_eq!(missing(&sample), [None; 4]);
    }

    #[test]
    fn a_late_generator_takes_away_what_it_spoils_of_times_that_count_from_due() {
        let mut sample = Sample::of(1, 10);
        late(&mut sample, 5);
        let report = sample.conclude().report;
        assert_eq!(report.verdict.as_ref().unwrap().valid_to_ppm, Some(900_000));
        let times = report.times.unwrap();
        let shown = |of: Option<v1::Distribution>| {
            let quantiles = of.unwrap().quantiles.into_iter();
            quantiles.map(|of| of.ppm).collect::<Vec<_>>()
        };
        let all = [500_000, 900_000, 990_000];
        assert_eq!(shown(times.lateness), all);
        assert_eq!(shown(times.transit), all);
        assert_eq!(shown(times.latency), all[..2]);
        assert_eq!(shown(times.spread), all[..2]);
    }

    #[test]
    fn one_way_times_are_those_of_clients_on_our_clock() {
        let mut sample = Sample::of(2, 1);
        sample.forget_clock(1);
        let Conclusion { report, clients } = sample.conclude();
        let times = report.times.unwrap();
        assert!(times.transit.is_none() && times.latency.is_none());
        let one_way = |client: &v1::ClientReport| client.latency_max_ns.is_some();
        assert!(clients.iter().map(one_way).eq([true, false]));
    }

    #[test]
    fn a_contradicted_clock_unsets_what_was_recorded_by_it_and_leaves_every_law_unbroken() {
        let mut sample = Sample::of(2, 1);
        sample.agents[1].contradict_clock();
        let Conclusion { report, clients } = sample.conclude();
        let times = report.times.unwrap();
        assert!(times.transit.is_none() && times.latency.is_none() && times.lateness.is_some());
        let one_way = |client: &v1::ClientReport| client.latency_max_ns.is_some();
        assert!(clients.iter().map(one_way).eq([true, false]));
        let before_written = |client: &v1::ClientReport| {
            let receiver = client.counts.and_then(|counts| counts.receiver);
            receiver.and_then(|receiver| receiver.read_before_written)
        };
        assert!(clients.iter().map(before_written).eq([Some(0), None]));
        let unknown = v1::clock_relation::Relation::Unknown(v1::UnknownClock {});
        let clock = report.agents[1].clock.as_ref();
        assert_eq!(clock.and_then(|clock| clock.relation), Some(unknown));
        let laws = report.verdict.unwrap().laws;
        let broken = laws
            .iter()
            .filter(|law| law.status() == v1::LawStatus::Broken);
        assert_eq!(broken.count(), 0, "{laws:?}");
    }

    #[test]
    fn a_time_that_is_negative_and_a_quotient_of_nothing_are_unknown() {
        assert_eq!(
            [Some(7), Some(0), Some(-1), None].map(known_time),
            [Some(7), Some(0), None, None]
        );
        assert_eq!(quotient(Some(3), Some(2)), Some(1.5));
        for (amount, per) in [(Some(3), Some(0)), (None, Some(2)), (Some(3), None)] {
            assert_eq!(quotient(amount, per), None);
        }
    }
}

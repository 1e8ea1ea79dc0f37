//! What the kernels of both ends have seen of the clients' connections: a client's figures, the
//! worst of all of them, and the note of segments that were sent again. Times in ns.
//!
//! An agent's figures are its word and judge nothing: they explain what the times show. Sums do not
//! overflow, and one is not known where a kernel of its end does not count that.

use metronome_proto::v1::{self, Note, NoteCode};

use super::{
    rows::Row,
    sentence::{figures, write},
};
use crate::model::{AgentRecords, TcpFigures};

/// An end of the connections.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Agents,
    Server,
}

impl End {
    /// What its kernel has seen of a client's last connection. `None` where it was not asked.
    fn figures(self, row: &Row<'_>) -> Option<TcpFigures> {
        match self {
            Self::Agents => Some(TcpFigures::from_agent(row.reported?.tcp.as_ref()?)),
            Self::Server => row.counted?.tcp,
        }
    }

    /// Those of one client as its row has them.
    pub(super) fn of_client(self, row: &Row<'_>) -> Option<v1::TcpInfo> {
        self.figures(row).map(TcpFigures::to_proto)
    }

    /// The worst of the clients. `None` where no kernel was asked.
    pub(super) fn of_all(self, rows: &[Row<'_>]) -> Option<v1::TcpSummary> {
        let asked = |row: &Row<'_>| Some((row.client, self.figures(row)?));
        let asked: Vec<_> = rows.iter().filter_map(asked).collect();
        (!asked.is_empty()).then(|| summary(&asked))
    }

    /// Segments that it has sent again, of the connections of which that is known.
    fn retransmitted(self, rows: &[Row<'_>]) -> Option<u64> {
        let known = rows
            .iter()
            .filter_map(|row| self.figures(row)?.retransmitted);
        known.reduce(u64::saturating_add)
    }
}

/// What the agent's kernel has seen of the connection of its probes.
pub(super) fn of_probes(agent: &AgentRecords) -> Option<v1::TcpInfo> {
    let reported = agent.finished()?.probe_tcp.as_ref()?;
    Some(TcpFigures::from_agent(reported).to_proto())
}

fn summary(asked: &[(u32, TcpFigures)]) -> v1::TcpSummary {
    let sum = |of: fn(&TcpFigures) -> Option<u64>| {
        let mut each = asked.iter().map(|(_, figures)| of(figures));
        each.try_fold(0, |sum: u64, of| Some(sum.saturating_add(of?)))
    };
    let known = |of: fn(&TcpFigures) -> Option<u64>| {
        asked.iter().filter_map(move |(_, figures)| of(figures))
    };
    let signed = |ns: u64| i64::try_from(ns).ok();
    let again = asked.iter().filter_map(|(client, figures)| {
        let segments = figures.retransmitted.filter(|segments| *segments > 0)?;
        // Of several with the same the first.
        Some((segments, std::cmp::Reverse(*client)))
    });
    let mtus = asked.iter().filter_map(|(_, figures)| figures.path_mtu);
    v1::TcpSummary {
        connections: asked.len() as u32,
        rtt_min_ns: known(|of| of.rtt_min_ns).min().and_then(signed),
        rtt_smoothed_max_ns: known(|of| of.rtt_smoothed_ns).max().and_then(signed),
        retransmitted: sum(|of| of.retransmitted),
        reordering_seen: sum(|of| of.reordering_seen),
        received_out_of_order: sum(|of| of.received_out_of_order),
        window_limited_max_ns: known(|of| of.window_limited_ns).max().and_then(signed),
        delivery_bytes_per_s_min: known(|of| of.delivery_bytes_per_s).min(),
        path_mtu_min: mtus.min(),
        connections_retransmitting: again.clone().count() as u32,
        client_retransmitting_most: again.max().map(|(_, client)| client.0),
    }
}

/// The segments that were sent again, with the way on which they were. `None` where no kernel
/// counts one.
pub(super) fn retransmitted(rows: &[Row<'_>]) -> Option<Note> {
    let by_agents = End::Agents.retransmitted(rows);
    let by_server = End::Server.retransmitted(rows);
    let ways = match (by_agents.unwrap_or(0), by_server.unwrap_or(0)) {
        (0, 0) => return None,
        (_, 0) => "{retransmitted_by_agents} on the way to the server",
        (0, _) => "{retransmitted_by_server} on the way to the agents",
        (..) => {
            "{retransmitted_by_agents} on the way to the server and {retransmitted_by_server} on \
             the way to the agents"
        }
    };
    let is_by = |end: End, row: &Row<'_>| {
        let figures = end.figures(row);
        figures.is_some_and(|of| of.retransmitted.unwrap_or(0) > 0)
    };
    let is_again = |row: &&Row<'_>| is_by(End::Agents, row) || is_by(End::Server, row);
    let connections = rows.iter().filter(is_again).count() as u64;
    let mut figures = figures([("connections", connections.into())]);
    for (name, segments) in [
        ("retransmitted_by_agents", by_agents),
        ("retransmitted_by_server", by_server),
    ] {
        figures.extend(segments.map(|segments| (name.to_owned(), segments.into())));
    }
    let template = format!(
        "Segments of {{connections}} connections were sent again: {ways}. The path or a queue on \
         it lost them, or took longer than ever before."
    );
    Some(Note {
        code: NoteCode::Retransmitted.into(),
        sentence: write(&template, &figures),
        figures,
        ..Note::default()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::verdict::{
        Conclusion,
        samples::{Sample, verdict},
    };

    /// What the agents' kernels and the server's have sent again of the first clients.
    fn sample(by_agents: &[Option<u64>], by_server: &[Option<u64>]) -> Sample {
        let mut sample = Sample::of(2, 2);
        for (client, segments) in (0..).zip(by_agents) {
            sample.reported(client, |reported| {
                reported.tcp = Some(v1::TcpInfo {
                    retransmitted: *segments,
                    rtt_min_ns: Some(10_000 + i64::from(client)),
                    rtt_smoothed_ns: Some(20_000 + i64::from(client)),
                    window_limited_ns: Some(i64::from(client)),
                    path_mtu: Some(1_500 - client),
                    ..v1::TcpInfo::default()
                });
            });
        }
        for (client, segments) in (0..).zip(by_server) {
            sample.counted(client, |counted| {
                counted.tcp = Some(TcpFigures {
                    retransmitted: *segments,
                    received_out_of_order: Some(5),
                    ..TcpFigures::default()
                });
            });
        }
        sample
    }

    fn note(conclusion: &Conclusion) -> Option<&Note> {
        let mut notes = verdict(conclusion).notes.iter();
        notes.find(|note| note.code() == NoteCode::Retransmitted)
    }

    #[test]
    fn of_a_connection_that_no_kernel_was_asked_of_nothing_is_shown() {
        let conclusion = sample(&[], &[]).conclude();
        let report = &conclusion.report;
        assert_eq!((report.generator_tcp, report.receiver_tcp), (None, None));
        assert_eq!(note(&conclusion), None);
    }

    #[test]
    fn the_worst_of_the_connections_is_in_the_report_and_each_client_has_its_own() {
        let conclusion = sample(&[Some(0), Some(7), Some(7)], &[Some(0); 4]).conclude();
        let of_agents = conclusion.report.generator_tcp.unwrap();
        let expected = v1::TcpSummary {
            connections: 3,
            rtt_min_ns: Some(10_000),
            rtt_smoothed_max_ns: Some(20_002),
            retransmitted: Some(14),
            window_limited_max_ns: Some(2),
            path_mtu_min: Some(1_498),
            connections_retransmitting: 2,
            client_retransmitting_most: Some(1),
            ..v1::TcpSummary::default()
        };
        assert_eq!(of_agents, expected);
        let of_server = conclusion.report.receiver_tcp.unwrap();
        assert_eq!(
            (of_server.connections, of_server.received_out_of_order),
            (4, Some(20))
        );
        let tcp = |client: usize| conclusion.clients[client].generator_tcp;
        let segments = [0, 1, 3].map(|client| tcp(client).map(|of| of.retransmitted));
        assert_eq!(segments, [Some(Some(0)), Some(Some(7)), None]);
    }

    #[test]
    fn a_sum_is_not_known_where_a_kernel_does_not_count_it() {
        let conclusion = sample(&[Some(3), None], &[]).conclude();
        let of_agents = conclusion.report.generator_tcp.unwrap();
        assert_eq!(
            (
                of_agents.retransmitted,
                of_agents.connections_retransmitting
            ),
            (None, 1)
        );
    }

    #[test]
    fn segments_that_were_sent_again_are_noted_with_their_way() {
        let quiet = sample(&[Some(0); 4], &[Some(0); 4]).conclude();
        assert_eq!(note(&quiet), None);
        for (by_agents, by_server, words) in [
            (
                Some(1_114),
                Some(0),
                "Segments of 1 connections were sent again: 1,114 on the way to the server.",
            ),
            (
                None,
                Some(2),
                "Segments of 1 connections were sent again: 2 on the way to the agents.",
            ),
            (
                Some(3),
                Some(2),
                "were sent again: 3 on the way to the server and 2 on the way to the agents.",
            ),
        ] {
            let conclusion = sample(&[by_agents], &[by_server]).conclude();
            let note = note(&conclusion).unwrap();
            assert!(note.sentence.contains(words), "{note:?}");
            let names = note.figures.keys().map(String::as_str);
            let of_agents = by_agents.map(|_| "retransmitted_by_agents");
            let expected = ["connections"].into_iter().chain(of_agents);
            assert!(names.eq(expected.chain(["retransmitted_by_server"])));
            assert_eq!(verdict(&conclusion).status(), v1::VerdictStatus::Valid);
        }
    }

    #[test]
    fn the_connection_of_probes_has_its_own_figures() {
        let mut sample = Sample::of(1, 1);
        sample.last_report(0, |finished| {
            finished.probe_tcp = Some(v1::TcpInfo {
                rtt_min_ns: Some(-5),
                retransmitted: Some(2),
                ..v1::TcpInfo::default()
            });
        });
        let tcp = of_probes(&sample.agents[0]).unwrap();
        assert_eq!((tcp.rtt_min_ns, tcp.retransmitted), (None, Some(2)));
    }

    proptest! {
        #[test]
        fn whatever_agents_report_becomes_a_report(
            figures: [(Option<u64>, Option<i64>, Option<u32>); 4],
            shift in 0..64_u32,
        ) {
            let mut sample = sample(&[], &[]);
            let figures = figures.map(|(count, ns, mtu)| (count.map(|of| of >> shift), ns, mtu));
            for (client, (count, ns, mtu)) in (0..).zip(figures) {
                sample.reported(client, |reported| {
                    reported.tcp = Some(v1::TcpInfo {
                        rtt_min_ns: ns,
                        rtt_smoothed_ns: ns,
                        retransmitted: count,
                        reordering_seen: count,
                        received_out_of_order: count,
                        window_limited_ns: ns,
                        delivery_bytes_per_s: count,
                        path_mtu: mtu,
                    });
                });
            }
            let conclusion = sample.conclude();
            let of_agents = conclusion.report.generator_tcp.unwrap();
            prop_assert!(of_agents.rtt_min_ns.is_none_or(|ns| ns >= 0));
            let is_counted = |count: u64| (1..=u32::MAX.into()).contains(&count);
            let has_any = figures.iter().any(|(count, ..)| count.is_some_and(is_counted));
            prop_assert_eq!(note(&conclusion).is_some(), has_any);
            prop_assert_eq!(verdict(&conclusion).status(), v1::VerdictStatus::Valid);
        }
    }
}

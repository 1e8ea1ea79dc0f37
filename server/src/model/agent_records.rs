//! The records that one agent reports of its share of a run, checked as they come in and bounded by
//! the share.
//!
//! An agent that reconnects after its stream was lost repeats its last reports; an identical record
//! does not count as a second one.

use std::collections::BTreeMap;

use metronome_proto::v1;
use metronome_telemetry::sanitise;

use super::agent_share::AgentShare;

/// One agent's share of a run and what the agent reports of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentRecords {
    pub(crate) name: String,
    pub(crate) share: AgentShare,
    /// Final figures of its clients, each client's once.
    records: BTreeMap<u32, v1::ClientRecord>,
    strays: u64,
    finished: Option<v1::Finished>,
    error: Option<String>,
}

impl AgentRecords {
    /// An agent that has not reported yet.
    pub(crate) fn new(name: String, share: AgentShare) -> Self {
        Self {
            name,
            share,
            ..Self::default()
        }
    }

    /// Takes final records. The first record of a client stands; one that does not belong here is
    /// counted as a stray.
    pub(crate) fn take(&mut self, records: v1::ClientRecords) {
        for mut record in records.clients {
            record.error = sanitise::sentence(&record.error);
            let known = self.records.get(&record.client);
            if known == Some(&record) {
                continue;
            }
            if !self.owns(record.client) || known.is_some() {
                self.strays = self.strays.saturating_add(1);
                continue;
            }
            self.records.insert(record.client, record);
        }
    }

    /// The agent has finished its share; the first report stands.
    pub(crate) fn finish(&mut self, finished: v1::Finished) {
        self.finished.get_or_insert(finished);
    }

    /// The agent cannot go on, or is gone; the first reason stands.
    pub(crate) fn fail(&mut self, error: &str) {
        self.error.get_or_insert_with(|| sanitise::sentence(error));
    }

    /// Whether the client belongs to this agent's share.
    pub(crate) fn owns(&self, client: u32) -> bool {
        self.share.owns(client)
    }

    /// The indices of its clients.
    pub(crate) fn clients(&self) -> impl Iterator<Item = u32> {
        self.share.indices()
    }

    /// The record of a client, if it has come.
    pub(crate) fn record(&self, client: u32) -> Option<&v1::ClientRecord> {
        self.records.get(&client)
    }

    /// All records, by rising index.
    pub(crate) fn records(&self) -> impl Iterator<Item = &v1::ClientRecord> {
        self.records.values()
    }

    /// Continues with the records that the server process before an upgrade has kept.
    pub(crate) fn restore(
        &mut self,
        records: Vec<v1::ClientRecord>,
        strays: u64,
        finished: Option<v1::Finished>,
        error: Option<&str>,
    ) {
        self.take(v1::ClientRecords {
            run_id: String::new(),
            clients: records,
        });
        self.strays = self.strays.saturating_add(strays);
        self.finished = finished;
        self.error = error.map(sanitise::sentence);
    }

    /// Why the agent cannot go on. `None` while it can.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Records that do not belong to this agent, and second records of one client.
    pub(crate) fn strays(&self) -> u64 {
        self.strays
    }

    /// The agent's last report, if it has come.
    pub(crate) fn finished(&self) -> Option<&v1::Finished> {
        self.finished.as_ref()
    }

    /// Why the agent is missing. `None` when it reported to the end.
    pub(crate) fn missing(&self) -> Option<&str> {
        match (&self.error, &self.finished) {
            (Some(error), _) => Some(error),
            (None, None) => Some("it never gave its final report"),
            (None, Some(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClockRelation;

    fn record(client: u32, sent: u64) -> v1::ClientRecord {
        v1::ClientRecord {
            client,
            sent,
            ..v1::ClientRecord::default()
        }
    }

    #[test]
    fn a_record_counts_once_and_only_for_a_client_of_its_own() {
        let mut agent = AgentRecords::new("a".into(), AgentShare::new(2, 2, ClockRelation::Same));
        let clients = vec![
            record(1, 9),
            record(2, 5),
            record(2, 6),
            record(3, 7),
            record(4, 9),
            record(u32::MAX, 9),
        ];
        agent.take(v1::ClientRecords {
            run_id: String::new(),
            clients,
        });
        assert_eq!(
            agent
                .clients()
                .map(|client| agent.record(client).unwrap().sent)
                .collect::<Vec<_>>(),
            [5, 7]
        );
        assert_eq!(agent.strays(), 4);
        assert!(agent.record(1).is_none());
    }

    #[test]
    fn a_repeated_record_is_no_second_one() {
        let mut agent = AgentRecords::new("a".into(), AgentShare::new(0, 1, ClockRelation::Same));
        for _ in 0..3 {
            agent.take(v1::ClientRecords {
                run_id: String::new(),
                clients: vec![record(0, 5)],
            });
        }
        assert_eq!(agent.strays(), 0);
        agent.take(v1::ClientRecords {
            run_id: String::new(),
            clients: vec![record(0, 6)],
        });
        assert_eq!((agent.strays(), agent.record(0).unwrap().sent), (1, 5));
    }

    #[test]
    fn the_first_reason_stands_and_is_made_harmless() {
        let mut agent = AgentRecords::new("a".into(), AgentShare::new(0, 1, ClockRelation::Same));
        assert_eq!(agent.missing(), Some("it never gave its final report"));
        agent.finish(v1::Finished {
            cpu_ns: 1,
            ..v1::Finished::default()
        });
        agent.finish(v1::Finished {
            cpu_ns: 2,
            ..v1::Finished::default()
        });
        assert_eq!(
            (agent.missing(), agent.finished().unwrap().cpu_ns),
            (None, 1)
        );
        agent.fail("the stream\x1b broke");
        agent.fail("again");
        assert_eq!(agent.missing(), Some("the stream broke"));
    }
}

//! What one agent has told of its part in a run, checked as it comes in and bounded by the part.
//!
//! An agent that has come back after its stream was lost says its last words again; what is the
//! same word for word is no second record.

use std::collections::BTreeMap;

use metronome_proto::v1;

use super::{agent_share::AgentShare, text};

/// One agent's part in a run and its own account of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentRecords {
    pub(crate) name: String,
    pub(crate) share: AgentShare,
    /// Final figures of its clients, each client's once.
    records: BTreeMap<u32, v1::ClientRecord>,
    /// Records of clients that are not its own, and second records of one client.
    strays: u64,
    finished: Option<v1::Finished>,
    error: Option<String>,
}

impl AgentRecords {
    pub(crate) fn new(name: String, share: AgentShare) -> Self {
        Self {
            name,
            share,
            ..Self::default()
        }
    }

    /// Takes final figures. The first record of a client stands; what does not belong is counted.
    pub(crate) fn take(&mut self, records: v1::ClientRecords) {
        for mut record in records.clients {
            record.error = text::sentence(&record.error);
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

    /// Its part is over; the first word stands.
    pub(crate) fn finish(&mut self, finished: v1::Finished) {
        self.finished.get_or_insert(finished);
    }

    /// It cannot go on, or is gone; the first word stands.
    pub(crate) fn fail(&mut self, error: &str) {
        self.error.get_or_insert_with(|| text::sentence(error));
    }

    pub(crate) fn owns(&self, client: u32) -> bool {
        self.share.owns(client)
    }

    /// The indices of its clients.
    pub(crate) fn part(&self) -> impl Iterator<Item = u32> {
        self.share.indices()
    }

    pub(crate) fn record(&self, client: u32) -> Option<&v1::ClientRecord> {
        self.records.get(&client)
    }

    /// All records, by rising index.
    pub(crate) fn records(&self) -> impl Iterator<Item = &v1::ClientRecord> {
        self.records.values()
    }

    /// Goes on with an account that another server has kept.
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
        self.error = error.map(text::sentence);
    }

    /// Why it cannot go on, when it has said so.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(crate) fn strays(&self) -> u64 {
        self.strays
    }

    pub(crate) fn finished(&self) -> Option<&v1::Finished> {
        self.finished.as_ref()
    }

    /// Why it is missing. `None` when it reported to the end.
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

    fn record(client: u32, sent: u64) -> v1::ClientRecord {
        v1::ClientRecord {
            client,
            sent,
            ..v1::ClientRecord::default()
        }
    }

    #[test]
    fn a_record_counts_once_and_only_for_a_client_of_its_own() {
        let mut account = AgentRecords::new("a".into(), AgentShare::new(2, 2, true));
        let clients = vec![
            record(1, 9),
            record(2, 5),
            record(2, 6),
            record(3, 7),
            record(4, 9),
            record(u32::MAX, 9),
        ];
        account.take(v1::ClientRecords {
            run_id: String::new(),
            clients,
        });
        assert_eq!(
            account
                .part()
                .map(|client| account.record(client).unwrap().sent)
                .collect::<Vec<_>>(),
            [5, 7]
        );
        assert_eq!(account.strays(), 4);
        assert!(account.record(1).is_none());
    }

    #[test]
    fn a_record_that_is_said_again_is_no_second_one() {
        let mut account = AgentRecords::new("a".into(), AgentShare::new(0, 1, true));
        for _ in 0..3 {
            account.take(v1::ClientRecords {
                run_id: String::new(),
                clients: vec![record(0, 5)],
            });
        }
        assert_eq!(account.strays(), 0);
        account.take(v1::ClientRecords {
            run_id: String::new(),
            clients: vec![record(0, 6)],
        });
        assert_eq!((account.strays(), account.record(0).unwrap().sent), (1, 5));
    }

    #[test]
    fn the_first_word_stands_and_is_made_harmless() {
        let mut account = AgentRecords::new("a".into(), AgentShare::new(0, 1, true));
        assert_eq!(account.missing(), Some("it never gave its final report"));
        account.finish(v1::Finished {
            cpu_ns: 1,
            ..v1::Finished::default()
        });
        account.finish(v1::Finished {
            cpu_ns: 2,
            ..v1::Finished::default()
        });
        assert_eq!(
            (account.missing(), account.finished().unwrap().cpu_ns),
            (None, 1)
        );
        account.fail("the stream\x1b broke");
        account.fail("again");
        assert_eq!(account.missing(), Some("the stream broke"));
    }
}

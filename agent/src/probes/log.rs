//! Which probes of a connection are open, and the readings of answered ones that wait to be
//! reported. Pure; readings of CLOCK_MONOTONIC, ns.

use std::collections::VecDeque;

use metronome_proto::{packet::ProbeReply, v1};

/// Probes without an answer that are remembered: 20 s of them at 50 a second.
const OPEN_MAX: usize = 1_000;
/// Readings that wait at most, and that a report has: the newest, since each proves most of its own
/// time.
pub(crate) const READINGS_MAX: usize = 100;

/// The probes of one connection.
#[derive(Debug, Default)]
pub(super) struct OpenProbes {
    /// Sequence number and time of sending, both rising.
    sent: VecDeque<(u64, u64)>,
    next_sequence: u64,
}

/// An answer to no open probe, or one that had been answered: the connection cannot be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unexpected;

impl OpenProbes {
    /// The sequence number of the next probe.
    pub(super) fn next(&self) -> u64 {
        self.next_sequence
    }

    /// That probe was sent: the clock was read just before.
    pub(super) fn sent(&mut self, sent_ns: u64) {
        if self.sent.len() == OPEN_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((self.next_sequence, sent_ns));
        self.next_sequence += 1;
    }

    /// Takes an answer that had been read at `answered_ns`. Those to earlier probes do not come any
    /// more, since answers keep their order and the server leaves some out.
    pub(super) fn answered(
        &mut self,
        answer: &ProbeReply,
        answered_ns: u64,
    ) -> Result<v1::ProbeReading, Unexpected> {
        let is_open = |(sequence, _): &(u64, u64)| *sequence == answer.sequence;
        let place = self.sent.iter().position(is_open).ok_or(Unexpected)?;
        let (_, sent_ns) = self.sent.drain(..=place).next_back().ok_or(Unexpected)?;
        Ok(v1::ProbeReading {
            sent_ns,
            answered_ns,
            server_ns: answer.server_ns,
        })
    }
}

/// What all probes of a run have shown and was not reported yet.
#[derive(Debug, Default)]
pub(crate) struct ProbeLog {
    sent: u64,
    readings: VecDeque<v1::ProbeReading>,
    /// A probe has been sent since the last report.
    is_new: bool,
}

impl ProbeLog {
    pub(super) fn count_sent(&mut self) {
        self.sent += 1;
        self.is_new = true;
    }

    pub(super) fn add(&mut self, reading: v1::ProbeReading) {
        self.is_new = true;
        if self.readings.len() == READINGS_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
    }

    /// Probes that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The readings that were not reported yet. `None` where nothing has happened since.
    pub(crate) fn take(&mut self) -> Option<Vec<v1::ProbeReading>> {
        let is_new = std::mem::take(&mut self.is_new);
        is_new.then(|| self.readings.drain(..).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(sequence: u64) -> ProbeReply {
        ProbeReply {
            sequence,
            server_ns: sequence + 7,
        }
    }

    proptest! {
        #[test]
        fn each_answer_belongs_to_its_probe_and_none_counts_twice(
            steps in prop::collection::vec(any::<Option<u8>>(), 1..200),
        ) {
            let mut open = OpenProbes::default();
            let (mut sent, mut oldest) = (0_u64, 0);
            for step in steps {
                // A step is a probe, or an answer to one of the last few, or to one to come.
                let Some(back) = step else {
                    open.sent(sent * 10);
                    sent += 1;
                    continue;
                };
                let sequence = (sent + 2).saturating_sub(u64::from(back % 8));
                let reading = open.answered(&answer(sequence), 1_000_000);
                if (oldest..sent).contains(&sequence) {
                    oldest = sequence + 1;
                    let reading = reading.unwrap();
                    prop_assert_eq!((reading.sent_ns, reading.server_ns), (sequence * 10, sequence + 7));
                } else {
                    prop_assert_eq!(reading, Err(Unexpected));
                }
            }
        }
    }

    #[test]
    fn a_report_has_the_newest_readings_and_what_was_reported_is_gone() {
        let mut log = ProbeLog::default();
        assert_eq!(log.take(), None);
        for sent_ns in 0..READINGS_MAX as u64 + 5 {
            log.count_sent();
            log.add(v1::ProbeReading {
                sent_ns,
                answered_ns: sent_ns,
                server_ns: 0,
            });
        }
        let readings = log.take().unwrap();
        assert_eq!((readings.len(), readings[0].sent_ns), (READINGS_MAX, 5));
        assert_eq!(log.take(), None);
        log.count_sent();
        assert_eq!(log.take(), Some(Vec::new()), "a probe without an answer");
        assert_eq!(log.sent(), 106);
    }

    #[test]
    fn memory_is_bounded_when_nothing_is_answered() {
        let mut open = OpenProbes::default();
        for sent_ns in 0..OPEN_MAX as u64 + 10 {
            open.sent(sent_ns);
        }
        assert_eq!(open.sent.len(), OPEN_MAX);
        assert_eq!(open.answered(&answer(9), 0), Err(Unexpected));
        assert!(open.answered(&answer(10), 0).is_ok());
    }
}

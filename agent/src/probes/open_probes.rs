//! Which probes of a connection are open, and what an answer reads. Pure; readings of
//! CLOCK_MONOTONIC, ns.

use std::collections::VecDeque;

use metronome_proto::{packet::ProbeReply, v1};

/// Probes without an answer that are remembered: 20 s of them at 50 a second.
const OPEN_MAX: usize = 1_000;

/// The probes of one connection.
#[derive(Debug)]
pub(super) struct OpenProbes<C> {
    /// Sequence number, rising, and what the clocks read just before the sending.
    sent: VecDeque<(u64, C)>,
    next_sequence: u64,
    last_answered_ns: u64,
}

/// An answer to no open probe, or one that had been answered: the connection cannot be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unexpected;

impl<C> Default for OpenProbes<C> {
    fn default() -> Self {
        Self {
            sent: VecDeque::new(),
            next_sequence: 0,
            last_answered_ns: 0,
        }
    }
}

impl<C> OpenProbes<C> {
    /// The sequence number of the next probe.
    pub(super) fn next(&self) -> u64 {
        self.next_sequence
    }

    /// That probe was sent: the clocks were read just before.
    pub(super) fn sent(&mut self, sent: C) {
        if self.sent.len() == OPEN_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((self.next_sequence, sent));
        self.next_sequence += 1;
    }

    /// Whether the last probe was answered, so that no answer can come any more.
    pub(super) fn are_over(&self) -> bool {
        self.sent.is_empty()
    }

    /// Takes an answer; `times` has when its probe was sent, by what the clocks had read then, and
    /// when the answer came. Those to earlier probes do not come any more, since answers keep their
    /// order and the server leaves some out.
    pub(super) fn answered(
        &mut self,
        answer: &ProbeReply,
        times: impl FnOnce(C) -> (u64, u64),
    ) -> Result<v1::ProbeReading, Unexpected> {
        let is_open = |(sequence, _): &(u64, C)| *sequence == answer.sequence;
        let place = self.sent.iter().position(is_open).ok_or(Unexpected)?;
        let (_, sent) = self.sent.drain(..=place).next_back().ok_or(Unexpected)?;
        let (sent_ns, answered_ns) = times(sent);
        // Two arrivals of one instant may be put on the clock in another order. The server takes
        // one that is out of order for a clock that has gone back, and later is never wrong.
        self.last_answered_ns = answered_ns.max(self.last_answered_ns + 1);
        Ok(v1::ProbeReading {
            sent_ns,
            answered_ns: self.last_answered_ns,
            server_ns: answer.server_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn came_at(answered_ns: u64) -> impl FnOnce(u64) -> (u64, u64) {
        move |sent_ns| (sent_ns, answered_ns)
    }

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
            let (mut sent, mut oldest, mut last_ns) = (0_u64, 0, 0);
            for step in steps {
                // A step is a probe, or an answer to one of the last few, or to one to come.
                let Some(back) = step else {
                    open.sent(sent * 10);
                    sent += 1;
                    continue;
                };
                let sequence = (sent + 2).saturating_sub(u64::from(back % 8));
                let reading = open.answered(&answer(sequence), came_at(1_000_000));
                if (oldest..sent).contains(&sequence) {
                    oldest = sequence + 1;
                    let reading = reading.unwrap();
                    prop_assert_eq!(
                        (reading.sent_ns, reading.server_ns),
                        (sequence * 10, sequence + 7)
                    );
                    // All of them are read at one instant, and none is before another.
                    let is_near = (1_000_000..1_000_200).contains(&reading.answered_ns);
                    prop_assert!(is_near && reading.answered_ns > last_ns);
                    last_ns = reading.answered_ns;
                } else {
                    prop_assert_eq!(reading, Err(Unexpected));
                }
                prop_assert_eq!(open.are_over(), oldest == sent);
            }
        }
    }

    #[test]
    fn memory_is_bounded_when_nothing_is_answered() {
        let mut open = OpenProbes::default();
        for sent_ns in 0..OPEN_MAX as u64 + 10 {
            open.sent(sent_ns);
        }
        assert_eq!(open.sent.len(), OPEN_MAX);
        assert_eq!(open.answered(&answer(9), came_at(0)), Err(Unexpected));
        assert!(open.answered(&answer(10), came_at(0)).is_ok());
    }
}

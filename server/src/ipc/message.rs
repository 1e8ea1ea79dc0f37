//! The messages between master and worker: 640 bytes each, of which only an admission needs all.
//!
//! Both ends are the same build, whose executable is held by descriptor since the server's start.
//! All the same every message is checked when it is read: the worker may be broken, and after an
//! upgrade the bytes of an admission come from another build.

use metronome_proto::{
    handshake::{KEY_BYTES, Key},
    run_id::RunId,
};

use super::admission::AdmissionKey;
use crate::{
    ledger::{ClientLoad, LOAD_WORDS},
    model::ClockRelation,
    rx_batching::{PAUSE_US_MAX, RxBatching},
};

/// Bytes of every message.
pub(crate) const MESSAGE_BYTES: usize = LOAD_AT + LOAD_WORDS * size_of::<u64>();

/// Bytes in front of a load.
const LOAD_AT: usize = 64;

/// A message on its way.
pub(crate) type Message = [u8; MESSAGE_BYTES];

/// From the master.
#[derive(Clone, Debug)]
pub(crate) enum ToWorker {
    /// One of the memories of the ledger, in order; a descriptor comes with it.
    Memory { slots: u32, accept_raw: bool },
    /// Be this worker from now on, and serve.
    Serve { worker: u32 },
    /// Read this connection; its socket comes with it.
    Adopt { slot: u32, generation: u32 },
    /// Verify hellos of this agent.
    Admit(Box<AdmissionKey>),
    /// Verify none of this run any more.
    Dismiss { run: RunId },
    /// End this connection: process what is there, then release it.
    Cut { slot: u32, generation: u32 },
    /// Let go of this connection as it is, for another worker to go on with.
    HandBack { slot: u32, generation: u32 },
    /// Finish the batch and exit: the connections go to others.
    Quit,
    /// Read like this from now on.
    SetRxBatching(RxBatching),
    /// Take real-time priority, as far as the system grants it to one of so many workers on so many
    /// cores.
    Realtime { cores: u32, workers: u32 },
    /// From now on the worker's line of the ledger is its own, and its heartbeat belongs there.
    /// Until then the line belongs to the worker of a server that is being upgraded, whose silence
    /// must be noticed.
    Begin,
}

/// From the worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FromWorker {
    /// It has the ledger and can be any worker.
    Prepared,
    /// It serves.
    Ready,
    /// The worker's copy of the socket is gone, and it touches the connection no more.
    HandedBack { slot: u32, generation: u32 },
    /// The counters are closed and the worker's copy of the socket is gone.
    Released { slot: u32, generation: u32 },
}

/// The bytes are no message of this protocol: the type is unknown or a field is out of range.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown message type {kind}, or a field of it is out of range")]
pub(crate) struct InvalidMessage {
    kind: u32,
}

impl ToWorker {
    /// The message as bytes.
    pub(crate) fn encode(&self) -> Message {
        let mut words = Words::default();
        match self.clone() {
            Self::Memory { slots, accept_raw } => words.all(1, [slots, u32::from(accept_raw), 0]),
            Self::Serve { worker } => words.all(11, [worker, 0, 0]),
            Self::Adopt { slot, generation } => words.all(2, [slot, generation, 0]),
            Self::Admit(agent) => {
                words.all(3, [agent.row, agent.clients.start, agent.clients.end]);
                words.set_flags(&agent);
                words.set_run(agent.run);
                words.set_load(agent.load);
                words.0[32..32 + KEY_BYTES].copy_from_slice(agent.key.as_bytes());
            }
            Self::Dismiss { run } => {
                words.all(4, [0; 3]);
                words.set_run(run);
            }
            Self::Cut { slot, generation } => words.all(5, [slot, generation, 0]),
            Self::Quit => words.all(6, [0; 3]),
            Self::SetRxBatching(RxBatching::Auto) => words.all(7, [0; 3]),
            Self::SetRxBatching(RxBatching::Us(us)) => words.all(7, [1, u32::from(us), 0]),
            Self::Begin => words.all(8, [0; 3]),
            Self::Realtime { cores, workers } => words.all(9, [cores, workers, 0]),
            Self::HandBack { slot, generation } => words.all(10, [slot, generation, 0]),
        }
        words.0
    }

    /// Reads a message.
    pub(crate) fn decode(message: &Message) -> Result<Self, InvalidMessage> {
        let words = Words(*message);
        let [kind, a, b, c] = words.first_four();
        match kind {
            1 => Ok(Self::Memory {
                slots: a,
                accept_raw: b != 0,
            }),
            2 => Ok(Self::Adopt {
                slot: a,
                generation: b,
            }),
            3 => {
                let mut key = [0; KEY_BYTES];
                key.copy_from_slice(&message[32..32 + KEY_BYTES]);
                let (agent, clock, is_static, group) = words.flags();
                Ok(Self::Admit(Box::new(AdmissionKey {
                    row: a,
                    run: words.run(),
                    agent,
                    key: Key::from_bytes(key),
                    clients: b..c,
                    clock,
                    load: words.load().map_err(|()| InvalidMessage { kind })?,
                    group,
                    is_static,
                })))
            }
            4 => Ok(Self::Dismiss { run: words.run() }),
            5 => Ok(Self::Cut {
                slot: a,
                generation: b,
            }),
            6 => Ok(Self::Quit),
            7 if a == 0 => Ok(Self::SetRxBatching(RxBatching::Auto)),
            7 => u16::try_from(b)
                .ok()
                .filter(|us| *us <= PAUSE_US_MAX)
                .map(|us| Self::SetRxBatching(RxBatching::Us(us)))
                .ok_or(InvalidMessage { kind }),
            8 => Ok(Self::Begin),
            9 => Ok(Self::Realtime {
                cores: a,
                workers: b,
            }),
            10 => Ok(Self::HandBack {
                slot: a,
                generation: b,
            }),
            11 => Ok(Self::Serve { worker: a }),
            _ => Err(InvalidMessage { kind }),
        }
    }
}

impl FromWorker {
    /// The message as bytes.
    pub(crate) fn encode(self) -> Message {
        let mut words = Words::default();
        match self {
            Self::Ready => words.all(101, [0; 3]),
            Self::Prepared => words.all(104, [0; 3]),
            Self::Released { slot, generation } => words.all(102, [slot, generation, 0]),
            Self::HandedBack { slot, generation } => words.all(103, [slot, generation, 0]),
        }
        words.0
    }

    /// Reads a message.
    pub(crate) fn decode(message: &Message) -> Result<Self, InvalidMessage> {
        match Words(*message).first_four() {
            [101, ..] => Ok(Self::Ready),
            [104, ..] => Ok(Self::Prepared),
            [102, slot, generation, _] => Ok(Self::Released { slot, generation }),
            [103, slot, generation, _] => Ok(Self::HandedBack { slot, generation }),
            [kind, ..] => Err(InvalidMessage { kind }),
        }
    }
}

/// Bytes 0..16 are four numbers, 16..24 the run, 24..32 an agent's flags and group, 32..64 a key,
/// the rest the words of a load, all 0 without one.
struct Words(Message);

impl Default for Words {
    fn default() -> Self {
        Self([0; MESSAGE_BYTES])
    }
}

impl Words {
    fn all(&mut self, kind: u32, [a, b, c]: [u32; 3]) {
        for (index, word) in [kind, a, b, c].into_iter().enumerate() {
            self.0[index * 4..][..4].copy_from_slice(&word.to_le_bytes());
        }
    }

    fn first_four(&self) -> [u32; 4] {
        std::array::from_fn(|index| {
            let mut word = [0; 4];
            word.copy_from_slice(&self.0[index * 4..][..4]);
            u32::from_le_bytes(word)
        })
    }

    fn set_run(&mut self, run: RunId) {
        self.0[16..24].copy_from_slice(&run.bits().to_le_bytes());
    }

    fn run(&self) -> RunId {
        let mut bits = [0; 8];
        bits.copy_from_slice(&self.0[16..24]);
        RunId::from_bits(u64::from_le_bytes(bits))
    }

    fn set_load(&mut self, load: Option<ClientLoad>) {
        let Some(load) = load else {
            return;
        };
        load.put_words(|index, word| {
            self.0[LOAD_AT + index * 8..][..8].copy_from_slice(&word.to_le_bytes());
        });
    }

    fn load(&self) -> Result<Option<ClientLoad>, ()> {
        if self.0[LOAD_AT..].iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let word = |index: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&self.0[LOAD_AT + index * 8..][..8]);
            u64::from_le_bytes(word)
        };
        let load = ClientLoad::from_words(&std::array::from_fn(word));
        load.map(Some).ok_or(())
    }

    fn set_flags(&mut self, agent: &AdmissionKey) {
        self.0[24..26].copy_from_slice(&agent.agent.to_le_bytes());
        self.0[26..28].copy_from_slice(&agent.group.to_le_bytes());
        self.0[28] = agent.clock.number();
        self.0[29] = u8::from(agent.is_static);
    }

    fn flags(&self) -> (u16, ClockRelation, bool, u16) {
        let clock = ClockRelation::of_number(u16::from(self.0[28]));
        (
            u16::from_le_bytes([self.0[24], self.0[25]]),
            clock,
            self.0[29] != 0,
            u16::from_le_bytes([self.0[26], self.0[27]]),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{load::Load, profile::Profile};
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::loads;

    #[test]
    fn every_message_survives_the_channel() {
        let agent = AdmissionKey {
            row: 3,
            run: RunId::from_bits(u64::MAX - 5),
            agent: 0x1234,
            key: Key::from_bytes([0xA5; 32]),
            clients: 70_000..70_009,
            clock: ClockRelation::Offset,
            load: Some(ClientLoad {
                packet_size: metronome_proto::packet_size::PacketSize::MIN,
                load: Load {
                    profile: Profile::constant(10_000_000),
                    duration: Duration::from_secs(3_600),
                    batch: 1024,
                    seed: 7,
                },
                warm_up_ns: 99,
            }),
            group: 0xFEDC,
            is_static: true,
        };
        for message in [
            ToWorker::Serve { worker: 7 },
            ToWorker::Memory {
                slots: 99,
                accept_raw: true,
            },
            ToWorker::Adopt {
                slot: 5,
                generation: 6,
            },
            ToWorker::Admit(agent.into()),
            ToWorker::Dismiss {
                run: RunId::from_bits(8),
            },
            ToWorker::Cut {
                slot: 1,
                generation: u32::MAX,
            },
            ToWorker::HandBack {
                slot: 2,
                generation: 3,
            },
            ToWorker::Quit,
            ToWorker::Begin,
            ToWorker::Realtime {
                cores: 2,
                workers: 3,
            },
            ToWorker::SetRxBatching(RxBatching::Auto),
            ToWorker::SetRxBatching(RxBatching::Us(1_000)),
        ] {
            let decoded = ToWorker::decode(&message.encode()).unwrap();
            assert_eq!(format!("{decoded:?}"), format!("{message:?}"));
            if let (ToWorker::Admit(sent), ToWorker::Admit(got)) = (message, decoded) {
                assert_eq!(sent.key, got.key);
            }
        }
        for message in [
            FromWorker::Prepared,
            FromWorker::Ready,
            FromWorker::Released {
                slot: 3,
                generation: 4,
            },
            FromWorker::HandedBack {
                slot: 5,
                generation: 6,
            },
        ] {
            assert_eq!(FromWorker::decode(&message.encode()), Ok(message));
        }
    }

    proptest! {
        #[test]
        fn an_admission_brings_every_load_and_every_relation(load in loads(), number in 0..3_u16) {
            let clock = ClockRelation::of_number(number);
            let agent = AdmissionKey {
                row: 1,
                run: RunId::from_bits(7),
                agent: 0,
                key: Key::from_bytes([1; 32]),
                clients: 0..1,
                clock,
                load: Some(load),
                group: 3,
                is_static: false,
            };
            let decoded = ToWorker::decode(&ToWorker::Admit(agent.into()).encode());
            let Ok(ToWorker::Admit(decoded)) = decoded else {
                return Err(TestCaseError::fail("no admission"));
            };
            prop_assert_eq!((decoded.load, decoded.group), (Some(load), 3));
            prop_assert_eq!((decoded.clock, u16::from(clock.number())), (clock, number));
        }

        #[test]
        fn any_bytes_are_a_message_or_refused(
            head: u32,
            tail in prop::collection::vec(any::<u8>(), MESSAGE_BYTES - 4),
        ) {
            let mut message = [0; MESSAGE_BYTES];
            message[..4].copy_from_slice(&(head % 128).to_le_bytes());
            message[4..].copy_from_slice(&tail);
            let _ = (ToWorker::decode(&message), FromWorker::decode(&message));
        }
    }
}

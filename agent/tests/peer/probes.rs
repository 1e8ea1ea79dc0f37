//! What a peer makes of probes.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use metronome_os::clock;
use metronome_proto::{
    handshake::{Hello, Key},
    packet::{FRAME_BYTES, Frame, Probe, ProbeReply},
};

/// How a peer answers probes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Probing {
    /// Each at once.
    Properly,
    /// Each byte in a write of its own.
    InSingleBytes,
    /// None.
    Never,
    /// Every second one.
    EverySecond,
    /// Not even the hello.
    NeverAcks,
    /// On the first connection not as it should, from the fourth probe on. Properly on later ones.
    AtFirst(Wrongly),
}

/// What comes instead of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wrongly {
    /// The answer twice.
    Twice,
    /// The answer to a probe that was not sent yet.
    Early,
    /// Bytes without a meaning.
    Garbage,
    /// The probe itself.
    Echo,
    /// A part of the answer, then the end of the stream.
    Truncated,
}

/// The first probe that is not answered as it should be.
pub(crate) const WRONG_FROM: u64 = 3;

/// The probes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    /// When each was read, ns of CLOCK_MONOTONIC: the reading in its answer.
    pub(crate) read_ns: Vec<u64>,
}

impl Probes {
    /// Answers the probes of a connection until its end.
    pub(super) fn serve(&mut self, stream: &mut TcpStream, how: Probing, hello: &Hello, key: &Key) {
        let mut frame: Frame = [0; FRAME_BYTES];
        if how == Probing::NeverAcks {
            assert!(
                stream.read_exact(&mut frame).is_err(),
                "no probe is asked for"
            );
            return;
        }
        stream
            .write_all(&hello.ack(key))
            .expect("the agent listens");
        while stream.read_exact(&mut frame).is_ok() {
            let server_ns = clock::now_ns();
            let probe = Probe::decode(&frame).expect("nothing but probes");
            let sequence = self.read_ns.len() as u64;
            assert_eq!(probe.sequence, sequence, "in order, none left out");
            self.read_ns.push(server_ns);
            let answer = |sequence| {
                ProbeReply {
                    sequence,
                    server_ns,
                }
                .encode()
            };
            let proper = answer(sequence);
            let is_wrong = hello.attempt == 1 && sequence >= WRONG_FROM;
            // An agent that is gone gets none.
            let _ = match how {
                Probing::Never | Probing::NeverAcks => Ok(()),
                Probing::EverySecond if sequence.is_multiple_of(2) => Ok(()),
                Probing::InSingleBytes => {
                    proper.chunks(1).try_for_each(|byte| stream.write_all(byte))
                }
                Probing::AtFirst(wrongly) if is_wrong => match wrongly {
                    Wrongly::Twice => stream.write_all([proper, proper].as_flattened()),
                    Wrongly::Early => stream.write_all(&answer(sequence + 1)),
                    Wrongly::Garbage => stream.write_all(&[7; FRAME_BYTES]),
                    Wrongly::Echo => stream.write_all(&frame),
                    Wrongly::Truncated => {
                        let _ = stream.write_all(&proper[..20]);
                        return;
                    }
                },
                Probing::Properly | Probing::EverySecond | Probing::AtFirst(_) => {
                    stream.write_all(&proper)
                }
            };
        }
    }
}

//! One connection that carries probes. It reads the clock just before a probe is written, and an
//! answer has the time at which the kernel noted that it had come in, or that of the reading: so
//! each reading of the server lies between the two. Where the kernel notes it, no thread needs to
//! wait for an answer, and one that is woken late makes no probe longer.
//!
//! On such a connection comes nothing but answers to its probes, each once and in order. Anything
//! else, and the connection is lost: what a peer like that has read of its clock is not believed.

use std::io::ErrorKind;

use metronome_os::received_at::{self, Clocks};
use metronome_proto::packet::{FRAME_BYTES, Frame, Probe, ProbeReply};

use super::{log::SharedLog, open_probes::OpenProbes};
use crate::net::connection::Connection;

/// Why a connection carries no probes any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Lost {
    #[error("the connection of the probes broke")]
    Broken,
    #[error("the server closed the connection of the probes")]
    Closed,
    #[error("the kernel took a probe in part")]
    SentInPart,
    #[error("what came on the connection of the probes is no answer to a probe")]
    NoAnswer,
    #[error("an answer came to no open probe")]
    Unexpected,
}

/// The connection, its open probes and the bytes of the next answer.
pub(super) struct Line<'a> {
    connection: &'a Connection,
    log: &'a SharedLog,
    open: OpenProbes<Clocks>,
    answered: u64,
    /// The kernel has noted when the last answer had come in.
    has_arrivals: bool,
    answer: Frame,
    filled: usize,
}

impl<'a> Line<'a> {
    pub(super) fn new(connection: &'a Connection, log: &'a SharedLog) -> Self {
        // Where it is refused, answers have the time at which they are read.
        let _ = received_at::note(connection);
        Self {
            connection,
            log,
            open: OpenProbes::default(),
            answered: 0,
            has_arrivals: false,
            answer: [0; FRAME_BYTES],
            filled: 0,
        }
    }

    /// Answers that it has brought.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// Whether its last probe was answered, so that nothing more can come.
    pub(super) fn is_answered(&self) -> bool {
        self.open.are_over()
    }

    /// Whether an answer that is read late has the time at which it came.
    pub(super) fn has_arrivals(&self) -> bool {
        self.has_arrivals
    }

    /// Sends a probe. `false` without room for it: nothing is measured then.
    pub(super) fn send(&mut self) -> Result<bool, Lost> {
        let sequence = self.open.next();
        let probe = Probe { sequence }.encode();
        let sent = Clocks::read();
        match self.connection.send(&probe) {
            Ok(0) => Ok(false),
            Ok(FRAME_BYTES) => {
                self.open.sent(sent);
                self.log.lock().count_sent();
                Ok(true)
            }
            Ok(_) => Err(Lost::SentInPart),
            Err(_) => Err(Lost::Broken),
        }
    }

    /// Takes what has come. What comes behind the answer to the last probe is taken the next time.
    pub(super) fn receive(&mut self) -> Result<(), Lost> {
        loop {
            let received =
                match received_at::receive(self.connection, &mut self.answer[self.filled..]) {
                    Ok(received) if received.bytes == 0 => return Err(Lost::Closed),
                    Ok(received) => received,
                    Err(error) => match error.kind() {
                        ErrorKind::WouldBlock | ErrorKind::Interrupted => return Ok(()),
                        _ => return Err(Lost::Broken),
                    },
                };
            let read = Clocks::read();
            self.filled += received.bytes;
            if self.filled < FRAME_BYTES {
                continue;
            }
            self.filled = 0;
            self.has_arrivals = received.has_time();
            let answer = ProbeReply::decode(&self.answer).map_err(|_| Lost::NoAnswer)?;
            let reading = self.open.answered(&answer, |sent| {
                let arrived_ns = received.arrived_ns(sent, read);
                (sent.now_ns, arrived_ns.unwrap_or(read.now_ns))
            });
            self.log.lock().add(reading.map_err(|_| Lost::Unexpected)?);
            self.answered += 1;
            if self.open.are_over() {
                return Ok(());
            }
        }
    }
}

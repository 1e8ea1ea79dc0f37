//! What a connection begins with: a challenge, the hello of a client or of an agent's probes, or
//! bytes that are not of our protocol. A part of the processing of a batch, with the same law.

use metronome_proto::{
    handshake::{Challenges, Refusal},
    packet::{self, FRAME_BYTES, Frame, Kind, MAGIC},
    packet_size::PacketSize,
};

use super::{
    authenticate::{Authenticate, Authenticated},
    batch::Batch,
    commit_writer::CommitWriter,
    counters::Stage,
    load_check::LoadCheck,
    pace::{Pace, with_pace_counts},
};

impl<W: CommitWriter> Batch<'_, W> {
    /// Takes the first frame of a connection: of a challenge, a hello, or not ours.
    pub(super) fn take_first(&mut self, frame: &Frame, admission: &impl Authenticate) {
        if cannot_become_ours(frame, FRAME_BYTES) {
            self.take_raw(admission);
            if self.counters.stage == Stage::Raw {
                self.count_packets(1);
            }
            return;
        }
        if packet::kind(frame) == Some(Kind::Challenge) {
            self.take_challenge(frame, admission);
        } else {
            self.take_hello(frame, None, admission);
        }
    }

    /// Answers a challenge with the server's own, which was drawn before anything was read.
    fn take_challenge(&mut self, frame: &Frame, admission: &impl Authenticate) {
        let header = &self.times.slot.header;
        // Without random bytes no client of the static run can be verified.
        let ours = header.server_nonce().ok_or(Refusal::Hello);
        match admission
            .challenge(frame)
            .and_then(|theirs| Ok((theirs, ours?)))
        {
            Ok((theirs, ours)) => {
                header.set_client_nonce(theirs, self.times.writer);
                self.counters.stage = Stage::Challenged;
                self.queue_reply(&ours.challenge());
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Takes the hello of a client, or of an agent's probes.
    pub(super) fn take_hello(
        &mut self,
        frame: &Frame,
        challenges: Option<&Challenges>,
        admission: &impl Authenticate,
    ) {
        match admission.client(frame, challenges) {
            Ok(Authenticated {
                hello,
                is_probes: true,
                row,
                ..
            }) => {
                self.begin_probes(&hello, row);
                if let Some(key) = admission.key_of(self.counters, challenges) {
                    self.queue_reply(&hello.ack(&key));
                }
            }
            Ok(Authenticated {
                hello,
                clock,
                load,
                group,
                row,
                ..
            }) => {
                if let Some(load) = &load {
                    self.times.slot.set_load(load, self.times.writer);
                    *self.check = LoadCheck::admitted(load, hello.client);
                }
                self.counters.stage = Stage::Packets;
                self.counters.run = hello.run.bits();
                self.counters.agent = hello.agent;
                self.counters.client = hello.client;
                self.counters.attempt = hello.attempt;
                self.counters.clock = clock;
                self.counters.row = row;
                (self.counters.group, self.counters.has_load) = (group, load.is_some());
                self.counters.packet_size = load.map_or(PacketSize::MIN, |load| load.packet_size);
                self.counters.counts.read_before_written = clock.is_same().then_some(0);
                self.counters.counts.below_floor = clock.has_lines().then_some(0);
                self.counters.counts.warm_up = Some(0);
                self.counters.counts.replies_wanted = Some(0);
                self.counters.counts.replies_dropped = Some(0);
                let first = self.check.next();
                self.counters.pace = first.map(|first| Pace::begin(first, self.read_ns));
                self.counters.counts =
                    with_pace_counts(self.counters.counts, self.counters.pace.is_some());
                if let Some(key) = admission.key_of(self.counters, challenges) {
                    self.queue_reply(&hello.ack(&key));
                }
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Takes a connection whose first bytes cannot become a frame of ours for a raw client.
    pub(super) fn take_first_bytes(
        &mut self,
        frame: &Frame,
        bytes: usize,
        admission: &impl Authenticate,
    ) {
        if cannot_become_ours(frame, bytes) {
            self.take_raw(admission);
        }
    }

    fn take_raw(&mut self, admission: &impl Authenticate) {
        match admission.raw() {
            Ok(()) => {
                self.counters.stage = Stage::Raw;
                self.counters.is_raw = true;
            }
            Err(refusal) => self.refuse(refusal),
        }
    }
}

/// Whether these bytes, the first of a connection, cannot be the beginning of a frame of ours.
fn cannot_become_ours(frame: &Frame, bytes: usize) -> bool {
    let known = bytes.min(MAGIC.len());
    frame[..known] != MAGIC[..known]
}

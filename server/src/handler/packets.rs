//! What a packet handler is, and what it is given: the packets of one client that were read
//! together. Times are ns on the sender's clock.

use std::fmt;

use metronome_proto::{
    packet::{FRAME_BYTES, Frame, Packet},
    packet_size::PacketSize,
    run_id::RunId,
};

/// Code of yours that the workers of a server call with every packet that they have counted.
///
/// Each worker is a process with one thread and has one handler of its own. While it runs, nothing
/// else is read by that worker: what a handler needs per packet is what the clients of the worker
/// wait. The answer to a client's end is sent once all of its packets are handled.
///
/// # At least once
/// A worker may die at any instant: the next one is given the batch again that was not handled to
/// its end. So a packet may come twice, and *run, client and sequence* show that it does. In front
/// of a repeat no later packet of that client comes. A handler that stores the greatest sequence of
/// each client together with its result, in one transaction, counts exactly once.
///
/// # Failures
/// A handler that panics, or whose call takes more than 1 s, ends its worker, as every fault does;
/// so does one that is ended by a limit of the system. The next worker tries the same batch again.
/// After three tries in a row the client is ended with the failure `HANDLER_FAILED`, which its run
/// shows; that batch is then not handled to its end.
///
/// Any `FnMut(&PacketBatch)` is a handler.
pub trait PacketHandler {
    /// Handles packets of one client that were read together, in the order in which they came.
    /// There is at least one.
    fn handle(&mut self, batch: &PacketBatch<'_>);
}

impl<F: FnMut(&PacketBatch<'_>)> PacketHandler for F {
    fn handle(&mut self, batch: &PacketBatch<'_>) {
        self(batch);
    }
}

/// Makes the handler of a worker, from the worker's index: 0 to the number of workers less one. It
/// is called once in each worker process, before that reads anything.
pub(crate) type HandlerFactory = Box<dyn Fn(usize) -> Box<dyn PacketHandler>>;

/// Packets of one client that were read together: 1 to 2,048.
#[derive(Clone, Copy)]
pub struct PacketBatch<'a> {
    pub(super) run: RunId,
    pub(super) client: u32,
    pub(super) size: PacketSize,
    /// Frames of `size`, whole ones only.
    pub(super) bytes: &'a [u8],
}

impl<'a> PacketBatch<'a> {
    /// The run of the client. All clients of `metronome-agent run --key-file` are of run
    /// `0000000000000000`.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The client within its run: 0 to the number of clients of the plan less one.
    #[must_use]
    pub fn client(&self) -> u32 {
        self.client
    }

    /// The packets, in the order in which they came.
    ///
    /// Each has its checksum verified and is of this client. A client that breaks the protocol, so
    /// that its run is invalid, may have packets among them that were counted as damaged: those in
    /// front of its start and behind its end.
    pub fn packets(&self) -> impl Iterator<Item = ReceivedPacket<'a>> + Clone + use<'a> {
        let client = self.client;
        self.bytes
            .chunks_exact(self.size.bytes())
            .filter_map(move |frame| {
                let (header, payload) = frame.split_at_checked(FRAME_BYTES)?;
                let header: &Frame = header.try_into().ok()?;
                let packet = Packet::decode(header, payload).ok()?;
                (packet.client == client).then_some(ReceivedPacket {
                    sequence: packet.sequence,
                    due_ns: packet.due_ns,
                    payload,
                })
            })
    }
}

impl fmt::Debug for PacketBatch<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PacketBatch")
            .field("run", &self.run)
            .field("client", &self.client)
            .field("packet_bytes", &self.size.bytes())
            .field("packets", &self.packets().count())
            .finish()
    }
}

/// One packet of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReceivedPacket<'a> {
    /// Its place among the packets that the client has sent, from 0.
    pub sequence: u64,
    /// When the schedule wanted it sent, ns of CLOCK_MONOTONIC on the sender's host.
    pub due_ns: u64,
    /// What follows the header of 32 bytes: 0 to 1440 bytes, as many in each packet of a group.
    pub payload: &'a [u8],
}

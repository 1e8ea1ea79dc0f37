//! What gives packets their payload: the interface that a program implements.

/// Which packet a payload is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PacketId<'a> {
    /// Name of its group.
    pub group: &'a str,
    /// Index of its client within the run: 0 to 9,999.
    pub client: u32,
    /// Its position among the packets that the client sends, from 0.
    pub sequence: u64,
}

/// Gives the packets of a group their payload.
///
/// One source serves all clients of a group, of all pacing threads and of all runs at the same
/// time, so it is shared and has no exclusive state of a client.
///
/// # Panics
///
/// A source that panics ends the load of the run on this agent: its clients send no more packets,
/// count those that are still due as skipped, exchange their ends, and the run fails with
/// PAYLOAD_NOT_USABLE. The agent and its other runs go on, and may call the source again.
pub trait PayloadSource: Send + Sync {
    /// Fills the payload of a packet: packet size less 32 bytes, 1 to 1,440, all of them 0 before.
    ///
    /// It is called on a pacing thread, right before the packet is written: what it takes is part
    /// of the lateness of this packet and of those behind it. So it must not block, for example on
    /// a lock that another thread holds, or on a file; a microsecond is much. Pacing threads may be
    /// real-time threads.
    ///
    /// A packet that the kernel did not take is asked for again later, by the same id; its earlier
    /// bytes were never sent.
    fn fill(&self, packet: PacketId<'_>, payload: &mut [u8]);

    /// Whether it can fill payloads of so many bytes, 1 to 1,440, of this group. It is called
    /// before the clients of a run connect, on a thread of the run.
    ///
    /// # Errors
    ///
    /// Why it cannot and what would help, as a part of a sentence; then the run fails with it.
    fn check(&self, group: &str, payload_bytes: usize) -> Result<(), String> {
        let _ = (group, payload_bytes);
        Ok(())
    }
}

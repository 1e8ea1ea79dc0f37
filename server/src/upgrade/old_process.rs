//! The old server process, seen from the new one. What it sends is checked, not trusted: it may be
//! of another version.

use std::{
    env,
    io::{self, ErrorKind},
    os::fd::OwnedFd,
};

use anyhow::{Context as _, bail, ensure};
use metronome_os::{clock::now_ns, process::OLD_PROCESS_VARIABLE, seq_packet::SeqPacket};

use super::{
    error::Unreadable,
    offer::{InheritedFds, Offer},
    protocol::{Kind, REFUSAL_BYTES_MAX, STATE_BYTES_MAX, sums},
};
use crate::ledger::Dimensions;

/// For its offer, which it sends at once.
const OFFER_WAIT_NS: u64 = 10_000_000_000;

/// For its later messages. It sends each, or is gone, within its own deadline; this one only
/// prevents waiting for ever.
const MESSAGE_WAIT_NS: u64 = 3_600_000_000_000;

/// For it to take a message of ours.
const SEND_WAIT_NS: u64 = 10_000_000_000;

/// The socket to it.
#[derive(Debug)]
pub(crate) struct OldProcess(SeqPacket);

/// The state as it was received.
#[derive(Debug)]
pub(super) struct ReceivedState {
    pub(super) bytes: Vec<u8>,
    /// Sockets of the connections, in the order in which the bytes describe them.
    pub(super) connections: Vec<OwnedFd>,
}

impl OldProcess {
    /// The server that has started this process to replace it. `None` when this process was started
    /// by anything else.
    pub(crate) fn of_this_process() -> anyhow::Result<Option<Self>> {
        if env::var_os(OLD_PROCESS_VARIABLE).is_none() {
            return Ok(None);
        }
        let explained =
            || format!("{OLD_PROCESS_VARIABLE} is set, which only an upgrade does; unset it");
        Ok(Some(Self(SeqPacket::inherited().with_context(explained)?)))
    }

    /// Waits for its offer, which is acceptable when this returns it.
    pub(crate) fn offer(&self) -> anyhow::Result<(Offer, InheritedFds)> {
        let (message, descriptors) = self
            .0
            .receive_until(now_ns() + OFFER_WAIT_NS)
            .map_err(gone)?;
        let Some((Kind::Offer, rest)) = Kind::of(&message) else {
            bail!("the old server sent no offer")
        };
        let offer = Offer::accept(rest)?;
        let inherited = InheritedFds::from_received(descriptors, offer.has_http)
            .context("the old server sent too few descriptors")?;
        Ok((offer, inherited))
    }

    /// Reports that all is open and the workers are up.
    pub(super) fn report_healthy(&self) -> anyhow::Result<()> {
        self.send(Kind::Healthy, &[])
    }

    /// Gives the reason why the old process must go on without this one.
    pub(crate) fn refuse(&self, error: &anyhow::Error) {
        let kind = match error.downcast_ref::<Unreadable>() {
            Some(_) => Kind::Incompatible,
            None => Kind::Refused,
        };
        let sentence = format!("{error:#}");
        let sentence = &sentence.as_bytes()[..sentence.len().min(REFUSAL_BYTES_MAX)];
        // When it is gone, no reason is needed.
        let _ = self.send(kind, sentence);
    }

    /// Waits for its state. An error also when the old server has changed its mind.
    pub(super) fn receive_state(&self, dimensions: Dimensions) -> anyhow::Result<ReceivedState> {
        let mut state = ReceivedState {
            bytes: Vec::new(),
            connections: Vec::new(),
        };
        loop {
            let (message, sockets) = self
                .0
                .receive_until(now_ns() + MESSAGE_WAIT_NS)
                .map_err(gone)?;
            match Kind::of(&message) {
                Some((Kind::Connections, [])) => state.connections.extend(sockets),
                Some((Kind::Part, part)) => state.bytes.extend_from_slice(part),
                Some((Kind::End, rest)) => {
                    ensure!(
                        rest == sums(state.bytes.len(), state.connections.len()),
                        "the old server announced more or less than came"
                    );
                    return Ok(state);
                }
                _ => bail!("unexpected message from the old server"),
            }
            ensure!(
                state.bytes.len() <= STATE_BYTES_MAX,
                "the old server's state is too large"
            );
            ensure!(
                state.connections.len() <= dimensions.slots as usize,
                "there are more connections than slots"
            );
        }
    }

    /// Reports that everything is here and makes sense, and waits until the old process commits
    /// the upgrade.
    ///
    /// Go is the point of no return, for this process too: until it comes, this process has touched
    /// nothing that counts and may end without harm; once it has come, it is the only server.
    pub(super) fn take_over(self) -> anyhow::Result<()> {
        self.send(Kind::Taken, &[])?;
        let (message, _) = self
            .0
            .receive_until(now_ns() + MESSAGE_WAIT_NS)
            .map_err(gone)?;
        ensure!(
            matches!(Kind::of(&message), Some((Kind::Go, _))),
            "the old server does not commit the upgrade"
        );
        Ok(())
    }

    fn send(&self, kind: Kind, rest: &[u8]) -> anyhow::Result<()> {
        self.0
            .send_until(&kind.message(rest), &[], now_ns() + SEND_WAIT_NS)
            .map_err(gone)
    }
}

fn gone(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            anyhow::Error::msg(
                "the old server goes on itself, or is gone; this process was only to replace it",
            )
        }
        _ => anyhow::Error::new(error).context("the socket to the old server"),
    }
}

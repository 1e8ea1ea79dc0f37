//! The master of an old server process: the workers quit as in a rolling restart, with none in
//! their place; what they had taken is replayed, so that the ledger and the kernel agree; then the
//! connections are sent.
//!
//! This process's copies of the connections stay open until the new process serves. Until then
//! [`take_back`] undoes all of it.

use std::{borrow::Cow, os::fd::AsFd as _, sync::Arc};

use metronome_os::{clock::now_ns, seq_packet::SeqPacket};
use tracing::{info, warn};

use super::{
    parts::{MasterParts, Phase},
    request::Reply,
};
use crate::upgrade::{EncodedMaster, MasterState, send_connections};

/// For a worker to finish its batch and exit; then it is killed, which costs nothing either.
const LEAVE_TIME_NS: u64 = 1_000_000_000;

/// A hand-over that is under way.
pub(super) struct HandOver {
    socket: Arc<SeqPacket>,
    deadline_ns: u64,
    /// When workers that have not quit are killed.
    kill_at_ns: u64,
    reply: Reply<Result<EncodedMaster, String>>,
}

impl HandOver {
    /// A hand-over that begins; `reply` gets what does not go through `socket`.
    pub(super) fn new(
        socket: Arc<SeqPacket>,
        deadline_ns: u64,
        reply: Reply<Result<EncodedMaster, String>>,
    ) -> Self {
        Self {
            socket,
            deadline_ns,
            kill_at_ns: u64::MAX,
            reply,
        }
    }

    /// Goes on with the release as far as it can. `None` once it has replied.
    pub(super) fn go_on(mut self, parts: &mut MasterParts, now_ns: u64) -> Option<Self> {
        if now_ns >= self.deadline_ns {
            (self.reply)(Err(
                "the workers or a run did not come to rest in time".into()
            ));
            return None;
        }
        let may_leave = !parts.workers.is_restarting() && !parts.runs.has_closing();
        if parts.phase == Phase::Serving && may_leave {
            self.kill_at_ns = now_ns + LEAVE_TIME_NS;
            parts.phase = Phase::Leaving;
            parts.acceptor.close();
            parts.workers.quit_all();
        }
        if parts.phase == Phase::Leaving && !parts.workers.has_processes() {
            let given = give(parts, &self.socket, self.deadline_ns);
            (self.reply)(given);
            return None;
        }
        if now_ns >= self.kill_at_ns {
            warn!("workers do not quit and are killed");
            parts.workers.kill_all();
        }
        Some(self)
    }
}

fn give(
    parts: &MasterParts,
    socket: &SeqPacket,
    deadline_ns: u64,
) -> Result<EncodedMaster, String> {
    let state = save(parts).encode()?;
    send_connections(
        socket,
        parts
            .connections
            .all()
            .map(|(_, connection)| connection.socket.as_fd()),
        deadline_ns,
    )
    .map_err(|error| format!("the connections cannot be handed over: {error}"))?;
    info!("{} connections are handed over", state.connections);
    Ok(state)
}

fn save(parts: &MasterParts) -> MasterState<'_> {
    let agents = parts.admission_keys.agents().iter().cloned();
    MasterState {
        connections: parts.connections.saved(),
        generations: parts.connections.generations().to_vec(),
        admission_keys: agents.map(Into::into).collect(),
        counters: Cow::Borrowed(&parts.counters),
        workers: parts.workers.saved(),
        recovered_packets: parts.recovered.packets,
        connections_lost: parts.recovered.connections_lost,
        pauses: Cow::Borrowed(parts.connections.pauses()),
        row_closed_ns: parts.runs.row_closed_ns(),
    }
}

/// Serves again as if nothing had been.
pub(super) fn take_back(parts: &mut MasterParts) {
    if parts.phase != Phase::Leaving {
        return;
    }
    parts.phase = Phase::Serving;
    // One that is still to quit, or has been killed, is replaced when its end is seen.
    parts.replace_waiting(now_ns());
    parts.acceptor.open();
}

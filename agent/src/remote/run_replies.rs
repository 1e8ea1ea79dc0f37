//! The replies of a run: which clients ask for some, the reader that takes them, and what each
//! client has of them at the end.

use std::{io, sync::Arc, time::Duration};

use metronome_proto::v1::{Failure, FailureCode};

use crate::{
    load::{
        assignment::Assignment,
        client::Client,
        replies::{
            live_replies::LiveReplies,
            reader::{ReaderOutcome, ReplyLines, ReplyReader, Source},
            stream::Asks,
        },
    },
    net::{error_text::within_sentence, socket_error::system_code},
};

/// Why the replies of a run could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRead {
    /// The operating system has no descriptor, thread or memory left.
    #[error("this host let the agent not read replies: {}", within_sentence(.0))]
    System(io::Error),
    /// The thread panicked.
    #[error("the reader of replies of the agent died")]
    Died,
}

impl NotRead {
    /// The error as data.
    pub(super) fn failure(&self) -> Failure {
        let code = match self {
            // A thread that cannot be had is reported so.
            Self::System(error) if error.kind() == io::ErrorKind::WouldBlock => {
                FailureCode::AgentThreadsFull
            }
            Self::System(error) => system_code(error),
            Self::Died => FailureCode::Internal,
        };
        Failure::new(code, self.to_string())
    }
}

/// Gathers the connections of the clients whose packets ask for replies. `None` when there is none.
pub(super) fn gather(
    clients: &mut [Client],
    assignment: &Assignment,
    live: &Arc<LiveReplies>,
) -> Result<Option<ReplyLines>, NotRead> {
    let mut sources = Vec::new();
    for client in clients {
        let Some(of) = assignment.shares.get(assignment.share_of(client.index())) else {
            continue;
        };
        let group = live.position_of(&of.share.group);
        if let Some((echo_every, group)) = of.share.echo_every.zip(group) {
            let asks = Asks {
                client: client.index(),
                echo_every,
            };
            sources.push(Source {
                group,
                incoming: client.connection.incoming(),
                asks,
            });
        }
    }
    if sources.is_empty() {
        return Ok(None);
    }
    let lines = ReplyLines::new(sources, live.clone());
    lines.map(Some).map_err(NotRead::System)
}

/// Lets a thread read them, in a run that starts at `start_ns`. From now on no other thread reads
/// these connections.
pub(super) fn start(
    lines: ReplyLines,
    clients: &mut [Client],
    warm_up: Duration,
    start_ns: u64,
    high_priority: bool,
) -> Result<ReplyReader, NotRead> {
    for client in clients
        .iter_mut()
        .filter(|client| client.asks_for_replies())
    {
        client.echo.is_read_elsewhere = true;
    }
    let measured_from_ns = start_ns.saturating_add(nanos(warm_up));
    let reader = lines.start(start_ns, measured_from_ns, high_priority);
    reader.map_err(NotRead::System)
}

/// Ends the reading and gives each client what was read of it. Returns the CPU time of the reader,
/// ns.
pub(super) fn finish(reader: Option<ReplyReader>, clients: &mut [Client]) -> Result<u64, NotRead> {
    let Some(reader) = reader else {
        return Ok(0);
    };
    let outcome = reader.finish().ok_or(NotRead::Died)?;
    let ReaderOutcome {
        clients: replies,
        cpu_ns,
    } = outcome.map_err(NotRead::System)?;
    for (index, replies) in replies {
        let position = clients.binary_search_by_key(&index, Client::index);
        if let Some(client) = position.ok().and_then(|at| clients.get_mut(at)) {
            client.set_replies(replies);
        }
    }
    Ok(cpu_ns)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

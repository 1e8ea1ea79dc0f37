//! One try to connect one client: the TCP connection, then the hello and its answer.

use std::net::SocketAddr;

use metronome_proto::{
    handshake::{Hello, Refusal, Refused},
    packet::{FRAME_BYTES, Frame},
    v1::FailureCode,
};
use rustix::event::PollFlags;

use crate::{
    load::{
        assignment::Protocol,
        client::{Client, Credentials},
    },
    net::{connection::Connection, socket_error::SocketError},
    stop_signal::StopSignal,
};

/// Why one try to connect a client failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TryError {
    /// No connection, or one that broke.
    #[error("{error} at {address}")]
    Socket {
        address: SocketAddr,
        error: SocketError,
    },
    /// The end of the stream instead of an answer.
    #[error("{address} closed the connection before it answered the hello")]
    Closed { address: SocketAddr },
    /// Nothing, or only a part of an answer, until the time was over.
    #[error("the hello was not answered in time at {address}")]
    Unanswered { address: SocketAddr },
    /// A refusal instead of a hello-ack.
    #[error("the server at {address} refused the connection: {refused}")]
    Refused {
        address: SocketAddr,
        refused: Refused,
    },
    /// Another frame than a hello-ack of this run.
    #[error("{address} did not prove that it takes part in the run, so it gets no load")]
    Unproven { address: SocketAddr },
}

/// What a try needs.
pub(crate) struct Try<'a> {
    pub protocol: Protocol,
    /// At least one.
    pub addresses: &'a [SocketAddr],
    pub stop_signal: &'a StopSignal,
    /// When the try ends, ns of CLOCK_MONOTONIC.
    pub until_ns: u64,
}

impl Try<'_> {
    /// Connects `client`; `attempt` counts its tries, from 1.
    pub(crate) fn connect(&self, client: u32, attempt: u32) -> Result<Client, TryError> {
        let (connection, address) = self.dial()?;
        let credentials = match self.protocol {
            Protocol::Raw => None,
            Protocol::Authenticated { run, agent, key } => {
                let hello = Hello {
                    run,
                    agent,
                    client: client as u16,
                    attempt: attempt as u8,
                };
                let credentials = Credentials { hello, key };
                self.authenticate(&connection, address, &credentials)?;
                Some(credentials)
            }
        };
        Ok(Client::new(connection, client, credentials, attempt))
    }

    /// The first of the target's addresses that takes the connection.
    fn dial(&self) -> Result<(Connection, SocketAddr), TryError> {
        let mut failed = None;
        for &address in self.addresses {
            match Connection::open(address, self.until_ns, self.stop_signal) {
                Ok(connection) => return Ok((connection, address)),
                Err(error) => failed = Some(TryError::Socket { address, error }),
            }
        }
        Err(failed.expect("a target resolves to at least one address"))
    }

    /// Sends the hello and verifies the answer. Until this returns, nothing else may be sent.
    fn authenticate(
        &self,
        connection: &Connection,
        address: SocketAddr,
        credentials: &Credentials,
    ) -> Result<(), TryError> {
        let socket = |error| TryError::Socket { address, error };
        let system = |error| socket(SocketError::System(error));
        // The peer has taken the connection, so no firewall is the cause.
        let unanswered = |error| match error {
            SocketError::TimedOut => TryError::Unanswered { address },
            error => socket(error),
        };
        // A new connection has room for 32 bytes; one that has not will not answer either.
        connection
            .send(&credentials.hello.encode(&credentials.key))
            .map_err(system)?;
        let mut answer: Frame = [0; FRAME_BYTES];
        let mut filled = 0;
        while filled < FRAME_BYTES {
            connection
                .wait(PollFlags::IN, self.until_ns, self.stop_signal)
                .map_err(unanswered)?;
            match connection.receive(&mut answer[filled..]).map_err(system)? {
                Some(0) => return Err(TryError::Closed { address }),
                taken => filled += taken.unwrap_or(0),
            }
        }
        if credentials.hello.is_acked_by(&answer, &credentials.key) {
            return Ok(());
        }
        match Refused::decode(&answer) {
            Some(refused) => Err(TryError::Refused { address, refused }),
            None => Err(TryError::Unproven { address }),
        }
    }
}

impl TryError {
    /// Whether another try may succeed.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Socket { error, .. } => !matches!(error, SocketError::Stopped),
            Self::Closed { .. } | Self::Unanswered { .. } => true,
            // Slots of the run before this one are freed within moments.
            Self::Refused { refused, .. } => {
                matches!(refused.refusal(), Some(Refusal::Full | Refusal::Late))
            }
            Self::Unproven { .. } => false,
        }
    }

    /// What went wrong, for programs.
    pub(super) fn code(&self) -> FailureCode {
        match self {
            Self::Socket { error, .. } => error.code(),
            Self::Closed { .. } => FailureCode::ConnectionClosed,
            Self::Unanswered { .. } => FailureCode::HelloNotAnswered,
            Self::Refused { refused, .. } => refused.code(),
            Self::Unproven { .. } => FailureCode::WrongProgram,
        }
    }

    /// Where it was tried.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Socket { address, .. }
            | Self::Closed { address }
            | Self::Unanswered { address }
            | Self::Refused { address, .. }
            | Self::Unproven { address } => *address,
        }
    }
}

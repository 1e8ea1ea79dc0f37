//! One try to connect one client: the TCP connection, in the static run a challenge and the
//! server's, then the hello and its answer.

use std::{io, net::SocketAddr};

use metronome_os::clock;
use metronome_proto::{
    handshake::{
        Challenge, Challenges, HANDSHAKE_VERSION, Hello, Key, NONCE_BYTES, Nonce, Refusal, Refused,
    },
    packet::{FRAME_BYTES, Frame},
    run_id::RunId,
    v1::FailureCode,
};
use rustix::event::PollFlags;

use super::outlook::{Met, SharedOutlook, Waiting, is_refusal};
use crate::{
    load::{
        assignment::Protocol,
        client::{Client, Credentials},
        packets::Packets,
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
    /// A challenge of another version.
    #[error(
        "the server at {address} speaks version {version} of the handshake and this agent version \
         {HANDSHAKE_VERSION}; install one release on both hosts"
    )]
    Version { address: SocketAddr, version: u8 },
    /// Another frame than a hello-ack of this run.
    #[error("{address} did not prove that it takes part in the run, so it gets no load")]
    Unproven { address: SocketAddr },
}

/// What a try needs.
pub(crate) struct Try<'a> {
    pub protocol: Protocol,
    /// What the client is for.
    pub packets: &'a Packets,
    /// At least one.
    pub addresses: &'a [SocketAddr],
    /// Shows what is waited for.
    pub outlook: &'a SharedOutlook,
    pub stop_signal: &'a StopSignal,
    /// When the try ends, ns of CLOCK_MONOTONIC.
    pub until_ns: u64,
}

impl Try<'_> {
    /// Connects `client`; `attempt` counts its tries, from 1.
    pub(crate) fn connect(&self, client: u32, attempt: u32) -> Result<Client, TryError> {
        let (connection, credentials) = self.open(client, attempt)?;
        let packets = match credentials {
            Some(_) => self.packets.clone(),
            None => Packets::default(),
        };
        Ok(Client::new(
            connection,
            client,
            credentials,
            attempt,
            packets,
        ))
    }

    /// Opens a connection whose hello has this index, and verifies the answer. `attempt` counts the
    /// tries, from 1. Without credentials in a run without a protocol.
    pub(crate) fn open(
        &self,
        client: u32,
        attempt: u32,
    ) -> Result<(Connection, Option<Credentials>), TryError> {
        let (connection, address) = self.dial()?;
        self.wait_for(Waiting::Answer(address));
        let (run, agent, key) = match self.protocol {
            Protocol::Raw => return Ok((connection, None)),
            Protocol::Authenticated { run, agent, key } => (run, agent, key),
            Protocol::Static { key } => {
                let key = self.challenge(&connection, address, &key)?;
                (RunId::from_bits(0), 0, key)
            }
        };
        let hello = Hello {
            run,
            agent,
            client: client as u16,
            attempt: attempt as u8,
        };
        let credentials = Credentials { hello, key };
        self.authenticate(&connection, address, &credentials)?;
        Ok((connection, Some(credentials)))
    }

    fn wait_for(&self, waiting: Waiting) {
        self.outlook.lock().wait_for(waiting, clock::now_ns());
    }

    /// The first of the target's addresses that takes the connection. Where none does, what counts
    /// is an address that has not refused it, for that one may take it yet.
    fn dial(&self) -> Result<(Connection, SocketAddr), TryError> {
        let mut failed: Option<TryError> = None;
        for &address in self.addresses {
            self.wait_for(Waiting::Connection(address));
            match Connection::open(address, self.until_ns, self.stop_signal) {
                Ok(connection) => return Ok((connection, address)),
                Err(error) if failed.as_ref().is_none_or(|it| is_refusal(it.code())) => {
                    failed = Some(TryError::Socket { address, error });
                }
                Err(_) => {}
            }
        }
        Err(failed.expect("a target resolves to at least one address"))
    }

    /// Sends what this side has drawn and takes what the server has: the key of this connection,
    /// with which nothing verifies that was ever sent on another one.
    fn challenge(
        &self,
        connection: &Connection,
        address: SocketAddr,
        key: &Key,
    ) -> Result<Key, TryError> {
        let client = draw().map_err(|error| TryError::Socket {
            address,
            error: SocketError::System(error),
        })?;
        let answer = self.exchange(connection, address, &client.challenge())?;
        match Challenge::decode(&answer) {
            Some(Challenge {
                nonce: Some(server),
                ..
            }) => Ok(key.of_connection(&Challenges { client, server })),
            Some(Challenge { version, .. }) if version != HANDSHAKE_VERSION => {
                Err(TryError::Version { address, version })
            }
            _ => Err(not_proved(&answer, address)),
        }
    }

    /// Sends the hello and verifies the answer. Until this returns, nothing else may be sent.
    fn authenticate(
        &self,
        connection: &Connection,
        address: SocketAddr,
        credentials: &Credentials,
    ) -> Result<(), TryError> {
        let hello = credentials.hello.encode(&credentials.key);
        let answer = self.exchange(connection, address, &hello)?;
        if credentials.hello.is_acked_by(&answer, &credentials.key) {
            return Ok(());
        }
        Err(not_proved(&answer, address))
    }

    /// Sends one frame and waits for the one that answers it.
    fn exchange(
        &self,
        connection: &Connection,
        address: SocketAddr,
        frame: &Frame,
    ) -> Result<Frame, TryError> {
        let socket = |error| TryError::Socket { address, error };
        let system = |error| socket(SocketError::System(error));
        // The peer has taken the connection, so no firewall is the cause.
        let unanswered = |error| match error {
            SocketError::TimedOut => TryError::Unanswered { address },
            error => socket(error),
        };
        // A new connection has room for 32 bytes; one that has not will not answer either.
        connection.send(frame).map_err(system)?;
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
        Ok(answer)
    }
}

/// What an answer is that proves nothing.
fn not_proved(answer: &Frame, address: SocketAddr) -> TryError {
    match Refused::decode(answer) {
        Some(refused) => TryError::Refused { address, refused },
        None => TryError::Unproven { address },
    }
}

/// A nonce of this side.
fn draw() -> io::Result<Nonce> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Nonce::from_bytes(bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl From<&TryError> for Met {
    fn from(error: &TryError) -> Self {
        Self {
            code: error.code(),
            sentence: error.to_string(),
            address: error.address(),
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
            Self::Unproven { .. } | Self::Version { .. } => false,
        }
    }

    /// What went wrong, for programs.
    pub(super) fn code(&self) -> FailureCode {
        match self {
            Self::Socket { error, .. } => error.code(),
            Self::Closed { .. } => FailureCode::ConnectionClosed,
            Self::Unanswered { .. } => FailureCode::HelloNotAnswered,
            Self::Refused { refused, .. } => refused.code(),
            Self::Version { .. } => FailureCode::RefusedProtocol,
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
            | Self::Version { address, .. }
            | Self::Unproven { address } => *address,
        }
    }
}

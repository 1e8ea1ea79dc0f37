//! Connecting the clients of a run: many at once, each with ten tries, and no load on anyone who
//! does not prove that it knows the run.
//!
//! The first client that fails for good ends the whole attempt: a run with fewer clients than asked
//! for is another run.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use metronome_os::clock::{self, SECOND_NS};
use metronome_proto::{
    packet::{FRAME_BYTES, Frame, Kind, kind},
    seal::{Hello, Refusal},
    v1,
};
use metronome_telemetry::{KeyValue, past};
use rustix::event::PollFlags;
use tracing::Span;

use crate::{
    load::{
        assignment::{Assignment, Protocol},
        client::{Client, Credentials},
    },
    net::{backoff, connection::Connection, error_text},
    stop_signal::StopSignal,
};

/// Tries to connect, per client.
const TRIES_MAX: u32 = 10;
/// One try, from the SYN to the verified hello-ack.
const TRY_NS_MAX: u64 = 5 * SECOND_NS;
/// A client that takes longer than this is worth an event in the trace.
const SLOW_NS: u64 = SECOND_NS / 10;
/// Clients that connect at the same time.
const CONNECTING_MAX: u32 = 32;
/// Connecting threads only wait and authenticate a frame.
const STACK_BYTES: usize = 256 * 1024;

/// Not all clients could be connected; those that were are closed again.
#[derive(Debug)]
pub(crate) struct NotConnected {
    /// One sentence for the user: the first client that failed, and why.
    pub error: String,
    /// Of every client.
    pub records: Vec<v1::ClientRecord>,
}

/// Why one try to connect a client failed.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("{} at {address}", error_text::within_sentence(.error))]
    Network {
        address: SocketAddr,
        error: io::Error,
    },
    #[error("{address} closed the connection before it answered the hello")]
    Closed { address: SocketAddr },
    #[error("the server at {address} refused the connection: {}", .refusal.reason())]
    Refused {
        address: SocketAddr,
        refusal: Refusal,
    },
    #[error(
        "{address} did not prove that it knows the run, so it gets no load; is another program listening there?"
    )]
    Unproven { address: SocketAddr },
}

/// Connects and verifies every client of `assignment` at one of `addresses`, sorted by index.
pub(crate) fn connect_all(
    assignment: &Assignment,
    addresses: &[SocketAddr],
    stop_signal: &StopSignal,
) -> Result<Vec<Client>, NotConnected> {
    let deadline_ns = clock::now_ns().saturating_add(assignment.deadline.as_nanos() as u64);
    let attempt = Attempt {
        assignment,
        addresses,
        stop_signal,
        deadline_ns,
        next: AtomicU32::new(assignment.clients.start),
        gave_up: AtomicBool::new(false),
        span: Span::current(),
        outcomes: Mutex::new(Vec::with_capacity(assignment.client_count() as usize)),
    };
    thread::scope(|scope| {
        for number in 0..assignment.client_count().min(CONNECTING_MAX) {
            let builder = thread::Builder::new()
                .name(format!("connect-{number}"))
                .stack_size(STACK_BYTES);
            // Fewer threads only take longer; none at all shows as clients without an outcome.
            if builder.spawn_scoped(scope, || attempt.work()).is_err() {
                break;
            }
        }
    });
    attempt.conclude()
}

/// The work that the connecting threads share.
struct Attempt<'a> {
    assignment: &'a Assignment,
    addresses: &'a [SocketAddr],
    stop_signal: &'a StopSignal,
    deadline_ns: u64,
    next: AtomicU32,
    gave_up: AtomicBool,
    outcomes: Mutex<Vec<(u32, Result<Client, Failure>)>>,
    /// Of the step, for the clients that were slow.
    span: Span,
}

#[derive(Debug)]
struct Failure {
    attempts: u32,
    error: String,
}

impl Attempt<'_> {
    fn work(&self) {
        loop {
            let client = self.next.fetch_add(1, Relaxed);
            if client >= self.assignment.clients.end || self.gave_up.load(Relaxed) {
                return;
            }
            let outcome = self.connect(client);
            if outcome.is_err() {
                self.gave_up.store(true, Relaxed);
            }
            self.outcomes
                .lock()
                .expect("no thread panics while it holds this lock")
                .push((client, outcome));
        }
    }

    /// One client, until it is connected or there is no use in trying on.
    fn connect(&self, client: u32) -> Result<Client, Failure> {
        let begun_ns = clock::now_ns();
        let outcome = self.try_until_connected(client);
        self.tell_if_notable(client, begun_ns, &outcome);
        outcome
    }

    /// An event of the step's span, for a client that was not connected at once.
    fn tell_if_notable(&self, client: u32, begun_ns: u64, outcome: &Result<Client, Failure>) {
        let now_ns = clock::now_ns();
        let (name, tries) = match outcome {
            Err(failure) => ("client failed", failure.attempts),
            Ok(connected) if connected.attempts() > 1 => ("client retried", connected.attempts()),
            Ok(_) if now_ns - begun_ns >= SLOW_NS => ("client slow", 1),
            Ok(_) => return,
        };
        let mut attributes = vec![
            KeyValue::new("client", i64::from(client)),
            KeyValue::new("tries", i64::from(tries)),
            KeyValue::new("took_ms", (now_ns - begun_ns) as f64 / 1e6),
        ];
        attributes.extend(
            outcome
                .as_ref()
                .err()
                .map(|failure| KeyValue::new("error", failure.error.clone())),
        );
        past::add_event(
            &self.span,
            &past::Anchor::at(now_ns),
            name,
            now_ns,
            attributes,
        );
    }

    fn try_until_connected(&self, client: u32) -> Result<Client, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.try_once(client, tries) {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            let failure = || Failure {
                attempts: tries,
                error: format!("{error} after {}", plural(tries)),
            };
            if !error.is_passing() || tries == TRIES_MAX || self.gave_up.load(Relaxed) {
                return Err(failure());
            }
            let wait = backoff::wait_after(tries, fastrand::f64());
            let again_ns = clock::now_ns().saturating_add(wait.as_nanos() as u64);
            if again_ns >= self.deadline_ns || !self.stop_signal.sleep_until(again_ns) {
                return Err(failure());
            }
        }
    }

    fn try_once(&self, client: u32, attempt: u32) -> Result<Client, TryError> {
        let until_ns = self.deadline_ns.min(clock::now_ns() + TRY_NS_MAX);
        let (connection, address) = self.dial(until_ns)?;
        let credentials = match self.assignment.protocol {
            Protocol::Raw => None,
            Protocol::Authenticated { run, agent, key } => {
                let hello = Hello {
                    run,
                    agent,
                    client: client as u16,
                    attempt: attempt as u8,
                };
                let credentials = Credentials { hello, key };
                self.greet(&connection, address, &credentials, until_ns)?;
                Some(credentials)
            }
        };
        Ok(Client::new(connection, client, credentials, attempt))
    }

    /// The first of the target's addresses that takes the connection.
    fn dial(&self, until_ns: u64) -> Result<(Connection, SocketAddr), TryError> {
        let mut failed = None;
        for &address in self.addresses {
            match Connection::open(address, until_ns, self.stop_signal) {
                Ok(connection) => return Ok((connection, address)),
                Err(error) => failed = Some(TryError::Network { address, error }),
            }
        }
        Err(failed.expect("a target resolves to at least one address"))
    }

    /// Sends the hello and verifies the answer. Until this returns, nothing else may be sent.
    fn greet(
        &self,
        connection: &Connection,
        address: SocketAddr,
        credentials: &Credentials,
        until_ns: u64,
    ) -> Result<(), TryError> {
        let network = |error| TryError::Network { address, error };
        // A new connection has room for 32 bytes; one that has not will not answer either.
        connection
            .send(&credentials.hello.seal(&credentials.key))
            .map_err(network)?;
        let mut answer: Frame = [0; FRAME_BYTES];
        let mut filled = 0;
        while filled < FRAME_BYTES {
            connection
                .wait(PollFlags::IN, until_ns, self.stop_signal)
                .map_err(network)?;
            match connection.receive(&mut answer[filled..]).map_err(network)? {
                Some(0) => return Err(TryError::Closed { address }),
                taken => filled += taken.unwrap_or(0),
            }
        }
        if credentials.hello.is_acked_by(&answer, &credentials.key) {
            return Ok(());
        }
        match Refusal::decode(&answer).filter(|_| kind(&answer) == Some(Kind::Refusal)) {
            Some(refusal) => Err(TryError::Refused { address, refusal }),
            None => Err(TryError::Unproven { address }),
        }
    }

    fn conclude(self) -> Result<Vec<Client>, NotConnected> {
        let mut outcomes = self
            .outcomes
            .into_inner()
            .expect("no thread panics while it holds this lock");
        outcomes.sort_unstable_by_key(|(client, _)| *client);
        let everyone = outcomes.len() == self.assignment.client_count() as usize;
        if everyone && outcomes.iter().all(|(_, outcome)| outcome.is_ok()) {
            return Ok(outcomes
                .into_iter()
                .filter_map(|(_, outcome)| outcome.ok())
                .collect());
        }
        let first = outcomes
            .iter()
            .find_map(|(client, outcome)| outcome.as_ref().err().map(|failure| (client, failure)));
        let error = match first {
            _ if !self.stop_signal.allows_load(clock::now_ns()) => {
                "the run was stopped while its clients connected".into()
            }
            Some((client, failure)) => format!("client {client}: {}", failure.error),
            None => "this host gave the agent no threads to connect with".into(),
        };
        Err(NotConnected {
            error,
            records: records(self.assignment, &outcomes),
        })
    }
}

impl TryError {
    /// Whether another try may succeed.
    fn is_passing(&self) -> bool {
        match self {
            Self::Network { .. } | Self::Closed { .. } => true,
            // Slots of the run before this one are freed within moments.
            Self::Refused { refusal, .. } => matches!(refusal, Refusal::Full | Refusal::Late),
            Self::Unproven { .. } => false,
        }
    }
}

fn records(
    assignment: &Assignment,
    outcomes: &[(u32, Result<Client, Failure>)],
) -> Vec<v1::ClientRecord> {
    let blank = |client| v1::ClientRecord {
        client,
        ..v1::ClientRecord::default()
    };
    let not_tried = |client| v1::ClientRecord {
        error: "not tried, since another client could not connect".into(),
        ..blank(client)
    };
    let of = |client| match outcomes.binary_search_by_key(&client, |(client, _)| *client) {
        Ok(found) => match &outcomes[found].1 {
            Ok(connected) => connected.record(),
            Err(failure) => v1::ClientRecord {
                attempts: failure.attempts,
                error: failure.error.clone(),
                ..blank(client)
            },
        },
        Err(_) => not_tried(client),
    };
    assignment.clients.clone().map(of).collect()
}

fn plural(tries: u32) -> String {
    if tries == 1 {
        "1 try".into()
    } else {
        format!("{tries} tries")
    }
}

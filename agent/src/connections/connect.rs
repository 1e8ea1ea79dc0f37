//! Connecting the clients of a run: many at once as long as that works, each with ten tries as far
//! as they have a chance ([`super::outlook`]). A target that does not prove that it takes part in
//! the run gets no load.
//!
//! The first client that fails for good ends the whole attempt: a run with fewer clients than asked
//! for is another run. One try is in [`super::try_connect`].

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, Scope},
};

use metronome_os::{
    clock::{self, SECOND_NS},
    threads,
};
use metronome_proto::v1::{self, Failure, FailureCode};
use metronome_telemetry::{KeyValue, retroactive_span};
use rustix::process::{Resource, getrlimit};
use tracing::Span;

use super::{
    connect_limit::{ConnectLimit, Pass},
    outlook::{SharedOutlook, Waiting},
    try_connect::{Try, TryError},
};
use crate::{
    load::{
        assignment::{Assignment, TargetedShare},
        client::Client,
        packets::Packets,
    },
    net::{
        backoff,
        target::{Allowed, TargetError},
    },
    stop_signal::StopSignal,
};

/// Most tries to connect a client.
const TRIES_MAX: u32 = 10;
/// Longest time of one try, from the SYN to the verified hello-ack, ns.
const TRY_NS_MAX: u64 = 5 * SECOND_NS;
/// A client that takes longer than this gets an event in the trace, ns.
const SLOW_NS: u64 = SECOND_NS / 10;
/// Clients that connect at the same time at first: as many as a near server can take up at once.
const CONNECTING_FIRST: u32 = 32;
/// Clients that connect at the same time at most. A client takes two round trips, so that 10,000
/// over a path of 100 ms there and back are connected within 5 s.
const CONNECTING_MAX: u32 = 512;
/// Each client that takes longer than this brings one more thread, ns: then the path is far, and
/// the threads only wait.
const FAR_NS: u64 = SECOND_NS / 50;
/// Stack of a connecting thread, which only waits and authenticates a frame.
const STACK_BYTES: usize = 256 * 1024;

/// Not all clients could be connected; those that were are closed again.
#[derive(Debug)]
pub(crate) struct NotConnected {
    /// Why the first client that failed did so, or what ended the attempt.
    pub failure: Failure,
    /// The record of every client.
    pub records: Vec<v1::ClientRecord>,
}

/// The addresses of the target of each share of `assignment`.
pub(crate) fn resolve_all(
    assignment: &Assignment,
    allowed: &Allowed,
    outlook: &SharedOutlook,
) -> Result<Vec<Vec<SocketAddr>>, TargetError> {
    let resolve = |of: &TargetedShare| {
        let name = Waiting::Name(of.target.to_string());
        outlook.lock().wait_for(name, clock::now_ns());
        of.target.resolve(allowed)
    };
    assignment.shares.iter().map(resolve).collect()
}

/// Connects and verifies every client of `assignment`, each at one of the `addresses` of its share,
/// sorted by index, until `deadline_ns`. `packets` has those of each share. `outlook` shows
/// meanwhile what the first of the clients meets.
pub(crate) fn connect_all(
    assignment: &Assignment,
    packets: &[Packets],
    addresses: &[Vec<SocketAddr>],
    deadline_ns: u64,
    outlook: &SharedOutlook,
    stop_signal: &StopSignal,
) -> Result<Vec<Client>, NotConnected> {
    outlook.lock().end_at(deadline_ns);
    let attempt = Attempt {
        assignment,
        clients: assignment.clients().collect(),
        packets,
        addresses,
        outlook,
        stop_signal,
        deadline_ns,
        next: AtomicUsize::new(0),
        threads: AtomicU32::new(0),
        gave_up: AtomicBool::new(false),
        limits: limits(addresses),
        span: Span::current(),
        outcomes: Mutex::new(Vec::with_capacity(assignment.client_count() as usize)),
    };
    thread::scope(|scope| {
        for _ in 0..assignment.client_count().min(CONNECTING_FIRST) {
            attempt.add_thread(scope);
        }
    });
    attempt.conclude()
}

/// The work that the connecting threads share.
struct Attempt<'a> {
    assignment: &'a Assignment,
    /// Their indices.
    clients: Vec<u32>,
    /// Those of each share.
    packets: &'a [Packets],
    /// Those of the target of each share.
    addresses: &'a [Vec<SocketAddr>],
    outlook: &'a SharedOutlook,
    stop_signal: &'a StopSignal,
    deadline_ns: u64,
    /// The position of the next client to connect.
    next: AtomicUsize,
    /// How many connecting threads were started.
    threads: AtomicU32,
    gave_up: AtomicBool,
    /// One for each target.
    limits: BTreeMap<SocketAddr, ConnectLimit>,
    outcomes: Mutex<Vec<(u32, Result<Client, NotMade>)>>,
    /// The span of the step, which gets the events of slow clients.
    span: Span,
}

/// A client that could not be connected.
#[derive(Debug)]
struct NotMade {
    attempts: u32,
    failure: Failure,
}

/// A client that connects, and where.
struct At<'a> {
    client: u32,
    packets: &'a Packets,
    addresses: &'a [SocketAddr],
    limit: &'a ConnectLimit,
}

/// The limit of each target, by the first of its addresses.
fn limits(addresses: &[Vec<SocketAddr>]) -> BTreeMap<SocketAddr, ConnectLimit> {
    let firsts = addresses.iter().filter_map(|of_share| of_share.first());
    firsts
        .map(|first| (*first, ConnectLimit::of(*first)))
        .collect()
}

impl Attempt<'_> {
    /// Starts one more connecting thread, unless there are enough. Fewer only take longer; none at
    /// all shows as clients without an outcome.
    fn add_thread<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let has_room = |threads| (threads < CONNECTING_MAX).then_some(threads + 1);
        let Ok(number) = self.threads.fetch_update(Relaxed, Relaxed, has_room) else {
            return;
        };
        let builder = thread::Builder::new()
            .name(format!("connect-{number}"))
            .stack_size(STACK_BYTES);
        let _ = builder.spawn_scoped(scope, move || self.work(scope));
    }

    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        loop {
            let next = self.clients.get(self.next.fetch_add(1, Relaxed));
            let Some(client) = next.copied().filter(|_| !self.gave_up.load(Relaxed)) else {
                return;
            };
            let begun_ns = clock::now_ns();
            let Some(outcome) = self.connect(client) else {
                return;
            };
            if outcome.is_err() {
                self.gave_up.store(true, Relaxed);
            } else if clock::now_ns().saturating_sub(begun_ns) > FAR_NS {
                self.add_thread(scope);
            }
            self.outcomes
                .lock()
                .expect("no thread panics while it holds this lock")
                .push((client, outcome));
        }
    }

    /// Connects one client, in as many tries as have a chance. `None` where another client has
    /// ended the attempt before this one could try.
    fn connect(&self, client: u32) -> Option<Result<Client, NotMade>> {
        let share = self.assignment.share_of(client);
        let addresses = &self.addresses[share];
        let place = At {
            client,
            packets: &self.packets[share],
            addresses,
            limit: &self.limits[&addresses[0]],
        };
        let pass = place.limit.enter(|| self.goes_on())?;
        let begun_ns = clock::now_ns();
        let outcome = self.try_until_connected(&place, pass);
        self.trace_if_notable(client, begun_ns, &outcome);
        Some(outcome)
    }

    fn goes_on(&self) -> bool {
        let now_ns = clock::now_ns();
        let is_in_time = now_ns < self.deadline_ns && self.stop_signal.allows_load(now_ns);
        is_in_time && !self.gave_up.load(Relaxed)
    }

    /// Adds an event to the span of the step, for a client that was not connected at once.
    fn trace_if_notable(&self, client: u32, begun_ns: u64, outcome: &Result<Client, NotMade>) {
        let now_ns = clock::now_ns();
        let (name, tries) = match outcome {
            Err(not_made) => ("client failed", not_made.attempts),
            Ok(connected) if connected.attempts() > 1 => ("client retried", connected.attempts()),
            Ok(_) if now_ns - begun_ns >= SLOW_NS => ("client slow", 1),
            Ok(_) => return,
        };
        let mut attributes = vec![
            KeyValue::new("client", i64::from(client)),
            KeyValue::new("tries", i64::from(tries)),
            KeyValue::new("took_ms", (now_ns - begun_ns) as f64 / 1e6),
        ];
        if let Err(NotMade { failure, .. }) = outcome {
            attributes.push(KeyValue::new("error", failure.sentence.clone()));
            attributes.push(KeyValue::new("code", failure.code().name()));
        }
        retroactive_span::add_event(
            &self.span,
            &retroactive_span::Anchor::at(now_ns),
            name,
            now_ns,
            attributes,
        );
    }

    fn try_until_connected(&self, at: &At<'_>, mut pass: Pass) -> Result<Client, NotMade> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.once(at, tries, pass) {
                Ok(client) => {
                    self.outlook.lock().connected();
                    at.limit.worked();
                    return Ok(client);
                }
                Err(error) => error,
            };
            self.outlook.lock().failed((&error).into());
            at.limit.failed(pass);
            let is_final = !error.is_temporary() || tries == TRIES_MAX;
            let next = if is_final || self.gave_up.load(Relaxed) {
                None
            } else {
                self.before_next(at.limit, tries, pass)
            };
            let Some(next) = next else {
                // Before the others may try: the first that gives up ends the attempt.
                self.gave_up.store(true, Relaxed);
                at.limit.left(pass);
                return Err(NotMade {
                    attempts: tries,
                    failure: failure_of(&error, at.client, tries),
                });
            };
            pass = next;
        }
    }

    /// Waits until a client may try again. `None` when there is no time for that, or no chance.
    fn before_next(&self, limit: &ConnectLimit, tries: u32, pass: Pass) -> Option<Pass> {
        let wait = backoff::wait_after(tries, fastrand::f64());
        let (now_ns, wait_ns) = (clock::now_ns(), wait.as_nanos() as u64);
        let again_ns = self.outlook.lock().next_try_ns(now_ns, wait_ns)?;
        if again_ns >= self.deadline_ns || !self.stop_signal.sleep_until(again_ns) {
            return None;
        }
        match pass {
            Pass::Alone => Some(pass),
            Pass::Free => limit.enter(|| self.goes_on()),
        }
    }

    /// A stop or the deadline ends the wait, and the try too.
    fn wait_for_turn(&self, limit: &ConnectLimit) {
        while let Err(next_ns) = limit.take_turn() {
            let is_over = clock::now_ns() >= self.deadline_ns;
            if is_over || !self.stop_signal.sleep_until(next_ns.min(self.deadline_ns)) {
                return;
            }
        }
    }

    fn once(&self, at: &At<'_>, attempt: u32, pass: Pass) -> Result<Client, TryError> {
        if pass == Pass::Alone {
            self.wait_for_turn(at.limit);
        }
        let one = Try {
            protocol: self.assignment.protocol,
            packets: at.packets,
            addresses: at.addresses,
            outlook: self.outlook,
            stop_signal: self.stop_signal,
            until_ns: self.deadline_ns.min(clock::now_ns() + TRY_NS_MAX),
        };
        one.connect(at.client, attempt)
    }

    fn conclude(self) -> Result<Vec<Client>, NotConnected> {
        let mut outcomes = self
            .outcomes
            .into_inner()
            .expect("no thread panics while it holds this lock");
        outcomes.sort_unstable_by_key(|(client, _)| *client);
        let is_complete = outcomes.len() == self.assignment.client_count() as usize;
        if is_complete && outcomes.iter().all(|(_, outcome)| outcome.is_ok()) {
            return Ok(outcomes
                .into_iter()
                .filter_map(|(_, outcome)| outcome.ok())
                .collect());
        }
        let first = outcomes
            .iter()
            .find_map(|(client, outcome)| outcome.as_ref().err().map(|failed| (client, failed)));
        let failure = match (self.stop_signal.failure(clock::now_ns()), first) {
            (Some(stopped), _) => stopped,
            (None, Some((client, NotMade { failure, .. }))) => Failure {
                sentence: format!("client {client}: {}", failure.sentence),
                ..failure.clone()
            },
            (None, None) => Failure::new(
                FailureCode::AgentThreadsFull,
                format!(
                    "this host gave the agent no thread to connect its clients with; raise {}",
                    threads::limits()
                ),
            ),
        };
        Err(NotConnected {
            failure,
            records: records(self.assignment, &outcomes),
        })
    }
}

fn records(
    assignment: &Assignment,
    outcomes: &[(u32, Result<Client, NotMade>)],
) -> Vec<v1::ClientRecord> {
    // Counters and figures of a client that never connected are unset.
    let failed = |client, attempts, failure| v1::ClientRecord {
        client,
        attempts,
        failure: Some(failure),
        ..v1::ClientRecord::default()
    };
    let of = |client| match outcomes.binary_search_by_key(&client, |(client, _)| *client) {
        Ok(found) => match &outcomes[found].1 {
            Ok(connected) => connected.record(),
            Err(NotMade { attempts, failure }) => failed(client, *attempts, failure.clone()),
        },
        Err(_) => failed(client, 0, not_tried(client)),
    };
    assignment.clients().map(of).collect()
}

fn not_tried(client: u32) -> Failure {
    let sentence = "not tried, since another client could not connect";
    Failure::new(FailureCode::NotTried, sentence).with("client", client)
}

/// The failure of a client after its last try.
fn failure_of(error: &TryError, client: u32, tries: u32) -> Failure {
    let failure = Failure::new(error.code(), format!("{error} after {}", plural(tries)))
        .with("address", error.address().to_string())
        .with("client", client)
        .with("tries", tries);
    match (error.code(), getrlimit(Resource::Nofile).current) {
        (FailureCode::AgentFilesFull, Some(files_max)) => failure.with("files_max", files_max),
        _ => failure,
    }
}

fn plural(tries: u32) -> String {
    if tries == 1 {
        "1 try".into()
    } else {
        format!("{tries} tries")
    }
}

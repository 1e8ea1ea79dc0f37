//! A worker has ended: what it had taken but not committed is replayed, and its connections go on.
//!
//! Clients notice nothing but the wait. The same path serves a worker that has died, one that was
//! killed because it hung and one that was asked to quit: how far it came follows from the kernel's
//! count and the ledger, and needs no message from it.

use std::sync::atomic::Ordering;

use metronome_os::clock::now_ns;
use tracing::{info, warn};

use super::{
    parts::{MasterParts, Phase},
    replay::{Source, Unrecoverable, read_to_the_end, replay},
    worker_pool::EndedProcess,
};
use crate::{
    ipc::{FromWorker, ToWorker},
    ledger::{ConnectionCounters, ReleaseStore, Stage},
    model::{ClientEnd, Unread, WORKER_DIED, away_at_death_ns},
};

/// Takes over from a worker that has ended: every connection is replayed and placed with another.
pub(super) fn recover_worker(parts: &mut MasterParts, worker: usize, ended: EndedProcess) {
    // Its last messages first: what it has released is closed and needs no replay.
    while let Some(message) = ended.receive() {
        if let FromWorker::Released { slot, generation } = message {
            parts.released(worker, slot, generation);
        }
    }
    let EndedProcess {
        how,
        started_ns,
        is_death,
        ..
    } = ended;
    let found_ns = now_ns();
    // The beat of one that died before its first is that of the process before it.
    let last_sign_ns = parts
        .ledger
        .worker(worker)
        .heartbeat_ns
        .load(Ordering::Acquire)
        .max(started_ns);
    // Before the spare takes the place: it has the same number, and gets at once what found no
    // worker, which is not this one's to replay.
    let slots = parts.connections.slots_of(Some(worker));
    // So they go to one that reads at once and has nothing else.
    parts.replace_if_due(worker, found_ns);
    parts.connections.watch_unread(found_ns);
    let (connections, recovered_before) = (slots.len(), parts.recovered.packets);
    for slot in slots {
        // A pause that an earlier death began, and that this worker ended before its own end.
        parts.note_pause(slot);
        recover_connection(parts, slot, worker, last_sign_ns);
    }
    let packets = parts.recovered.packets - recovered_before;
    if matches!(parts.phase, Phase::Leaving | Phase::Stopping) {
        return info!("{how}; {packets} packets were recovered");
    }
    let gone_on_ns = now_ns();
    if is_death && connections > 0 {
        let silent_ns = gone_on_ns.saturating_sub(last_sign_ns);
        let line = parts.ledger.worker(worker);
        // The next process may add to it already.
        line.away_ns
            .fetch_add(away_at_death_ns(silent_ns), Ordering::AcqRel);
    }
    let pause_us = gone_on_ns.saturating_sub(found_ns) / 1_000;
    let text = format!(
        "{how}; its {connections} connections went on elsewhere after {pause_us} us, {packets} \
         packets were recovered"
    );
    warn!("{text}");
    let what = if is_death {
        WORKER_DIED
    } else {
        "worker handed over"
    };
    parts.counters.note_incident(found_ns, what, &text);
}

/// Takes back a connection that its worker has let go of, and places it with another: as behind one
/// that has ended, whatever it may have left. Anything may be in a message of a broken worker.
pub(super) fn take_back(parts: &mut MasterParts, worker: usize, slot: u32, generation: u32) {
    if parts.is_its_own(worker, slot, generation) {
        let now_ns = now_ns();
        parts.connections.watch_unread(now_ns);
        parts.note_pause(slot);
        recover_connection(parts, slot, worker, now_ns);
    }
}

/// The order of the steps is what counts each packet once, whatever dies when:
///
/// 1. what the worker committed is attributed to it, before anything is added to the counters;
/// 2. the replay counts on a copy, so that one that fails leaves the committed figures;
/// 3. the result is committed before it is attributed: if this process were replaced here, the
///    ledger and the kernel would agree, and the next one would find nothing left to replay;
/// 4. what is above the first figure is attributed to the recovery;
/// 5. only then is the connection placed, because its next worker counts on in the same counters.
fn recover_connection(parts: &mut MasterParts, slot: u32, worker: usize, last_sign_ns: u64) {
    let Some(committed) = parts.connection_counters(slot) else {
        return;
    };
    parts.credit(slot, &committed, Some(worker));
    let Some(connection) = parts.connections.get(slot) else {
        return;
    };
    let is_cut = connection.is_cut;
    let mut connection_counters = committed;
    let source = source(parts, slot);
    if let Err(error) = replay(source, connection, &mut connection_counters) {
        give_up(parts, slot, worker, &committed, &error);
        connection_counters = ConnectionCounters {
            end: ClientEnd::Unrecoverable,
            stage: Stage::Closed,
            ..committed
        };
    }
    parts.ledger.slots()[slot as usize].commit(&connection_counters, &ReleaseStore);
    let is_over = is_cut || parts.is_of_past_run(&connection_counters);
    // Where a handler has to see what is left, the connection's next worker ends it instead.
    if connection_counters.stage != Stage::Closed && is_over && !parts.workers.has_handler() {
        // The worker that was to end it is gone, or the next one has already been sent the run's
        // end and will not be sent it again.
        end_unread(parts, slot, &mut connection_counters);
    }
    parts.credit(slot, &connection_counters, None);
    if connection_counters.stage == Stage::Closed {
        return parts.finish(slot);
    }
    // What had been read and not committed ends the pause that a death before this one began …
    parts.note_pause(slot);
    // … and a new one begins with the worker's last sign of life, or with the connection.
    let opened_ns = parts.ledger.slots()[slot as usize]
        .header
        .opened_ns
        .load(Ordering::Acquire);
    parts.connections.set_unread(
        slot,
        Unread {
            since_ns: last_sign_ns.max(opened_ns),
            last_batch_ns: connection_counters.last_batch_ns,
        },
    );
    if is_over {
        parts.connections.cut(slot);
    }
    parts.place(slot);
}

/// Reports a connection that cannot go on. One of probes is no client: its agent opens another one.
fn give_up(
    parts: &mut MasterParts,
    slot: u32,
    worker: usize,
    committed: &ConnectionCounters,
    error: &Unrecoverable,
) {
    warn!(slot, "a connection is lost with its worker: {error}");
    if committed.is_probes {
        return;
    }
    let client = committed.client;
    let text = format!("client {client} was lost with worker {worker}: {error}");
    parts
        .counters
        .note_incident(now_ns(), "client lost with its worker", &text);
    let lost = &mut parts.recovered.connections_lost;
    *lost = lost.saturating_add(1);
}

/// Ends a connection: its worker counts what is there and releases it, or the master does when no
/// worker reads it.
pub(super) fn cut(parts: &mut MasterParts, slot: u32) {
    let Some(connection) = parts.connections.cut(slot) else {
        return;
    };
    let generation = connection.generation;
    if let Some(worker) = connection.worker {
        return parts
            .workers
            .send(worker, ToWorker::Cut { slot, generation });
    }
    // Only workers call a handler: the one that gets the connection next is sent the cut with it.
    if parts.workers.has_handler() {
        return;
    }
    let Some(mut connection_counters) = parts.connection_counters(slot) else {
        return;
    };
    end_unread(parts, slot, &mut connection_counters);
    parts.credit(slot, &connection_counters, None);
    parts.finish(slot);
}

/// Closes a connection that no worker reads, and counts what still lies in its socket.
fn end_unread(parts: &MasterParts, slot: u32, connection_counters: &mut ConnectionCounters) {
    if let Some(connection) = parts.connections.get(slot) {
        read_to_the_end(source(parts, slot), connection, connection_counters);
    }
}

fn source(parts: &MasterParts, slot: u32) -> Source<'_> {
    Source {
        ledger: &parts.ledger,
        admission_keys: &parts.admission_keys,
        slot,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        rc::Rc,
        sync::mpsc,
        time::Duration,
    };

    use metronome_os::{process::Executable, socket::receive_into};
    use metronome_proto::{handshake::Key, run_id::RunId, v1::ReceiverCounts};
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::{
        RxBatching,
        ipc::{AdmissionKey, AdmissionKeys},
        ledger::{Dimensions, Ledger},
        master::{
            acceptor::Acceptor,
            admission::Admission,
            client_places::STATIC_RUN,
            connection_table::ConnectionTable,
            events::Poller,
            parts::Recovered,
            run_table::RunTable,
            runs,
            worker_pool::{PoolSettings, WorkerPool},
        },
        model::{ClockRelation, RunCounters},
    };

    /// A master of two workers without a process, and a raw client that it has accepted.
    fn parts_and_client() -> (MasterParts, TcpStream) {
        parts_with(false)
    }

    fn parts_with(has_handler: bool) -> (MasterParts, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // On a busy host the client has the connection before the listener has.
        poll(&mut [PollFd::new(&listener, PollFlags::IN)], None).unwrap();
        let poller = Rc::new(Poller::new().unwrap());
        let settings = PoolSettings {
            workers: 2,
            accept_raw: true,
            high_priority: false,
            pin_workers: false,
            rx_batching: RxBatching::Auto,
            has_handler,
        };
        let executable = Executable::current().unwrap();
        let mut parts = MasterParts {
            phase: Phase::Serving,
            max_clients: 10,
            ledger: Ledger::create(Dimensions { slots: 4 }).unwrap(),
            admission_keys: AdmissionKeys::new(true),
            acceptor: Acceptor::new(listener, Rc::clone(&poller)).unwrap(),
            connections: ConnectionTable::new(4),
            workers: WorkerPool::new(settings, executable, poller),
            counters: RunCounters::default(),
            runs: RunTable::default(),
            recovered: Recovered::default(),
            looks: std::collections::BTreeMap::new(),
        };
        parts.acceptor.open();
        parts.set_raw_places();
        parts.accept_waiting();
        assert_eq!(parts.connections.all().count(), 1);
        (parts, client)
    }

    /// The client sends, and the worker that reads it takes it without committing it.
    fn send_and_take(parts: &MasterParts, client: &mut TcpStream, bytes: usize) {
        client.write_all(&vec![b'X'; bytes]).unwrap();
        let socket = parts.connections.socket(0).unwrap();
        let buffer = &parts.ledger.slots()[0].buffer.0;
        let mut taken = 0;
        while taken < bytes {
            taken += receive_into(socket, buffer, taken).unwrap_or(0);
        }
    }

    #[test]
    fn packets_are_attributed_once_and_the_connection_waits_for_the_next_worker() {
        let (mut parts, mut client) = parts_and_client();
        for deaths in 1..4 {
            parts.connections.assign(0, Some(0));
            send_and_take(&parts, &mut client, 64);
            recover_connection(&mut parts, 0, 0, 1);
            assert_eq!(parts.recovered.packets, 2 * deaths);
            let connection = parts.connections.get(0).unwrap();
            assert_eq!(
                (connection.worker, connection.credited.packets),
                (None, 2 * deaths)
            );
            assert!(connection.unread.is_some());
            assert_eq!(parts.connections.connections_of(0), 0);
        }
        let before = parts.connection_counters(0).unwrap();
        recover_connection(&mut parts, 0, 0, 1);
        assert_eq!(
            parts.connection_counters(0).unwrap().counts.received,
            before.counts.received
        );
        assert_eq!(parts.recovered.packets, 6, "there was nothing left");
    }

    #[test]
    fn a_connection_of_a_run_that_is_over_ends_with_its_worker() {
        let (mut parts, mut client) = parts_and_client();
        parts.connections.assign(0, Some(0));
        send_and_take(&parts, &mut client, 64);
        cut(&mut parts, 0);
        recover_connection(&mut parts, 0, 0, 1);
        assert_eq!(parts.connections.all().count(), 0);
        let status = parts.counters.read_server(std::iter::empty());
        assert_eq!((status.raw.connections, status.raw.packets), (1, 2));
    }

    #[test]
    fn where_a_handler_has_to_see_what_is_left_no_connection_ends_without_a_worker() {
        for is_cut_first in [true, false] {
            let (mut parts, mut client) = parts_with(true);
            parts.connections.assign(0, Some(0));
            send_and_take(&parts, &mut client, 64);
            client.write_all(&[b'X'; 32]).unwrap();
            if is_cut_first {
                cut(&mut parts, 0);
            }
            recover_connection(&mut parts, 0, 0, 1);
            cut(&mut parts, 0);
            let counters = parts.connection_counters(0).unwrap();
            assert_eq!((counters.stage, counters.counts.received), (Stage::Raw, 2));
            let connection = parts.connections.get(0).unwrap();
            assert_eq!((connection.worker, connection.is_cut), (None, true));
        }
    }

    /// The counters of a client of a run, as a worker commits them with its hello.
    fn commit_hello(parts: &MasterParts, run: RunId) {
        let connection_counters = ConnectionCounters {
            stage: Stage::Packets,
            attempt: 1,
            run: run.bits(),
            ..ConnectionCounters::default()
        };
        parts.ledger.slots()[0].commit(&connection_counters, &ReleaseStore);
    }

    #[test]
    fn a_connection_whose_hello_is_verified_behind_the_end_of_its_run_does_not_outlive_it() {
        let run = RunId::from_bits(7);
        // Whether it goes on: of a run that is open, that is to end, that has ended; a static one.
        for (run, is_open, is_closed, goes_on) in [
            (run, true, false, true),
            (run, true, true, false),
            (run, false, false, false),
            (STATIC_RUN, false, false, true),
        ] {
            let (mut parts, _client) = parts_and_client();
            parts.connections.assign(0, Some(0));
            if is_open {
                let admission = Admission {
                    run,
                    clients: 1,
                    duration: Duration::from_secs(1),
                    warm_up: Duration::ZERO,
                    seed: 1,
                    groups: vec!["default".into()],
                    agents: Vec::new(),
                };
                runs::admit(&mut parts, &admission).unwrap();
            }
            let (reply, closed) = mpsc::channel();
            if is_closed {
                let reply =
                    Box::new(move |record: Option<_>| reply.send(record.is_some()).unwrap());
                runs::close(&mut parts, run, reply);
                assert!(!parts.connections.get(0).unwrap().is_cut, "it has no hello");
            }
            commit_hello(&parts, run);
            let generation = parts.connections.get(0).unwrap().generation;
            take_back(&mut parts, 0, 0, generation);
            assert_eq!(parts.connections.all().count() == 1, goes_on, "{run}");
            runs::finish_closed(&mut parts);
            assert!(!parts.runs.has_closing());
            assert_eq!(closed.try_recv().ok(), is_closed.then_some(true));
        }
    }

    #[test]
    fn a_worker_that_starts_while_a_run_ends_lets_none_of_its_clients_in() {
        let (mut parts, _client) = parts_and_client();
        let [open, closing] = [1, 2].map(RunId::from_bits);
        for run in [open, closing] {
            parts.admit_agent(AdmissionKey {
                row: 1,
                run,
                agent: 0,
                key: Key::from_bytes([1; 32]),
                clients: 0..1,
                clock: ClockRelation::Same,
                load: None,
                group: 0,
                is_static: false,
            });
        }
        parts.runs.close(closing, Box::new(|_| {}));
        let admitted: Vec<_> = parts
            .first_messages()
            .into_iter()
            .filter_map(|message| match message {
                ToWorker::Admit(agent) => Some(agent.run),
                _ => None,
            })
            .collect();
        assert_eq!(admitted, [open]);
    }

    #[test]
    fn one_whose_figures_are_impossible_is_lost_and_costs_what_was_not_committed() {
        let (mut parts, mut client) = parts_and_client();
        parts.connections.assign(0, Some(0));
        send_and_take(&parts, &mut client, 64);
        let connection_counters = ConnectionCounters {
            is_raw: true,
            stage: Stage::Raw,
            counts: ReceiverCounts {
                received: 9,
                ..ReceiverCounts::default()
            },
            ..ConnectionCounters::default()
        };
        parts.ledger.slots()[0].commit(&connection_counters, &ReleaseStore);
        recover_connection(&mut parts, 0, 0, 1);
        assert_eq!(parts.recovered.connections_lost, 1);
        assert_eq!(parts.recovered.packets, 0);
        assert_eq!(parts.connections.all().count(), 0);
    }

    #[test]
    fn a_connection_that_is_handed_back_is_attributed_once_and_goes_on() {
        let (mut parts, mut client) = parts_and_client();
        parts.connections.assign(0, Some(0));
        send_and_take(&parts, &mut client, 64);
        let generation = parts.connections.get(0).unwrap().generation;
        for (worker, slot, generation) in [(1, 0, generation), (0, 0, generation + 1), (0, 9, 0)] {
            take_back(&mut parts, worker, slot, generation);
            assert_eq!(parts.connections.get(0).unwrap().worker, Some(0));
        }
        for _ in 0..2 {
            take_back(&mut parts, 0, 0, generation);
            assert_eq!(parts.connections.get(0).unwrap().worker, None);
            assert!(parts.connections.watches_unread(now_ns()), "for its pause");
            assert_eq!(parts.recovered.packets, 2);
        }
    }

    #[test]
    fn a_worker_lets_go_of_its_own_connections_only() {
        let (mut parts, _client) = parts_and_client();
        parts.connections.assign(0, Some(1));
        let generation = parts.connections.get(0).unwrap().generation;
        parts.released(0, 0, generation);
        parts.released(1, 0, generation + 1);
        parts.released(1, 3, generation);
        parts.released(1, u32::MAX, generation);
        assert_eq!(parts.connections.all().count(), 1);
        parts.released(1, 0, generation);
        assert_eq!(parts.connections.all().count(), 0);
    }
}

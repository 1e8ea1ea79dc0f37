//! Answers to the control plane: admits runs, closes them, tells how things stand.

use std::{net::SocketAddr, sync::atomic::Ordering};

use metronome_os::{clock::now_ns, process::is_real_time};
use metronome_proto::run_id::RunId;
use tracing::info;

use super::{
    Master,
    request::{Admission, AdmitError, Reply, Request},
};
use crate::{
    ipc::{AdmissionKey, ToWorker, slot_token},
    ledger::{ConnectionCounters, RUNS_MAX, Slot},
    model::{FinalCounters, RecoveryCounters, ServerStatus, WorkerCounters, WorkerStatus},
};

/// Row of the static run's seats; the rows of other runs follow.
pub(super) const STATIC_ROW: usize = 0;

impl Master {
    /// Answers what was asked since the last time.
    pub(super) fn answer_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Admit { run, reply } => reply(self.admit(run)),
                Request::ReadRun {
                    run,
                    histograms,
                    reply,
                } => {
                    let live = live(&self.seats, &self.ledger)
                        .map(|(connection_counters, record, _, _)| (connection_counters, record));
                    reply(self.books.read_run(run, histograms, live));
                }
                Request::CloseRun { run, reply } => self.close_run(run, reply),
                Request::RestartWorkers { reply } => self.restart_workers(reply, now_ns()),
                Request::WhenRested { reply } => self.answer_when_rested(reply),
                Request::ReadServer { reply } => reply(self.read_server()),
                Request::ReadTotals { reply } => {
                    let live = live(&self.seats, &self.ledger)
                        .map(|(connection_counters, record, _, _)| (connection_counters, record));
                    reply(self.books.read_totals(live));
                }
                Request::WhenReady { reply } => {
                    self.when_ready.push(reply);
                    self.answer_when_ready();
                }
                Request::HandOver {
                    conduit,
                    deadline_ns,
                    reply,
                } => self.hand_over(conduit, deadline_ns, reply),
                Request::TakeBack { reply } => {
                    self.take_back();
                    reply(());
                }
                Request::Inherit {
                    bytes,
                    sockets,
                    reply,
                } => reply(self.inherit(&bytes, sockets)),
                Request::Begin => self.begin(),
                Request::Shutdown => self.stop(),
            }
        }
    }

    fn admit(&mut self, admission: Admission) -> Result<(), AdmitError> {
        let taken = self.books.reserved_clients() + self.raw_clients();
        let free = self.max_clients.saturating_sub(taken);
        if admission.clients > free {
            return Err(AdmitError::Full {
                asked: admission.clients,
                free,
                max: self.max_clients,
            });
        }
        let is_free = |row: &usize| self.books.runs.values().all(|book| book.row != *row);
        // The one that was left longest ago: a worker that is behind may still seat a client of its
        // last run there. For the same reason it is cleared now and not when that run was closed.
        let row = (STATIC_ROW + 1..RUNS_MAX)
            .filter(is_free)
            .min_by_key(|row| self.row_closed_ns[*row]);
        let row = row.ok_or(AdmitError::TooManyRuns {
            max: RUNS_MAX as u32 - 1,
        })?;
        let _ = self.ledger.clear_client_table(row);
        info!(run_id = %admission.run, clients = admission.clients, "admitted");
        for (index, (share, key)) in admission.agents.iter().enumerate() {
            self.admit_agent(AdmissionKey {
                row: row as u32,
                run: admission.run,
                agent: index as u16,
                key: *key,
                share: *share,
                is_static: false,
            });
        }
        self.books.open(&admission, row, self.worker_counts());
        self.set_raw_client_limit();
        Ok(())
    }

    /// Tells every worker, those to come included, to verify an agent's hellos.
    pub(super) fn admit_agent(&mut self, agent: AdmissionKey) {
        self.admission_keys.admit(agent);
        self.say_to_all(ToWorker::Admit(agent));
    }

    /// Answers those who wait for the workers, if all serve.
    pub(super) fn answer_when_ready(&mut self) {
        if self.workers.iter().all(super::workers::Worker::is_ready) {
            self.when_ready.drain(..).for_each(|reply| reply(()));
        }
    }

    pub(super) fn say_to_all(&mut self, message: ToWorker) {
        for worker in 0..self.workers.len() {
            self.say(worker, message, None);
        }
    }

    fn close_run(&mut self, run: RunId, reply: Reply<Option<FinalCounters>>) {
        let Some(book) = self.books.runs.get_mut(&run) else {
            return reply(None);
        };
        book.closing = Some(reply);
        for slot in self.slots_of(run) {
            self.cut(slot);
        }
        // After the cuts, so that an end that still comes can be verified. Our own admission keys
        // stay until the last connection is booked: one may have to be worked off here.
        self.say_to_all(ToWorker::Dismiss { run });
        self.has_finished = true;
    }

    /// Answers for the runs that are to end and have no connection any more.
    pub(super) fn answer_closed_runs(&mut self) {
        let closing: Vec<RunId> = self
            .books
            .runs
            .iter()
            .filter(|(_, book)| book.closing.is_some())
            .map(|(run, _)| *run)
            .collect();
        for run in closing {
            if !self.slots_of(run).is_empty() {
                continue;
            }
            let Some(mut book) = self.books.runs.remove(&run) else {
                continue;
            };
            self.admission_keys.dismiss(run);
            // Again, for a worker that was started in the meantime.
            self.say_to_all(ToWorker::Dismiss { run });
            self.row_closed_ns[book.row] = now_ns();
            let reply = book.closing.take();
            let record = book.into_record(&self.worker_counts());
            info!(run_id = %run, clients = record.clients.len(), "closed");
            if let Some(reply) = reply {
                reply(Some(record));
            }
        }
        self.set_raw_client_limit();
    }

    fn slots_of(&self, run: RunId) -> Vec<u32> {
        let of_run = |(slot, connection_counters): (u32, ConnectionCounters)| {
            (connection_counters.is_client() && connection_counters.run == run.bits())
                .then_some(slot)
        };
        live(&self.seats, &self.ledger)
            .map(|(connection_counters, _, slot, _)| (slot, connection_counters))
            .filter_map(of_run)
            .collect()
    }

    /// Raw clients get the places that no run has reserved.
    pub(super) fn set_raw_client_limit(&self) {
        let places = self
            .max_clients
            .saturating_sub(self.books.reserved_clients());
        self.ledger
            .raw_client_limit()
            .store(u64::from(places), Ordering::Release);
    }

    fn raw_clients(&self) -> u32 {
        let seats = self.ledger.client_table(RUNS_MAX).unwrap_or(&[]);
        seats
            .iter()
            .take(self.max_clients as usize)
            .filter(|seat| seat.load(Ordering::Acquire) != 0)
            .count() as u32
    }

    /// Frees the seat of a raw client or of a client of the static run, so that another may have
    /// it. A run's seats stay taken: no hello of it is good twice.
    pub(super) fn leave_seat(
        &self,
        slot: u32,
        generation: u32,
        connection_counters: &ConnectionCounters,
    ) {
        if !connection_counters.is_client() && !connection_counters.is_raw {
            return;
        }
        let (row, attempt) = if connection_counters.is_client() {
            (STATIC_ROW, connection_counters.attempt)
        } else {
            (RUNS_MAX, 1)
        };
        let mine = slot_token(slot, generation, attempt);
        let seats = self.ledger.client_table(row).unwrap_or(&[]);
        for seat in seats.iter().take(self.max_clients as usize) {
            let _ = seat.compare_exchange(mine, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn worker_counts(&self) -> Vec<WorkerCounters> {
        self.workers
            .iter()
            .map(|worker| WorkerCounters {
                worker: worker.index as u32,
                pid: worker
                    .process
                    .as_ref()
                    .map_or(0, |process| process.pid.as_raw_nonzero().get() as u32),
                packets: worker.packets,
                cpu_ns: worker.cpu_ns(),
                reads: worker.line(&self.ledger).reads.load(Ordering::Acquire),
                wakeups: worker.line(&self.ledger).wakeups.load(Ordering::Acquire),
                pauses: worker.line(&self.ledger).pauses.load(Ordering::Acquire),
                paused_ns: worker.line(&self.ledger).paused_ns.load(Ordering::Acquire),
                restarts: worker.restarts,
            })
            .collect()
    }

    fn read_server(&self) -> ServerStatus {
        let mut workers: Vec<WorkerStatus> = self
            .worker_counts()
            .into_iter()
            .zip(&self.workers)
            .map(|(count, worker)| WorkerStatus {
                count,
                connections: worker.connections,
                is_real_time: worker
                    .process
                    .as_ref()
                    .is_some_and(|process| is_real_time(process.pid)),
            })
            .collect();
        for (connection_counters, _, slot, _) in live(&self.seats, &self.ledger) {
            let Some(seat) = self.seats.get(slot) else {
                continue;
            };
            if let Some(worker) = seat.worker.and_then(|worker| workers.get_mut(worker)) {
                worker.count.packets += connection_counters
                    .packets
                    .saturating_sub(seat.credited_packets);
            }
        }
        let connections =
            live(&self.seats, &self.ledger).map(|(connection_counters, _, slot, peer)| {
                let worker = self.seats.get(slot).and_then(|seat| seat.worker);
                (
                    connection_counters,
                    peer,
                    worker.map_or(u32::MAX, |worker| worker as u32),
                )
            });
        ServerStatus {
            workers,
            recoveries: self.recoveries(),
            ..self.books.read_server(connections)
        }
    }

    fn recoveries(&self) -> RecoveryCounters {
        let now_ns = now_ns();
        let loops = self
            .workers
            .iter()
            .filter(|worker| worker.is_in_crash_loop(now_ns));
        RecoveryCounters {
            deaths: self.workers.iter().map(|worker| worker.deaths).sum(),
            packets: self.recovered_packets,
            connections_lost: self.connections_lost,
            pauses: self.pauses.clone(),
            crash_loops: loops.map(|worker| worker.index as u32).collect(),
        }
    }
}

/// Every connection that has not been booked, as the ledger says now.
fn live<'a>(
    seats: &'a super::seats::Seats,
    ledger: &'a crate::ledger::Ledger,
) -> impl Iterator<Item = (ConnectionCounters, &'a Slot, u32, SocketAddr)> {
    seats.all().filter_map(|(slot, seat)| {
        let record = ledger.slots().get(slot as usize)?;
        Some((record.counters()?, record, slot, seat.peer))
    })
}

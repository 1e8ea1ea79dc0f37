//! The loop of the master's thread: wait, dispatch, tick. What is decided is decided in the parts.

use std::{
    io,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{Arc, mpsc},
};

use anyhow::Context as _;
use metronome_os::{
    clock::now_ns,
    process::{Executable, raise_open_files_limit},
    realtime::{self, CpuBudget, Realtime},
    threads,
    wake::Waker,
};
use metronome_proto::handshake::Key;
use rustix::event::epoll::{Event, EventFlags};
use tracing::{error, warn};

use super::{
    acceptor::Acceptor,
    client_places::{STATIC_ROW, STATIC_RUN},
    connection_table::ConnectionTable,
    events::{EVENTS_MAX, Poller, Token},
    hand_over::{self, HandOver},
    limits,
    parts::{MasterParts, Phase, Recovered},
    recovery,
    request::Request,
    restore,
    run_table::RunTable,
    runs,
    server_status::read_server,
    settings::Settings,
    worker_pool::WorkerPool,
};
use crate::{
    ipc::{AdmissionKey, AdmissionKeys, FromWorker},
    ledger::MEMORIES,
    model::{ClockRelation, RunCounters},
};

/// How often the loop comes round when nothing happens.
const TICK_NS: u64 = 100_000_000;

/// How often it comes round while connections that a worker left behind are waiting to be read
/// again, so that their pause is known this exactly.
const UNREAD_TICK_NS: u64 = 1_000_000;

/// Most messages of one worker that are taken in one turn, as many as its channel holds or so. Each
/// end of a connection takes some 50 µs.
const MESSAGES_PER_TURN_MAX: usize = 256;

/// A round that comes this late was our own pause (a stopped virtual machine), not the workers'.
const LATE_NS: u64 = 500_000_000;

/// The master: its parts, and what wakes it.
pub(super) struct Master {
    parts: MasterParts,
    poller: Rc<Poller>,
    requests: mpsc::Receiver<Request>,
    waker: Arc<Waker>,
    hand_over: Option<HandOver>,
    last_tick_ns: u64,
}

impl Master {
    /// A master whose workers have been started.
    pub(super) fn new(
        settings: Settings,
        requests: mpsc::Receiver<Request>,
        waker: Arc<Waker>,
    ) -> anyhow::Result<Self> {
        let pool = settings.pool();
        let poller = Rc::new(Poller::new().context("no epoll for the master")?);
        poller.add(&*waker, Token::Requests, EventFlags::IN)?;
        let acceptor = Acceptor::new(settings.listener, Rc::clone(&poller))
            .context("the data port's listener")?;
        raise_open_files_limit();
        let phase = if settings.ledger.is_some() {
            Phase::Waiting
        } else {
            Phase::Serving
        };
        let create = || limits::make_ledger(settings.max_clients, settings.workers);
        let ledger = settings.ledger.map_or_else(create, Ok)?;
        let slots = ledger.slots().len() as u32;
        let executable = Executable::current()
            .context("this executable cannot be opened to start workers from")?;
        let parts = MasterParts {
            phase,
            max_clients: settings.max_clients,
            ledger,
            admission_keys: AdmissionKeys::new(settings.accept_raw),
            acceptor,
            connections: ConnectionTable::new(slots),
            workers: WorkerPool::new(pool, executable, Rc::clone(&poller)),
            counters: RunCounters::default(),
            runs: RunTable::default(),
            recovered: Recovered::default(),
            looks: std::collections::BTreeMap::new(),
        };
        let mut master = Self {
            parts,
            poller,
            requests,
            waker,
            hand_over: None,
            last_tick_ns: now_ns(),
        };
        master.start_parts(settings.static_key)?;
        Ok(master)
    }

    fn start_parts(&mut self, static_key: Option<Key>) -> anyhow::Result<()> {
        let parts = &mut self.parts;
        let is_serving = parts.phase == Phase::Serving;
        if is_serving {
            parts.acceptor.open();
            parts.set_raw_places();
        }
        for worker in 0..parts.workers.len() {
            let first = parts.first_messages();
            parts
                .workers
                .start(worker, &parts.ledger, first)
                .with_context(|| {
                    format!(
                        "a worker cannot be started; if processes are too many, raise {}",
                        threads::limits()
                    )
                })?;
        }
        // A new server process inherits the static run with all others.
        if let Some(key) = static_key.filter(|_| is_serving) {
            parts.admit_agent(AdmissionKey {
                row: STATIC_ROW as u32,
                run: STATIC_RUN,
                agent: 0,
                key,
                clients: 0..parts.max_clients,
                clock: ClockRelation::Same,
                load: None,
                group: 0,
                is_static: true,
            });
        }
        Ok(())
    }

    /// How many slots the ledger has, and its descriptors once more.
    pub(super) fn ledger_again(&self) -> anyhow::Result<(u32, [OwnedFd; MEMORIES])> {
        let ledger = &self.parts.ledger;
        let again = ledger
            .descriptors()
            .map(|memory| memory.try_clone_to_owned());
        let [workers, slots, clients, runs] = again;
        Ok((
            ledger.slots().len() as u32,
            [workers?, slots?, clients?, runs?],
        ))
    }

    /// Runs until it is asked to stop. The workers have ended when it returns.
    pub(super) fn run(mut self, high_priority: bool) {
        // From here on: what it has started so far would have inherited it.
        let mut realtime = if high_priority {
            // Behind others it would find out late that a worker is dead or hangs.
            Realtime::take(CpuBudget::supervisor(realtime::cores()))
        } else {
            Realtime::none()
        };
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while self.parts.phase != Phase::Stopping {
            events.clear();
            if let Err(error) = self.wait(&mut events) {
                error!("the master cannot wait for events: {error}");
                break;
            }
            for event in &events {
                self.dispatch(event);
            }
            // After the events, since they bring the ends of connections, many at a time.
            runs::finish_closed(&mut self.parts);
            let now_ns = now_ns();
            if self.parts.connections.watches_unread(now_ns) {
                self.parts.note_pauses();
            }
            let leaving = self.hand_over.take();
            self.hand_over = leaving.and_then(|leaving| leaving.go_on(&mut self.parts, now_ns));
            self.tick(now_ns);
            realtime.review(now_ns);
        }
        let connections = &self.parts.connections;
        self.parts.workers.stop(|slot| connections.socket(slot));
    }

    fn wait(&self, events: &mut Vec<Event>) -> io::Result<()> {
        let tick_ns = if self.parts.connections.watches_unread(now_ns()) {
            UNREAD_TICK_NS
        } else {
            TICK_NS
        };
        self.poller.wait(events, tick_ns)
    }

    fn dispatch(&mut self, event: &Event) {
        match Token::of(event) {
            Token::Listener => self.parts.accept_waiting(),
            Token::Requests => {
                self.waker.drain();
                while let Ok(request) = self.requests.try_recv() {
                    self.handle_request(request);
                }
            }
            Token::Starter => {
                let is_wanted = self.parts.has_spare();
                self.parts.workers.take_started(is_wanted, now_ns());
            }
            Token::SpareChannel => {
                let flags = event.flags;
                if self
                    .parts
                    .workers
                    .drain_spare(flags.contains(EventFlags::HUP))
                {
                    self.parts.replace_waiting(now_ns());
                }
            }
            Token::SpareProcess => self.parts.workers.reap_spare(now_ns()),
            Token::Channel(worker) => {
                let flags = event.flags;
                if flags.contains(EventFlags::OUT) {
                    let connections = &self.parts.connections;
                    self.parts
                        .workers
                        .flush(worker, |slot| connections.socket(slot));
                }
                self.drain_messages(worker);
                // What has not been taken is when the process is reaped.
                if flags.contains(EventFlags::HUP) {
                    self.parts.workers.hang_up(worker);
                }
            }
            Token::Process(worker) => self.reap(worker),
        }
    }

    /// Takes a worker's messages, a turn's share of them: a worker sends on while they are taken.
    fn drain_messages(&mut self, worker: usize) {
        for _ in 0..MESSAGES_PER_TURN_MAX {
            let Some(message) = self.parts.workers.receive(worker) else {
                return;
            };
            match message {
                FromWorker::Ready => {
                    if self.parts.workers.set_ready(worker, now_ns()) {
                        self.parts.spread();
                    }
                }
                // A spare has reported that, and is one of the workers since.
                FromWorker::Prepared => {}
                FromWorker::HandedBack { slot, generation } => {
                    recovery::take_back(&mut self.parts, worker, slot, generation);
                }
                FromWorker::Released { slot, generation } => {
                    self.parts.released(worker, slot, generation);
                }
            }
        }
    }

    /// Reaps a worker's process that has ended, and has another go on.
    fn reap(&mut self, worker: usize) {
        let parts = &mut self.parts;
        let Some(ended) = parts.workers.reap(worker, now_ns()) else {
            return;
        };
        recovery::recover_worker(parts, worker, ended);
        let now_ns = now_ns();
        if parts.workers.is_in_crash_loop(worker, now_ns) {
            let text = format!("worker {worker} dies again and again; the others go on");
            error!("{text}");
            parts
                .counters
                .note_incident(now_ns, "worker in a crash loop", &text);
        }
        // Where the spare has taken its place, a restart goes on, and it gets its share.
        parts.workers.roll(now_ns);
        parts.spread();
        parts.replace_waiting(now_ns);
    }

    fn handle_request(&mut self, request: Request) {
        let parts = &mut self.parts;
        match request {
            Request::Admit { run, reply } => reply(runs::admit(parts, &run)),
            Request::ReadRun {
                run,
                histograms,
                reply,
            } => reply(parts.read_run(run, histograms)),
            Request::CloseRun { run, reply } => runs::close(parts, run, reply),
            Request::RestartWorkers { reply } => parts.workers.restart_all(reply, now_ns()),
            Request::WhenNotRestarting { reply } => parts.workers.when_not_restarting(reply),
            Request::ReadServer { reply } => reply(read_server(parts)),
            Request::ReadTotals { reply } => {
                let live = parts
                    .live()
                    .map(|(connection_counters, record, ..)| (connection_counters, record));
                reply(parts.counters.read_totals(live));
            }
            Request::ReadGroupTimes { reply } => {
                let live = parts
                    .live()
                    .map(|(connection_counters, record, ..)| (connection_counters, record));
                reply(parts.counters.read_group_times(live));
            }
            Request::SetLine {
                run,
                agent,
                line,
                reply,
            } => {
                // Where the run is over there is nothing more to time.
                if let Some(open) = parts.counters.runs.get(&run) {
                    parts.ledger.set_agent_line(open.row, agent, line.as_ref());
                }
                reply(());
            }
            Request::WhenReady { reply } => parts.workers.when_ready(reply),
            Request::HandOver {
                socket,
                deadline_ns,
                reply,
            } => self.hand_over = Some(HandOver::new(socket, deadline_ns, reply)),
            Request::TakeBack { reply } => {
                self.hand_over = None;
                hand_over::take_back(parts);
                reply(());
            }
            Request::Restore {
                state,
                sockets,
                reply,
            } => reply(restore::restore(parts, *state, sockets)),
            Request::Begin => restore::begin(parts),
            Request::Shutdown => parts.phase = Phase::Stopping,
        }
    }

    /// What is due by time: heartbeats, starts, the end of a pause.
    fn tick(&mut self, now_ns: u64) {
        let since_last_ns = now_ns - self.last_tick_ns;
        if since_last_ns < TICK_NS {
            return;
        }
        self.last_tick_ns = now_ns;
        let parts = &mut self.parts;
        if since_last_ns > TICK_NS + LATE_NS {
            parts.workers.forgive_silence(now_ns);
        }
        parts.acceptor.end_pause(now_ns);
        for worker in 0..parts.workers.len() {
            // The heartbeats in the ledger of a server that waits are of the old server's workers.
            if parts.phase != Phase::Waiting
                && parts.workers.kill_if_hanging(worker, &parts.ledger, now_ns)
            {
                let text = format!("worker {worker} does not answer and is killed");
                warn!("{text}");
                parts.counters.note_incident(now_ns, "worker hangs", &text);
            }
        }
        parts.replace_waiting(now_ns);
        if parts.workers.take_end_of_crash_loop(now_ns) {
            parts.spread();
        }
        parts.note_pauses();
        parts.workers.roll(now_ns);
        if !parts.workers.starts_a_process() {
            metronome_os::orphans::reap(|pid| parts.workers.has_process(pid));
        }
    }
}

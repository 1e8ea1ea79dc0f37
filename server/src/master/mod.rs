//! The master: accepts, places, supervises and recovers, on one plain thread with one epoll loop.
//!
//! | file | subject |
//! |---|---|
//! | `request` | what the control plane may ask |
//! | `answer` | answering it |
//! | `accept` | new connections |
//! | `listening` | how many there may be, and what they inherit |
//! | `placement` | which worker gets one (pure) |
//! | `seats` | the connections that the master holds |
//! | `workers` | the worker processes |
//! | `worker_log` | what they say |
//! | `recover` | what happens when one of them ends |
//! | `rolling` | restarting them all, one by one |
//! | `hand_over`, `inherit` | giving everything to a successor, and being one |
//! | `estate` | what is given |
//! | `books` | what was counted, by run |
//!
//! It owns the listener, the workers and the ledger, and never reads from a connection. Workers are
//! started from this thread only: the signal that ends them with the master is bound to it.

mod accept;
mod answer;
mod books;
mod estate;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hand_over;
mod inherit;
mod listening;
mod placement;
mod recover;
pub(crate) mod request;
mod rolling;
mod seats;
mod worker_log;
mod workers;

use std::{
    net::TcpListener,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use anyhow::Context as _;
pub(crate) use listening::DESCRIPTORS_PER_WORKER;
use metronome_os::realtime;
use metronome_os::{channel::Channel, clock::now_ns, process::Executable, wake::Waker};
use metronome_proto::{handshake::Key, histogram::Histogram, run_id::RunId};
pub(crate) use request::{Handle, Request};
use rustix::event::{
    PollFd, PollFlags, Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
    poll,
};
use tracing::{error, info, warn};

use self::{books::Books, seats::Seats, workers::Worker};
use crate::{
    coalescing::RxCoalesce,
    ledger::{AgentKey, FromWorker, Gates, Ledger, MESSAGE_BYTES, RUNS_MAX, ToWorker},
};

/// How often the loop comes round when nothing happens.
const TICK_NS: u64 = 100_000_000;

/// How often it comes round while connections that a worker left behind are waiting to be read
/// again, so that their pause is known this exactly …
const UNREAD_TICK_NS: u64 = 1_000_000;

/// … for so long: an idle client may have nothing to be read for hours.
const UNREAD_WATCH_NS: u64 = 1_000_000_000;

/// A round that comes this late was our own pause (a stopped virtual machine), not the workers'.
const LATE_NS: u64 = 500_000_000;

/// For a worker to finish its batch and exit.
const QUIT_TIME_NS: u64 = 1_000_000_000;

const EVENTS_MAX: usize = 256;

// The workers' tokens follow: two for each.
const LISTENER: u64 = 0;
const REQUESTS: u64 = 1;
const FIRST_WORKER: u64 = 2;

/// What the master needs to start.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Bound and listening.
    pub(crate) listener: TcpListener,
    /// Worker processes, 1 to 256.
    pub(crate) workers: u32,
    /// Verified and raw clients together, 1 to 10000.
    pub(crate) max_clients: u32,
    pub(crate) accept_raw: bool,
    /// Of the standing run: clients of `metronome-agent run --key-file` are taken with it.
    pub(crate) standing_key: Option<Key>,
    /// Give the workers the highest priority that the system grants (the seed's nice).
    pub(crate) high_priority: bool,
    /// Pin worker i to the i-th core of those allowed.
    pub(crate) pin_workers: bool,
    /// How the workers read.
    pub(crate) rx_coalesce: RxCoalesce,
    /// Of the server that this one is to succeed; its workers start, and all else waits.
    pub(crate) ledger: Option<Ledger>,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// A successor before it is told to begin: its workers run and have nothing to read.
    Waiting,
    Serving,
    /// The workers are gone or going, for a successor to take over.
    Leaving,
}

struct Master {
    phase: Phase,
    listener: TcpListener,
    max_clients: u32,
    accept_raw: bool,
    high_priority: bool,
    pin_workers: bool,
    rx_coalesce: RxCoalesce,
    executable: Executable,
    epoll: OwnedFd,
    requests: mpsc::Receiver<Request>,
    waker: Arc<Waker>,
    ledger: Ledger,
    gates: Gates,
    workers: Vec<Worker>,
    seats: Seats,
    books: Books,
    /// Packets worked off for dead workers, since the start.
    recovered_packets: u64,
    /// Connections that no worker could go on with.
    connections_lost: u64,
    /// How long connections went unread after a death, ns.
    pauses: Histogram,
    /// Slots whose pause is not over yet.
    unread: Vec<u32>,
    /// Until when they are looked at more often than the rest.
    watch_unread_until_ns: u64,
    rolling: Option<rolling::Rolling>,
    hand_over: Option<hand_over::HandOver>,
    when_ready: Vec<request::Reply<()>>,
    /// A connection was booked or a run is to close: a run may be complete now.
    has_finished: bool,
    /// When the run that had this row of seats was closed, ns.
    row_closed_ns: [u64; RUNS_MAX],
    /// When to accept again after a pause; 0 while accepting.
    accept_again_ns: u64,
    warn_of_accept_again_ns: u64,
    last_tick_ns: u64,
    is_stopping: bool,
}

/// A master that runs.
pub(crate) struct Started {
    pub(crate) handle: Handle,
    pub(crate) thread: JoinHandle<()>,
    /// Connections at a time.
    pub(crate) slots: u32,
    /// What a successor opens.
    pub(crate) ledger: [OwnedFd; 3],
}

/// Starts the workers and the master's thread. When it returns, clients are served, or by a
/// successor can be.
pub(crate) fn start(settings: Settings) -> anyhow::Result<Started> {
    let (requests, receiver) = mpsc::channel();
    let waker = Arc::new(Waker::new().context("no eventfd for the master")?);
    let handle = Handle::new(requests, Arc::clone(&waker));
    let (started, has_started) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("master".into())
        .spawn(move || {
            if settings.high_priority {
                // Behind others it would find out late that a worker is dead or hangs. It is no
                // real-time thread: peers decide how busy it is, and workers come first.
                realtime::raise_nice();
            }
            match Master::new(settings, receiver, waker) {
                Ok(master) => {
                    let _ = started.send(master.ledger_again());
                    master.run();
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })?;
    let (slots, ledger) = has_started
        .recv()
        .context("the master's thread ended while it started")??;
    Ok(Started {
        handle,
        thread,
        slots,
        ledger,
    })
}

impl Master {
    fn new(
        settings: Settings,
        requests: mpsc::Receiver<Request>,
        waker: Arc<Waker>,
    ) -> anyhow::Result<Self> {
        settings
            .listener
            .set_nonblocking(true)
            .context("the data port's listener")?;
        listening::tune(&settings.listener);
        let phase = if settings.ledger.is_some() {
            Phase::Waiting
        } else {
            Phase::Serving
        };
        listening::raise_descriptors();
        let create = || listening::make_ledger(settings.max_clients, settings.workers);
        let ledger = settings.ledger.map_or_else(create, Ok)?;
        let slots = ledger.slots().len() as u32;
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("no epoll for the master")?;
        let listens = if phase == Phase::Serving {
            EventFlags::IN
        } else {
            EventFlags::empty()
        };
        epoll::add(
            &epoll,
            &settings.listener,
            EventData::new_u64(LISTENER),
            listens,
        )?;
        epoll::add(
            &epoll,
            &*waker,
            EventData::new_u64(REQUESTS),
            EventFlags::IN,
        )?;
        let mut master = Self {
            phase,
            listener: settings.listener,
            max_clients: settings.max_clients,
            accept_raw: settings.accept_raw,
            high_priority: settings.high_priority,
            pin_workers: settings.pin_workers,
            rx_coalesce: settings.rx_coalesce,
            executable: Executable::current()
                .context("this executable cannot be opened to start workers from")?,
            epoll,
            requests,
            waker,
            ledger,
            gates: Gates::new(settings.accept_raw),
            workers: (0..settings.workers as usize).map(Worker::new).collect(),
            seats: Seats::new(slots),
            books: Books::default(),
            recovered_packets: 0,
            connections_lost: 0,
            pauses: Histogram::default(),
            unread: Vec::new(),
            watch_unread_until_ns: 0,
            rolling: None,
            hand_over: None,
            when_ready: Vec::new(),
            has_finished: false,
            row_closed_ns: [0; RUNS_MAX],
            accept_again_ns: 0,
            warn_of_accept_again_ns: 0,
            last_tick_ns: now_ns(),
            is_stopping: false,
        };
        if phase == Phase::Serving {
            master.set_raw_seats();
        }
        for worker in 0..master.workers.len() {
            master
                .start_worker(worker)
                .context("a worker cannot be started")?;
        }
        // A successor inherits the standing run with all others.
        if let Some(key) = settings.standing_key.filter(|_| phase == Phase::Serving) {
            master.admit_agent(AgentKey {
                row: answer::STANDING_ROW as u32,
                run: RunId::from_bits(0),
                agent: 0,
                key,
                first_client: 0,
                clients: settings.max_clients,
                shares_clock: true,
                standing: true,
            });
        }
        Ok(master)
    }

    fn ledger_again(&self) -> anyhow::Result<(u32, [OwnedFd; 3])> {
        let again = self
            .ledger
            .descriptors()
            .map(|memory| memory.try_clone_to_owned());
        let [workers, slots, seats] = again;
        Ok((self.ledger.slots().len() as u32, [workers?, slots?, seats?]))
    }

    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while !self.is_stopping {
            events.clear();
            if let Err(error) = self.wait(&mut events) {
                error!("the master cannot wait for events: {error}");
                break;
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept_waiting(),
                    REQUESTS => {
                        self.waker.drain();
                        self.answer_requests();
                    }
                    token => self.serve_worker(token, event.flags),
                }
            }
            if std::mem::take(&mut self.has_finished) {
                self.answer_closed_runs();
            }
            let now_ns = now_ns();
            if self.watches_unread(now_ns) {
                self.note_pauses();
            }
            self.leave(now_ns);
            self.tick(now_ns);
        }
        self.end_workers();
    }

    fn wait(&self, events: &mut Vec<Event>) -> rustix::io::Result<()> {
        let tick_ns = if self.watches_unread(now_ns()) {
            UNREAD_TICK_NS
        } else {
            TICK_NS
        };
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: tick_ns as _,
        };
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn watches_unread(&self, now_ns: u64) -> bool {
        !self.unread.is_empty() && now_ns < self.watch_unread_until_ns
    }

    /// What is due by time: heartbeats, starts, the end of a pause.
    fn tick(&mut self, now_ns: u64) {
        if now_ns - self.last_tick_ns < TICK_NS {
            return;
        }
        if now_ns - self.last_tick_ns > TICK_NS + LATE_NS {
            self.workers
                .iter_mut()
                .for_each(|worker| worker.forgive_silence(now_ns));
        }
        self.last_tick_ns = now_ns;
        self.end_pause(now_ns);
        for worker in 0..self.workers.len() {
            // The heartbeats in the ledger of a server that waits are of the old server's workers.
            if self.phase != Phase::Waiting && self.workers[worker].hangs(&self.ledger, now_ns) {
                let text = format!("worker {worker} does not answer and is killed");
                warn!("{text}");
                self.books.note_incident(now_ns, "worker hangs", &text);
                self.workers[worker].kill();
            }
            self.start_due_worker(worker, now_ns);
        }
        self.note_pauses();
        self.roll(now_ns);
        metronome_os::orphans::reap(|pid| {
            self.workers.iter().any(|worker| worker.has_process(pid))
        });
    }

    fn start_due_worker(&mut self, worker: usize, now_ns: u64) {
        let is_due =
            self.workers[worker].process.is_none() && now_ns >= self.workers[worker].restart_at_ns;
        if !is_due || self.is_stopping || self.phase == Phase::Leaving {
            return;
        }
        if let Err(error) = self.start_worker(worker) {
            warn!("worker {worker} cannot be started: {error}; trying again in 1 s");
            self.workers[worker].restart_at_ns = now_ns + 1_000_000_000;
            return;
        }
        self.place_waiting();
    }

    fn start_worker(&mut self, index: usize) -> std::io::Result<()> {
        let worker = &mut self.workers[index];
        worker.start(&self.executable, &self.ledger, self.accept_raw, now_ns())?;
        let Some(process) = &worker.process else {
            return Ok(());
        };
        let token = FIRST_WORKER + 2 * index as u64;
        let watched = epoll::add(
            &self.epoll,
            &process.channel,
            EventData::new_u64(token),
            EventFlags::IN,
        )
        .and_then(|()| {
            epoll::add(
                &self.epoll,
                &process.pidfd,
                EventData::new_u64(token + 1),
                EventFlags::IN,
            )
        });
        if let Err(error) = watched {
            // A process whose end nobody would see is worse than none.
            worker.abandon();
            return Err(error.into());
        }
        info!("worker {index} is process {}", process.pid);
        self.pin(index);
        if self.high_priority {
            let workers = self.workers.len() as u32;
            self.say(
                index,
                ToWorker::Realtime {
                    cores: realtime::cores() as u32,
                    workers,
                },
                None,
            );
        }
        self.say(index, ToWorker::Coalesce(self.rx_coalesce), None);
        if self.phase != Phase::Waiting {
            self.say(index, ToWorker::Begin, None);
        }
        for agent in self.gates.agents().to_vec() {
            self.say(index, ToWorker::Admit(agent), None);
        }
        Ok(())
    }

    /// Keeps a worker on its core, where that was asked for and the system grants it.
    fn pin(&self, index: usize) {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        let Some(process) = &self.workers[index].process else {
            return;
        };
        if self.pin_workers
            && let Ok(allowed) = sched_getaffinity(None)
        {
            let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
                .filter(|core| allowed.is_set(*core))
                .collect();
            let mut own = CpuSet::new();
            own.set(cores[index % cores.len()]);
            let _ = sched_setaffinity(Some(process.pid), &own);
        }
    }

    fn serve_worker(&mut self, token: u64, flags: EventFlags) {
        let index = ((token - FIRST_WORKER) / 2) as usize;
        let is_death = (token - FIRST_WORKER) % 2 == 1;
        if is_death {
            return self.bury(index);
        }
        if flags.contains(EventFlags::OUT) {
            let seats = &self.seats;
            let socket = |slot| seats.get(slot).map(|seat| seat.socket.as_fd());
            let is_flushed = self.workers[index]
                .process
                .as_mut()
                .is_none_or(|process| process.flush(socket));
            if is_flushed {
                self.watch_channel(index, false);
            }
        }
        self.hear(index);
    }

    /// Takes a worker's messages, all there are.
    fn hear(&mut self, index: usize) {
        while let Some(process) = &self.workers[index].process {
            match receive(&process.channel) {
                Some(message) => self.heed(index, message),
                None => return,
            }
        }
    }

    fn heed(&mut self, index: usize, message: FromWorker) {
        let FromWorker::Released { slot, generation } = message else {
            self.workers[index].set_ready(now_ns());
            self.answer_when_ready();
            return self.roll(now_ns());
        };
        // Anything may be in a message of a broken worker: it can only let go of what is its own.
        let is_its_own = self
            .seats
            .get(slot)
            .is_some_and(|seat| seat.worker == Some(index) && seat.generation == generation);
        if is_its_own {
            self.workers[index].connections = self.workers[index].connections.saturating_sub(1);
            self.finish(slot);
        }
    }

    fn bury(&mut self, index: usize) {
        let deaths = self.workers[index].deaths;
        let Some(ended) = self.workers[index].reap(now_ns()) else {
            return;
        };
        let what = if self.workers[index].deaths > deaths {
            "worker died"
        } else {
            "worker handed over"
        };
        while let Some(message) = receive(&ended.channel) {
            self.heed(index, message);
        }
        self.recover_worker(index, what, ended);
        if self.workers[index].is_in_crash_loop(now_ns()) {
            let text = format!("worker {index} dies again and again; the others go on");
            error!("{text}");
            self.books
                .note_incident(now_ns(), "worker in a crash loop", &text);
        }
        self.start_due_worker(index, now_ns());
    }

    fn watch_listener(&self, accepting: bool) {
        let flags = if accepting && self.phase == Phase::Serving {
            EventFlags::IN
        } else {
            EventFlags::empty()
        };
        let _ = epoll::modify(
            &self.epoll,
            &self.listener,
            EventData::new_u64(LISTENER),
            flags,
        );
    }

    fn watch_channel(&self, index: usize, for_room: bool) {
        let Some(process) = &self.workers[index].process else {
            return;
        };
        let flags = if for_room {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        let token = FIRST_WORKER + 2 * index as u64;
        let _ = epoll::modify(
            &self.epoll,
            &process.channel,
            EventData::new_u64(token),
            flags,
        );
    }

    fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Asks the workers to quit, and kills those that have not within a second.
    fn end_workers(&mut self) {
        for worker in 0..self.workers.len() {
            self.say(worker, ToWorker::Quit, None);
        }
        let deadline = now_ns() + QUIT_TIME_NS;
        for worker in &mut self.workers {
            let Some(process) = &worker.process else {
                continue;
            };
            let left = deadline.saturating_sub(now_ns());
            let timeout = Timespec {
                tv_sec: (left / 1_000_000_000) as _,
                tv_nsec: (left % 1_000_000_000) as _,
            };
            let _ = poll(
                &mut [PollFd::new(&process.pidfd, PollFlags::IN)],
                Some(&timeout),
            );
            worker.kill();
            let _ = worker.reap(now_ns());
        }
    }
}

fn receive(channel: &Channel) -> Option<FromWorker> {
    let mut message = [0; MESSAGE_BYTES];
    match channel.receive(&mut message) {
        // A descriptor that came along closes here: nobody asked for one.
        Ok(_) => FromWorker::decode(&message)
            .ok()
            .or(Some(FromWorker::Ready)),
        Err(_) => None,
    }
}

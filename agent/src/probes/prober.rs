//! The thread that sends the probes of a run, on a connection of its own, from before the first
//! client is prepared until every end was exchanged.
//!
//! First 16 probes, each when the one before is answered, then one after each period. It reads the
//! clock just before a probe is written and just after an answer was read, and sleeps in between.
//! What goes wrong here fails no run: a connection that breaks, or answers what was not asked, is
//! given up and another one is opened, and a run without any has no times between clocks.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use metronome_os::{
    clock::{self, SECOND_NS},
    realtime::{self, CpuBudget, Realtime},
    tcp_info::TcpPath,
    wake::Waker,
};
use metronome_proto::{
    handshake::{ATTEMPTS_MAX, PROBE_CLIENT},
    packet::{FRAME_BYTES, Frame, Probe, ProbeReply},
};
use rustix::event::{PollFd, PollFlags, poll};

use super::log::{OpenProbes, ProbeLog};
use crate::{
    connections::{outlook::SharedOutlook, try_connect::Try},
    load::{assignment::Protocol, packets::Packets},
    net::{backoff, connection::Connection},
    stop_signal::{CHECK_EVERY_NS, StopSignal},
};

/// Probes that are sent one after the other at first.
const FIRST_PROBES: u64 = 16;
/// For the answer to one of these, ns; then the next one is sent.
const FIRST_ANSWER_NS_MAX: u64 = SECOND_NS / 5;
/// For all of these before the clients are reported as prepared.
const FIRST_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest time of one try to connect, ns.
const TRY_NS_MAX: u64 = 5 * SECOND_NS;

/// What a prober needs.
pub(crate) struct ProbeOrder {
    pub every: Duration,
    pub protocol: Protocol,
    /// Those of the target, at least one.
    pub addresses: Vec<SocketAddr>,
    /// By a real-time thread, where one is granted.
    pub high_priority: bool,
    pub stop_signal: Arc<StopSignal>,
    pub log: Arc<SharedLog>,
}

/// The log that the thread fills and the session reports.
#[derive(Debug, Default)]
pub(crate) struct SharedLog(Mutex<ProbeLog>);

impl SharedLog {
    pub(crate) fn lock(&self) -> MutexGuard<'_, ProbeLog> {
        // What a thread that panicked has left is a log all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that probes.
#[derive(Debug)]
pub(crate) struct Prober {
    /// `None` once it was waited for.
    thread: Option<JoinHandle<Option<TcpPath>>>,
    end: Arc<End>,
    /// Closed when the first probes are over.
    first: Receiver<()>,
}

/// The order to end.
#[derive(Debug)]
struct End {
    waker: Waker,
    is_over: AtomicBool,
}

impl Prober {
    /// Begins to probe.
    ///
    /// # Errors
    /// The kernel has no thread or descriptor left.
    pub(crate) fn start(order: ProbeOrder) -> io::Result<Self> {
        let end = Arc::new(End {
            waker: Waker::new()?,
            is_over: AtomicBool::new(false),
        });
        let (first_over, first) = channel();
        let work = Work {
            order,
            end: end.clone(),
            first_over: Some(first_over),
            path: None,
        };
        let thread = thread::Builder::new()
            .name("probes".into())
            .spawn(move || work.run())?;
        Ok(Self {
            thread: Some(thread),
            end,
            first,
        })
    }

    /// Waits until the first probes were answered, or cannot be, at most for 2 s and a third of
    /// `deadline`.
    pub(crate) fn wait_for_first(&self, deadline: Duration) {
        // Whatever it returns, the run goes on.
        let _ = self.first.recv_timeout(FIRST_TIME_MAX.min(deadline / 3));
    }

    /// Ends the thread. Returns what the kernel has seen of its last connection.
    pub(crate) fn finish(mut self) -> Option<TcpPath> {
        self.join()
    }

    fn join(&mut self) -> Option<TcpPath> {
        let thread = self.thread.take()?;
        self.end.is_over.store(true, Ordering::Release);
        // An eventfd of our own always takes it.
        let _ = self.end.waker.wake();
        thread.join().ok().flatten()
    }
}

impl Drop for Prober {
    /// A run that fails leaves no thread behind.
    fn drop(&mut self) {
        self.join();
    }
}

struct Work {
    order: ProbeOrder,
    end: Arc<End>,
    /// Dropped when the first probes are over.
    first_over: Option<Sender<()>>,
    path: Option<TcpPath>,
}

/// Why probing on one connection has ended.
#[derive(Debug)]
enum Ended {
    /// The run is over, or its lease.
    Ordered,
    /// It broke, or was given up.
    Lost(&'static str),
}

impl Work {
    fn run(mut self) -> Option<TcpPath> {
        let cores = realtime::cores();
        let budget = self.order.high_priority.then(|| CpuBudget::replies(cores));
        let _realtime = budget.map_or_else(Realtime::none, Realtime::take);
        let mut failures = 0;
        for attempt in 1..=u32::from(ATTEMPTS_MAX) {
            if self.is_over() {
                break;
            }
            let lost = match self.connect(attempt) {
                Ok(connection) => {
                    let ended = self.probe(&connection);
                    self.path = connection.tcp_info().map(|info| info.path);
                    match ended {
                        Ended::Ordered => break,
                        Ended::Lost(why) => why.to_owned(),
                    }
                }
                Err(error) => error,
            };
            failures += 1;
            tracing::debug!(attempt, lost, "no probes for a moment");
            // The clients do not wait for what may not come.
            self.first_over = None;
            self.pause(backoff::wait_after(failures, fastrand::f64()));
        }
        self.path
    }

    fn connect(&self, attempt: u32) -> Result<Connection, String> {
        let until_ns = clock::now_ns().saturating_add(TRY_NS_MAX);
        let one = Try {
            protocol: self.order.protocol,
            packets: &Packets::default(),
            addresses: &self.order.addresses,
            outlook: &SharedOutlook::default(),
            stop_signal: &self.order.stop_signal,
            until_ns,
        };
        let opened = one.open(PROBE_CLIENT.into(), attempt);
        opened
            .map(|(connection, _)| connection)
            .map_err(|error| error.to_string())
    }

    /// Probes on one connection until it ends.
    fn probe(&mut self, connection: &Connection) -> Ended {
        let every_ns = u64::try_from(self.order.every.as_nanos()).unwrap_or(u64::MAX);
        let mut answers = Answers::default();
        let mut open = OpenProbes::default();
        let mut answered = 0;
        loop {
            if self.is_over() {
                return Ended::Ordered;
            }
            let sent_ns = clock::now_ns();
            let probe = Probe {
                sequence: open.next(),
            };
            match connection.send(&probe.encode()) {
                // Without room for it nothing is measured.
                Ok(0) => {}
                Ok(FRAME_BYTES) => {
                    open.sent(sent_ns);
                    self.order.log.lock().count_sent();
                }
                Ok(_) => return Ended::Lost("a probe was sent in part"),
                Err(_) => return Ended::Lost("the connection broke"),
            }
            let is_first = open.next() <= FIRST_PROBES && self.first_over.is_some();
            let wait_ns = if is_first {
                FIRST_ANSWER_NS_MAX
            } else {
                self.first_over = None;
                every_ns
            };
            let until_ns = sent_ns.saturating_add(wait_ns);
            while clock::now_ns() < until_ns {
                if let Err(ended) = self.wait(connection, until_ns) {
                    return ended;
                }
                let log = &self.order.log;
                match answers.receive(connection, &mut open, log) {
                    Ok(0) => {}
                    Ok(more) => {
                        answered += more;
                        if is_first && answered == open.next() {
                            break;
                        }
                    }
                    Err(why) => return Ended::Lost(why),
                }
            }
        }
    }

    /// Waits until something has come, the time is over, or the run.
    fn wait(&self, connection: &Connection, until_ns: u64) -> Result<(), Ended> {
        let now_ns = clock::now_ns();
        let nap_ns = until_ns.saturating_sub(now_ns).min(CHECK_EVERY_NS);
        let mut watched = [
            PollFd::new(connection, PollFlags::IN),
            PollFd::new(&self.end.waker, PollFlags::IN),
        ];
        let _ = poll(&mut watched, Some(&clock::timespec(nap_ns)));
        match self.is_over() {
            true => Err(Ended::Ordered),
            false => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        let is_over = self.end.is_over.load(Ordering::Acquire);
        is_over || !self.order.stop_signal.allows_load(clock::now_ns())
    }

    /// Waits so long, or until the run is over.
    fn pause(&self, wait: Duration) {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = clock::now_ns().saturating_add(nanos);
        while clock::now_ns() < until_ns && !self.is_over() {
            let left_ns = until_ns.saturating_sub(clock::now_ns());
            let mut watched = [PollFd::new(&self.end.waker, PollFlags::IN)];
            let nap = clock::timespec(left_ns.min(CHECK_EVERY_NS));
            let _ = poll(&mut watched, Some(&nap));
        }
    }
}

/// The bytes of answers, as they come.
#[derive(Default)]
struct Answers {
    buffer: Frame,
    filled: usize,
}

impl Answers {
    /// Takes what has come. Returns how many probes were answered by it.
    fn receive(
        &mut self,
        connection: &Connection,
        open: &mut OpenProbes,
        log: &SharedLog,
    ) -> Result<u64, &'static str> {
        let mut answered = 0;
        loop {
            match connection.receive(&mut self.buffer[self.filled..]) {
                Ok(None) => return Ok(answered),
                Ok(Some(0)) => return Err("the server has closed it"),
                Ok(Some(taken)) => self.filled += taken,
                Err(_) => return Err("the connection broke"),
            }
            if self.filled < FRAME_BYTES {
                continue;
            }
            let answered_ns = clock::now_ns();
            self.filled = 0;
            let answer = ProbeReply::decode(&self.buffer);
            let answer = answer.map_err(|_| "what came was no answer to a probe")?;
            let reading = open.answered(&answer, answered_ns);
            let reading = reading.map_err(|_| "an answer was to no probe")?;
            log.lock().add(reading);
            answered += 1;
        }
    }
}

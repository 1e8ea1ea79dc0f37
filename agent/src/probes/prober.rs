//! The thread that sends the probes of a run, on a connection of its own, from before the first
//! client is prepared until every end was exchanged.
//!
//! It sends a probe after each period, the first 64 of a run and those of its first second ten
//! times as often, so that the path is met early when it delays nothing; until 16 were answered
//! also when the one before was. Between two probes it sleeps. Where the kernel notes when an
//! answer comes in, it takes that when the next probe is due: one wake-up for both.
//!
//! What goes wrong here fails no run: a connection that breaks, or on which comes what no probe
//! asked for, is given up and another one is opened, and a run without any has no times between
//! clocks. The end of the run's lease ends the probes as it ends the load; a run that is only
//! stopped is probed until its ends are exchanged.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
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
use metronome_proto::handshake::{ATTEMPTS_MAX, PROBE_CLIENT};
use metronome_telemetry::rate_limited_log::RateLimit;
use rustix::event::{PollFd, PollFlags, poll};

use super::{
    line::{Line, Lost},
    log::SharedLog,
};
use crate::{
    connections::{outlook::SharedOutlook, try_connect::Try},
    load::{assignment::Protocol, packets::Packets},
    net::{backoff, connection::Connection},
    stop_signal::{CHECK_EVERY_NS, StopMode, StopSignal},
};

/// Answers that a run waits for before its clients are prepared.
const FIRST_ANSWERS: u64 = 16;
/// Probes of a run that are sent more often, at least …
const OFTEN: u64 = 64;
/// … and those of so long, ns …
const OFTEN_NS: u64 = SECOND_NS;
/// … by this factor.
const OFTEN_TIMES: u64 = 10;
/// Longest wait at the end for the answers that are on their way, ns.
const LAST_NS_MAX: u64 = SECOND_NS / 5;
/// Longest wait for the first answers, after which the run goes on without them, ns.
const FIRST_NS_MAX: u64 = 2 * SECOND_NS;
/// Longest time of one try to connect, ns.
const TRY_NS_MAX: u64 = 5 * SECOND_NS;

/// At most ten log lines in a minute about probes that failed: each run may lose its connection
/// hundreds of times.
static FAILURES: RateLimit = RateLimit::new(10, 60 * SECOND_NS);

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

/// A thread that probes.
#[derive(Debug)]
pub(crate) struct Prober {
    /// `None` once it was waited for.
    thread: Option<JoinHandle<Option<TcpPath>>>,
    end: Arc<End>,
    /// Closed when the first answers have come, or do not.
    first: Receiver<()>,
}

/// The order to end.
#[derive(Debug)]
struct End {
    waker: Waker,
    /// Set together with the waker, for a thread that connects.
    stop_signal: StopSignal,
}

impl Prober {
    /// Begins to probe.
    ///
    /// # Errors
    /// The kernel has no thread or descriptor left.
    pub(crate) fn start(order: ProbeOrder) -> io::Result<Self> {
        let end = Arc::new(End {
            waker: Waker::new()?,
            stop_signal: StopSignal::without_lease(),
        });
        let (first_over, first) = channel();
        let work = Work {
            order,
            end: end.clone(),
            realtime: Realtime::none(),
            first_over: Some(first_over),
            often_left: OFTEN,
            often_until_ns: None,
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

    /// Waits until the first answers have come, or cannot: at most 2 s, a third of the time
    /// to connect, and not beyond the end of that, `deadline_ns`; and not when a stop is requested.
    pub(crate) fn wait_for_first(
        &self,
        deadline: Duration,
        deadline_ns: u64,
        stop_signal: &StopSignal,
    ) {
        let third_ns = u64::try_from(deadline.as_nanos() / 3).unwrap_or(u64::MAX);
        let until_ns = clock::now_ns().saturating_add(third_ns.min(FIRST_NS_MAX));
        let until_ns = until_ns.min(deadline_ns);
        loop {
            let now_ns = clock::now_ns();
            if now_ns >= until_ns || !stop_signal.allows_load(now_ns) {
                return;
            }
            let nap = Duration::from_nanos(CHECK_EVERY_NS.min(until_ns - now_ns));
            match self.first.recv_timeout(nap) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Ends the thread. Returns what the kernel has seen of its last connection.
    pub(crate) fn finish(mut self) -> Option<TcpPath> {
        self.join()
    }

    fn join(&mut self) -> Option<TcpPath> {
        let thread = self.thread.take()?;
        self.end.stop_signal.request(StopMode::Abort);
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
    realtime: Realtime,
    /// Dropped when the first answers have come, or do not.
    first_over: Option<Sender<()>>,
    /// Probes that are still sent more often, on whatever connection.
    often_left: u64,
    /// Until then, too. `None` before the first probe.
    often_until_ns: Option<u64>,
    path: Option<TcpPath>,
}

impl Work {
    fn run(mut self) -> Option<TcpPath> {
        if self.order.high_priority {
            self.realtime = Realtime::take(CpuBudget::probes(realtime::cores()));
        }
        for attempt in 1..=u32::from(ATTEMPTS_MAX) {
            if self.is_over() {
                break;
            }
            let failed = match self.connect(attempt) {
                Ok(connection) => {
                    let probed = self.probe(&connection);
                    self.path = connection.tcp_info().map(|info| info.path);
                    probed.err().map(|lost| lost.to_string())
                }
                Err(error) => Some(error),
            };
            // The clients do not wait for what may not come.
            self.first_over = None;
            if let Some(error) = failed
                && !self.is_over()
            {
                warn_of(&error, attempt);
                self.pause(backoff::wait_after(attempt, fastrand::f64()));
            }
        }
        self.path
    }

    fn connect(&self, attempt: u32) -> Result<Connection, String> {
        let one = Try {
            protocol: self.order.protocol,
            packets: &Packets::default(),
            addresses: &self.order.addresses,
            outlook: &SharedOutlook::default(),
            stop_signal: &self.end.stop_signal,
            until_ns: clock::now_ns().saturating_add(TRY_NS_MAX),
        };
        let opened = one.open(PROBE_CLIENT.into(), attempt);
        opened
            .map(|(connection, _)| connection)
            .map_err(|error| error.to_string())
    }

    /// Probes on one connection until the end of the run.
    fn probe(&mut self, connection: &Connection) -> Result<(), Lost> {
        let every_ns = u64::try_from(self.order.every.as_nanos()).unwrap_or(u64::MAX);
        let log = self.order.log.clone();
        let mut line = Line::new(connection, &log);
        while !self.is_over() {
            let period_ns = self.period_ns(every_ns);
            let is_sent = line.send()?;
            // Behind the sending, so that no two are nearer to each other than the period.
            let until_ns = clock::now_ns().saturating_add(period_ns);
            while clock::now_ns() < until_ns && !self.is_over() {
                let watches = self.first_over.is_some() || !line.has_arrivals();
                if self.wait(watches.then_some(connection), until_ns) {
                    line.receive()?;
                }
                if line.answered() >= FIRST_ANSWERS {
                    self.first_over = None;
                }
                let is_first = self.first_over.is_some();
                if is_first && is_sent && line.is_answered() {
                    break;
                }
            }
        }
        take_last(connection, &mut line)
    }

    /// The time until the next probe.
    fn period_ns(&mut self, every_ns: u64) -> u64 {
        let now_ns = clock::now_ns();
        let often_until_ns = *(self.often_until_ns).get_or_insert(now_ns.saturating_add(OFTEN_NS));
        let is_often = self.often_left > 0 || now_ns < often_until_ns;
        self.often_left = self.often_left.saturating_sub(1);
        if is_often {
            every_ns / OFTEN_TIMES
        } else {
            every_ns
        }
    }

    /// Waits until the time is over or the run, or until something has come on a connection that is
    /// watched. Whether something may have come.
    fn wait(&mut self, watched: Option<&Connection>, until_ns: u64) -> bool {
        let end = PollFd::new(&self.end.waker, PollFlags::IN);
        let has_come = match watched {
            Some(connection) => {
                let mut both = [PollFd::new(connection, PollFlags::IN), end];
                sleep_until(until_ns, &mut both);
                !both[0].revents().is_empty()
            }
            None => {
                sleep_until(until_ns, &mut [end]);
                clock::now_ns() >= until_ns
            }
        };
        self.realtime.review(clock::now_ns());
        has_come
    }

    fn is_over(&self) -> bool {
        let now_ns = clock::now_ns();
        let is_aborted = self.order.stop_signal.requested(now_ns) == Some(StopMode::Abort);
        is_aborted || !self.end.stop_signal.allows_load(now_ns)
    }

    /// Waits so long, or until the run is over.
    fn pause(&self, wait: Duration) {
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = clock::now_ns().saturating_add(wait_ns);
        while clock::now_ns() < until_ns && !self.is_over() {
            sleep_until(until_ns, &mut [PollFd::new(&self.end.waker, PollFlags::IN)]);
        }
    }
}

/// Takes the answers that are on their way. One that came to a closed connection would reset it.
fn take_last(connection: &Connection, line: &mut Line<'_>) -> Result<(), Lost> {
    let until_ns = clock::now_ns().saturating_add(LAST_NS_MAX);
    while !line.is_answered() && clock::now_ns() < until_ns {
        sleep_until(until_ns, &mut [PollFd::new(connection, PollFlags::IN)]);
        line.receive()?;
    }
    Ok(())
}

/// Sleeps until then or until one of these is ready, and not longer than the lease may be unread.
fn sleep_until(until_ns: u64, watched: &mut [PollFd<'_>]) {
    let left_ns = until_ns.saturating_sub(clock::now_ns());
    // Whatever ends it early, the caller looks at the time.
    let _ = poll(watched, Some(&clock::timespec(left_ns.min(CHECK_EVERY_NS))));
}

fn warn_of(error: &str, attempt: u32) {
    if let Some(withheld) = FAILURES.admit(clock::now_ns()) {
        tracing::warn!(
            attempt,
            error,
            withheld,
            "the agent does not probe its path for a moment"
        );
    }
}

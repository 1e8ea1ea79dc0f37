//! Letting a successor take over, from the request to the moment when it serves; or going on as if
//! nothing had been asked. What is said to the new process is `crate::upgrade`'s.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use metronome_os::clock;
use metronome_proto::{run_id::RunId, v1::RunState};
use rustix::process::{Pid, getpid, getppid};
use tokio::{
    sync::{Notify, oneshot},
    task,
    time::{self, Instant},
};
use tonic::{Code, Status};

use crate::{
    control::{
        estate::{Estate, Legacy},
        runs::{ActiveRun, RunView},
        shared::Shared,
        status,
    },
    upgrade::{Belongings, Patience, Successor, executable},
};

/// For the hand-over itself, in which no client is read: far more than it takes, and less than it
/// takes to break a connection.
const TAKE_MAX: Duration = Duration::from_secs(3);

/// Pid of the new server, or why this one goes on, in one sentence.
pub(super) type Outcome = Result<u32, String>;

/// How far an upgrade is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Stage {
    None = 0,
    /// The new process comes up; nothing has changed.
    Starting = 1,
    /// Runs come to where they can be handed over; none is started.
    Gathering = 2,
    /// Nothing moves.
    HandingOver = 3,
}

/// What an upgrade needs to know, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Upgrade {
    stage: AtomicU8,
    waiting: Mutex<Vec<oneshot::Sender<Outcome>>>,
    asked: Notify,
    /// What goes to a successor unread. `None`: this server has none to give, or gives none any
    /// more.
    belongings: Mutex<Option<Arc<Belongings>>>,
    /// The server is told to end: an upgrade that is under way is given up.
    is_over: Arc<AtomicBool>,
    /// To come up healthy, and once more for the runs to be where they can be handed over.
    wait: Duration,
}

impl Upgrade {
    /// Of a server that can be succeeded when there are `belongings`.
    pub(super) fn new(belongings: Option<Belongings>, wait: Duration) -> Self {
        Self {
            belongings: Mutex::new(belongings.map(Arc::new)),
            wait,
            ..Self::default()
        }
    }

    /// Asks for one and waits for its outcome.
    pub(super) async fn ask(&self) -> Outcome {
        // Nobody looks at what is asked of a server that ends.
        self.means()?;
        let (reply, outcome) = oneshot::channel();
        lock(&self.waiting).push(reply);
        self.asked.notify_one();
        outcome
            .await
            .unwrap_or_else(|_| Err("the server ended meanwhile".into()))
    }

    /// Resolves when one is asked for. Who was told of the outcome of another meanwhile asks no
    /// more.
    pub(super) async fn asked(&self) {
        loop {
            self.asked.notified().await;
            if !lock(&self.waiting).is_empty() {
                return;
            }
        }
    }

    /// Tells everyone who has asked.
    pub(super) fn answer(&self, outcome: &Outcome) {
        for reply in lock(&self.waiting).drain(..) {
            let _ = reply.send(outcome.clone());
        }
    }

    /// Gives up the one that is under way, as soon as it can be.
    pub(super) fn give_up(&self) {
        self.is_over.store(true, Relaxed);
    }

    /// No successor any more: the ports are to close with their listeners.
    pub(super) fn forbid(&self) {
        *lock(&self.belongings) = None;
    }

    /// No run is started while others are gathered to be handed over.
    pub(super) fn refuse_start(&self) -> Result<(), Status> {
        self.refuse_from(Stage::Gathering, "starts no run before that is done")
    }

    /// Nothing is changed while everything is handed over.
    pub(super) fn refuse_change(&self) -> Result<(), Status> {
        self.refuse_from(Stage::HandingOver, "changes nothing before that is done")
    }

    fn refuse_from(&self, stage: Stage, what: &str) -> Result<(), Status> {
        if self.stage.load(Relaxed) < stage as u8 {
            return Ok(());
        }
        let sentence = format!("the server is being upgraded and {what}; ask again in a moment");
        Err(status::plain(Code::Unavailable, "UPGRADING", &sentence))
    }

    fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    /// What to start and what to give it.
    fn means(&self) -> Result<(PathBuf, Arc<Belongings>), String> {
        ends_nothing_else(getpid(), getppid(), &first_process())?;
        let belongings = lock(&self.belongings).clone();
        let belongings =
            belongings.ok_or("this server lasts for one run of benchctl or is shutting down")?;
        Ok((executable()?, belongings))
    }

    fn patience(&self, wait: Duration) -> Patience {
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Patience {
            deadline_ns: clock::now_ns().saturating_add(wait_ns),
            shown: format!("{wait:?}"),
            is_over: Arc::clone(&self.is_over),
        }
    }
}

/// A master whose workers rest says so at once, on a busy machine a little later; what takes longer
/// is a restart.
const REST_TOLD_MAX: Duration = Duration::from_secs(1);

/// Processes that end with their child, and a container with them.
const INIT_SHIMS: [&str; 5] = [
    "tini",
    "docker-init",
    "dumb-init",
    "catatonit",
    "podman-init",
];

/// Whether this process may end, as it does once another serves. `parent` is none when it lies
/// outside of the container, which is then watched by this process. An error is one sentence.
fn ends_nothing_else(own: Pid, parent: Option<Pid>, first: &str) -> Result<(), String> {
    let what = match parent {
        _ if own.is_init() => "process 1".to_owned(),
        None => "the process that its container was started with".to_owned(),
        Some(parent) if parent.is_init() && INIT_SHIMS.contains(&first) => {
            format!("the child of {first}")
        }
        Some(_) => return Ok(()),
    };
    Err(format!(
        "this server is {what}, with which its container ends; roll out a new container instead"
    ))
}

/// Name of process 1.
fn first_process() -> String {
    fs::read_to_string("/proc/1/comm")
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

/// A run that stands still, and what lets it go to the successor when used, or on here when
/// dropped.
type Held = (Legacy, oneshot::Sender<()>);

/// Starts a successor and lets it take over. On an error everything goes on here.
pub(super) async fn upgrade(shared: &Arc<Shared>) -> Outcome {
    let (executable, belongings) = shared.upgrade.means()?;
    tracing::info!("upgrade: starting {}", executable.display());
    shared.upgrade.enter(Stage::Starting);
    let patience = shared.upgrade.patience(shared.upgrade.wait);
    let starting = blocking(move || {
        Successor::start(
            &executable,
            &belongings.hello,
            &belongings.borrowed(),
            &patience,
        )
    });
    let outcome = match starting.await {
        Ok(successor) => hand_over(shared, successor).await,
        Err(sentence) => Err(sentence),
    };
    if outcome.is_err() {
        shared.master_client.take_back().await;
        shared.upgrade.enter(Stage::None);
    }
    outcome
}

async fn hand_over(shared: &Arc<Shared>, mut successor: Successor) -> Outcome {
    shared.upgrade.enter(Stage::Gathering);
    // A start that is under way is a run from here on, or none.
    let _none_starts = shared.runs.block_starts().await;
    let held = gather(shared).await?;
    let since_ns = clock::now_ns();
    let patience = shared.upgrade.patience(TAKE_MAX);
    let given = match shared
        .master_client
        .hand_over(successor.conduit(), patience.deadline_ns)
        .await
    {
        Ok(given) => given,
        Err(sentence) => {
            return blocking(move || Err(successor.end(&patience).unwrap_or(sentence))).await;
        }
    };
    let bytes = estate(shared, &held, given.bytes).encode()?;
    let pid = blocking(move || {
        let pid = successor.pid();
        successor.hand_over(&bytes, given.sockets, &patience)?;
        successor.go(&patience)?;
        Ok(pid)
    })
    .await?;
    shared.runs.history.set_last(false);
    let runs = held.len();
    for (_, release) in held {
        let _ = release.send(());
    }
    let pause_us = clock::now_ns().saturating_sub(since_ns) / 1_000;
    tracing::info!(
        pid,
        runs,
        connections = given.sockets,
        pause_us,
        "upgrade: another process has taken over"
    );
    Ok(pid)
}

/// Holds every run that has not ended, once all are RUNNING at the same time.
async fn gather(shared: &Shared) -> Result<Vec<Held>, String> {
    let wait = shared.upgrade.wait;
    let deadline = Instant::now() + wait;
    loop {
        for (id, mut run) in shared.runs.active.all() {
            if time::timeout_at(deadline, run.view.wait_for(is_movable))
                .await
                .is_err()
            {
                return Err(too_long(id, &run, wait));
            }
        }
        // While runs are held nobody reads their clients, so that what can be waited for is waited
        // for before.
        if time::timeout_at(deadline, shared.master_client.rested())
            .await
            .is_err()
        {
            return Err(too_restless(wait));
        }
        // From here on a stop is refused, and one that a run has not looked at yet keeps it from
        // being held.
        shared.upgrade.enter(Stage::HandingOver);
        // So is a restart of the workers; one that came between the last answer and this word is
        // waited for, and stops are taken meanwhile.
        if time::timeout(REST_TOLD_MAX, shared.master_client.rested())
            .await
            .is_err()
        {
            shared.upgrade.enter(Stage::Gathering);
            continue;
        }
        match hold_all(shared).await {
            Ok(held) => return Ok(held),
            Err((id, run)) if Instant::now() >= deadline => return Err(too_long(id, &run, wait)),
            // It has gone on to DRAINING between the look and the word; the others go on as well.
            Err(_) => shared.upgrade.enter(Stage::Gathering),
        }
    }
}

/// Holds every run that has not ended. An error is one that cannot be held; then none is.
async fn hold_all(shared: &Shared) -> Result<Vec<Held>, (RunId, ActiveRun)> {
    let mut held = Vec::new();
    for (id, run) in shared.runs.active.all() {
        let has_ended = is_over(&run.view.borrow());
        if has_ended {
            continue;
        }
        match run.freeze().await {
            Some(still) => held.push(still),
            None => return Err((id, run)),
        }
    }
    Ok(held)
}

fn is_over(view: &RunView) -> bool {
    matches!(view, RunView::Ended(_))
}

/// It can be handed over, or has ended.
fn is_movable(view: &RunView) -> bool {
    is_over(view) || view.run().state() == RunState::Running
}

fn too_restless(wait: Duration) -> String {
    format!(
        "workers were still being restarted after {wait:?}, or the data plane did not answer; ask again later"
    )
}

fn too_long(id: RunId, run: &ActiveRun, wait: Duration) -> String {
    let state = run
        .run()
        .state()
        .as_str_name()
        .trim_start_matches("RUN_STATE_")
        .to_owned();
    format!(
        "run {id} is {state} and was not RUNNING or over within {wait:?}, which it must be; ask again when it is"
    )
}

fn estate(shared: &Shared, held: &[Held], master: Vec<u8>) -> Estate {
    let mut estate = Estate {
        runs: held.iter().map(|(legacy, _)| legacy.clone()).collect(),
        tally: shared.counters.save(),
        started_unix_ms: shared.server.started_unix_ms,
        started_ns: shared.server.started_ns,
        master,
        ..Estate::default()
    };
    estate.set_unsaved(&shared.runs.history);
    estate
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err("the upgrade itself failed; this is a bug".into()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code between lock and unlock can leave it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_whose_end_would_end_its_container_says_so() {
        let pid = |number| Pid::from_raw(number);
        let judge = |own, parent, first| ends_nothing_else(pid(own).unwrap(), pid(parent), first);
        assert!(
            judge(1, 0, "metronome-serve").is_err_and(|sentence| sentence.contains("process 1"))
        );
        assert!(judge(7, 1, "tini").is_err_and(|sentence| sentence.contains("the child of tini")));
        assert!(judge(7, 0, "pause").is_err_and(|sentence| sentence.contains("started with")));
        for (own, parent, first) in [
            (7, 1, "systemd"),
            (7, 1, "bash"),
            (7, 6, "tini"),
            (900, 800, "systemd"),
        ] {
            assert_eq!(judge(own, parent, first), Ok(()), "{own} {parent} {first}");
        }
    }
}

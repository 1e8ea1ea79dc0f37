//! Real runs on this host with the server and the agent that `start` runs, too: on free ports, with
//! a history of their own that is deleted.
//!
//! Dropped at any instant, it ends the processes and deletes the history.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use metronome_os::{clock::now_ns, host::cpu_ticks, temporary_folder::TemporaryFolder};
use metronome_proto::{profile::Profile, v1};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{self, Address, Client},
    doctor::{
        GoingOn, Measured,
        capacity::Capacity,
        load::Load,
        search::Search,
        shares::{Shares, shares},
        trial::Trial,
    },
    embedded,
    exit::{Failure, host_failed},
    measure::{StopRequests, System},
    terminal::Progress,
};

/// The run of the load itself.
const LOAD_TIME: Duration = Duration::from_secs(2);
/// A run of the search.
const STEP_TIME: Duration = Duration::from_millis(700);
/// The repetition: a thread that takes too much CPU for real-time priority has lost it after a
/// second.
const REPETITION_TIME: Duration = Duration::from_millis(2_500);
/// All runs of the search.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(12);
/// A server that takes longer to answer is not waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
/// The run of the load: connecting thousands of clients takes a while.
const LOAD_RUN_TIME_MAX: Duration = Duration::from_secs(8);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) load: Load,
    pub(super) profile: Profile,
    /// Most clients of a run of the search. `None`: the load alone is measured.
    pub(super) search_max: Option<u32>,
    /// Cores of this host.
    pub(super) cores: u32,
}

/// Measures the load and, where wanted, what one pacing thread holds, until a run of `others`
/// begins.
///
/// # Errors
/// Server and agent could not be started here, or went away.
pub(super) async fn measure(
    wanted: Wanted,
    others: Option<&Client>,
    progress: &mut Progress,
) -> Result<Measured, Failure> {
    let Wanted {
        load,
        profile,
        search_max,
        cores,
    } = wanted;
    let state = embedded::database_path();
    let folder = TemporaryFolder::new(state.as_deref().and_then(Path::parent))
        .map_err(|error| host_failed(format!("no place for a history that passes: {error}")))?;
    let clients_max = search_max.unwrap_or(0).max(load.clients);
    let system = open(clients_max, folder.path().join("runs.sqlite")).await?;
    let mut runs = Runs { system, profile };
    let before = (now_ns(), cpu_ticks());
    let deadline = Instant::now() + LOAD_RUN_TIME_MAX;
    let trial = runs.one(load.clients, LOAD_TIME, deadline).await?;
    let trial = trial.ok_or_else(|| {
        let seconds = LOAD_RUN_TIME_MAX.as_secs();
        host_failed(format!("a run was not over within {seconds} s"))
    })?;
    note(progress, &trial);
    let mut trials = vec![trial];
    let (capacity, begun) = match search_max {
        None => (None, None),
        Some(most) => {
            let (capacity, begun) = runs.search(most, others, &mut trials, progress).await?;
            (Some(capacity), begun)
        }
    };
    let shares = shares_since(before, &trials, cores);
    runs.system.close().await;
    let measured = Measured::of(load.clients, &trials, capacity, shares)
        .ok_or_else(|| host_failed("no run of the load was made"))?;
    Ok(Measured { begun, ..measured })
}

async fn open(clients_max: u32, database: PathBuf) -> Result<System, Failure> {
    let embedded = embedded::System::start(embedded::Settings {
        max_clients: clients_max,
        workers: None,
        pacing_threads: 1,
        database: Some(database),
    })
    .await?;
    let address = embedded.grpc_address().parse::<Address>();
    let client = client::connect(&address.map_err(host_failed)?, None).await?;
    Ok(System::new(client, Some(embedded)))
}

struct Runs {
    system: System,
    profile: Profile,
}

impl Runs {
    /// Runs so many clients to the end. `None`: the deadline came first.
    async fn one(
        &mut self,
        clients: u32,
        time: Duration,
        deadline: Instant,
    ) -> Result<Option<Trial>, Failure> {
        let group = v1::Group {
            clients,
            profile: Some(self.profile.to_proto()),
            ..v1::Group::default()
        };
        let plan = v1::Plan {
            groups: vec![group],
            duration: prost_types::Duration::try_from(time).ok(),
            ..v1::Plan::default()
        };
        let request = v1::StartRunRequest {
            plan: Some(plan),
            ..v1::StartRunRequest::default()
        };
        // An interrupt drops all of it.
        let never = StopRequests {
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
        };
        let measuring = self.system.measure(request, &never, |_| ());
        match timeout_at(deadline.into(), measuring).await {
            Ok(run) => Ok(Some(Trial::of_run(clients, time.as_secs_f64(), &run?))),
            Err(_) => Ok(None),
        }
    }

    /// Finds what one pacing thread holds; `trials` begins with the run of the load. What of
    /// `others` has begun meanwhile ends it.
    async fn search(
        &mut self,
        most: u32,
        others: Option<&Client>,
        trials: &mut Vec<Trial>,
        progress: &mut Progress,
    ) -> Result<(Capacity, Option<GoingOn>), Failure> {
        let deadline = Instant::now() + SEARCH_TIME_MAX;
        let mut search = Search::new(trials.first().map_or(1, |of| of.clients), most);
        trials
            .iter()
            .for_each(|of| search.note(of.clients, of.is_held()));
        let mut overhead = OVERHEAD_EXPECTED;
        let mut begun = None;
        while let Some(clients) = search.next(steps_in(deadline, overhead)) {
            begun = begun_of(others).await;
            if begun.is_some() {
                break;
            }
            let time = match search.has_held(clients) {
                true => REPETITION_TIME,
                false => STEP_TIME,
            };
            let started = Instant::now();
            let Some(trial) = self.one(clients, time, deadline).await? else {
                break;
            };
            overhead = started.elapsed().saturating_sub(time);
            note(progress, &trial);
            search.note(clients, trial.is_held());
            trials.push(trial);
        }
        Ok((Capacity::of(&search, trials), begun))
    }
}

/// What `others` measure now. `None`, too, where that is not known: a server that went away
/// measures nothing.
async fn begun_of(others: Option<&Client>) -> Option<GoingOn> {
    let client = others?;
    let server = timeout(ANSWER_TIME_MAX, client.server()).await.ok()?.ok()?;
    going_on(client, server.runs_active)
}

/// What the server is measuring, when it is.
pub(super) fn going_on(client: &Client, runs: u32) -> Option<GoingOn> {
    (runs > 0).then(|| GoingOn {
        server: client.address().to_string(),
        runs,
    })
}

/// What a run takes besides its schedule, until that was measured.
const OVERHEAD_EXPECTED: Duration = Duration::from_millis(500);

/// Runs that there is time for until `deadline`: the repetition, and others before it.
fn steps_in(deadline: Instant, overhead: Duration) -> u32 {
    let left = deadline.saturating_duration_since(Instant::now());
    let Some(left) = left.checked_sub(overhead + REPETITION_TIME) else {
        return 0;
    };
    let others = left.as_millis() / (overhead + STEP_TIME).as_millis().max(1);
    u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1)
}

fn note(progress: &mut Progress, trial: &Trial) {
    let Trial {
        clients, seconds, ..
    } = trial;
    let end = match trial.is_held() {
        true => "held".into(),
        false => format!("not held: {}", trial.codes()),
    };
    let plural = if *clients == 1 { "" } else { "s" };
    progress.note(&format!(
        "measured {clients} client{plural} for {seconds} s: {end}"
    ));
}

fn shares_since(
    (before_ns, before): (u64, Option<Vec<u64>>),
    trials: &[Trial],
    cores: u32,
) -> Option<Shares> {
    let elapsed_ns = now_ns().saturating_sub(before_ns);
    // Unknown where that of one run is.
    let own_ns = trials.iter().map(|trial| trial.cpu_ns).sum();
    shares(&before?, &cpu_ticks()?, cores, (own_ns, elapsed_ns))
}

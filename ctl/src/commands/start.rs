//! `benchctl start`: a run from the plan to the verdict.

use std::{collections::BTreeMap, time::Duration};

use clap::ValueEnum;
use metronome_proto::{
    batch::Batch,
    limits::THREADS_MAX,
    names::check_labels,
    plan::Plan,
    profile::Profile,
    threshold::Threshold,
    v1::{self, stop_run_request::Runs, target::Kind},
};
use metronome_telemetry::{self as telemetry, KeyValue, retroactive_span, whole_number};

use super::{
    context::{Context, Shown},
    interrupts::Interrupts,
    open::{Load, SystemFlags, open},
};
use crate::{
    exit::{Exit, Failure, bad_flag, interrupted},
    flags,
    measure::{Event, StopRequests, System},
    output::Output,
    render::{json, text},
    terminal::{self, Progress},
};

/// Start a run, follow it to its end and judge it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Simulated devices, one TCP connection each: 1 to 10000.
    #[arg(
        long,
        default_value = "10",
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = flags::clients
    )]
    clients: u32,

    /// Packets per second of each client: 0.001 to 1000000; 10k is 10000. `max`: a flood, as many
    /// as the path carries.
    #[arg(
        long,
        default_value = "10k",
        value_name = "HZ|max",
        allow_hyphen_values = true
    )]
    rate: Profile,

    /// How long the schedule lasts: 1 ms to 24 h. Seconds, or with units: 10, 250ms, 1m30s.
    #[arg(
        long,
        default_value = "10s",
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = flags::duration
    )]
    duration: Duration,

    /// Packets per write, 1 to 1024, or writes per second, as 200/s for rate / 200 packets
    /// [default: 1, in a flood 1024]
    #[arg(long, value_name = "N|N/s", allow_hyphen_values = true)]
    batch: Option<Batch>,

    /// How the clients of a pacing thread lie within a period of the schedule.
    #[arg(long, value_enum, default_value_t = Phase::Staggered)]
    phase: Phase,

    /// Pacing threads per agent: 1 to 64.
    #[arg(
        long,
        default_value = "1",
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = whole_number(1..=THREADS_MAX)
    )]
    threads: u32,

    /// Agent to use, by name; repeat for several. Not given: all that are connected.
    #[arg(long = "agent", value_name = "NAME")]
    agents: Vec<String>,

    /// What follows when an agent fails, is lost, or has not connected its clients within 10 s.
    ///
    /// What only that agent has is missing from the result either way.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = AgentLoss::Continue)]
    on_agent_loss: AgentLoss,

    /// An objective: what the run has to hold; repeat for several, at most 64.
    ///
    /// A metric, one of < <= > >= == and a limit:
    ///
    ///   lost==0               counts of packets: lost, skipped, corrupt
    ///   kept_up>=99.9%        the share of the packets that was read in time
    ///   latency.p99<200us     times need a quantile and a unit: lateness, transit,
    ///   spread.max<=15.5ms    latency, spread (limits above 10ms) with p50, max and so on
    ///
    /// Lost and skipped packets count as slower than any limit. A load with a rate is
    /// judged by default objectives, too: lost==0, skipped==0, kept_up>=99.9% and
    /// latency.p99.9<=100ms (spread.p99.9<=100ms where an agent is not on the server's
    /// clock). A threshold replaces those on its metric; one on latency or spread
    /// replaces both. When an objective is missed, the exit code is 99.
    #[arg(long = "threshold", value_name = "OBJECTIVE", verbatim_doc_comment)]
    thresholds: Vec<Threshold>,

    /// Judge the run by --threshold alone; without one it is not judged.
    #[arg(long)]
    no_default_objectives: bool,

    /// Where agents connect, if not at the address that the server gives them by itself.
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<String>,

    /// A label for lists and filters; repeat for several, at most 16. Keys are of a-z 0-9 _ . - and
    /// begin with a letter.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = flags::label)]
    labels: Vec<(String, String)>,

    /// The same id gets the same run again instead of a new one, so that a script may repeat
    /// itself.
    #[arg(long, value_name = "ID", value_parser = flags::request_id)]
    request_id: Option<String>,

    /// Print the id of the run and leave it to the server.
    #[arg(long, conflicts_with_all = ["clients_table", "explain"])]
    detach: bool,

    #[command(flatten)]
    shown: Shown,

    #[command(flatten)]
    system: SystemFlags,
}

/// The phases of `v1::Phase` without the unspecified one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Phase {
    /// One after the other, a few µs apart, all served by one wake-up.
    Staggered,
    /// Evenly over the period, a wake-up per packet.
    Spread,
    /// All at the same instant: the hardest load on the receiver.
    Aligned,
}

impl From<Phase> for v1::Phase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Staggered => Self::Staggered,
            Phase::Spread => Self::Spread,
            Phase::Aligned => Self::Aligned,
        }
    }
}

/// What `v1::AgentLoss` offers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum AgentLoss {
    /// The others go on with their shares.
    Continue,
    /// The run ends at once.
    Stop,
}

impl From<AgentLoss> for v1::AgentLoss {
    fn from(loss: AgentLoss) -> Self {
        match loss {
            AgentLoss::Continue => Self::Continue,
            AgentLoss::Stop => Self::Stop,
        }
    }
}

/// Starts a run and, unless detached, watches it to its verdict.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    // Before anything is started: a plan that is not allowed must not cost a server.
    let plan = args.plan()?;
    let request = args.request(&plan)?;
    let interrupts = Interrupts::listen()?;
    let mut progress = Progress::new(context.quiet);
    let load = Load {
        clients: plan.clients(),
        pacing_threads: args.threads,
        agents: &args.agents,
        flag_of_a_lasting_server: args.flag_of_a_lasting_server(),
    };
    let opening = open(context, &args.system, load, &mut progress);
    let opened = interrupts.first().run_until_cancelled(opening).await;
    let mut system =
        opened.unwrap_or_else(|| Err(interrupted("stopped before the run was started")))?;
    let requests = interrupts.stop_requests();
    let result = if args.detach {
        detach(context, &system, request, &requests, &mut progress).await
    } else {
        let shown = args.shown;
        measure(
            context,
            &mut system,
            request,
            shown,
            &requests,
            &mut progress,
        )
        .await
    };
    let closing = system.close();
    let messages = interrupts.next().run_until_cancelled(closing).await;
    for message in messages.unwrap_or_default() {
        progress.note(&message);
    }
    if !requests.stop.is_cancelled() {
        return result;
    }
    // After Ctrl-C the code is 130 whatever the verdict, which the summary shows.
    result
        .map(|_| Exit::Interrupted)
        .map_err(|failure| interrupted(failure.sentence))
}

/// A run from StartRun to the printed summary.
async fn measure(
    context: &Context,
    system: &mut System,
    request: v1::StartRunRequest,
    shown: Shown,
    requests: &StopRequests,
    progress: &mut Progress,
) -> Result<Exit, Failure> {
    let measured = system
        .measure(request, requests, |event| show(event, progress))
        .await;
    progress.clear();
    let run = measured?;
    context.report(system.client(), &run, shown).await
}

/// A run that is left to the server once its id is printed.
async fn detach(
    context: &Context,
    system: &System,
    request: v1::StartRunRequest,
    requests: &StopRequests,
    progress: &mut Progress,
) -> Result<Exit, Failure> {
    let run = system
        .start(request, requests, |event| show(event, progress))
        .await?;
    if requests.stop.is_cancelled() {
        let runs = Runs::RunId(run.run_id.clone());
        system.client().stop_runs(runs).await?;
        return Err(interrupted(format!(
            "run {} was stopped instead of left to the server",
            run.run_id
        )));
    }
    terminal::print(&match context.output {
        Output::Json => json::lists::started(&run.run_id),
        Output::Text => text::tables::run_ids(&[run.run_id]),
    })?;
    Ok(Exit::Done)
}

fn show(event: Event<'_>, progress: &mut Progress) {
    match event {
        Event::Started(run) => {
            progress.begin(run);
            let span = tracing::Span::current();
            let run_id = KeyValue::new("metronome.run.id", run.run_id.clone());
            retroactive_span::set_attributes(&span, vec![run_id]);
            if let Some(trace_id) = telemetry::trace_id(&span) {
                progress.note(&format!("run {} is trace {trace_id}", run.run_id));
            }
        }
        Event::Snapshot(snapshot) => progress.show(snapshot),
        Event::Stopping(Some(run_id)) => {
            progress.note(&format!(
                "stopping run {run_id}; Ctrl-C again gives up at once"
            ));
        }
        Event::Stopping(None) => {
            progress.note(
                "stopping the run as soon as the server has reported its id; \
                 Ctrl-C again gives up at once",
            );
        }
    }
}

impl Args {
    fn plan(&self) -> Result<Plan, Failure> {
        let batch = self.batch.map(|batch| batch.packets(self.rate));
        let batch = batch
            .transpose()
            .map_err(|error| bad_flag("--batch", error))?;
        // 0: the default of the server.
        let batch = batch.unwrap_or_default();
        let agents = (!self.agents.is_empty()).then(|| v1::AgentSelector {
            names: self.agents.clone(),
        });
        let target = self.target.clone().map(|address| v1::Target {
            kind: Some(Kind::Receivers(v1::Receivers { address })),
        });
        let group = v1::Group {
            clients: self.clients,
            profile: Some(self.rate.to_proto()),
            batch,
            phase: v1::Phase::from(self.phase).into(),
            agents,
            target,
            ..v1::Group::default()
        };
        let plan = v1::Plan {
            groups: vec![group],
            duration: prost_types::Duration::try_from(self.duration).ok(),
            on_agent_loss: v1::AgentLoss::from(self.on_agent_loss).into(),
            threads: self.threads,
            thresholds: self.thresholds.iter().map(|one| one.to_proto()).collect(),
            no_default_objectives: self.no_default_objectives,
            ..v1::Plan::default()
        };
        Plan::try_from(&plan).map_err(|error| {
            let field = format!("plan.{}", error.field);
            bad_flag(flags::of_field(&field), &error.problem).with("field", field)
        })
    }

    fn request(&self, plan: &Plan) -> Result<v1::StartRunRequest, Failure> {
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        if labels.len() < self.labels.len() {
            return Err(bad_flag(
                "--label",
                "a key stands there twice; give each key once",
            ));
        }
        check_labels(&labels).map_err(|problem| bad_flag("--label", problem))?;
        Ok(v1::StartRunRequest {
            plan: Some(plan.to_proto()),
            request_id: self.request_id.clone().unwrap_or_else(new_request_id),
            labels,
        })
    }

    /// A flag that needs a server that stays, with the reason.
    fn flag_of_a_lasting_server(&self) -> Option<(&'static str, &'static str)> {
        if self.detach {
            let problem = "a server for this run alone would end with benchctl";
            return Some(("--detach", problem));
        }
        (!self.agents.is_empty()).then_some(("--agent", "names an agent of a running server"))
    }
}

/// An id that no other request has: with it a response that was lost can be requested again.
fn new_request_id() -> String {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => format!("{:032x}", u128::from_le_bytes(bytes)),
        // Then the server makes one, and a lost response stays lost.
        Err(_) => String::new(),
    }
}

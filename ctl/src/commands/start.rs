//! `benchctl start`: a run from the plan to the verdict.

use std::collections::{BTreeMap, BTreeSet};

use metronome_proto::{
    names::check_labels,
    payload::Payload,
    plan::{Group, Plan},
    v1::{self, stop_run_request::Runs},
};
use metronome_telemetry::{self as telemetry, KeyValue, retroactive_span};

use super::{
    context::{Context, Shown},
    interrupts::Interrupts,
    load_flags::LoadFlags,
    open::{Load, SystemFlags, open},
    report_files::{ReportFiles, ReportFlags},
};
use crate::{
    exit::{Exit, Failure, bad_flag, interrupted},
    flags::{self, Origin},
    measure::{Event, StopRequests, System},
    output::Output,
    render::{json, text},
    terminal::{self, Progress},
};

/// Start a run, follow it to its end and judge it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    load: LoadFlags,

    #[command(flatten)]
    run: RunFlags,
}

/// How a run is started and shown, whatever its load.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Run")]
pub(super) struct RunFlags {
    /// A label for lists and filters; repeat for several, at most 16. Keys are of a-z 0-9 _ . - and
    /// begin with a letter.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = flags::label)]
    labels: Vec<(String, String)>,

    /// The same id gets the same run again instead of a new one, so that a script may repeat
    /// itself.
    #[arg(long, value_name = "ID", value_parser = flags::request_id)]
    request_id: Option<String>,

    /// Print the id of the run and leave it to the server.
    #[arg(
        long,
        conflicts_with_all = ["clients_table", "explain", "junit", "markdown", "report", "plots"]
    )]
    detach: bool,

    #[command(flatten)]
    shown: Shown,

    #[command(flatten)]
    pub(super) files: ReportFlags,

    #[command(flatten)]
    system: SystemFlags,
}

/// Starts a run and, unless detached, watches it to its verdict.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let mut files = ReportFiles::open(&args.run.files)?;
    let result = start_load(context, args, &mut files).await;
    files.finish(result)
}

async fn start_load(
    context: &Context,
    args: Args,
    files: &mut ReportFiles,
) -> Result<Exit, Failure> {
    // Before anything is started: a plan that is not allowed must not cost a server.
    let plan = args.load.plan()?;
    let origin = args.load.origin();
    start(context, &plan, origin, BTreeMap::new(), args.run, files).await
}

/// Starts a run of this plan, which was given there, with these labels and those of the flags.
pub(super) async fn start(
    context: &Context,
    plan: &Plan,
    origin: Origin,
    labels: BTreeMap<String, String>,
    args: RunFlags,
    files: &mut ReportFiles,
) -> Result<Exit, Failure> {
    let request = args.request(plan, labels)?;
    files.ask(&request.labels);
    let interrupts = Interrupts::listen()?;
    let mut progress = context.progress("Ctrl-C stops and reports");
    let agents = named_agents(plan);
    let load = Load {
        clients: plan.clients(),
        pacing_threads: plan.threads,
        origin: &origin,
        agents: &agents,
        flag_of_a_lasting_server: args.flag_of_a_lasting_server(plan, &origin),
    };
    let opening = open(context, &args.system, load, &mut progress);
    let opened = interrupts.first().run_until_cancelled(opening).await;
    let mut system =
        opened.unwrap_or_else(|| Err(interrupted("stopped before the run was started")))?;
    let requests = interrupts.stop_requests();
    let result = if args.detach {
        detach(context, &system, request, &requests, &mut progress).await
    } else {
        let system = &mut system;
        let measured = measure(system, request, &requests, &mut progress).await;
        match measured {
            Ok(run) => {
                let client = system.client();
                context.report(client, &run, args.shown, files).await
            }
            Err(failure) => Err(failure),
        }
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

/// A run from StartRun to its end.
async fn measure(
    system: &mut System,
    request: v1::StartRunRequest,
    requests: &StopRequests,
    progress: &mut Progress,
) -> Result<v1::Run, Failure> {
    let measured = system
        .measure(request, requests, |event| show(event, progress))
        .await;
    progress.clear();
    measured
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

impl RunFlags {
    fn request(
        &self,
        plan: &Plan,
        mut labels: BTreeMap<String, String>,
    ) -> Result<v1::StartRunRequest, Failure> {
        for (key, value) in &self.labels {
            if labels.insert(key.clone(), value.clone()).is_some() {
                let problem = format!("{key} stands there twice; give each key once");
                return Err(bad_flag("--label", problem));
            }
        }
        check_labels(&labels).map_err(|problem| bad_flag("--label", problem))?;
        Ok(v1::StartRunRequest {
            plan: Some(plan.to_proto()),
            request_id: self.request_id.clone().unwrap_or_else(new_request_id),
            labels,
        })
    }

    /// What needs a server that stays, with the reason.
    fn flag_of_a_lasting_server(
        &self,
        plan: &Plan,
        origin: &Origin,
    ) -> Option<(&'static str, &'static str)> {
        if self.detach {
            let problem = "a server for this run alone would end with benchctl";
            return Some(("--detach", problem));
        }
        let is_named = |group: &Group| !group.agents.is_empty();
        let has_file = |group: &Group| matches!(group.payload, Payload::AgentFile { .. });
        let groups = &plan.groups;
        if groups.iter().any(is_named) {
            let flag = origin.flag_of("--agent");
            return Some((flag, "names an agent of a running server"));
        }
        let flag = origin.flag_of("--payload");
        let problem = "names a file of an agent of a running server";
        groups.iter().any(has_file).then_some((flag, problem))
    }
}

/// The agents that groups name.
fn named_agents(plan: &Plan) -> Vec<String> {
    let groups = plan.groups.iter();
    let names: BTreeSet<_> = groups
        .flat_map(|group| group.agents.iter().cloned())
        .collect();
    names.into_iter().collect()
}

/// An id that no other request has: with it a response that was lost can be requested again.
pub(super) fn new_request_id() -> String {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => format!("{:032x}", u128::from_le_bytes(bytes)),
        // Then the server makes one, and a lost response stays lost.
        Err(_) => String::new(),
    }
}

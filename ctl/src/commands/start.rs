//! `benchctl start`: a run from the plan to the verdict.

use std::{pin::pin, time::Duration};

use clap::ValueEnum;
use metronome_proto::{plan::Plan, rate::AskedRate, v1};
use metronome_telemetry::{self as telemetry, KeyValue, past};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::{sync::oneshot, time::timeout};

use super::{
    Context, arrival,
    follow::{OnInterrupt, Watched, follow},
    interrupts::Interrupts,
};
use crate::{
    cli::Output,
    client::{self, Address, Client},
    embedded::{self, Part, Role},
    exit::{Exit, Failure},
    flags::{self, Batch},
    render::json,
    terminal::{self, Remarks},
};

/// A server or an agent on this host is up in tens of milliseconds; a slow disk may take longer.
const READY_TIME_MAX: Duration = Duration::from_secs(10);
/// Clients that a server lets in when nothing else is said.
const MAX_CLIENTS_DEFAULT: u32 = 10;

/// Start a run, follow it to its end and judge it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Simulated devices, one TCP connection each: 1 to 10000.
    #[arg(long, default_value = "10", value_name = "N", allow_negative_numbers = true, value_parser = flags::clients)]
    clients: u32,

    /// Packets per second of each client: 0.001 to 1000000; 10k is 10000. `max`: a flood, as many
    /// as the path carries.
    #[arg(
        long,
        default_value = "10k",
        value_name = "HZ|max",
        allow_negative_numbers = true
    )]
    rate: AskedRate,

    /// How long the schedule lasts: 1 ms to 24 h. Seconds, or with units: 10, 250ms, 1m30s.
    #[arg(long, default_value = "10s", value_name = "TIME", allow_negative_numbers = true, value_parser = flags::duration)]
    duration: Duration,

    /// Packets per write: 1 to 1024, or `seed` for rate / 200, as the seed's client does [default:
    /// 1, in a flood 1024]
    #[arg(long, value_name = "N|seed", allow_negative_numbers = true)]
    batch: Option<Batch>,

    /// How the clients of a pacing thread lie within a period of the schedule.
    #[arg(long, value_enum, default_value_t = Phase::Staggered)]
    phase: Phase,

    /// Pacing threads per agent: 1 to 64.
    #[arg(long, default_value = "1", value_name = "N", allow_negative_numbers = true, value_parser = flags::threads)]
    threads: u32,

    /// Agent to use, by name; repeat for several. Not given: all that are connected.
    #[arg(long = "agent", value_name = "NAME")]
    agents: Vec<String>,

    /// Where agents connect, when that is not the address that the server tells them by itself.
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<String>,

    /// A name for the lists: at most 128 bytes.
    #[arg(long, value_name = "TEXT", value_parser = flags::label)]
    label: Option<String>,

    /// The same id gets the same run again instead of a new one, so that a script may repeat
    /// itself.
    #[arg(long, value_name = "ID", value_parser = flags::request_id)]
    request_id: Option<String>,

    /// Print the id of the run and leave it to the server.
    #[arg(long)]
    detach: bool,

    /// Print a row per client below the summary.
    #[arg(long, conflicts_with = "detach")]
    clients_table: bool,

    /// Wait up to this long for the server to answer and an agent to be there, instead of bringing
    /// up our own.
    #[arg(long, value_name = "TIME", env = "METRONOME_WAIT", allow_negative_numbers = true, value_parser = flags::duration)]
    wait: Option<Duration>,

    /// Workers of the server that benchctl brings up itself: 1 to 256. Not given: one for each core
    /// that the pacing threads leave, at least one.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = flags::workers)]
    workers: Option<u32>,

    /// Clients that the server lets in which benchctl brings up itself; at least --clients.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = flags::max_clients)]
    max_clients: Option<u32>,
}

/// As `v1::Phase`, without the unspecified one.
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

/// Starts a run and, unless detached, follows it to its verdict.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    // Before anything is started: a plan that is not allowed must not cost a server.
    let plan = args.plan()?;
    let mut interrupts = Interrupts::listen()?;
    let mut remarks = Remarks::new(context.quiet);
    let opening = open(context, &args, &plan, &mut remarks);
    let mut system = interrupts
        .unless(1, "stopped before the run was started", opening)
        .await?;
    let result = system
        .measure(context, &args, &plan, &mut interrupts, &mut remarks)
        .await;
    system.close(&mut interrupts, &mut remarks).await;
    if !interrupts.came() {
        return result;
    }
    // After Ctrl-C the code is 130 whatever the verdict; the summary tells that.
    result
        .map(|_| Exit::Interrupted)
        .map_err(|failure| Failure::interrupted(failure.sentence))
}

impl Args {
    fn plan(&self) -> Result<Plan, Failure> {
        if self.rate == AskedRate::Max && self.batch == Some(Batch::Seed) {
            return Err(Failure::usage(flags::SEED_BATCH_OF_A_FLOOD));
        }
        let asked = v1::Plan {
            clients: self.clients,
            rate_hz: self.rate.hz(),
            duration: prost_types::Duration::try_from(self.duration).ok(),
            batch: self.batch.map_or(0, |batch| batch.packets(self.rate.hz())),
            phase: v1::Phase::from(self.phase).into(),
            threads: self.threads,
            agents: self.agents.clone(),
            target: self.target.clone().unwrap_or_default(),
            flood: self.rate == AskedRate::Max,
        };
        Plan::try_from(&asked).map_err(|error| Failure::usage(flags::sentence(&error)))
    }

    fn request(&self, plan: &Plan) -> v1::StartRunRequest {
        v1::StartRunRequest {
            plan: Some(plan.to_proto()),
            request_id: self.request_id.clone().unwrap_or_else(new_request_id),
            label: self.label.clone().unwrap_or_default(),
        }
    }

    /// A flag that means nothing to a server that is there already.
    fn flag_of_the_embedded_server(&self) -> Option<&'static str> {
        self.workers
            .map(|_| "--workers")
            .or(self.max_clients.map(|_| "--max-clients"))
    }

    /// A flag that needs a server that stays, with the reason.
    fn flag_of_a_lasting_server(&self) -> Option<&'static str> {
        let flags = [
            (
                self.detach,
                "--detach: a server for this run alone would end with benchctl",
            ),
            (
                !self.agents.is_empty(),
                "--agent: names an agent of a running server",
            ),
        ];
        flags
            .into_iter()
            .find(|(given, _)| *given)
            .map(|(_, sentence)| sentence)
    }
}

/// An id that nobody else has: with it an answer that was lost can be asked for again.
fn new_request_id() -> String {
    let mut bytes = [0; 16];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(16) => format!("{:032x}", u128::from_le_bytes(bytes)),
        // Then the server makes one, and a lost answer stays lost.
        _ => String::new(),
    }
}

/// A server to talk to and, when it is our own, the processes that end with this run.
struct System {
    client: Client,
    /// In the order in which they end: the agent, then the server.
    parts: Vec<Part>,
}

impl System {
    /// The run, from StartRun to the printed summary.
    async fn measure(
        &mut self,
        context: &Context,
        args: &Args,
        plan: &Plan,
        interrupts: &mut Interrupts,
        remarks: &mut Remarks,
    ) -> Result<Exit, Failure> {
        let run = self.start(args.request(plan), interrupts, remarks).await?;
        let span = tracing::Span::current();
        past::set_attributes(
            &span,
            vec![KeyValue::new("metronome.run.id", run.run_id.clone())],
        );
        if let Some(trace_id) = telemetry::trace_id(&span) {
            remarks.tell(&format!("run {} is trace {trace_id}", run.run_id));
        }
        if args.detach && interrupts.came() {
            self.client.stop_run(&run.run_id).await?;
            return Err(Failure::interrupted(format!(
                "run {} was stopped instead of left to the server",
                run.run_id
            )));
        }
        if args.detach {
            terminal::print(&match context.output {
                Output::Json => json::lists::started(&run.run_id),
                Output::Text => format!("{}\n", run.run_id),
            })?;
            return Ok(Exit::Valid);
        }
        let mut server = self.parts.last_mut();
        let watched = Watched {
            client: &self.client,
            run_id: &run.run_id,
            server_is_gone: &mut || server.as_mut().is_some_and(|server| server.has_ended()),
        };
        let followed = follow(watched, OnInterrupt::StopTheRun, interrupts, remarks).await;
        let run = followed.map_err(|failure| self.with_cause(&run.run_id, failure))?;
        let clients = if context.shows_clients(args.clients_table) {
            self.client.clients(&run.run_id).await?
        } else {
            Vec::new()
        };
        context.print_run(&run, &clients, args.clients_table)?;
        Ok(Exit::of_run(&run))
    }

    /// The run from its request. One Ctrl-C does not lose the answer: the run that it names may be
    /// going on already and must be stopped.
    async fn start(
        &self,
        asked: v1::StartRunRequest,
        interrupts: &mut Interrupts,
        remarks: &mut Remarks,
    ) -> Result<v1::Run, Failure> {
        let mut starting = pin!(self.client.start_run(asked));
        tokio::select! {
            started = &mut starting => return started,
            () = interrupts.reach(1) => {}
        }
        remarks.tell(
            "stopping the run as soon as the server has told its id; Ctrl-C again gives up at once",
        );
        let sentence =
            "gave up while the run was being started; `benchctl runs` tells whether it was";
        interrupts.unless(2, sentence, starting).await
    }

    /// When a process of our own has ended, that is the cause.
    fn with_cause(&mut self, run_id: &str, failure: Failure) -> Failure {
        // The server first: without it the agent has no reason to stay.
        let cause = self.parts.iter_mut().rev().find_map(Part::how_it_ended);
        match cause {
            Some(cause) if failure.exit == Exit::Other => {
                Failure::other(format!("run {run_id} was cut short: {cause}"))
            }
            _ => failure,
        }
    }

    /// Ends our own processes in good order; one more Ctrl-C leaves them to their death signal.
    async fn close(self, interrupts: &mut Interrupts, remarks: &mut Remarks) {
        // The server's drain waits for its clients, of which we are one. The connection is closed
        // by a task of this runtime, so the wait must not block it.
        drop(self.client);
        let ending = tokio::task::spawn_blocking(move || embedded::end_all(self.parts));
        tokio::select! {
            said = ending => said.unwrap_or_default().iter().for_each(|sentence| remarks.tell(sentence)),
            () = interrupts.another() => {}
        }
    }
}

/// Finds a server or brings one up.
async fn open(
    context: &Context,
    args: &Args,
    plan: &Plan,
    remarks: &mut Remarks,
) -> Result<System, Failure> {
    let found = match args.wait {
        Some(wait_max) => {
            Some(arrival::of_server_and_agents(context, wait_max, &args.agents).await?)
        }
        None => context.connect_if_any().await?,
    };
    let Some(client) = found else {
        return bring_up(args, plan, remarks).await;
    };
    if let Some(flag) = args.flag_of_the_embedded_server() {
        return Err(Failure::usage(format!(
            "{flag}: is for a server that benchctl brings up itself, and one is there at {}; give the flag to that server",
            client.address()
        )));
    }
    Ok(System {
        client,
        parts: Vec::new(),
    })
}

async fn bring_up(args: &Args, plan: &Plan, remarks: &mut Remarks) -> Result<System, Failure> {
    if let Some(sentence) = args.flag_of_a_lasting_server() {
        let address = Address::default();
        return Err(Failure::usage(format!(
            "{sentence}, and none listens at {address}; start `metronome-server` and `metronome-agent`, or leave the flag out"
        )));
    }
    let max_clients = args
        .max_clients
        .unwrap_or(MAX_CLIENTS_DEFAULT)
        .max(plan.clients);
    let workers = args
        .workers
        .or_else(|| embedded::workers_beside(args.threads));
    let (server, line) =
        start_part(Role::Server, &embedded::server_flags(max_clients, workers)).await?;
    let address = embedded::grpc_address_in(&line)
        .and_then(|address| address.parse::<Address>().ok())
        .ok_or_else(|| {
            Failure::other(format!(
                "the server that was started says {line:?}, which names no address"
            ))
        })?;
    let (agent, _) = start_part(Role::Agent, &embedded::agent_flags(&address.to_string())).await?;
    remarks.tell(&format!(
        "no server at {}: started one (pid {}) and an agent (pid {}) for this run",
        Address::default(),
        server.pid(),
        agent.pid()
    ));
    // On loopback and for this run: nothing is encrypted.
    let client = client::connect(&address, None).await?;
    Ok(System {
        client,
        parts: vec![agent, server],
    })
}

async fn start_part(role: Role, flags: &[String]) -> Result<(Part, String), Failure> {
    let (tell, told) = oneshot::channel();
    let started = embedded::start(role, flags, move |line| {
        // Nobody listens any more after a time-out or Ctrl-C.
        let _ = tell.send(line);
    });
    let name = role.name();
    let part = started
        .map_err(|error| Failure::other(format!("no {name} could be started here: {error}")))?;
    match timeout(READY_TIME_MAX, told).await {
        Ok(Ok(Some(line))) => Ok((part, line)),
        Ok(_) => Err(Failure::other(part.why_it_was_never_ready())),
        Err(_) => {
            let seconds = READY_TIME_MAX.as_secs();
            Err(Failure::other(format!(
                "the {name} that was started here was not ready within {seconds} s"
            )))
        }
    }
}

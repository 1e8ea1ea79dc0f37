//! The subcommands, one module each, and what several of them share:
//!
//! | module | subject |
//! |---|---|
//! | [`history`] | past runs, from the server or straight from the database |
//! | [`interrupts`] | Ctrl-C, once and twice |
//! | [`wait_ready`] | waiting for a server and agents that are still coming up |

pub(crate) mod agents;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
mod history;
mod interrupts;
pub(crate) mod man;
pub(crate) mod runs;
pub(crate) mod server;
pub(crate) mod show;
pub(crate) mod start;
pub(crate) mod stop;
mod wait_ready;
pub(crate) mod watch;

use metronome_proto::v1;
use metronome_tls::{ClientTlsConfig, DialFlags};

use crate::{
    cli::{Cli, Command, Output},
    client::{self, Address, Client},
    exit::{Exit, Failure},
    render::{json, summary},
    terminal,
};

/// What every command needs to know.
#[derive(Debug)]
pub(crate) struct Context {
    /// Given by flag or environment.
    server: Option<Address>,
    tls: DialFlags,
    output: Output,
    quiet: bool,
    origins: config::Origins,
}

/// Does what the command line asks.
pub(crate) async fn dispatch(cli: Cli, origins: config::Origins) -> Result<Exit, Failure> {
    let context = Context {
        server: cli.server,
        tls: cli.tls,
        output: cli.output,
        quiet: cli.quiet,
        origins,
    };
    match cli.command {
        Command::Start(args) => start::run(&context, args).await,
        Command::Stop(args) => stop::run(&context, args).await,
        Command::Watch(args) => watch::run(&context, args).await,
        Command::Runs(args) => runs::run(&context, args).await,
        Command::Show(args) => show::run(&context, args).await,
        Command::Agents => agents::run(&context).await,
        Command::Doctor(args) => doctor::run(&context, args).await,
        Command::Config(args) => config::run(&context, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Server(args) => server::run(&context, args).await,
    }
}

impl Context {
    /// The server, which has to be there.
    async fn connect(&self) -> Result<Client, Failure> {
        client::connect(&self.server.clone().unwrap_or_default(), self.decide_tls()?).await
    }

    /// The server; `None` when none was asked for and none listens at the default address.
    async fn connect_if_any(&self) -> Result<Option<Client>, Failure> {
        match &self.server {
            Some(address) => client::connect(address, self.decide_tls()?).await.map(Some),
            None => client::connect_if_listening(&Address::default(), self.decide_tls()?).await,
        }
    }

    fn decide_tls(&self) -> Result<Option<ClientTlsConfig>, Failure> {
        let scheme = self.server.as_ref().and_then(Address::scheme);
        self.tls
            .decide(scheme)
            .map_err(|error| Failure::usage(error.to_string()))
    }

    /// Prints a run in the form asked for.
    fn print_run(
        &self,
        run: &v1::Run,
        clients: &[v1::ClientReport],
        clients_table: bool,
    ) -> Result<(), Failure> {
        let text = match self.output {
            Output::Json => json::result(run, clients),
            Output::Text if clients_table => {
                summary::with_clients(run, clients, terminal::colour_of_stdout())
            }
            Output::Text => summary::summary(run, terminal::colour_of_stdout()),
        };
        terminal::print(&text)
    }

    /// Whether the rows of the clients are printed.
    fn shows_clients(&self, clients_table: bool) -> bool {
        clients_table || self.output == Output::Json
    }
}

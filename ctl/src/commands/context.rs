//! What commands share: the flags that all of them have, the server that these name, and the output
//! in the form that they name.

use metronome_proto::v1::{self, FailureCode};
use metronome_telemetry::retroactive_span;
use metronome_tls::{ClientTlsConfig, DialFlags};

use super::report_files::{Details, ReportFiles};
use crate::{
    client::{self, Address, Client},
    exit::{Exit, Failure, failure_of_run, usage},
    output::{Colours, Output},
    render::{
        json,
        text::{self, summary::Below},
    },
    terminal::{self, Progress},
};

/// The flags that every command has.
#[derive(Debug)]
pub(crate) struct Context {
    /// By flag or environment.
    pub(crate) server: Option<Address>,
    /// By a flag, which must not be passed over.
    pub(crate) has_server_flag: bool,
    pub(crate) tls: DialFlags,
    pub(crate) output: Output,
    /// A JSON object a line, in `watch`; `output` is JSON then.
    pub(crate) lines: bool,
    pub(crate) quiet: bool,
    pub(crate) no_live: bool,
    pub(crate) colours: Colours,
}

/// What is printed of a run beside its summary.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Summary")]
pub(super) struct Shown {
    /// Print a row per client below the summary.
    #[arg(long)]
    pub(super) clients_table: bool,

    /// Print a paragraph for each line of the summary below it: what it is, what a good value is,
    /// and what to do about another one. JSON is as without it.
    #[arg(long)]
    pub(super) explain: bool,
}

impl Context {
    /// The progress of a run that a person may watch; `hint` is what Ctrl-C does.
    pub(super) fn progress(&self, hint: &'static str) -> Progress {
        Progress::live(self.quiet, self.no_live, self.output, hint)
    }

    /// The server, which has to be there.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        client::connect(&self.server.clone().unwrap_or_default(), self.decide_tls()?).await
    }

    /// The server; `None` when no flag names one and none listens at the default address.
    pub(super) async fn connect_if_any(&self) -> Result<Option<Client>, Failure> {
        match &self.server {
            Some(address) => client::connect(address, self.decide_tls()?).await.map(Some),
            None => client::connect_if_listening(&Address::default(), self.decide_tls()?).await,
        }
    }

    /// A failure of the flags themselves, found before anything is waited for.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.decide_tls().map(drop)
    }

    fn decide_tls(&self) -> Result<Option<ClientTlsConfig>, Failure> {
        let scheme = self.server.as_ref().and_then(Address::scheme);
        self.tls
            .decide(scheme)
            .map_err(|error| usage(error.flag(), error.to_string()))
    }

    /// Prints a run that is over, with its client rows where they are shown, and returns the exit
    /// of its verdict. One without a report has no figures to print, and ends with its failure. The
    /// files are about it from now on.
    pub(super) async fn report(
        &self,
        client: &Client,
        run: &v1::Run,
        shown: Shown,
        files: &mut ReportFiles,
    ) -> Result<Exit, Failure> {
        warn_if_unstored(run);
        files.keep(run);
        if files.want_details() && run.report.is_some() {
            files.keep_details(details(client, &run.run_id).await);
        }
        if let Some(failure) = failure_of_run(run) {
            return self.report_failure(run, &failure);
        }
        let exit = Exit::of_run(run)?;
        let clients = if self.shows_clients(shown) {
            Some(client.clients(&run.run_id).await)
        } else {
            None
        };
        self.print_with_clients(run, clients, shown, exit)
    }

    /// Prints a run and its client rows, where those were fetched, and returns `exit`. Where the
    /// rows could not be had, since the history has lost them or the server has ended meanwhile,
    /// the run is printed without them, and the exit is that of the failure.
    pub(super) fn print_with_clients(
        &self,
        run: &v1::Run,
        clients: Option<Result<Vec<v1::ClientReport>, Failure>>,
        shown: Shown,
        exit: Exit,
    ) -> Result<Exit, Failure> {
        match clients.transpose() {
            Ok(clients) => {
                self.print_run(run, clients.as_deref(), shown)?;
                Ok(exit)
            }
            Err(failure) => {
                self.print_run(run, None, shown)?;
                let sentence = match failure.code() {
                    FailureCode::HistoryDamaged => format!("the clients of {}", failure.sentence),
                    _ => format!("the clients are not shown: {}", failure.sentence),
                };
                let exit = Exit::of_failure(&failure);
                terminal::print_failure(&Failure {
                    sentence,
                    ..failure
                });
                Ok(exit)
            }
        }
    }

    /// The exit does not depend on the failure, which is the server's or an agent's: its codes have
    /// a meaning there that is none for the command line.
    fn report_failure(&self, run: &v1::Run, failure: &Failure) -> Result<Exit, Failure> {
        if self.output == Output::Json {
            // The object of the run has the failure, too.
            self.print_run(run, None, Shown::default())?;
        }
        let span = tracing::Span::current();
        retroactive_span::fail(&span, failure.code().name(), &failure.sentence);
        terminal::print_failure(failure);
        Ok(Exit::Other)
    }

    /// Prints a run in the form of --output. `clients` is `None` where they were not fetched.
    pub(super) fn print_run(
        &self,
        run: &v1::Run,
        clients: Option<&[v1::ClientReport]>,
        shown: Shown,
    ) -> Result<(), Failure> {
        let below = Below {
            explanation: shown.explain,
            clients: clients.filter(|_| shown.clients_table),
        };
        let result = match self.output {
            Output::Json => json::run::result(run, clients),
            Output::Text => text::summary::summary(run, below, terminal::screen()),
        };
        terminal::print(&result)
    }

    /// Prints what a run did, second by second.
    pub(super) fn print_series(&self, run: &v1::Run, series: &v1::Series) -> Result<(), Failure> {
        terminal::print(&match self.output {
            Output::Json => json::series::result(run, series),
            Output::Text => text::series::series(run, series, terminal::screen().width),
        })
    }

    /// Whether the rows of the clients are printed.
    pub(super) fn shows_clients(&self, shown: Shown) -> bool {
        shown.clients_table || self.output == Output::Json
    }
}

/// What the pictures of a run are made of.
async fn details(client: &Client, run_id: &str) -> Result<Details, Failure> {
    Ok(Details {
        series: client.series(run_id).await?,
        clients: client.clients(run_id).await?,
    })
}

/// Warns when the server could not store the run yet.
pub(super) fn warn_if_unstored(run: &v1::Run) {
    if run.unstored {
        terminal::warn(text::summary::UNSTORED);
    }
}

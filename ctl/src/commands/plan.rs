//! `benchctl plan`: plans as files.

use clap::Subcommand;
use metronome_proto::{
    plan::Plan,
    v1::{self, FailureCode},
};

use super::{
    context::Context,
    history::{History, Name},
    plan_file::Source,
};
use crate::{
    exit::{Exit, Failure},
    output::Output,
    plans,
    render::text,
    terminal,
};

/// Flags of `benchctl plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What can be done with a plan.
#[derive(Debug, Subcommand)]
enum Action {
    /// Write the plan of a run as a file for `start --plan`: YAML, or JSON with `-o json`.
    Show {
        /// Id of the run, a prefix of it that no other has, or `last`.
        #[arg(value_name = "RUN", default_value = "last")]
        run: Name,
    },
    /// Check a plan file, without a server. What depends on a server, such as its room for clients,
    /// is checked by `start`.
    Check {
        /// YAML or JSON; - is standard input.
        #[arg(value_name = "FILE")]
        file: Source,
    },
    /// Print the JSON schema of a plan file.
    Schema,
}

impl Args {
    /// Whether it needs a server or a database.
    pub(crate) fn dials(&self) -> bool {
        matches!(self.action, Action::Show { .. })
    }
}

/// Shows or checks a plan.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let result = match args.action {
        Action::Show { run } => {
            let history = History::open(context).await?;
            let plan = plan_of(&history.run(&run).await?)?;
            match context.output {
                Output::Json => plans::text::json(&plan),
                Output::Text => plans::text::yaml(&plan),
            }
        }
        Action::Check { file } => {
            let read = file.read("FILE")?;
            let plan = file.plan("FILE", &read, &read.parts)?;
            match context.output {
                Output::Json => plans::text::json(&plan),
                Output::Text => text::tables::plan(&plan.to_proto()),
            }
        }
        Action::Schema => plans::SCHEMA.to_owned(),
    };
    terminal::print(&result)?;
    Ok(Exit::Done)
}

/// The plan of a run.
///
/// # Errors
/// It has what this version does not have.
pub(super) fn plan_of(run: &v1::Run) -> Result<Plan, Failure> {
    let run_id = run.run_id.as_str();
    let plan = run.plan.clone().unwrap_or_default();
    Plan::try_from(&plan).map_err(|error| {
        let sentence = format!("the plan of run {run_id} is none of this version: {error}");
        Failure::new(FailureCode::Unsupported, sentence).with("run_id", run_id)
    })
}

//! `benchctl rerun`: the plan of a run again.

use std::collections::BTreeMap;

use super::{
    context::Context,
    history::{History, Name},
    plan::plan_of,
    start::{self, RunFlags},
};
use crate::{
    exit::{Exit, Failure},
    flags::Origin,
};

/// The label that has the id of the run whose plan it is.
const LABEL: &str = "rerun_of";

/// Start a run with the plan and the seed of another one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, a prefix of it that no other has, or `last`.
    #[arg(value_name = "RUN", default_value = "last")]
    run: Name,

    #[command(flatten)]
    flags: RunFlags,
}

/// Starts a run like another one.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let history = History::open(context).await?;
    let run = history.run(&args.run).await?;
    let labels = BTreeMap::from([(LABEL.to_owned(), run.run_id.clone())]);
    let origin = Origin::Argument("RUN");
    start::start(context, &plan_of(&run)?, origin, labels, args.flags).await
}

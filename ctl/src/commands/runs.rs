//! `benchctl runs`: the history, filtered and in order.

use clap::ValueEnum;
use metronome_proto::filter;
use metronome_telemetry::whole_number;

use super::{
    context::Context,
    history::{History, Selection, warn_of_unreadable},
};
use crate::{
    exit::{Exit, Failure},
    output::Output,
    render::{json, text},
    terminal,
};

/// List runs: all, or those of a filter.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the runs that match, for example 'state = ended AND labels.host = "rack 7"'.
    ///
    /// Comparisons are joined by AND:
    ///
    ///   state = ended          or != ; preparing, starting, running, draining, failed, aborted
    ///   verdict = valid        or != ; partial, invalid; a run without a verdict never matches
    ///   outcome = held         or != ; not_held, not_judged; a run without one never matches
    ///   labels.KEY = value     or != ; a run without the label matches !=
    ///   created_at >= 2026-11-26T05:00:00Z    or < <= > = ; RFC 3339
    ///   run_id = 0199f0c2      or != ; 1 to 16 digits, with which it begins
    ///
    /// States, verdicts and outcomes may be in any case. A value with other characters than
    /// A-Z a-z 0-9 _ . : - stands in double quotes, in which \" and \\ are the two escapes.
    #[arg(long, value_name = "FILTER", verbatim_doc_comment)]
    filter: Option<String>,

    /// The order of the list: that in which the runs were made, which a clock that steps back does
    /// not change.
    #[arg(long, value_enum, default_value_t = Order::Newest)]
    order: Order,

    /// At most this many: 1 to 10000.
    #[arg(
        long,
        default_value_t = 20,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = whole_number(1..=10_000_u32)
    )]
    limit: u32,
}

/// Which runs come first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Order {
    /// The newest run first.
    Newest,
    /// The oldest run first.
    Oldest,
}

impl From<Order> for filter::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Newest => Self::NewestFirst,
            Order::Oldest => Self::OldestFirst,
        }
    }
}

/// Lists runs.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    // Before a server is dialled: what is no filter needs none.
    let selection = Selection::new(args.filter.as_deref(), args.order.into())?;
    let history = History::open(context).await?;
    let listed = history.runs(&selection, args.limit).await?;
    terminal::print(&match context.output {
        Output::Json => json::lists::runs(&listed.runs, &listed.unreadable),
        Output::Text => text::tables::runs(&listed.runs, terminal::screen().width),
    })?;
    warn_of_unreadable(&listed);
    Ok(Exit::Done)
}

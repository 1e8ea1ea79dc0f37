//! `benchctl agents`: who can generate load now.

use super::context::Context;
use crate::{
    exit::{Exit, Failure},
    output::Output,
    render::{json, text},
    terminal,
};

/// Lists the agents connected.
pub(crate) async fn run(context: &Context) -> Result<Exit, Failure> {
    let agents = context.connect().await?.agents().await?;
    terminal::print(&match context.output {
        Output::Json => json::lists::agents(&agents),
        Output::Text => text::tables::agents(&agents, terminal::screen().width),
    })?;
    Ok(Exit::Done)
}

//! `benchctl server`: the server itself.

use super::Context;
use crate::{
    cli::Output,
    exit::{Exit, Failure},
    render::{json, tables},
    terminal,
};

/// Shows the server.
pub(crate) async fn run(context: &Context) -> Result<Exit, Failure> {
    let server = context.connect().await?.server().await?;
    terminal::print(&match context.output {
        Output::Json => json::lists::server(&server),
        Output::Text => tables::server(&server),
    })?;
    Ok(Exit::Valid)
}

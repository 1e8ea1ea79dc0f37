//! The gRPC API: the services of the port, what surrounds every call, and the server's health.
//!
//! | file | subject |
//! |---|---|
//! | [`router`] | the services of the gRPC port and its limits |
//! | [`run_service`] | RunService: for operators, and in part for viewers |
//! | [`list_runs`] | its list of runs, in pages |
//! | [`page_token`] | where the next page of a list begins |
//! | [`streams`] | its streams: what happens to a run, and its client rows |
//! | [`fleet_service`], [`server_status`] | FleetService: for viewers |
//! | [`list_agents`] | its list of agents, in pages |
//! | [`admin_service`] | AdminService: for administrators |
//! | [`response`] | what a service returns, in gRPC's form |
//! | [`health`] | grpc.health.v1 |
//! | [`answers`] | the bytes of answers that wait to be read, over all connections |
//! | [`turns`] | how many answers are made at once |
//! | [`request_body`] | whether a request has come whole |
//! | [`library_errors`] | the errors that the library answers by itself, in the API's form |
//! | [`open_calls`] | whether a connection has an open call |
//! | [`rpc_tracing`] | a span and a duration for every call |
//!
//! AgentService is [`super::agents`]'; it is only routed here. Nothing here decides about a run.

mod admin_service;
mod answers;
mod fleet_service;
mod health;
mod library_errors;
mod list_agents;
mod list_runs;
mod open_calls;
mod page_token;
mod request_body;
mod response;
mod router;
mod rpc_tracing;
mod run_service;
mod server_status;
mod streams;
mod turns;

pub(crate) use health::Health;
pub(super) use list_runs::list_runs as page_of_runs;
pub(crate) use open_calls::{Activity, ConnectionCalls, OpenCall, Shortage, UnreadPart};
pub(crate) use router::{Services, services};
pub(super) use server_status::get_server;
pub(super) use streams::not_ended;
pub(super) use turns::{Turn, Turns};

//! The gRPC API: the services of the port, what surrounds every call, and the server's health.
//!
//! | file | subject |
//! |---|---|
//! | [`router`] | the services of the gRPC port and its limits |
//! | [`operator`] | OperatorService: what people, scripts and other services ask |
//! | [`run_queries`] | its questions about runs: list, clients, watch |
//! | [`server_status`] | its answer about the server, from the master's figures |
//! | [`health`] | grpc.health.v1 |
//! | [`rpc_tracing`] | a span and a duration for every call |
//!
//! AgentService is [`super::agents`]'; it is only routed here. Nothing here decides about a run.

mod health;
mod operator;
mod router;
mod rpc_tracing;
mod run_queries;
mod server_status;

pub(crate) use health::Health;
pub(crate) use router::services;

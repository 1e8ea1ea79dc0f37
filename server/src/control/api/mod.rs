//! The gRPC API for operators, and what surrounds every call.

pub(super) mod health;
pub(super) mod operator;
pub(super) mod rpc_tracing;

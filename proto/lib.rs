//! THE CONTRACT: what two Metronome processes must agree on, and nothing else.
//!
//! | module | subject |
//! |---|---|
//! | [`v1`] | the gRPC API, generated from `proto/metronome/v1/*.proto` |
//! | [`packet`] | the 32-byte frame of the data plane |
//! | [`handshake`] | the frames that carry a tag: hello, hello-ack, end, end-ack |
//! | [`address`] | HOST:PORT, as users and peers write it |
//! | [`plan`] | what may be asked of a run, with every limit |
//! | [`rate`] | how fast a client sends, and how users write that |
//! | [`schedule`] | when each packet is due |
//! | [`histogram`] | the one layout of every distribution of times |
//! | [`run_id`] | how runs are named |
//!
//! Server, agent and benchctl import this crate and never each other. It is pure: no clock, no I/O,
//! no async. Times are nanoseconds of CLOCK_MONOTONIC unless a name states otherwise.

pub mod address;
pub mod counters;
pub mod handshake;
pub mod histogram;
pub mod packet;
pub mod plan;
pub mod rate;
pub mod run_id;
pub mod schedule;

/// The gRPC API. Its manual is the comments in `proto/metronome/v1/*.proto`.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    tonic::include_proto!("metronome.v1");
}

/// The compiled protos, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// Largest gRPC message that any of us sends or accepts, bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Where a server listens for gRPC unless a flag states otherwise.
pub const GRPC_ADDRESS_DEFAULT: &str = "127.0.0.1:50051";

/// Where a server answers Prometheus and probes unless a flag states otherwise.
pub const HTTP_ADDRESS_DEFAULT: &str = "127.0.0.1:9464";

/// The data port unless a flag states otherwise.
pub const DATA_PORT_DEFAULT: u16 = 8888;

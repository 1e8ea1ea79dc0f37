//! THE CONTRACT: what two Metronome processes must agree on, and nothing else.
//!
//! | module | subject |
//! |---|---|
//! | [`v1`] | the gRPC API, generated from `proto/metronome/v1/*.proto` |
//! | [`plan`], [`share`] | what may be asked of a run, and of one agent in it |
//! | [`profile`], [`schedule`] | the load of one client, and when each of its packets is due |
//! | [`duration`], [`batch`] | a time, and packets per write, as a flag has them |
//! | [`elapsed`] | the time that a load took, and by which its rate is divided |
//! | [`limits`], [`names`], [`features`] | the limits, the names and the features of this version |
//! | [`failure`], [`reason`] | what follows from the code of a failure, and of a verdict's reason |
//! | [`rpc_failure`] | why a gRPC call failed, for every client of the API |
//! | [`filter`] | which runs are meant in a list, and their order |
//! | [`environment`] | where the processes of a run ran, and with which priority |
//! | [`counters`] | the counters of both ends, as lists |
//! | [`json`] | the API's messages as JSON, for benchctl, feeds and pages |
//! | [`packet`], [`packet_size`] | the frame of the data plane, and how many bytes it has |
//! | [`payload`] | what follows the header of a packet |
//! | [`train`] | packets that differ in their sequence alone: stamped and checked together |
//! | [`handshake`] | the frames that carry a tag: hello, hello-ack, end, end-ack |
//! | [`histogram`] | the one layout of every distribution of times |
//! | [`series`], [`host_point`] | stretches of a run's time put together |
//! | [`client_times`], [`socket_sample`] | the same of what clients and sockets did in them |
//! | [`quantity`], [`layout`] | how numbers and times are written for people, and lie in columns |
//! | [`address`] | HOST:PORT, as users and peers write it |
//! | [`run_id`] | how runs are named |
//!
//! Server, agent and benchctl import this crate and never each other. It is pure: no clock, no I/O,
//! no async. Times are nanoseconds of CLOCK_MONOTONIC unless a name states otherwise.

pub mod address;
pub mod batch;
pub mod bounded;
pub mod client_times;
pub mod counters;
pub mod duration;
pub mod elapsed;
pub mod environment;
mod exact;
pub mod failure;
pub mod features;
mod figure;
pub mod filter;
pub mod handshake;
pub mod histogram;
pub mod host_point;
pub mod json;
pub mod layout;
pub mod limits;
pub mod load;
pub mod names;
pub mod packet;
pub mod packet_size;
pub mod payload;
pub mod plan;
pub mod profile;
pub mod quantity;
pub mod reason;
pub mod rpc_failure;
pub mod run_id;
pub mod schedule;
pub mod series;
pub mod share;
pub mod socket_sample;
pub mod threshold;
mod tls_cause;
pub mod train;

/// The gRPC API. Its manual is the comments in `proto/metronome/v1/*.proto`.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    tonic::include_proto!("metronome.v1");
}

/// The compiled protos, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// Largest gRPC message that any of us sends or accepts, bytes.
pub const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// Where a server listens for gRPC unless a flag states otherwise.
pub const GRPC_ADDRESS_DEFAULT: &str = "127.0.0.1:50051";

/// Where a server answers Prometheus and probes unless a flag states otherwise.
pub const HTTP_ADDRESS_DEFAULT: &str = "127.0.0.1:9464";

/// The data port unless a flag states otherwise.
pub const DATA_PORT_DEFAULT: u16 = 8888;

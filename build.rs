//! Compiles the API's protos to Rust and to the descriptor set that reflection serves.
//!
//! protox is a protobuf compiler written in Rust, so that protoc need not be installed.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message as _;

const PROTOS: [&str; 3] = [
    "proto/metronome/v1/run.proto",
    "proto/metronome/v1/operator.proto",
    "proto/metronome/v1/agent.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto/metronome");
    Ok(())
}

//! A fleet of devices: an agent whose packets have the readings of a file.
//!
//! ```sh
//! export READINGS=readings.txt
//! cargo run --release -p metronome-agent --example device -- --server HOST:PORT
//! ```
//!
//! The file has a whole number a line. A plan asks for the file of the agent `readings`, with
//! packets of at least 40 bytes: client c's packet n has reading (c + n) of the file, which begins
//! again at its end, as 8 bytes, little-endian; zeros fill the rest. They are what
//! server/examples/store_readings.rs reads.

use std::{env, fs, num::ParseIntError, process::ExitCode};

use metronome_agent::{
    Agent,
    payload::{PacketId, PayloadSource, PayloadSources},
};

const READING_BYTES: usize = size_of::<i64>();

/// The readings of a file, all of them in memory: a pacing thread must not wait for a disk.
struct Readings(Vec<i64>);

impl Readings {
    fn parse(text: &str) -> Result<Self, String> {
        let readings: Result<Vec<i64>, ParseIntError> =
            text.lines().map(|line| line.trim().parse()).collect();
        match readings {
            Ok(readings) if !readings.is_empty() => Ok(Self(readings)),
            Ok(_) => Err("it has no reading".into()),
            Err(error) => Err(format!("each line is a whole number: {error}")),
        }
    }
}

impl PayloadSource for Readings {
    fn check(&self, _group: &str, payload_bytes: usize) -> Result<(), String> {
        if payload_bytes < READING_BYTES {
            return Err("a reading has 8 bytes; give packets of at least 40".into());
        }
        Ok(())
    }

    fn fill(&self, packet: PacketId<'_>, payload: &mut [u8]) {
        let place = (u64::from(packet.client) + packet.sequence) % self.0.len() as u64;
        let reading = self.0[place as usize];
        payload[..READING_BYTES].copy_from_slice(&reading.to_le_bytes());
    }
}

fn main() -> ExitCode {
    let path = env::var("READINGS").unwrap_or_default();
    let readings = fs::read_to_string(&path)
        .map_err(|error| error.to_string())
        .and_then(|text| Readings::parse(&text));
    let readings = match readings {
        Ok(readings) => readings,
        Err(problem) => {
            eprintln!("error: READINGS={path}: {problem}");
            return ExitCode::from(2);
        }
    };
    let mut sources = PayloadSources::default();
    if let Err(error) = sources.register("readings", readings) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    Agent::new().payload_sources(sources).main()
}

//! A server whose workers look at every byte that they receive, and nothing more: what a packet
//! handler costs by itself, for `bench/compare --only handler`.
//!
//! It takes all flags of metronome-server.

use std::{hint::black_box, process::ExitCode};

use metronome_server::{PacketBatch, PacketHandler, Server};

/// The sum of all bytes that one worker has seen.
#[derive(Default)]
struct Sum(u64);

impl PacketHandler for Sum {
    fn handle(&mut self, batch: &PacketBatch<'_>) {
        for packet in batch.packets() {
            let bytes = packet.payload.iter().map(|byte| u64::from(*byte));
            self.0 = self.0.wrapping_add(bytes.sum());
        }
        black_box(self.0);
    }
}

fn main() -> ExitCode {
    Server::new().handler(|_worker| Sum::default()).main()
}

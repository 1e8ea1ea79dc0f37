//! A server whose packet handler fails from packet 100 of client 1 on, to see what a run shows:
//! the client is ended with HANDLER_FAILED after three tries, and all others go on.
//!
//! ```sh
//! FAILS=panics cargo run --release -p metronome-server --example failing_handler
//! ```
//!
//! `FAILS` is `panics`, `loops` or `allocates`; for the last one give the server a limit, for
//! example with `ulimit -d 1000000`.

use std::{env, hint, mem, process::ExitCode};

use metronome_server::{PacketBatch, Server};

const BLOCK_BYTES: usize = 16 << 20;

fn fail(how: &str) {
    match how {
        "loops" => loop {
            hint::spin_loop();
        },
        "allocates" => loop {
            mem::forget(hint::black_box(vec![1_u8; BLOCK_BYTES]));
        },
        _ => panic!("client 1 has sent its packet 100"),
    }
}

fn main() -> ExitCode {
    let make = |_worker| {
        let how = env::var("FAILS").unwrap_or_default();
        move |batch: &PacketBatch<'_>| {
            let is_late = batch.packets().any(|packet| packet.sequence >= 100);
            if batch.client() == 1 && is_late {
                fail(&how);
            }
        }
    };
    Server::new().handler(make).main()
}

//! Any words in a slot of the ledger: what the master reads, recovers, shows to watchers and as
//! metrics, records and judges is nonsense then, and never a panic.
#![no_main]

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use metronome_proto::v1::{ClientRecord, GeneratorCounts};
use metronome_server::testing::recover_show_and_judge;

#[derive(Arbitrary, Debug)]
struct Input {
    /// In the first page, where the counters lie: by place, in words.
    counters: Vec<(u8, u64)>,
    /// Anywhere: histograms, buffer, reply queue.
    elsewhere: Vec<(u32, u64)>,
    /// Bytes that a worker had taken and not committed.
    left: u16,
    /// What the agent reports of the same client.
    reported: [u64; 7],
}

fuzz_target!(|input: Input| {
    let counters = input
        .counters
        .iter()
        .map(|(place, word)| (u32::from(*place), *word));
    let words: Vec<(u32, u64)> = counters.chain(input.elsewhere.iter().copied()).collect();
    let [
        scheduled,
        sent,
        skipped,
        blocked,
        acknowledged,
        kernel_acknowledged_bytes,
        digest,
    ] = input.reported;
    let reported = ClientRecord {
        counts: Some(GeneratorCounts {
            scheduled,
            sent,
            skipped,
            blocked,
            ..GeneratorCounts::default()
        }),
        acknowledged: Some(acknowledged),
        kernel_acknowledged_bytes: Some(kernel_acknowledged_bytes),
        digest,
        ..ClientRecord::default()
    };
    recover_show_and_judge(&words, input.left, reported);
});

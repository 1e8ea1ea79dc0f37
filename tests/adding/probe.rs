//! Looks for the counter that tests/add_counter has added to `ReceiverCounts`, which is `probe`. It
//! is compiled against the changed tree only.
//!
//! `probe words NUMBER` checks the words of the ledger and the descriptors that reflection serves;
//! `probe run URL RUN_ID` reads a run over the API.

use metronome_proto::{
    DESCRIPTORS,
    counters::CounterList,
    v1::{GetRunRequest, ReceiverCounts, get_run_request, run_service_client::RunServiceClient},
};
use prost::Message as _;
use prost_types::FileDescriptorSet;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["words", number] => check_words(number.parse().expect("a number")),
        ["run", url, run_id] => check_run(url.to_owned(), run_id.to_owned()).await,
        _ => panic!("usage: probe words NUMBER, probe run URL RUN_ID"),
    }
}

fn check_words(number: usize) {
    assert!(ReceiverCounts::NAMES.contains(&"probe"));
    let counts = ReceiverCounts {
        probe: Some(7),
        received: 5,
        ..ReceiverCounts::default()
    };
    let words = counts.to_words();
    assert_eq!((words[0], words[number - 1]), (5, 7), "{words:?}");
    assert_eq!(words.iter().sum::<u64>(), 12, "{words:?}");
    let known = ReceiverCounts::from_words(&words);
    assert_eq!((known.received, known.probe), (5, Some(7)));
    assert_eq!(counts.plus(&counts).probe, Some(14));
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("a descriptor set");
    let mut messages = set.file.iter().flat_map(|file| &file.message_type);
    let list = messages.find(|message| message.name() == "ReceiverCounts");
    let mut fields = list.iter().flat_map(|list| &list.field);
    assert!(fields.any(|field| field.name() == "probe"));
    println!(
        "in the ledger's words: word {} of {}",
        number - 1,
        words.len()
    );
}

/// The run, its groups and its clients have the counter; it was never counted, so it is 0.
async fn check_run(url: String, run_id: String) {
    let mut runs = RunServiceClient::connect(url).await.expect("a server");
    let request = GetRunRequest {
        run: Some(get_run_request::Run::RunId(run_id)),
        ..GetRunRequest::default()
    };
    let response = runs.get_run(request).await.expect("the run");
    let report = response
        .into_inner()
        .run
        .and_then(|run| run.report)
        .expect("a report");
    let groups = report.groups.iter().map(|group| &group.counts);
    for counts in groups.chain([&report.counts]) {
        let receiver = counts
            .and_then(|counts| counts.receiver)
            .expect("the workers' counts");
        assert!(receiver.received > 0, "{receiver:?}");
        assert_eq!(receiver.probe, Some(0));
    }
    println!("in the API: the report and its groups have it");
}

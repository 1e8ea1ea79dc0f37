//! What each group of an order gets, and every payload that cannot be had.

use std::{fs, os::unix::fs::symlink, path::Path};

use metronome_os::clock::{self, SECOND_NS};
use metronome_proto::{
    failure::is_phrase,
    payload::sha256,
    plan::GROUP_DEFAULT,
    profile::Profile,
    v1::{self, FailureCode, payload::Source},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

fn share(packet_bytes: u32, payload: Option<Source>) -> Share {
    let address = ":1".into();
    let share = v1::AgentShare {
        group: GROUP_DEFAULT.into(),
        first_client: 0,
        clients: 1,
        clients_total: 1,
        first_in_group: 0,
        profile: Some(Profile::constant(1_000).to_proto()),
        batch: 1,
        phase: v1::Phase::Staggered.into(),
        target: Some(v1::Target {
            kind: Some(v1::target::Kind::Receivers(v1::Receivers { address })),
        }),
        packet_bytes,
        payload: payload.map(|source| v1::Payload {
            source: Some(source),
        }),
        echo_every: 0,
    };
    Share::try_from(&share).unwrap()
}

fn file(name: &str, sha256: &[u8]) -> Option<Source> {
    Some(Source::File(v1::AgentFile {
        name: name.into(),
        sha256: sha256.into(),
    }))
}

fn with_folder(path: &Path) -> Payloads {
    Payloads {
        files: Some(Arc::new(AgentFiles::open(path).unwrap())),
        sources: PayloadSources::default(),
    }
}

fn prepare(payloads: &Payloads, shares: &[Share]) -> Result<Prepared, Failure> {
    let deadline_ns = clock::now_ns() + 30 * SECOND_NS;
    payloads.prepare(shares.iter(), deadline_ns, &StopSignal::without_lease())
}

/// The payloads of the first packets of client 1.
fn filled(prepared: &Prepared, share: usize, bytes: usize) -> Vec<Vec<u8>> {
    let source = prepared.sources[share].as_ref().unwrap();
    let fill = |sequence| {
        let mut payload = vec![0; bytes];
        source.fill(1, sequence, &mut payload).unwrap();
        payload
    };
    (0..3).map(fill).collect()
}

#[track_caller]
fn refused(payloads: &Payloads, share: Share, words: &str) {
    let failure = prepare(payloads, &[share]).unwrap_err();
    assert_eq!(failure.code(), FailureCode::PayloadNotUsable, "{failure:?}");
    assert!(failure.sentence.contains(words), "{failure:?}");
    assert!(is_phrase(&failure.sentence), "{failure:?}");
    assert_eq!(failure.figures["group"], GROUP_DEFAULT.into());
    assert!(failure.figures.contains_key("file"));
}

#[test]
fn each_share_gets_what_its_plan_asks_for_and_each_file_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("readings"), b"aabbcc").unwrap();
    let records = v1::Records {
        name: "sent along".into(),
        data: b"12345678".to_vec(),
        size: 0,
        sha256: Vec::new(),
    };
    let shares = [
        share(32, None),
        share(40, None),
        share(40, Some(Source::Pattern(v1::Pattern {}))),
        share(36, Some(Source::Records(records))),
        share(34, file("readings", &[])),
        share(35, file("readings", &sha256(b"aabbcc"))),
    ];
    let prepared = prepare(&with_folder(folder.path()), &shares).unwrap();
    assert!(prepared.sources[0].is_none() && prepared.sources[1].is_none());
    assert_eq!(filled(&prepared, 2, 3), [[0, 1, 2], [1, 2, 3], [2, 3, 4]]);
    assert_eq!(filled(&prepared, 3, 4), [b"5678", b"1234", b"5678"]);
    assert_eq!(filled(&prepared, 4, 2), [b"bb", b"cc", b"aa"]);
    assert_eq!(filled(&prepared, 5, 3), [b"bcc", b"aab", b"bcc"]);
    let read = PayloadRead {
        group: GROUP_DEFAULT.into(),
        size: 6,
        sha256: sha256(b"aabbcc").to_vec(),
    };
    assert_eq!(prepared.read, [read.clone(), read]);
}

#[test]
fn every_file_that_cannot_be_used_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let within = |name: &str| folder.path().join(name);
    fs::write(within("file"), b"aabbcc").unwrap();
    fs::write(within("empty"), b"").unwrap();
    fs::create_dir(within("folder")).unwrap();
    symlink("file", within("link")).unwrap();
    mknodat(CWD, within("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let large = fs::File::create(within("large")).unwrap();
    large.set_len(5 << 30).unwrap();
    let payloads = with_folder(folder.path());
    for (name, words) in [
        ("none", "--payload-dir has no such file"),
        ("folder", "no regular file"),
        ("fifo", "no regular file"),
        ("link", "symbolic link"),
        ("empty", "empty"),
        (
            "large",
            "5368709120 bytes are too many; all files of a run together may have 268435456",
        ),
    ] {
        refused(&payloads, share(34, file(name, &[])), words);
    }
    let whole = fs::File::create(within("whole")).unwrap();
    whole.set_len(AGENT_FILES_BYTES_MAX).unwrap();
    let both = ["file", "whole"].map(|name| share(34, file(name, &[])));
    let failure = prepare(&payloads, &both).unwrap_err();
    assert!(failure.sentence.contains("too many"), "beside another");
    refused(&payloads, share(36, file("file", &[])), "no multiple of 4");
    refused(
        &payloads,
        share(34, file("file", &[7; 32])),
        "SHA-256 is not the one",
    );
    let without_folder = Payloads::default();
    refused(
        &without_folder,
        share(34, file("file", &[])),
        "without --payload-dir",
    );
}

#[test]
fn a_registered_source_goes_before_a_file_of_its_name_and_has_no_sha256() {
    struct Eights;
    impl PayloadSource for Eights {
        fn fill(&self, _packet: crate::payload::PacketId<'_>, payload: &mut [u8]) {
            payload.fill(8);
        }
        fn check(&self, group: &str, payload_bytes: usize) -> Result<(), String> {
            assert_eq!(group, GROUP_DEFAULT);
            (payload_bytes == 8)
                .then_some(())
                .ok_or("it has 8 bytes".into())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("eights"), [0; 8]).unwrap();
    let mut payloads = with_folder(folder.path());
    payloads.sources.register("eights", Eights).unwrap();
    let prepared = prepare(&payloads, &[share(40, file("eights", &[]))]).unwrap();
    assert_eq!(filled(&prepared, 0, 8), [[8; 8]; 3]);
    assert_eq!(prepared.read, [], "no file was read");
    refused(&payloads, share(41, file("eights", &[])), "it has 8 bytes");
    let sha256 = sha256(&[0; 8]);
    refused(
        &payloads,
        share(40, file("eights", &sha256)),
        "has no SHA-256",
    );
}

#[test]
fn a_reading_ends_with_the_time_to_prepare_and_with_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), [0; 8]).unwrap();
    let payloads = with_folder(folder.path());
    let shares = [share(40, file("file", &[]))];
    let stop_signal = StopSignal::without_lease();
    // The folder is busy for ever.
    let hangs = payloads.files.clone().unwrap().hold();
    let failure = payloads
        .prepare(shares.iter(), 0, &stop_signal)
        .unwrap_err();
    assert_eq!(failure.code(), FailureCode::PayloadNotUsable);
    assert!(
        failure.sentence.ends_with("was not read in time"),
        "{failure:?}"
    );
    stop_signal.request(crate::stop_signal::StopMode::Drain);
    let failure = payloads
        .prepare(shares.iter(), u64::MAX, &stop_signal)
        .unwrap_err();
    assert_eq!(failure.code(), FailureCode::Stopped);
    drop(hangs);
}

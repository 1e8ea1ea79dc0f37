//! What a user gets wrong before anything is started: one clear sentence and the documented code.

mod common;

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener},
};

use common::benchctl;

/// Runs a command line that is not allowed, and expects code 2 and a sentence with these words.
#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let ended = benchctl(arguments);
    assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    assert_eq!(ended.stdout, "", "{arguments:?}");
    let first_line = ended.stderr.lines().next().unwrap_or_default();
    assert!(
        first_line.starts_with("error: "),
        "{arguments:?}: {ended:?}"
    );
    for word in words {
        assert!(
            ended.stderr.contains(word),
            "{arguments:?} without {word:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn a_plan_out_of_range_is_refused_by_the_name_of_its_flag() {
    for clients in ["0", "10001", "4294967296", "-1", "1.5", "ten"] {
        refused(
            &["start", "--clients", clients],
            &["--clients", "1 to 10000", clients],
        );
    }
    for rate in ["0", "-1", "-1k", "NaN", "inf", "1e12", "1M1"] {
        refused(&["start", "--rate", rate], &["--rate"]);
    }
    refused(&["start", "--rate", "1e12"], &["0.001 to 1,000,000"]);
    refused(
        &["start", "--rate", "1M", "--clients", "11"],
        &["--rate", "together", "lower a rate"],
    );
    for duration in ["0", "-5", "-1s", "1y", "31536000", "999us", "soon", "1e300"] {
        refused(
            &["start", "--duration", duration],
            &["--duration", "1 ms to 24 h"],
        );
    }
    refused(
        &["start", "--rate", "max", "--batch", "200/s"],
        &["--batch: 200/s", "a steady rate", "1 to 1024"],
    );
    for batch in ["0", "1025", "-1/s", "seed"] {
        refused(
            &["start", "--batch", batch],
            &["--batch", "1 to 1024", batch],
        );
    }
    refused(&["start", "--threads", "65"], &["--threads", "1 to 64"]);
    refused(
        &["start", "--phase", "new"],
        &["--phase", "auto", "staggered", "spread", "aligned"],
    );
    refused(
        &["start", "--target", "nowhere"],
        &["--target", "HOST:PORT"],
    );
    refused(&["start", "--agent", "Ä"], &["--agent", "a-z"]);
    refused(
        &["start", "--label", "a=\u{7}b"],
        &["--label", "control character"],
    );
    refused(
        &["start", "--label", "nightly"],
        &["--label", "KEY=VALUE", "name=nightly"],
    );
    refused(
        &["start", "--label", "a=1", "--label", "a=2"],
        &["--label", "twice"],
    );
    for (threshold, words) in [
        ("latency.p99", "a comparison is missing"),
        ("latency<1ms", "latency.p99"),
        ("latency.p99<200", "with a unit are"),
        ("lots=0", "lost, skipped"),
        ("lost=-1", "no number of packets"),
        ("", "a comparison is missing"),
    ] {
        refused(
            &["start", "--threshold", threshold],
            &["--threshold", words, threshold],
        );
    }
    refused(
        &[&["start"][..], &["--threshold", "lost==0"].repeat(65)].concat(),
        &["--threshold", "64"],
    );
    refused(&["start", "--request-id", "a b"], &["--request-id", "64"]);
    refused(&["start", "--workers", "0"], &["--workers", "1 to 256"]);
}

#[test]
fn help_is_a_command_as_well_as_a_flag() {
    for command in [&[][..], &["start"], &["server"], &["server", "upgrade"]] {
        let by_flag = benchctl(&[command, &["--help"]].concat());
        let by_command = benchctl(&[&["help"], command].concat());
        assert_eq!(by_command.code, Some(0), "{by_command:?}");
        assert_eq!(by_command.stdout, by_flag.stdout, "{command:?}");
    }
    refused(&["help", "strat"], &["strat"]);
}

#[test]
fn a_command_line_that_means_nothing_is_refused() {
    refused(&["strat"], &["strat", "start"]);
    refused(&["stop"], &["RUN", "--filter", "--all"]);
    refused(&["stop", "last", "--all"], &["--all"]);
    refused(
        &["--server", "nowhere", "agents"],
        &["--server", "HOST:PORT"],
    );
    refused(
        &["--server", "http://h:1", "--tls-ca", "/", "agents"],
        &["http://", "https://"],
    );
    refused(
        &["--tls-ca", "/nowhere", "agents"],
        &["--tls-ca", "/nowhere", "PEM"],
    );
    refused(&["runs", "-o", "xml"], &["text", "json"]);
    refused(&["runs", "--limit", "0"], &["--limit", "1"]);
    refused(&["runs", "--order", "random"], &["newest", "oldest"]);
    refused(
        &["runs", "--filter", "host = a"],
        &["--filter", "labels.KEY"],
    );
    refused(&["delete"], &["RUN"]);
    refused(&["show", "newest"], &["RUN", "last"]);
    refused(
        &["start", "--embedded", "--server", "127.0.0.1:1"],
        &["--embedded", "--server"],
    );
    refused(&["start", "--embedded", "--wait", "1"], &["--wait"]);
}

#[test]
fn what_is_wrong_with_a_threshold_has_a_caret_under_its_place_and_the_metrics_below_it() {
    for (text, caret, word) in [
        ("latncy.p99<200us", "  ^", "no metric"),
        ("latency.q99<200us", "          ^", "no quantile"),
        ("latency.p99<200", "              ^", "with a unit"),
        (
            "sensors:lost<5ms",
            "               ^",
            "no number of packets",
        ),
    ] {
        let ended = benchctl(&["start", "--threshold", text]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert!(lines[0].starts_with("error: --threshold: ") && lines[0].contains(word));
        assert_eq!(
            lines[1..3],
            [format!("  {text}"), caret.to_owned()],
            "{ended:?}"
        );
        assert!(
            lines[3].contains("the metrics are lost, skipped"),
            "{ended:?}"
        );
    }
    let ended = benchctl(&["start", "--threshold", "others:lost==0"]);
    assert!(
        ended.stderr.contains("no group is called \"others\""),
        "{ended:?}"
    );
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let ended = benchctl(&["start", "--rate", "max", "--threshold", "kept_up>=99%"]);
    assert!(
        ended.stderr.contains("not measured in a flood"),
        "{ended:?}"
    );
    let ended = benchctl(&["start", "--abort-on-fail"]);
    assert!(
        ended.stderr.starts_with("error: --abort-on-fail: "),
        "{ended:?}"
    );
}

#[test]
fn what_is_refused_is_one_object_in_json() {
    let json = |words: &'static str| words.split(' ').chain(["-o", "json"]);
    let group = "plan.groups[0]";
    for (words, flag, field) in [
        ("start --rate ten", "--rate", format!("{group}.profile")),
        ("start --clients 0", "--clients", format!("{group}.clients")),
        ("start --batch 5000", "--batch", format!("{group}.batch")),
        ("start --workers 0", "--workers", "--workers".into()),
        (
            "start --threshold lots=0",
            "--threshold",
            "plan.thresholds".into(),
        ),
        ("runs --filter host=a", "--filter", "filter".into()),
        ("stop", "RUN", "run_id".into()),
        ("delete", "RUN", "run_id".into()),
        (
            "agents --server http://a:1 --tls-ca a",
            "--server",
            "--server".into(),
        ),
        ("strat", "COMMAND", "COMMAND".into()),
    ] {
        let ended = benchctl(&Vec::from_iter(json(words)));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let object: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one object");
        assert_eq!(object["schema_version"], 2);
        let error = &object["error"];
        assert_eq!(error["code"], "FIELD_OUT_OF_RANGE");
        let figures = &error["figures"];
        assert_eq!(
            (&figures["flag"], &figures["field"]),
            (&flag.into(), &field.into()),
            "{words}"
        );
        let sentence = error["sentence"].as_str().expect("a text");
        assert!(metronome_proto::failure::is_phrase(sentence), "{sentence}");
        assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    }
}

#[test]
fn a_flag_that_is_given_twice_has_a_way_out() {
    for (words, remedy) in [
        ("start --rate 1k --rate 2k -o json", "give --rate once"),
        ("start -o json --seed 1 --seed 1", "give --seed once"),
        // What is refused for another cause has it in its sentence.
        ("runs --filter host=a -o json", ""),
        ("start --file a.yaml --rate 1k -o json", ""),
    ] {
        let ended = benchctl(&Vec::from_iter(words.split(' ')));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let object: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one object");
        assert_eq!(object["error"]["code"], "FIELD_OUT_OF_RANGE");
        assert_eq!(object["error"]["remedy"], remedy, "{words}: {object}");
    }
}

#[test]
fn what_is_not_allowed_is_refused_before_anything_is_waited_for() {
    let begun = std::time::Instant::now();
    for flags in [
        &["--tls-ca", "/nowhere"][..],
        &["--tls-ca", "/"],
        &["--workers", "2"],
        &["--threads", "0"],
        &["--rate", "max", "--batch", "200/s"],
        &["--label", "a=1", "--label", "a=2"],
    ] {
        let wait = ["--server", "https://127.0.0.1:1", "start", "--wait", "1h"];
        refused(&[&wait[..], flags].concat(), &[flags[flags.len() - 2]]);
    }
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn every_command_that_fails_prints_one_object_in_json() {
    let none = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .to_string();
    for (words, code) in [
        ("start", 1),
        ("stop --all", 1),
        ("watch last", 1),
        ("runs", 1),
        ("show 0", 1),
        ("agents", 1),
        ("server", 1),
        ("server upgrade", 1),
        ("delete last", 1),
        ("man /dev/null/x", 1),
        ("start --wait 1s --tls-ca /nowhere", 2),
        ("completions klingon", 2),
        ("doctor --clients 0", 2),
    ] {
        for form in [&["-o", "json"][..], &["-qojson"]] {
            let words = words.split(' ');
            let arguments: Vec<&str> = words.chain(form.iter().copied()).collect();
            let ended = benchctl(&[&["--server", &none], &arguments[..]].concat());
            assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
            let object: serde_json::Value =
                serde_json::from_str(&ended.stdout).expect("one object");
            let error = &object["error"];
            assert!(
                error["code"].is_string() && error["sentence"].is_string(),
                "{object}"
            );
        }
    }
}

#[test]
fn the_help_has_the_exit_codes_and_every_command() {
    let ended = benchctl(&["--help"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for word in [
        "start",
        "stop",
        "watch",
        "runs",
        "show",
        "agents",
        "server",
        "Exit codes",
        "130",
        "METRONOME_SERVER",
    ] {
        assert!(ended.stdout.contains(word), "{word}: {}", ended.stdout);
    }
}

#[test]
fn a_server_that_is_not_there_is_one_sentence_with_the_way_out() {
    // Bound and closed again, so that nothing listens there.
    let address = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let address = address.to_string();
    for command in [
        &["start"][..],
        &["stop", "--all"],
        &["delete", "last"],
        &["watch", "last"],
        &["runs"],
        &["show", "last"],
        &["agents"],
        &["server"],
    ] {
        let ended = benchctl(&[&["--server", &address], command].concat());
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{command:?}: {ended:?}"
        );
        assert!(
            ended.stderr.starts_with("error: no server answers at "),
            "{command:?}: {ended:?}"
        );
        assert!(
            ended.stderr.contains(&address) && ended.stderr.contains("metronome-server"),
            "{ended:?}"
        );
        let lines = ended.stderr.lines().count();
        assert_eq!(lines, 2, "the sentence and the way out: {ended:?}");
    }
}

#[test]
fn what_answers_but_is_no_server_is_not_taken_for_one() {
    // Another protocol, and the alert of a server with TLS.
    let answers = [
        &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
        &[21, 3, 3, 0, 2, 2, 50],
    ];
    for (answer, code) in std::iter::zip(answers, ["SERVER_INCOMPATIBLE", "SERVER_NOT_TRUSTED"]) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        // It ends with the test: benchctl may connect any number of times.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("benchctl comes");
                stream.write_all(answer).expect("it reads");
                // Closed before it is read out, a socket resets.
                stream.shutdown(Shutdown::Write).expect("it is open");
                std::thread::spawn(move || stream.read_to_end(&mut Vec::new()));
            }
        });
        let ended = benchctl(&["--server", &address, "-o", "json", "agents"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let object: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert_eq!(object["error"]["code"], code, "{ended:?}");
        assert!(ended.stderr.contains(&address), "{ended:?}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(common::BENCHCTL)
        .arg("--help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("benchctl starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("benchctl ends");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn a_database_that_is_none_is_named_with_the_way_out_by_all_that_read_it() {
    let path = std::env::temp_dir().join(format!("metronome-{}.sqlite", std::process::id()));
    std::fs::write(
        &path,
        "no database, but long enough to look like one. ".repeat(100),
    )
    .expect("a file");
    for words in [
        &["runs"][..],
        &["show", "last"],
        &["show", "01"],
        &["show", "--request-id", "a"],
    ] {
        let ended = std::process::Command::new(common::BENCHCTL)
            .args(words)
            .args(["-o", "json"])
            .env("METRONOME_DATABASE", &path)
            .env_remove("METRONOME_SERVER")
            .output()
            .expect("benchctl starts");
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{stderr}");
        let object: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("one object");
        assert_eq!(object["error"]["code"], "HISTORY_DAMAGED", "{object}");
        for words in [
            path.to_str().expect("a name"),
            ".recover",
            "move this one away",
        ] {
            assert!(stderr.contains(words), "{words}: {stderr}");
        }
    }
    std::fs::remove_file(&path).expect("it is ours");
}

#[test]
fn what_a_user_wrote_is_printed_escaped_also_in_json() {
    let harmful = "\u{1b}]0;t\u{7}\u{202e}\u{200b}x";
    for arguments in [
        &["start", "--rate", harmful][..],
        &["start", "--clients", harmful],
        &["start", "--label", harmful],
        &["show", "one", harmful],
        &["-o", "json", "start", "--phase", harmful],
        &["-o", "json", harmful],
        &["--server", harmful, "runs"],
    ] {
        let ended = benchctl(arguments);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let text = ended.stdout + &ended.stderr;
        let is_harmful = |it: char| metronome_proto::names::is_harmful(it) && it != '\n';
        assert!(!text.contains(is_harmful), "{arguments:?}: {text:?}");
    }
}

#[test]
fn a_bad_variable_is_named_and_a_flag_instead_of_it_is_named_as_a_flag() {
    let start = |flags: &[&str], variable: &str, value: &str| {
        let output = std::process::Command::new(common::BENCHCTL)
            .args(["-o", "json", "start"])
            .args(flags)
            .env(variable, value)
            .output()
            .expect("benchctl starts");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        String::from_utf8(output.stderr).expect("text") + &text
    };
    let bad = start(&[], "METRONOME_WAIT", "soon");
    assert!(
        bad.contains("METRONOME_WAIT") && !bad.contains("--wait"),
        "{bad}"
    );
    let flag = start(&["--wait", "later"], "METRONOME_WAIT", "soon");
    assert!(
        flag.contains("--wait") && !flag.contains("METRONOME_WAIT"),
        "{flag}"
    );
    let conflict = start(&["--embedded"], "METRONOME_WAIT", "1s");
    assert!(conflict.contains("METRONOME_WAIT"), "{conflict}");
}

#[test]
fn a_wait_has_a_range() {
    for wait in ["1e9", "5µs", "0", "25h"] {
        refused(
            &["start", "--wait", wait],
            &["--wait", "1 ms to 24 h", wait],
        );
    }
}

#[test]
fn a_wait_bounds_what_a_server_that_never_answers_costs() {
    for greeting in [&[0, 0, 0, 4, 0, 0, 0, 0, 0][..], &[]] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        // SETTINGS without a setting, and no more.
        let _serving = std::thread::spawn(move || {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                stream.write_all(greeting).expect("room");
                kept.push(stream);
            }
        });
        let begun = std::time::Instant::now();
        let ended = benchctl(&["--server", &address, "start", "--wait", "300ms"]);
        let took = begun.elapsed();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("has not answered"), "{ended:?}");
        // Without the bound: 10 s and more.
        assert!(took < std::time::Duration::from_secs(8), "{took:?}");
    }
}

/// Also where the value is found bad after clap; for programs as a figure.
#[test]
fn a_bad_variable_is_named_beside_the_flag_that_it_sets() {
    for (variable, value, flag) in [
        ("METRONOME_TLS_CA", "/proc/none", "--tls-ca"),
        ("METRONOME_TLS_CERT", "/proc/none", "--tls-cert"),
        ("METRONOME_TLS_KEY", "/proc/none", "--tls-key"),
        ("METRONOME_TLS_NAME", "a b", "--tls-name"),
    ] {
        let run = |more: &[&str]| {
            let output = std::process::Command::new(common::BENCHCTL)
                .args(["agents", "-o", "json"])
                .args(more)
                .env_remove("METRONOME_LOG")
                .env("METRONOME_SERVER", "127.0.0.1:1")
                .env(variable, value)
                .output()
                .expect("benchctl starts");
            assert_eq!(output.status.code(), Some(2), "{variable}");
            let object: serde_json::Value =
                serde_json::from_slice(&output.stdout).expect("one object");
            let figures = object["error"]["figures"].clone();
            assert_eq!(figures["flag"], flag);
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            (figures["variable"].clone(), stderr)
        };
        let (figure, stderr) = run(&[]);
        assert_eq!(figure, variable);
        let line = format!("\n  {flag} is set by {variable}\n");
        assert!(stderr.ends_with(&line), "{stderr}");
        let (figure, stderr) = run(&[flag, value]);
        assert!(figure.is_null(), "{figure}");
        assert!(!stderr.contains(variable), "{stderr}");
    }
}

/// By the embedded server: what is wrong with the file is no want of this host.
#[test]
fn an_embedded_server_that_refuses_shows_its_own_way_out_alone() {
    let path = std::env::temp_dir().join(format!("metronome-start-{}.sqlite", std::process::id()));
    std::fs::write(&path, "no database, but long enough. ".repeat(100)).expect("a file");
    let ended = std::process::Command::new(common::BENCHCTL)
        .args(["start", "--duration", "1s", "--embedded"])
        .env("METRONOME_DATABASE", &path)
        .env_remove("METRONOME_SERVER")
        .output()
        .expect("benchctl starts");
    std::fs::remove_file(&path).expect("it is ours");
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.matches("move this one away").count(), 1, "{stderr}");
    assert!(!stderr.contains("rights and limits"), "{stderr}");
    assert!(!stderr.contains("\\n"), "{stderr}");
}

#[test]
fn an_empty_address_in_a_variable_counts_as_not_given() {
    for command in ["agents", "server", "runs"] {
        let run = |server: Option<&str>| {
            let mut benchctl = std::process::Command::new(common::BENCHCTL);
            benchctl
                .args([command, "-o", "json"])
                .env_remove("METRONOME_SERVER")
                .env("METRONOME_DATABASE", "/proc/none/a")
                .envs(server.map(|server| ("METRONOME_SERVER", server)));
            let output = benchctl.output().expect("benchctl starts");
            (output.status.code(), output.stdout, output.stderr)
        };
        assert_eq!(run(Some("")), run(None), "{command}");
        assert_ne!(run(Some("127.0.0.1:1")), run(None), "{command}");
    }
}

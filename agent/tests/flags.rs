//! Flags that cannot be used: exit code 2 and one sentence that names the flag.

mod peer;

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use metronome_proto::v1::FailureCode;
use peer::{agent, key_file, stderr, summary};

#[track_caller]
fn refused(flags: &[&str], words: &[&str]) {
    let output = agent(flags);
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{flags:?}: {errors}");
    for word in words {
        assert!(
            errors.contains(word),
            "{flags:?}: {word} is missing in {errors}"
        );
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn a_load_out_of_range_is_refused_by_the_name_of_its_flag() {
    for clients in ["0", "10001"] {
        refused(
            &["run", "--clients", clients],
            &["--clients", clients, "10000"],
        );
    }
    for rate in ["0", "NaN", "1e12", "inf"] {
        refused(&["run", "--rate", rate], &["--rate", "1,000,000"]);
    }
    refused(
        &["run", "--rate", "1M", "--clients", "100"],
        &["--rate", "lower a rate"],
    );
    for duration in ["0", "1y", "25h"] {
        refused(&["run", "--duration", duration], &["--duration", "24 h"]);
    }
    refused(&["run", "--duration", "soon"], &["--duration", "1m30s"]);
    refused(&["run", "--batch", "0"], &["--batch", "1024"]);
    refused(&["run", "--batch", "2000"], &["--batch", "1024"]);
    refused(
        &["run", "--rate", "max", "--batch", "200/s"],
        &["--batch 200/s", "steady rate", "1024"],
    );
    refused(&["run", "--threads", "0"], &["--threads", "64"]);
    refused(&["run", "--port", "0"], &["--port"]);
    refused(&["run", "--host", "a b"], &["--host"]);
    refused(
        &["run", "--clients", "10", "--first-client", "9995"],
        &["--first-client", "0 to 9990"],
    );
}

#[test]
fn a_shape_whose_flags_do_not_go_together_is_refused_by_their_names() {
    for (flags, words) in [
        (&["--burst", "5"][..], &["--burst", "give every"][..]),
        (&["--every", "5ms"], &["--every", "give burst"]),
        (
            &["--burst", "5", "--every", "5ms", "--rate", "1k"],
            &["--burst", "do not go with rate"],
        ),
        (
            &["--burst", "5000", "--every", "1ms"],
            &["--every", "overlap", "at least 5ms"],
        ),
        (
            &["--burst", "5", "--every", "11s"],
            &["--duration", "lengthen the run"],
        ),
        (&["--on", "1s"], &["--on", "give off"]),
        (&["--off", "1s"], &["--off", "give on"]),
        (&["--on", "1s", "--off", "0"], &["--off", "more than 0 s"]),
        (
            &["--on", "1s", "--off", "1s", "--rate", "1k..2k"],
            &["--on", "one rate"],
        ),
        (
            &["--on", "1s", "--off", "1s", "--arrivals", "poisson"],
            &["--arrivals", "does not go with on and off"],
        ),
        (&["--arrivals", "even"], &["--arrivals", "poisson"]),
        (
            &["--arrivals", "poisson", "--rate", "max"],
            &["--arrivals", "one rate"],
        ),
        (
            &["--arrivals", "poisson", "--rate", "200k"],
            &["--rate", "use more clients"],
        ),
        (
            &["--arrivals", "poisson", "--batch", "2"],
            &["--batch", "one by one"],
        ),
        (&["--rate", "0.001..2M"], &["--rate", "1,000,000"]),
        (&["--rate", "1k:5s,2k:5s"], &["--rate", "stays to the end"]),
        (
            &["--rate", "1k:20s,2k"],
            &["--duration", "shorten the steps"],
        ),
        (
            &["--rate", "0.01", "--duration", "1s"],
            &["--duration", "raise the rate"],
        ),
        (&["--seed", "0"], &["--seed", "9007199254740991"]),
    ] {
        refused(&[&["run"], flags].concat(), words);
    }
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let key = key_file().expect("a temporary file");
    std::fs::set_permissions(key.path(), std::fs::Permissions::from_mode(0o644))
        .expect("it is ours");
    let path = key.path().to_str().expect("a plain path");
    refused(
        &["run", "--key-file", path],
        &["--key-file", "644", "chmod 600"],
    );
    refused(
        &["run", "--key-file", "/proc/none"],
        &["--key-file", "/proc/none"],
    );
}

/// Whatever refuses a command line that asks for JSON: clap, the limits of a plan, or a file.
#[test]
fn a_program_that_asked_for_json_gets_one_object_for_every_refusal() {
    for (flags, flag, code) in [
        (&["run", "--clients", "many"][..], "--clients", 2),
        (&["run", "--no-such-flag"], "--no-such-flag", 2),
        (&["run", "--duration", "soon"], "--duration", 2),
        (&["run", "--clients", "10001"], "--clients", 2),
        (&["run", "--rate", "max", "--batch", "200/s"], "--batch", 2),
        (&["run", "--key-file", "/proc/none"], "--key-file", 2),
        (&["run", "--host", "user:secret@host"], "--host", 2),
    ] {
        for form in [&["-o", "json"][..], &["--output=json"]] {
            let output = agent(&[flags, form].concat());
            assert_eq!(output.status.code(), Some(code), "{flags:?}");
            let error = &summary(&output)["error"];
            assert_eq!(error["code"], FailureCode::FieldOutOfRange.name());
            assert_eq!(error["figures"]["flag"], flag, "{error}");
            let sentence = error["sentence"].as_str().expect("a text");
            assert!(stderr(&output).contains(sentence), "{sentence}");
            assert!(!stderr(&output).contains("secret") && !sentence.contains("secret"));
        }
    }
}

#[test]
fn an_agent_with_bad_flags_does_not_start() {
    refused(&["--server", "nowhere"], &["--server", "http://"]);
    refused(&["--name", "No Good"], &["--name", "a-z"]);
    refused(&["--max-clients", "0"], &["--max-clients", "10000"]);
    refused(
        &["--allow-target", "everywhere"],
        &["--allow-target", "192.0.2.0/24"],
    );
}

#[test]
fn addresses_that_must_not_be_loaded_are_refused() {
    for host in ["224.0.0.1", "255.255.255.255", "169.254.169.254", "0.0.0.0"] {
        let output = agent(&["run", "--host", host, "-o", "json"]);
        assert_eq!(output.status.code(), Some(1));
        let error = &summary(&output)["error"];
        assert_eq!(error["code"], FailureCode::TargetNotAllowed.name());
        let remedy = error["remedy"].as_str().expect("a text");
        assert!(remedy.ends_with("--host"), "{remedy}");
        assert!(stderr(&output).contains(remedy), "{}", stderr(&output));
    }
}

#[test]
fn what_a_user_wrote_reaches_standard_error_escaped() {
    for (variable, flags) in [
        ("METRONOME_TLS_CA", &[][..]),
        ("METRONOME_SERVER", &[]),
        ("METRONOME_AGENT_NAME", &[]),
        ("METRONOME_PAYLOAD_DIR", &[]),
        ("CLIENT_STARTUP_DELAY", &["run"]),
        ("NO_VARIABLE", &["run", "--host", "n\u{1b}[31mope\u{202e}"]),
        ("NO_VARIABLE", &["n\u{1b}[31mope\u{202e}"]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_metronome-agent"))
            .args(flags)
            .env(variable, "n\u{1b}[31mope\u{202e}")
            .output()
            .expect("the agent starts");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{variable}: {text:?}");
        assert!(
            !text.contains(['\u{1b}', '\u{202e}']),
            "{variable}: {text:?}"
        );
    }
}

#[test]
fn a_variable_counts_as_not_set_when_empty_and_is_named_when_bad() {
    let run = |delay: &str, flags: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_metronome-agent"))
            .args(["run", "--host", "a b"])
            .args(flags)
            .env("CLIENT_STARTUP_DELAY", delay)
            .output()
            .expect("the agent starts");
        stderr(&output)
    };
    // The next thing that is wrong.
    assert!(run("", &[]).contains("--host"), "{}", run("", &[]));
    let bad = run("soon", &[]);
    assert!(bad.contains("'CLIENT_STARTUP_DELAY'"), "{bad}");
    assert!(!bad.contains("--startup-delay"), "{bad}");
    let flag = run("soon", &["--startup-delay", "later"]);
    assert!(flag.contains("'--startup-delay <SECONDS>'"), "{flag}");
}

/// Also where the value is found bad after clap.
#[test]
fn a_bad_variable_is_named_beside_the_flag_that_it_sets() {
    for (variable, value, flag) in [
        ("METRONOME_SERVER", "bad", "--server"),
        ("METRONOME_SERVER", "ftp://a:1", "--server"),
        ("METRONOME_AGENT_NAME", "A B", "--name"),
        ("METRONOME_TLS_CA", "/proc/none", "--tls-ca"),
        ("METRONOME_TLS_CERT", "/proc/none", "--tls-cert"),
        ("METRONOME_TLS_KEY", "/proc/none", "--tls-key"),
        ("METRONOME_TLS_NAME", "a b", "--tls-name"),
        ("METRONOME_LOG_FILE", "/proc/none/a", "--log-file"),
        ("METRONOME_PAYLOAD_DIR", "/proc/version", "--payload-dir"),
    ] {
        let run = |more: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_metronome-agent"))
                .args(more)
                // Another variable, of which nothing is wrong.
                .env("METRONOME_PIN_THREADS", "false")
                .env(variable, value)
                .output()
                .expect("the agent starts");
            assert_eq!(output.status.code(), Some(2), "{variable}");
            stderr(&output)
        };
        let line = format!("\n  {flag} is set by {variable}\n");
        assert!(run(&[]).ends_with(&line), "{}", run(&[]));
        let typed = run(&[flag, value]);
        assert!(!typed.contains(variable), "{typed}");
    }
}

#[test]
fn an_empty_address_in_a_variable_counts_as_not_given() {
    let run = |server: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_metronome-agent"))
            .env("METRONOME_SERVER", server)
            // The next thing that is wrong.
            .args(["--name", "A B"])
            .output()
            .expect("the agent starts");
        assert_eq!(output.status.code(), Some(2));
        stderr(&output)
    };
    assert!(run("").contains("--name"), "{}", run(""));
    assert!(run("bad").contains("METRONOME_SERVER"), "{}", run("bad"));
}

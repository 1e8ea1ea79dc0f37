//! Flags, files and ports that cannot be: one clear sentence and the documented exit code.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, process::Output};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use common::{Server, command, output};

/// Fails to start with `code`, with `expected` on standard error and nothing on standard output.
#[track_caller]
fn refused(output: &Output, code: i32, expected: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty());
    for part in expected {
        assert!(said.contains(part), "{said:?} should contain {part:?}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn flags_out_of_range_are_a_usage_error_that_names_the_flag() {
    for (flag, value) in [
        ("--workers", "0"),
        ("--workers", "257"),
        ("--max-clients", "0"),
        ("--max-clients", "10001"),
        ("--max-clients", "many"),
        ("--port", "65536"),
        ("--drain-timeout", "soon"),
        ("--pin-workers", "perhaps"),
        ("--log-format", "xml"),
        ("--grpc", "nowhere"),
        ("--no-such-flag", "1"),
    ] {
        refused(&output(&[flag, value]), 2, &[flag]);
    }
}

#[test]
fn a_grpc_port_that_others_reach_needs_consent() {
    refused(
        &output(&["--grpc", "0.0.0.0:0"]),
        2,
        &["--grpc 0.0.0.0:0", "--insecure-no-tls"],
    );
    Server::start(&["--grpc", "0.0.0.0:0", "--insecure-no-tls"]);
}

#[test]
fn the_environment_sets_what_flags_do_not() {
    let mut from_environment = command(&[]);
    from_environment.env("METRONOME_WORKERS", "none");
    refused(
        &from_environment.output().unwrap(),
        2,
        &["METRONOME_WORKERS"],
    );
    // As a composition's `${WORKERS:-}` sets it: the same as not at all.
    let empty = [("METRONOME_MAX_CLIENTS", ""), ("METRONOME_HOST", "")];
    Server::start_with(tempfile::TempDir::new().unwrap(), &[], &empty);
    let help = String::from_utf8(output(&["--help"]).stdout).unwrap();
    for name in [
        "METRONOME_MAX_CLIENTS",
        "METRONOME_KEY_FILE",
        "METRONOME_GRPC",
        "METRONOME_ACCEPT_RAW",
    ] {
        assert!(help.contains(name), "{name} is missing from --help");
    }
}

#[test]
fn a_port_in_use_is_reported_with_its_address_and_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let address = format!("127.0.0.1:{port}");
    let folder = tempfile::TempDir::new().unwrap();
    let database = folder.path().join("runs.sqlite");
    let database = ["--database", database.to_str().unwrap()];
    let data = [
        &["--port", port.as_str(), "--grpc", "127.0.0.1:0"][..],
        &database,
    ]
    .concat();
    refused(&output(&data), 1, &[&address, "--port", "ss -ltnp"]);
    let grpc = [&["--port", "0", "--grpc", &address][..], &database].concat();
    refused(&output(&grpc), 1, &[&address, "--grpc"]);
}

#[test]
fn a_history_that_cannot_be_used_is_reported_with_its_path() {
    let folder = tempfile::TempDir::new().unwrap();
    let garbage = folder.path().join("garbage.sqlite");
    fs::write(&garbage, [7; 5000]).unwrap();
    let fifo = folder.path().join("fifo.sqlite");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for path in [
        garbage.to_str().unwrap(),
        fifo.to_str().unwrap(),
        "/proc/no/such/place.sqlite",
        folder.path().to_str().unwrap(),
    ] {
        let flags = ["--port", "0", "--grpc", "127.0.0.1:0", "--database", path];
        refused(&output(&flags), 1, &[path, "--database"]);
    }
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "ab".repeat(32)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let path = key.to_str().unwrap();
    refused(
        &output(&["--key-file", path]),
        2,
        &[path, "mode 644", "chmod 600"],
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    Server::start(&["--key-file", path]);
}

#[test]
fn what_a_user_wrote_reaches_standard_error_escaped() {
    let harmful = "n\u{1b}[31mope\u{202e}";
    for variable in [
        "METRONOME_GRPC",
        "METRONOME_HOST",
        "METRONOME_HTTP",
        "METRONOME_KEY_FILE",
        "METRONOME_TLS_CERT",
        "METRONOME_WORKERS",
        "METRONOME_DRAIN_TIMEOUT",
    ] {
        let output = command(&[]).env(variable, harmful).output().unwrap();
        refused(&output, 2, &["error: "]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            !text.contains(['\u{1b}', '\u{202e}']),
            "{variable}: {text:?}"
        );
    }
    let help = command(&["--help"]).env("METRONOME_GRPC", harmful).output();
    let help = String::from_utf8_lossy(&help.unwrap().stdout).into_owned();
    assert!(help.contains("METRONOME_GRPC") && !help.contains("ope\u{202e}"));
}

#[test]
fn a_password_or_a_key_in_an_address_is_never_shown() {
    for address in [
        "user:hidden7@127.0.0.1:1",
        "127.0.0.1:1/?token=hidden7",
        "user:hidden7%40127.0.0.1",
    ] {
        for arguments in [&["healthcheck"][..], &[], &["--help"]] {
            let output = command(arguments).env("METRONOME_GRPC", address).output();
            let output = output.unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("grpc"), "{arguments:?}: {text}");
            assert!(!text.contains("hidden7"), "{arguments:?}: {text}");
        }
    }
}

/// Also where the value is found bad after clap, or cannot be used here.
#[test]
fn a_bad_variable_is_named_beside_the_flag_that_it_sets() {
    for (variable, value, flag, code) in [
        ("METRONOME_GRPC", "bad", "--grpc", 2),
        ("METRONOME_GRPC", "0.0.0.0:0", "--grpc", 2),
        ("METRONOME_HTTP", "bad", "--http", 2),
        ("METRONOME_HOST", "a b", "--host", 2),
        ("METRONOME_KEY_FILE", "/proc/none", "--key-file", 2),
        ("METRONOME_TLS_CERT", "/proc/none", "--tls-cert", 2),
        ("METRONOME_TLS_KEY", "/proc/none", "--tls-key", 2),
        (
            "METRONOME_TLS_CLIENT_CA",
            "/proc/none",
            "--tls-client-ca",
            2,
        ),
        ("METRONOME_DATABASE", "/proc/none/a", "--database", 1),
    ] {
        let run = |more: &[&str]| {
            let ports = [
                ("--port", "0"),
                ("--grpc", "127.0.0.1:0"),
                ("--http", "off"),
            ];
            let ports = ports.into_iter().filter(|(port, _)| *port != flag);
            let mut server = command(more);
            server.args(ports.flat_map(|(flag, value)| [flag, value]));
            let ended = server.env(variable, value).output().unwrap();
            let line = format!("\n  {flag} is set by {variable}\n");
            (ended, line)
        };
        let (ended, line) = run(&[]);
        refused(&ended, code, &[flag, &line]);
        let (typed, line) = run(&[flag, value]);
        refused(&typed, code, &[flag]);
        let typed = String::from_utf8_lossy(&typed.stderr);
        assert!(!typed.contains(&line), "{typed}");
    }
    let mut two = command(&[]);
    two.envs([("METRONOME_GRPC", "bad"), ("METRONOME_WORKERS", "1")]);
    let all = "\n  --workers is set by METRONOME_WORKERS, --grpc is set by METRONOME_GRPC\n";
    refused(&two.output().unwrap(), 2, &[all]);
}

/// A value that is allowed and cannot be used here is no fault of the other variables.
#[test]
fn a_failure_to_serve_names_the_variable_of_the_flag_at_fault_and_no_other() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let address = format!("127.0.0.1:{port}");
    let folder = tempfile::TempDir::new().unwrap();
    let database = folder.path().join("runs.sqlite");
    let database = database.to_str().unwrap();
    for (variable, value, flag) in [
        ("METRONOME_PORT", port.as_str(), "--port"),
        ("METRONOME_GRPC", &address, "--grpc"),
        ("METRONOME_HTTP", &address, "--http"),
        // No host has an address that is for documentation.
        ("METRONOME_HOST", "192.0.2.1", "--host"),
        ("METRONOME_DATABASE", "/proc/none/a", "--database"),
    ] {
        let mut server = command(&[]);
        server.envs([
            ("METRONOME_PORT", "0"),
            ("METRONOME_GRPC", "127.0.0.1:0"),
            ("METRONOME_HTTP", "off"),
            ("METRONOME_DATABASE", database),
            ("METRONOME_WORKERS", "1"),
        ]);
        let ended = server.env(variable, value).output().unwrap();
        refused(
            &ended,
            1,
            &[flag, &format!("\n  {flag} is set by {variable}\n")],
        );
    }
}

//! What a person reads on a real pseudo-terminal of 80 columns and 24 lines, and of 40 columns: no
//! line wraps, a summary is one screen, and without colours nothing is missing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use common::{Server, command, wait_until};
use metronome_proto::layout;
use rustix::{
    fs::OFlags,
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// Lines of the terminals.
const LINES: u16 = 24;

/// What a command writes to a terminal of so many columns as its standard output, as bytes of text.
fn on_screen(mut command: Command, columns: u16) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let size = Winsize {
        ws_row: LINES,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = (OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(OsStr::from_bytes(name.to_bytes()))
        .unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::from(slave))
        .stderr(Stdio::null())
        .env("TERM", "xterm")
        .env_remove("COLUMNS")
        .spawn()
        .unwrap();
    // It has the only other ends of the terminal.
    drop(command);
    let reading = thread::spawn(move || {
        let (mut master, mut bytes) = (File::from(master), Vec::new());
        // The last end of the other side ends it with an error.
        let _ = master.read_to_end(&mut bytes);
        bytes
    });
    child.wait().unwrap();
    let text = String::from_utf8(reading.join().unwrap()).unwrap();
    text.replace("\r\n", "\n")
}

/// Without the sequences of colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    let others = parts.map(|part| part.split_once('m').unwrap().1);
    first + &others.collect::<String>()
}

/// A line that is one word, such as an address or a path, is left whole.
#[track_caller]
fn assert_fits(text: &str, columns: u16, what: &str) {
    assert!(!text.is_empty(), "{what}");
    for line in plain(text).lines() {
        let is_one_word = !line.trim().contains(' ');
        assert!(
            layout::columns(line) <= columns.into() || is_one_word,
            "{what} at {columns}: {line:?} in\n{text}"
        );
    }
}

#[test]
fn no_output_is_wider_than_the_terminal_and_a_summary_is_one_screen() {
    let server = Server::start(&[]);
    let _agent = server.agent("an-agent-with-a-long-name-of-its-own");
    let load = [
        "--clients",
        "3",
        "--rate",
        "100",
        "--duration",
        "500ms",
        "--quiet",
    ];
    let labels = [
        "--label",
        "host=rack-7",
        "--label",
        "note=測定 of a long evening",
    ];
    let start = [&["start"][..], &load, &labels].concat();
    let summary = on_screen(server.benchctl(&start), 80);
    assert_fits(&summary, 80, "start");
    let number = summary.lines().count();
    // The prompt of the shell has the last line.
    assert!(number < LINES.into(), "{number} lines:\n{summary}");
    let (run, _) = server.json(&["show"]);
    let run_id = run["run_id"].as_str().unwrap();
    for columns in [80, 40, 200] {
        for arguments in [
            &["show", "last"][..],
            &["show", "last", "--explain"],
            &["show", "last", "--clients-table"],
            &["runs"],
            &["agents"],
            &["server"],
            &["config", "show", "--origin"],
        ] {
            let what = arguments.join(" ");
            let shown = on_screen(server.benchctl(arguments), columns);
            assert_fits(&shown, columns, &what);
            if what.starts_with("show") || what == "runs" {
                assert!(shown.contains(run_id), "{what} at {columns}:\n{shown}");
            }
            let mut without = server.benchctl(arguments);
            without.env("NO_COLOR", "1");
            if what.starts_with("show") {
                assert!(shown.contains('\x1b'), "{what}: {shown:?}");
                assert_eq!(on_screen(without, columns), plain(&shown), "{what}");
            }
        }
    }
}

#[test]
fn the_variable_of_the_shell_is_the_width_and_a_pipe_has_80_columns() {
    let shown = |columns: Option<&str>| {
        let mut benchctl = command("benchctl");
        benchctl.args(["config", "show", "--origin"]);
        if let Some(columns) = columns {
            benchctl.env("COLUMNS", columns);
        }
        benchctl
    };
    let piped = shown(Some("40")).output().unwrap().stdout;
    let piped = String::from_utf8(piped).unwrap();
    assert_eq!(on_screen(shown(None), 80), piped);
    assert_ne!(on_screen(shown(None), 40), piped);
}

#[test]
fn the_text_of_a_load_without_a_server_fits_the_terminal() {
    // Where nothing listens, or nothing answers, there is no load: a server takes raw clients.
    let server = Server::start(&["--accept-raw"]);
    let data = server.data();
    let (host, port) = data.rsplit_once(':').unwrap();
    for columns in [80, 40] {
        let mut agent = command("metronome-agent");
        agent.args(["run", "--host", host, "--port", port]);
        agent.args(["--clients", "2", "--rate", "100", "--duration", "100ms"]);
        let shown = on_screen(agent, columns);
        assert_fits(&shown, columns, "metronome-agent run");
        assert!(shown.contains("acknowledged"), "{shown}");
    }
}

/// Tries of a run for which the machine must be quiet enough to measure.
const TRIES: usize = 5;

#[test]
fn a_run_that_did_not_hold_or_is_invalid_has_its_cure_on_the_screen() {
    let server = Server::start(&["--workers", "1"]);
    let agent = server.agent("a1");
    let shown_with = |words: &[&str]| {
        for columns in [80, 40] {
            let shown = on_screen(server.benchctl(&["show", "last"]), columns);
            assert_fits(&shown, columns, words[0]);
            let text = plain(&shown);
            let text: Vec<&str> = text.split_whitespace().collect();
            let text = text.join(" ");
            assert!(text.starts_with(words[0]), "{shown}");
            assert!(words.iter().all(|word| text.contains(word)), "{shown}");
        }
    };
    let load = ["--clients", "2", "--rate", "200", "--duration", "2s"];
    let strict = [&load[..], &["--threshold", "latency.p50<1ns"]].concat();
    assert!((0..TRIES).any(|_| server.run(&strict).1 == 99));
    shown_with(&["NOT HELD", "latency", "next `benchctl show"]);

    let mut run = server.benchctl(&[&["start", "--quiet"], &load[..]].concat());
    let mut run = run.stdout(Stdio::null()).spawn().unwrap();
    wait_until("packets flow", || {
        let (list, _) = server.json(&["runs", "--limit", "1"]);
        (list["runs"][0]["state"] == "running").then_some(())
    });
    agent.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(1));
    agent.signal(Signal::CONT);
    assert_eq!(run.wait().unwrap().code(), Some(4));
    shown_with(&["INVALID", "do not use these figures", "LATENESS", "next"]);
}

#[test]
fn help_is_laid_out_for_the_terminal() {
    for (executable, arguments) in [
        ("benchctl", &["help"][..]),
        ("benchctl", &["help", "start"]),
        ("benchctl", &["help", "doctor"]),
        ("metronome-server", &["--help"]),
        ("metronome-agent", &["--help"]),
        ("metronome-agent", &["run", "--help"]),
    ] {
        let help = || {
            let mut command = command(executable);
            command.args(arguments);
            command
        };
        let piped = String::from_utf8(help().output().unwrap().stdout).unwrap();
        assert_eq!(plain(&on_screen(help(), 80)), piped);
        assert!(piped.lines().all(|line| layout::columns(line) <= 80));
        for columns in [80, 40] {
            let shown = on_screen(help(), columns);
            // clap breaks no line of the usage.
            let lines = plain(&shown);
            let lines = lines.lines().filter(|line| !line.starts_with("Usage: "));
            let shown = lines.collect::<Vec<_>>().join("\n");
            assert_fits(&shown, columns, &format!("{executable} {arguments:?}"));
        }
    }
}

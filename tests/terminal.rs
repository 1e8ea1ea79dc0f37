//! A server and its terminal, on real processes and a real pseudo-terminal: it drains when the
//! terminal in whose foreground it was started goes, and on no other SIGHUP. benchctl ends on a
//! terminal that is stopped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::Path,
    process::Stdio,
    thread::sleep,
    time::Duration,
};

use common::{Running, Server, command, command_at, executable, wait_until};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    process::{
        Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, test_kill_process,
        waitpid,
    },
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use tempfile::TempDir;

/// A terminal: the end that a window has, and the one that processes have.
fn terminal() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
    let master = master.unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = (OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(std::ffi::OsStr::from_bytes(name.to_bytes()))
        .unwrap();
    (File::from(master), slave)
}

/// A server below a terminal of its own.
struct OnTerminal {
    /// What has the terminal: the server or its shell, the leader of the session.
    server: Server,
    /// The end of the terminal that a window has: what is written to it is typed. `None` when it
    /// is closed.
    master: Option<File>,
    /// The servers so far, the last one first.
    pids: Vec<Pid>,
}

impl OnTerminal {
    /// Starts `words` as the leader of a session that has the terminal; `SERVER` among them, and in
    /// what is typed, is the command line of the server.
    fn start(words: &[&str], typed: &str) -> Self {
        // So that a server that loses its shell ends as a child of this test.
        set_child_subreaper(Some(getpid())).unwrap();
        let (mut master, slave) = terminal();
        let folder = TempDir::new().unwrap();
        let line = format!(
            "{} --port 0 --grpc 127.0.0.1:0 --http off --workers 2 --database {}",
            executable("metronome-server").display(),
            folder.path().join("runs.sqlite").display()
        );
        master
            .write_all(typed.replace("SERVER", &line).as_bytes())
            .unwrap();
        let mut command = command_at(Path::new("setsid"));
        command.args(["--ctty", "env", "--default-signal=HUP"]);
        for word in words {
            match *word {
                "SERVER" => command.args(line.split(' ')),
                word => command.arg(word.replace("SERVER", &line)),
            };
        }
        command
            .stdin(slave.try_clone().unwrap())
            .stderr(Stdio::from(slave));
        let process = Running::start(command);
        let pid = process.ready_word("pid").parse().unwrap();
        Self {
            server: Server { process, folder },
            master: Some(master),
            pids: vec![Pid::from_raw(pid).unwrap()],
        }
    }

    fn pid(&self) -> Pid {
        self.pids[0]
    }

    fn types(&mut self, text: &str) {
        self.master
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Closes the window. The kernel has sent its SIGHUP when this returns.
    fn close(&mut self) {
        self.master = None;
    }

    /// `order` is one to restart the workers.
    #[track_caller]
    fn restarts_workers_on(&mut self, order: impl FnOnce(&mut Self)) {
        let before = self.server.workers();
        assert_eq!(before.len(), 2);
        order(self);
        wait_until("both workers are new processes", || {
            let now = self.server.workers();
            (now.len() == 2 && now.iter().all(|pid| !before.contains(pid))).then_some(())
        });
    }

    /// Lets another process take over.
    fn upgrade(&mut self) {
        let (answer, code) = self.server.json(&["server", "upgrade"]);
        assert_eq!(code, 0, "{answer}");
        let pid = answer["pid"].as_i64().unwrap() as i32;
        self.pids.insert(0, Pid::from_raw(pid).unwrap());
    }

    /// The exit code of the server, which ends by itself.
    fn exit_code(&mut self) -> Option<i32> {
        let pid = self.pid();
        if pid == self.server.process.pid() {
            return self.server.process.wait().code();
        }
        wait_until("the server ends", || {
            // Until its shell has ended it is no child of this process.
            let (_, status) = waitpid(Some(pid), WaitOptions::NOHANG).ok()??;
            Some(status.exit_status())
        })
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        for pid in &self.pids {
            // A process that has been waited for may be another one's by now.
            let is_ours = test_kill_process(*pid).is_ok()
                && fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero()))
                    .is_ok_and(|line| line.contains(&*self.server.folder.path().to_string_lossy()));
            if is_ours {
                let _ = kill_process(*pid, Signal::KILL);
            }
        }
    }
}

fn hang_up(system: &mut OnTerminal) {
    kill_process(system.pid(), Signal::HUP).unwrap();
}

fn ignores_hang_up(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1
}

#[test]
fn a_server_that_has_a_terminal_for_itself_drains_when_that_goes() {
    let mut system = OnTerminal::start(&["SERVER"], "");
    system.restarts_workers_on(hang_up);
    system.close();
    assert_eq!(system.exit_code(), Some(0));
}

#[test]
fn a_server_in_the_foreground_of_a_shell_that_passes_nothing_on_drains() {
    // With job control, so that the server has the foreground and a process group of its own.
    let mut system = OnTerminal::start(&["sh", "-m", "-c", "SERVER; :"], "");
    system.restarts_workers_on(hang_up);
    system.close();
    assert_eq!(system.exit_code(), Some(0));
}

#[test]
fn a_job_of_a_shell_restarts_workers_on_its_order_and_drains_when_the_shell_passes_the_end_on() {
    let bash = ["bash", "--norc", "--noprofile", "--noediting", "-i"];
    let mut system = OnTerminal::start(&bash, "SERVER &\n");
    system.restarts_workers_on(|system| system.types("kill -HUP %1\n"));
    system.close();
    assert_eq!(system.exit_code(), Some(0));
}

#[test]
fn a_server_that_the_shell_has_disowned_outlives_the_terminal_and_restarts_workers_on_order() {
    let bash = ["bash", "--norc", "--noprofile", "--noediting", "-i"];
    let mut system = OnTerminal::start(&bash, "SERVER & disown\n");
    system.restarts_workers_on(hang_up);
    system.close();
    system.server.process.wait();
    system.restarts_workers_on(hang_up);
    kill_process(system.pid(), Signal::TERM).unwrap();
    assert_eq!(system.exit_code(), Some(0));
}

#[test]
fn under_nohup_a_server_ignores_the_end_of_its_terminal_also_after_an_upgrade() {
    let mut system = OnTerminal::start(&["nohup", "SERVER"], "");
    assert!(ignores_hang_up(system.pid()));
    system.upgrade();
    assert!(ignores_hang_up(system.pid()));
    system.close();
    system.upgrade();
    assert!(ignores_hang_up(system.pid()));
    let workers = system.server.workers();
    hang_up(&mut system);
    assert_eq!(system.server.workers(), workers);
    kill_process(system.pid(), Signal::TERM).unwrap();
    assert_eq!(system.exit_code(), Some(0));
}

#[test]
fn an_upgrade_of_the_leader_of_a_session_is_no_end_of_the_terminal() {
    let mut system = OnTerminal::start(&["SERVER"], "");
    // The old process ends, and with it the session: the kernel sends the new one a SIGHUP.
    system.restarts_workers_on(OnTerminal::upgrade);
    assert_eq!(system.server.process.wait().code(), Some(0));
    system.restarts_workers_on(hang_up);
    kill_process(system.pid(), Signal::TERM).unwrap();
    assert_eq!(system.exit_code(), Some(0));
}

#[test]
fn benchctl_ends_on_a_terminal_that_is_stopped_whichever_signal_asks_for_it() {
    for signals in [
        &[Signal::TERM][..],
        // The second one comes while a line waits for room.
        &[Signal::INT, Signal::INT],
        &[Signal::INT, Signal::TERM, Signal::HUP],
    ] {
        let (mut master, slave) = terminal();
        let folder = TempDir::new().unwrap();
        let mut child = command("benchctl")
            .args("start --embedded --clients 1 --rate 100 --duration 5m".split(' '))
            .env("METRONOME_DATABASE", folder.path().join("runs.sqlite"))
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave.try_clone().unwrap())
            .spawn()
            .unwrap();
        let mut shown = Vec::new();
        while !String::from_utf8_lossy(&shown).contains(" of 300 s") {
            let mut part = [0; 4096];
            let bytes = master.read(&mut part).unwrap();
            shown.extend(&part[..bytes]);
        }
        // Ctrl-S.
        master.write_all(b"\x13").unwrap();
        wait_until("the terminal takes nothing", || {
            let mut ready = [PollFd::new(&slave, PollFlags::OUT)];
            (poll(&mut ready, Some(&Timespec::default())).unwrap() == 0).then_some(())
        });
        for signal in signals {
            kill_process(Pid::from_child(&child), *signal).unwrap();
            // Within 250 ms it would be the same request still.
            sleep(Duration::from_millis(500));
        }
        let ended = wait_until("benchctl ends", || child.try_wait().unwrap());
        assert!(!ended.success(), "{signals:?}: {ended}");
    }
}

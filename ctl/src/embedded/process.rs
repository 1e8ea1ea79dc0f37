//! One embedded process: this executable again, with a hidden first argument.
//!
//! It prints a ready line on standard output; the end of its standard error is kept for the case
//! that it fails. It has a process group of its own, so that Ctrl-C reaches benchctl alone, and it
//! dies with benchctl whatever kills that. No async here: the ready line comes through a channel.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
    time::Timespec,
};
use tokio::sync::oneshot;

use super::roles::Role;
use crate::exit::{Failure, host_failed};

/// A server that drains takes less, also when it cannot store a result; one that hangs does not
/// hold up the prompt for longer.
const END_TIME_MAX: Duration = Duration::from_secs(5);
const STDERR_TIME_MAX: Duration = Duration::from_millis(500);
/// A screen of text.
const STDERR_TAIL_BYTES_MAX: usize = 2000;
const READY_LINE_BYTES_MAX: u64 = 1024;

/// This executable, whatever stands at its path by now.
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// A child process. Dropped before [`end_all`], it is killed.
#[derive(Debug)]
pub(super) struct Process {
    role: Role,
    child: Child,
    stderr_tail: Arc<Mutex<VecDeque<u8>>>,
    /// Disconnected once the child's standard error has ended.
    stderr_ended: mpsc::Receiver<()>,
}

impl Process {
    /// Starts a process. Its ready line follows through the channel, which closes without one when
    /// standard output ends first.
    ///
    /// To be called on the main thread: the kernel sends the death signal when the *thread* that
    /// started the child ends.
    pub(super) fn start(
        role: Role,
        flags: &[OsString],
    ) -> io::Result<(Self, oneshot::Receiver<String>)> {
        let (ready, ready_line) = oneshot::channel();
        let (stderr_open, stderr_ended) = mpsc::channel();
        let mut process = Self {
            role,
            child: command(role, flags)
                .spawn()
                .map_err(|error| with_path(error, Path::new(OWN_EXECUTABLE).exists()))?,
            stderr_tail: Arc::default(),
            stderr_ended,
        };
        if let Some(stdout) = process.child.stdout.take() {
            thread::Builder::new().spawn(move || read_ready_line(stdout, ready))?;
        }
        if let Some(stderr) = process.child.stderr.take() {
            let stderr_tail = Arc::clone(&process.stderr_tail);
            thread::Builder::new().spawn(move || {
                keep_tail(stderr, &stderr_tail);
                drop(stderr_open);
            })?;
        }
        Ok((process, ready_line))
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// How it ended, with the end of its standard error; `None` while it runs.
    pub(super) fn how_it_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!(
            "the {} of this run ended ({status}){}",
            self.role.name(),
            quoted(&self.stderr_text())
        ))
    }

    /// The end of the standard error of a process that has ended.
    fn stderr_text(&self) -> String {
        // The pipe may still hold its last messages; its own children may hold the pipe open.
        let _ = self.stderr_ended.recv_timeout(STDERR_TIME_MAX);
        let bytes = self
            .stderr_tail
            .lock()
            .map(|tail| tail.iter().copied().collect())
            .unwrap_or_else(|_| Vec::new());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Why there is no ready line, for a process whose standard output has ended, so that it is
    /// about to end as well. Where it has refused by itself, the way out is its own, in the
    /// sentence: that of a host that gives too little would be another one.
    pub(super) fn why_not_ready(mut self) -> Failure {
        self.wait_until(Instant::now() + STDERR_TIME_MAX);
        let name = self.role.name();
        let failure = host_failed(self.how_it_ended().unwrap_or_else(|| {
            format!("the {name} of this run closed its standard output without a ready line")
        }));
        match self.has_refused() {
            true => Failure {
                remedy: String::new(),
                ..failure
            },
            false => failure,
        }
    }

    /// Whether it ended by itself, not by a signal, and wrote why.
    fn has_refused(&mut self) -> bool {
        let status = self.child.try_wait().ok().flatten();
        let has_exited = status.is_some_and(|status| status.code().is_some());
        has_exited && !self.stderr_text().trim().is_empty()
    }

    fn terminate(&mut self) {
        if let Some(pid) = self.running_pid() {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    fn wait_until(&mut self, deadline: Instant) {
        let Some(process) = self
            .running_pid()
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            return;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        // A time that a timespec cannot hold cannot come from a deadline of seconds.
        let left = Timespec::try_from(left).ok();
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], left.as_ref());
    }

    /// `None` once it has ended: its id may be another's by now.
    fn running_pid(&mut self) -> Option<Pid> {
        if self.has_ended() {
            None
        } else {
            Pid::from_raw(self.child.id().cast_signed())
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that may not be killed, by a filter of system calls, ends when this process does.
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

/// Ends processes in good order: asks all, waits for a while, kills those that are left. Returns
/// what they wrote for their user at the end, about spans that no collector took, for example.
pub(super) fn end_all(mut processes: Vec<Process>) -> Vec<String> {
    let deadline = Instant::now() + END_TIME_MAX;
    processes.iter_mut().for_each(Process::terminate);
    let mut messages = Vec::new();
    for mut process in processes {
        process.wait_until(deadline);
        if process.has_ended() {
            messages.extend(user_messages(&process.stderr_text()).map(ToOwned::to_owned));
        }
    }
    messages
}

/// Names what is not there: an error of a start names no file, and where /proc is hidden, as in
/// some sandboxes, it is not the executable that is missing.
fn with_path(error: io::Error, has_own_executable: bool) -> io::Error {
    if has_own_executable {
        return error;
    }
    let sentence = format!(
        "{OWN_EXECUTABLE}: {error}; /proc is not mounted here, or hidden: mount it, or start \
         metronome-server and metronome-agent and give --server"
    );
    io::Error::new(error.kind(), sentence)
}

fn command(role: Role, flags: &[OsString]) -> Command {
    // Not the path of the executable: an upgrade on disk must not mix versions.
    let mut command = Command::new(OWN_EXECUTABLE);
    command
        .arg0("benchctl")
        .arg(role.argument())
        .arg(std::process::id().to_string())
        .args(flags)
        // Its standard error is kept and quoted: no colours, and no more than what went wrong.
        .env("NO_COLOR", "1")
        .env(
            "METRONOME_LOG",
            std::env::var_os("METRONOME_LOG").unwrap_or_else(|| "warn".into()),
        )
        // On loopback, for one run and for the user who started it: without TLS.
        .env_remove("METRONOME_TLS_CERT")
        .env_remove("METRONOME_TLS_KEY")
        .env_remove("METRONOME_TLS_CA")
        .env_remove("METRONOME_TLS_CLIENT_CA")
        .env_remove("METRONOME_TLS_NAME")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

fn read_ready_line(stdout: ChildStdout, ready: oneshot::Sender<String>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    let read = (&mut stdout)
        .take(READY_LINE_BYTES_MAX)
        .read_line(&mut line);
    match read {
        // After a time-out or Ctrl-C the line has no receiver any more.
        Ok(1..) => drop(ready.send(line.trim().to_owned())),
        Ok(0) | Err(_) => drop(ready),
    }
    // Read on, so that a child that writes more is not stopped by a full pipe.
    let _ = io::copy(&mut stdout, &mut io::sink());
}

fn keep_tail(mut stderr: ChildStderr, tail: &Mutex<VecDeque<u8>>) {
    let mut chunk = [0; 4096];
    while let Ok(bytes @ 1..) = stderr.read(&mut chunk) {
        let Ok(mut tail) = tail.lock() else {
            return;
        };
        tail.extend(&chunk[..bytes]);
        let surplus = tail.len().saturating_sub(STDERR_TAIL_BYTES_MAX);
        tail.drain(..surplus);
    }
}

/// Lines for the user begin with the name of the executable; log lines begin with the time.
fn user_messages(stderr: &str) -> impl Iterator<Item = &str> {
    stderr.lines().filter(|line| line.starts_with("metronome-"))
}

/// Standard error as the end of a sentence, which is one line.
fn quoted(stderr: &str) -> String {
    let lines: Vec<_> = stderr.trim().lines().map(str::trim).collect();
    let text = lines.join("; ");
    match text.strip_prefix("error: ") {
        Some(error) => format!(": {error}"),
        None if text.is_empty() => String::new(),
        None if lines.len() > 1 => format!("; its messages: {text}"),
        None => format!(": {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_hides_its_processes_is_named() {
        let error = || io::Error::from(io::ErrorKind::NotFound);
        let sentence = with_path(error(), false).to_string();
        assert!(sentence.starts_with("/proc/self/exe: "), "{sentence}");
        assert!(sentence.contains("--server"), "{sentence}");
        assert_eq!(with_path(error(), true).to_string(), error().to_string());
    }

    #[test]
    fn standard_error_ends_the_sentence() {
        assert_eq!(quoted("error: the port is taken\n"), ": the port is taken");
        let with_variable = "error: no\n  --database is set by METRONOME_DATABASE\n";
        assert_eq!(
            quoted(with_variable),
            ": no; --database is set by METRONOME_DATABASE"
        );
        assert_eq!(quoted(" \n"), "");
        assert_eq!(quoted("one\ntwo\n"), "; its messages: one; two");
    }

    #[test]
    fn lines_that_are_no_log_lines_are_for_the_user() {
        let stderr = "2026-11-24T05:13:11.110911Z  WARN metronome-server: no\n\
                      metronome-agent: 3 spans\nworker panicked";
        assert_eq!(
            user_messages(stderr).collect::<Vec<_>>(),
            ["metronome-agent: 3 spans"]
        );
    }
}

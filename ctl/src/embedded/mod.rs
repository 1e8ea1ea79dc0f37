//! The server and the agent that this executable carries, so that one binary is enough.
//!
//! Both run as child processes: this executable again, with a hidden first argument. They print a
//! ready line on standard output; their standard error is kept for the case that they fail. They
//! have a process group of their own, so that Ctrl-C reaches benchctl alone, and they die with
//! benchctl whatever kills it.
//!
//! This is the only file of benchctl that knows the other two crates. No async here: what is
//! awaited comes through a callback.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdout, Command, ExitCode, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::flags::WORKERS_MAX;
use clap::{CommandFactory as _, Parser as _};
pub(crate) use metronome_server::History;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{
        Pid, PidfdFlags, Signal, getppid, kill_process, pidfd_open, set_parent_process_death_signal,
    },
    time::Timespec,
};

/// Runs as a worker of the embedded server if the master has started this process as one.
pub(crate) fn run_as_worker_if_asked() -> Option<ExitCode> {
    metronome_server::run_as_worker_if_asked()
}

/// Runs as the embedded server or agent if benchctl has started this process as one:
/// `benchctl internal-server|internal-agent PARENT_PID FLAG…`.
pub(crate) fn run_as_part_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    let role = Role::from_argument(&arguments.next()?)?;
    let parent = arguments
        .next()
        .and_then(|pid| pid.to_str()?.parse().ok())
        .and_then(Pid::from_raw);
    if !dies_with(parent) {
        return Some(ExitCode::FAILURE);
    }
    let flags = std::iter::once(program).chain(arguments);
    Some(match role {
        Role::Server => metronome_server::run(metronome_server::Args::parse_from(flags)),
        Role::Agent => metronome_agent::run(metronome_agent::Args::parse_from(flags)),
    })
}

/// Runs as the server or the agent if this executable was started by that name, through a link: an
/// image needs no more than one executable.
pub(crate) fn run_as_named() -> Option<ExitCode> {
    let program = PathBuf::from(std::env::args_os().next()?);
    match program.file_name()?.to_str()? {
        "metronome-server" => Some(metronome_server::run(metronome_server::Args::parse())),
        "metronome-agent" => Some(metronome_agent::run(metronome_agent::Args::parse())),
        _ => None,
    }
}

/// The server's command line.
pub(crate) fn server_command() -> clap::Command {
    metronome_server::Args::command()
}

/// The agent's command line.
pub(crate) fn agent_command() -> clap::Command {
    metronome_agent::Args::command()
}

/// Binds this process's life to its parent's. False when the parent is gone already: it may have
/// died before the signal was asked for.
fn dies_with(parent: Option<Pid>) -> bool {
    set_parent_process_death_signal(Some(Signal::KILL)).is_ok()
        && parent.is_some()
        && getppid() == parent
}

/// What a part of the embedded system is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Server,
    Agent,
}

impl Role {
    fn argument(self) -> &'static str {
        match self {
            Self::Server => "internal-server",
            Self::Agent => "internal-agent",
        }
    }

    fn from_argument(argument: &OsString) -> Option<Self> {
        [Self::Server, Self::Agent]
            .into_iter()
            .find(|role| argument.to_str() == Some(role.argument()))
    }

    /// For sentences.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }
}

/// The flags of the embedded server: on loopback, on ports that are free.
pub(crate) fn server_flags(max_clients: u32, workers: Option<u32>) -> Vec<String> {
    let fixed = [
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "off",
        "--embedded",
        "--max-clients",
    ];
    let mut flags: Vec<String> = fixed.map(String::from).to_vec();
    flags.push(max_clients.to_string());
    if let Some(workers) = workers {
        flags.extend(["--workers".to_owned(), workers.to_string()]);
    }
    flags
}

/// How many workers the embedded server has when nobody says it: one for each core that the pacing
/// threads of this host leave, at least one. More would take the cores that the packets have to be
/// sent from, and the run would measure that. `None`: the environment says it.
pub(crate) fn workers_beside(pacing_threads: u32) -> Option<u32> {
    if std::env::var_os("METRONOME_WORKERS").is_some() {
        return None;
    }
    let cores = thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    Some(cores.saturating_sub(pacing_threads).clamp(1, WORKERS_MAX))
}

/// The flags of the embedded agent.
pub(crate) fn agent_flags(server: &str) -> Vec<String> {
    vec!["--server".into(), format!("http://{server}")]
}

/// The gRPC address in `metronome-server ready: grpc 127.0.0.1:50051 data 127.0.0.1:8888 pid 1234`.
pub(crate) fn grpc_address_in(ready_line: &str) -> Option<&str> {
    let mut words = ready_line
        .strip_prefix("metronome-server ready:")?
        .split_whitespace();
    words.find(|word| *word == "grpc")?;
    words.next()
}

/// A child process. Dropped before [`end_all`], it is killed.
#[derive(Debug)]
pub(crate) struct Part {
    role: Role,
    child: Child,
    last_words: Arc<Mutex<VecDeque<u8>>>,
    /// Disconnected once the child's standard error has ended.
    stderr_ended: mpsc::Receiver<()>,
}

/// Starts a part. `ready` is called once, on another thread: with its ready line, or with `None`
/// when it ends without one.
///
/// To be called on the main thread: the kernel sends the death signal when the *thread* that
/// started the child ends.
pub(crate) fn start(
    role: Role,
    flags: &[String],
    ready: impl FnOnce(Option<String>) + Send + 'static,
) -> io::Result<Part> {
    // Not the path of the executable: an upgrade on disk must not mix versions.
    let mut child = Command::new("/proc/self/exe")
        .arg0("benchctl")
        .arg(role.argument())
        .arg(std::process::id().to_string())
        .args(flags)
        // What it says is kept and quoted: no colours, and no more than what went wrong.
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
        .process_group(0)
        .spawn()?;
    let last_words = Arc::default();
    let (stderr_open, stderr_ended) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || read_ready_line(stdout, ready));
    }
    if let Some(stderr) = child.stderr.take() {
        let last_words = Arc::clone(&last_words);
        thread::spawn(move || {
            keep_last_words(stderr, &last_words);
            drop(stderr_open);
        });
    }
    Ok(Part {
        role,
        child,
        last_words,
        stderr_ended,
    })
}

impl Part {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs no more.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// How it ended, with its last words; `None` while it runs.
    pub(crate) fn how_it_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!(
            "the {} of this run ended ({status}){}",
            self.role.name(),
            quoted(&self.last_words())
        ))
    }

    /// Of one that has ended.
    fn last_words(&self) -> String {
        // The pipe may still hold what it said last; its own children may hold the pipe open.
        let _ = self.stderr_ended.recv_timeout(LAST_WORDS_TIME_MAX);
        let bytes = self
            .last_words
            .lock()
            .map(|words| words.iter().copied().collect())
            .unwrap_or_else(|_| Vec::new());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// As [`Part::how_it_ended`], for one whose standard output has ended, so that it is about to.
    pub(crate) fn why_it_was_never_ready(mut self) -> String {
        self.wait_until(Instant::now() + LAST_WORDS_TIME_MAX);
        let name = self.role.name();
        self.how_it_ended().unwrap_or_else(|| {
            format!("the {name} of this run closed its standard output and said nothing")
        })
    }

    fn ask_to_end(&mut self) {
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

impl Drop for Part {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the history of this host lies, whether or not there is one yet.
pub(crate) fn database_path() -> anyhow::Result<PathBuf> {
    metronome_server::database_path(None)
}

/// The history in the database of this host, where a server of this user keeps it. `None` when no
/// server has made one yet.
pub(crate) fn stored_runs() -> anyhow::Result<Option<History>> {
    let database = std::env::var_os("METRONOME_DATABASE").filter(|path| !path.is_empty());
    History::open(database.map(PathBuf::from))
}

/// Ends parts in good order: asks all, waits for a while, kills who is left. Returns what they said
/// to their user at the end, of spans that no collector took, for example.
pub(crate) fn end_all(mut parts: Vec<Part>) -> Vec<String> {
    let deadline = Instant::now() + END_TIME_MAX;
    parts.iter_mut().for_each(Part::ask_to_end);
    let mut said = Vec::new();
    for mut part in parts {
        part.wait_until(deadline);
        if part.has_ended() {
            said.extend(to_the_user(&part.last_words()).map(ToOwned::to_owned));
        }
    }
    said
}

/// Log lines begin with the time; what is meant for the user begins with the name of who says it.
fn to_the_user(words: &str) -> impl Iterator<Item = &str> {
    words.lines().filter(|line| line.starts_with("metronome-"))
}

fn read_ready_line(stdout: ChildStdout, ready: impl FnOnce(Option<String>)) {
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    let told = (&mut stdout)
        .take(READY_LINE_BYTES_MAX)
        .read_line(&mut line);
    ready(
        told.ok()
            .filter(|bytes| *bytes > 0)
            .map(|_| line.trim().to_owned()),
    );
    // Read on, so that a child that says more is not stopped by a full pipe.
    let _ = io::copy(&mut stdout, &mut io::sink());
}

fn keep_last_words(mut stderr: ChildStderr, last_words: &Mutex<VecDeque<u8>>) {
    let mut chunk = [0; 4096];
    while let Ok(bytes @ 1..) = stderr.read(&mut chunk) {
        let Ok(mut words) = last_words.lock() else {
            return;
        };
        words.extend(&chunk[..bytes]);
        let surplus = words.len().saturating_sub(LAST_WORDS_BYTES_MAX);
        words.drain(..surplus);
    }
}

/// Last words as the end of a sentence: in line when they are one line.
fn quoted(words: &str) -> String {
    match words.trim() {
        "" => String::new(),
        words if words.contains('\n') => format!("; it said:\n{words}"),
        words => format!(": {}", words.strip_prefix("error: ").unwrap_or(words)),
    }
}

/// A server that drains takes less; one that hangs does not hold up the prompt for longer.
const END_TIME_MAX: Duration = Duration::from_secs(3);
const LAST_WORDS_TIME_MAX: Duration = Duration::from_millis(500);
/// A screen of text.
const LAST_WORDS_BYTES_MAX: usize = 2000;
const READY_LINE_BYTES_MAX: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_tells_the_grpc_address() {
        let line = "metronome-server ready: grpc 127.0.0.1:40001 data 127.0.0.1:40002 pid 7";
        assert_eq!(grpc_address_in(line), Some("127.0.0.1:40001"));
        for line in [
            "",
            "metronome-server ready:",
            "metronome-server ready: grpc",
            "metronome-agent ready: grpc a:1",
        ] {
            assert_eq!(grpc_address_in(line), None, "{line}");
        }
    }

    #[test]
    fn last_words_end_the_sentence() {
        assert_eq!(quoted("error: the port is taken\n"), ": the port is taken");
        assert_eq!(quoted(" \n"), "");
        assert_eq!(quoted("one\ntwo\n"), "; it said:\none\ntwo");
    }

    #[test]
    fn of_last_words_those_are_passed_on_that_are_no_log_lines() {
        let words = "2026-11-24T05:13:11.110911Z  WARN metronome-server: no\nmetronome-agent: 3 spans\nworker panicked";
        assert_eq!(
            to_the_user(words).collect::<Vec<_>>(),
            ["metronome-agent: 3 spans"]
        );
    }

    #[test]
    fn a_role_survives_its_argument() {
        for role in [Role::Server, Role::Agent] {
            assert_eq!(Role::from_argument(&role.argument().into()), Some(role));
        }
        assert_eq!(Role::from_argument(&"start".into()), None);
    }
}

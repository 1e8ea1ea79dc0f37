//! What the tests of doctor share: commands in an environment of their own, and a server with its
//! agents.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

/// The real executable.
pub(crate) const BENCHCTL: &str = env!("CARGO_BIN_EXE_benchctl");

/// A command in an environment of its own, with `folder` for passing files.
pub(crate) fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("METRONOME_") {
            command.env_remove(name);
        }
    }
    command
        .env("TMPDIR", folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .current_dir("/");
    command
}

/// A folder for passing files that everyone may write to, deleted at the end.
pub(crate) struct Folder(pub(crate) std::path::PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("doctor-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn examined(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

pub(crate) fn finding<'a>(object: &'a Value, check: &str) -> &'a Value {
    let mut findings = object["findings"].as_array().unwrap().iter();
    let found = findings.find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("{check}: {object:#}"))
}

/// A server and its agents, on free ports, ended with this.
pub(crate) struct System(Vec<Child>);

impl System {
    /// Starts a server and an agent, and returns the gRPC address, too.
    pub(crate) fn start(folder: &Folder) -> (Self, String) {
        let flags = [
            "--port",
            "0",
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "off",
            "--workers",
            "1",
        ];
        let mut server = program(folder, "metronome-server");
        let (server, ready) = started(server.args(flags));
        let mut system = Self(vec![server]);
        let mut words = ready.split_whitespace();
        words
            .find(|word| *word == "grpc")
            .unwrap_or_else(|| panic!("{ready}"));
        let address = words.next().unwrap().to_owned();
        system.add_agent(program(folder, "metronome-agent"), &address, "near");
        (system, address)
    }

    /// Starts one more agent by this command, and waits until it is connected.
    pub(crate) fn add_agent(&mut self, mut agent: Command, address: &str, name: &str) {
        let (agent, _) = started(agent.args(["--server", address, "--name", name]));
        self.0.push(agent);
    }
}

/// One of the programs that benchctl is by another name.
pub(crate) fn program(folder: &Folder, name: &str) -> Command {
    let link = folder.0.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(BENCHCTL, &link).unwrap();
    }
    command(link.to_str().unwrap(), &folder.0)
}

/// The process, and its first line.
fn started(command: &mut Command) -> (Child, String) {
    let command = command.stderr(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    (child, line)
}

impl Drop for System {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        for process in self.0.iter_mut().rev() {
            let pid = Pid::from_raw(process.id().cast_signed()).unwrap();
            let _ = kill_process(pid, Signal::TERM);
            // It passes no signal on, and its end is that of the agent in its namespace.
            let name = fs::read_to_string(format!("/proc/{}/comm", process.id()));
            if name.is_ok_and(|name| name.trim() == "unshare") {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = process.wait();
        }
    }
}

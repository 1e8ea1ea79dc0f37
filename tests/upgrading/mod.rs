//! A server that can be upgraded in a test, and the servers that replace it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{DEADLINE, Running, Server, command_at, executable, wait_until};

/// A server whose executable lies in a folder of its own, and all that replace it.
pub(crate) struct Upgradable {
    pub(crate) server: Server,
    pub(crate) executable: PathBuf,
    /// The ready lines of it and of all that replace it.
    ready: mpsc::Receiver<String>,
    /// The processes of it and of all that replace it.
    pids: Vec<Pid>,
}

impl Upgradable {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), flags, &[])
    }

    pub(crate) fn start_in(folder: TempDir, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let path = folder.path().join("metronome-server");
        install(&path);
        Self::start_by(command_at(&path), path, folder, flags, variables)
    }

    /// Starts it by a bare name from PATH, where `link` makes that name of the path of a benchctl.
    pub(crate) fn start_by_name(link: impl Fn(&Path, &Path)) -> Self {
        let folder = TempDir::new().unwrap();
        let (bin, real) = (folder.path().join("bin"), folder.path().join("benchctl"));
        fs::create_dir(&bin).unwrap();
        install_as("benchctl", &real);
        let path = bin.join("metronome-server");
        link(&real, &path);
        let mut command = command_at(Path::new("metronome-server"));
        command.env("PATH", &bin);
        Self::start_by(command, path, folder, &[], &[])
    }

    fn start_by(
        mut command: Command,
        path: PathBuf,
        folder: TempDir,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        // So that new processes, which lose their parent, end as children of this test.
        set_child_subreaper(Some(getpid())).unwrap();
        command.args([
            "--port",
            "0",
            "--grpc",
            "127.0.0.1:0",
            "--workers",
            "2",
            "--http",
            "127.0.0.1:0",
            "--database",
        ]);
        command.arg(folder.path().join("runs.sqlite")).args(flags);
        command
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .envs(variables.iter().copied());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, ready) = mpsc::channel();
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| drop(sender.send(line)));
        });
        let first = ready.recv_timeout(DEADLINE).unwrap();
        let pids = vec![Pid::from_child(&child)];
        Self {
            server: Server {
                process: Running {
                    child,
                    ready: first,
                },
                folder,
            },
            executable: path,
            ready,
            pids,
        }
    }

    /// Waits for the next server to say that it is ready.
    pub(crate) fn next(&mut self) -> Pid {
        let line = self.ready.recv_timeout(DEADLINE).expect("a new server");
        let pid = line
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .unwrap();
        self.pids.push(pid);
        pid
    }

    /// Upgrades it; the pid that serves from then on.
    pub(crate) fn upgrade(&mut self) -> Pid {
        let (answer, code) = self.server.json(&["server", "upgrade"]);
        assert_eq!(code, 0, "{answer:#}");
        let pid = self.next();
        assert_eq!(answer["pid"], pid.as_raw_nonzero().get());
        assert_eq!(self.pid(), pid);
        pid
    }

    /// Tries to; the sentence with which that fails. The old server has stayed the same.
    pub(crate) fn refused_upgrade(&self) -> String {
        let before = self.pid();
        let output = self
            .server
            .benchctl(&["server", "upgrade"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(self.pid(), before);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Who answers now.
    pub(crate) fn pid(&self) -> Pid {
        self.server_status()["pid"]
            .as_i64()
            .and_then(|pid| Pid::from_raw(pid as i32))
            .unwrap()
    }

    pub(crate) fn server_status(&self) -> Value {
        self.server.json(&["server"]).0
    }

    /// Puts something else where the next server is started from.
    pub(crate) fn put(&self, text: &str) {
        let staged = self.executable.with_extension("staged");
        fs::write(&staged, text).unwrap();
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o700)).unwrap();
        fs::rename(staged, &self.executable).unwrap();
    }

    /// A run in the background, once packets arrive.
    pub(crate) fn run(&self, flags: &[&str]) -> Child {
        let child = self
            .server
            .benchctl(&[&["start", "-o", "json", "--quiet"], flags].concat())
            .spawn()
            .unwrap();
        wait_until("packets arrive", || {
            (packets(&self.server_status()) > 0).then_some(())
        });
        child
    }
}

impl Drop for Upgradable {
    fn drop(&mut self) {
        for pid in &self.pids {
            let _ = kill_process(*pid, Signal::KILL);
            // The first is waited for by its own handle.
            let _ = waitpid(Some(*pid), WaitOptions::NOHANG);
        }
    }
}

/// Puts the server that was built to `path`.
pub(crate) fn install(path: &Path) {
    install_as("metronome-server", path);
}

/// Puts an executable that was built to `path`.
pub(crate) fn install_as(name: &str, path: &Path) {
    let staged = path.with_extension("staged");
    let built = executable(name);
    // A link is quicker and needs the same file system.
    if fs::hard_link(&built, &staged).is_err() {
        fs::copy(&built, &staged).unwrap();
    }
    fs::rename(staged, path).unwrap();
}

/// Packets that the workers have counted.
pub(crate) fn packets(server: &Value) -> u64 {
    server["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| worker["packets"].as_u64().unwrap())
        .sum()
}

/// No client has connected again, and none has anything to complain of.
#[track_caller]
pub(crate) fn assert_undisturbed(result: &Value) {
    for client in result["clients"].as_array().unwrap() {
        assert_eq!(
            (&client["attempts"], &client["failure"]),
            (&Value::from(1), &Value::Null),
            "{client}"
        );
    }
}

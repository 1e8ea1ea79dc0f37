//! Other processes of ours: workers, which are this executable again, and the new process of an
//! upgrade, which is another one; the CPU time of a process; and how many files this one may open.
#![allow(unsafe_code)]

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    path::Path,
    process::{self, Child, Command, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

/// `argv[0]` of a worker: an executable started under this name runs as one.
pub const WORKER_NAME: &str = "metronome-worker";

/// Set in the environment of the new process of an upgrade: its standard input is the socket to the
/// old one.
///
/// The variable keeps its old name: a new process of an upgrade from an older build that did not
/// find it would start as an ordinary server, instead of being refused with a sentence.
pub const OLD_PROCESS_VARIABLE: &str = "METRONOME_PREDECESSOR";

/// This very executable, whatever happens to its file.
#[derive(Debug)]
pub struct Executable(File);

impl Executable {
    /// Holds on to what runs now, so that an upgrade on disk cannot mix versions.
    ///
    /// # Errors
    /// /proc is not there, or no descriptor is left.
    pub fn current() -> io::Result<Self> {
        File::open("/proc/self/exe").map(Self)
    }

    /// Starts it as a worker, with `input` as its standard input.
    ///
    /// Fork and exec, never a plain fork: a copy of threads and locks would be unsound. Everything
    /// but the three standard descriptors closes on exec. Its standard error is the caller's to
    /// read. Its environment is empty, or where `keeps_environment` that of this process less our
    /// own settings, which begin with METRONOME_ and some of which are secrets.
    ///
    /// # Errors
    /// The system starts no process.
    pub fn start_worker(&self, input: OwnedFd, keeps_environment: bool) -> io::Result<Child> {
        let is_kept = |name: &OsStr| keeps_environment && !is_setting(name);
        Command::new(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
            .arg0(WORKER_NAME)
            .stdin(Stdio::from(input))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C is for the master, which ends the workers after their work.
            .process_group(0)
            .env_clear()
            .envs(env::vars_os().filter(|(name, _)| is_kept(name)))
            .current_dir("/")
            .spawn()
    }
}

fn is_setting(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"METRONOME_")
}

/// Starts `executable` as this process was started, with `input` as its standard input. It does not
/// die with this process.
///
/// Its name, `argv[0]`, is this one's: an executable that is several by its name stays what it was,
/// also where it is started by the path of the file that a link led to.
///
/// # Errors
/// The file is no executable of this user, or the system starts no process.
pub fn start_new_process(executable: &Path, input: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(executable);
    if let Some(name) = env::args_os().next() {
        command.arg0(name);
    }
    command
        .args(env::args_os().skip(1))
        .env(OLD_PROCESS_VARIABLE, process::id().to_string())
        .stdin(Stdio::from(input))
        .spawn()
}

/// CPU time that all threads of a process have used, ns. None when it is gone.
pub fn cpu_ns(process: Pid) -> Option<u64> {
    // From the kernel's include/linux/posix-timers.h: the clock of a process is its inverted id,
    // shifted, with 2 (CPUCLOCK_SCHED) in the low bits. glibc's clock_getcpuclockid does the same.
    let clock = (!process.as_raw_nonzero().get() << 3) | 2;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel checks the clock id and writes one timespec through the pointer.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    (result == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Raises the soft limit of open files, and so of connections, to the hard one: the usual soft
/// limit of 1024 is far below what the hard one allows. Where that is too low as well, opening
/// fails with that reason.
pub fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_this_process_is_known_and_that_of_none_is_not() {
        let own = rustix::process::getpid();
        let before = cpu_ns(own).unwrap();
        std::hint::black_box((0..5_000_000_u64).fold(0, |sum, n| sum ^ std::hint::black_box(n)));
        assert!(cpu_ns(own).unwrap() > before);
        let none = Pid::from_raw(i32::MAX - 7).unwrap();
        assert_eq!(cpu_ns(none), None);
    }
}

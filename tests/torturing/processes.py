"""The processes under test: one server, one agent, and benchctl to query them.

Every process is started here and ended here, by its own handle; workers are found as children of
the server that serves. An upgraded server is a child of this script as well: it lost its parent.
"""

import argparse
import ctypes
import json
import os
import pathlib
import resource
import signal
import subprocess
import tempfile
import threading
import time

EXECUTABLES = ("metronome-server", "metronome-agent", "benchctl")

DEADLINE_S = 60

# From linux/prctl.h: orphans below this process become its children.
PR_SET_CHILD_SUBREAPER = 36


def next_line(process, deadline_s):
    """The next line that a process writes. One that writes none in time is killed, which ends the reading as well."""
    deadline = threading.Timer(deadline_s, process.kill)
    deadline.start()
    try:
        return process.stdout.readline()
    finally:
        deadline.cancel()


class Metronome:
    """A server and an agent on loopback ports of their own. A context: both end with it.

    `files` limits the descriptors of the server; `secret` opens its static run; `database` is the folder of its
    database, if that is another one; `prefix` is the command that starts the server.
    """

    def __init__(self, executables, folder, workers, max_clients, files=None, secret=None, database=None, prefix=()):
        self.executables, self.folder = pathlib.Path(executables), pathlib.Path(folder)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "OTEL_"))}
        self.environment = {**kept, "NO_COLOR": "1", "METRONOME_LOG": "info"}
        self.processes = []
        self.server = self.agent = None
        # Ids of the process that serves, and of upgraded ones that have not ended yet.
        self.master, self.leaving = None, []
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        flags = ["--port", "0", "--grpc", "127.0.0.1:0", "--database", str(pathlib.Path(database or self.folder) / "runs.sqlite")]
        flags += ["--workers", str(workers), "--max-clients", str(max_clients), "--accept-raw"]
        if secret:
            key_file = self.folder / "key"
            key_file.touch(mode=0o600)
            key_file.write_text(secret.hex())
            flags += ["--key-file", str(key_file)]
        try:
            self.server, ready = self._start("metronome-server", flags, files, prefix)
            words = ready.split()
            self.master = self.server.pid
            self.grpc, self.data = words[words.index("grpc") + 1], words[words.index("data") + 1]
            self.start_agent("torture")
        except BaseException:
            self.__exit__()
            raise

    def start_agent(self, name):
        """Starts an agent, the one from now on."""
        self.agent = self.add_agent(name)
        self.agent_name = name

    def add_agent(self, name, prefix=(), flags=()):
        """Starts an agent beside the others, with a command before its own, and returns its process."""
        return self._start("metronome-agent", ["--server", self.grpc, "--name", name, *flags], prefix=prefix)[0]

    def _start(self, name, flags, files=None, prefix=()):
        """Starts an executable and waits for its ready line."""
        log = open(self.folder / f"{name}.log", "ab")
        command = [*prefix, str(self.executables / name), *flags]
        limit = files and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=self.environment, text=True, preexec_fn=limit
        )
        self.processes.append(process)
        ready = next_line(process, DEADLINE_S)
        if "ready" not in ready:
            raise SystemExit(f"{name} did not start: it ended with {process.wait(DEADLINE_S)}, see {log.name}")
        return process, ready

    def __enter__(self):
        return self

    def upgraded(self, pid):
        """Records that another process serves from now on."""
        self.leaving.append(self.master)
        self.master = pid

    def ended_badly(self):
        """Returns a sentence for each upgraded server that ended with an error since the last call."""
        faults = []
        for pid in list(self.leaving):
            status = self.server.poll() if pid == self.server.pid else end_of_orphan(pid)
            if status is not None:
                self.leaving.remove(pid)
                faults += [f"the upgraded server {pid} ended with {status}"] * (status != 0)
        return faults

    def __exit__(self, *_):
        wait_until("the upgraded servers ended", lambda: self.ended_badly() or not self.leaving)
        if self.master and self.master != self.server.pid:
            os.kill(self.master, signal.SIGTERM)
            wait_until("the last server ended", lambda: end_of_orphan(self.master) is not None)
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def benchctl(self, *arguments):
        """Starts benchctl; `answer` waits for it."""
        # Files, not pipes: a pipe would not be read before the process has ended, and it could fill up.
        out, err = tempfile.TemporaryFile(dir=self.folder), tempfile.TemporaryFile(dir=self.folder)
        command = [str(self.executables / "benchctl"), "--server", self.grpc, "-o", "json", "--quiet", *arguments]
        process = subprocess.Popen(command, stdout=out, stderr=err, env=self.environment)
        process.out, process.err = out, err
        return process

    def ask(self, *arguments):
        """Runs benchctl and returns the object that it prints."""
        code, out, err = answer(self.benchctl(*arguments))
        if code != 0:
            raise SystemExit(f"benchctl {' '.join(arguments)} ended with {code}: {out or err}")
        return json.loads(out)

    def log(self):
        """Returns what the server has logged so far."""
        return (self.folder / "metronome-server.log").read_text(errors="replace")


class Worker:
    """A worker, or another process, held by descriptor: a signal cannot reach another one with the same id."""

    def __init__(self, pid):
        self.pid, self.descriptor = pid, os.pidfd_open(pid)

    def signal(self, number):
        """Sends a signal. False when the process is gone."""
        try:
            signal.pidfd_send_signal(self.descriptor, number)
            return True
        except ProcessLookupError:
            return False

    def connections(self):
        """Counts the client connections that it reads. Its connection to the master is two more sockets."""
        count = 0
        try:
            for name in os.listdir(f"/proc/{self.pid}/fd"):
                count += os.readlink(f"/proc/{self.pid}/fd/{name}").startswith("socket:")
        except OSError:
            pass  # It ended meanwhile, or closed one.
        return max(0, count - 2)

    def close(self):
        os.close(self.descriptor)


def end_of_orphan(pid):
    """Returns the exit code of an orphan that this process inherited; None while it or its parent runs."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended else None


def report(process):
    """Returns the report of a run that benchctl has started. It may be invalid: a busy machine sends late."""
    code, out, error = answer(process)
    run = json.loads(out) if out else {}
    if "run_id" not in run:
        raise SystemExit(f"the run has no report: benchctl ended with {code}: {run.get('error', error)}")
    return run


def answer(process):
    """Waits for a benchctl and returns its exit code, standard output and standard error."""
    code = process.wait()
    texts = []
    for file in (process.out, process.err):
        file.seek(0)
        texts.append(file.read().decode(errors="replace").strip())
        file.close()
    return code, *texts


def children(pid):
    """Returns the ids of all children of a process, whichever of its threads started them."""
    ids = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            ids += [int(word) for word in (task / "children").read_text().split()]
        except OSError:
            pass  # The thread has ended.
    return ids


def cpu_s(pid):
    """Returns the CPU time that all threads of a process have used."""
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def is_worker(pid):
    """Whether a child of the server has become a worker and still runs."""
    return _has_name(pid, "metronome-worke")


def is_spare(pid):
    """Whether a child of the server waits for the place of a worker that dies."""
    return _has_name(pid, "metronome-spare")


def _has_name(pid, name):
    """Whether it is one of the server's processes, which have a name of at most 15 bytes each."""
    try:
        line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        return line.startswith(b"metronome-worker\0") and pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name
    except OSError:
        return False


def is_zombie(pid):
    """Whether a process has ended and was not reaped."""
    try:
        # The name, in parentheses, may hold anything: the state is the first word behind it.
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def workers(master):
    """Returns the workers that run now."""
    found = []
    for pid in filter(is_worker, children(master)):
        try:
            found.append(Worker(pid))
        except ProcessLookupError:
            pass  # It ended meanwhile.
    # Between listing and opening, an id could have been reused by another process.
    still = set(children(master))
    for other in (worker for worker in found if worker.pid not in still):
        other.close()
    return [worker for worker in found if worker.pid in still]


def wait_until(what, happened, every_s=0.02):
    """Polls until `happened` gives something, and returns it."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := happened()):
        if time.monotonic() > deadline:
            raise SystemExit(f"timed out waiting until {what}")
        time.sleep(every_s)
    return value


def built(root):
    """Where cargo puts the executables."""
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "release"


def expect_executables(parser, folder):
    missing = [name for name in EXECUTABLES if not (folder / name).exists()]
    if missing:
        parser.error(f"{', '.join(missing)} not in {folder}: run `cargo build --release --workspace` first")


def at_least(least, kind=int):
    """Parser of a flag: a number of at least `least`."""
    def parse(text):
        value = kind(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is too small, at least {least} is needed")
        return value

    return parse

"""What is done to the processes of a run, each as a context that begins it and always ends it.

A cause is a function of the place where it is to be (trials.Place). Processes are held by descriptor, so that no signal
reaches another one; a spinner is ended by a watchdog of higher priority on another core and, should that fail, by the
kernel.
"""

import contextlib
import errno
import os
import signal
import subprocess
import time

from causing import groups
from torturing import processes

PLAIN, GROUPED, UNKNOWN, BESIDE = "plain", "grouped", "unknown", "beside"
AGENT, SERVER = "agent", "server"

# The core that is taken, and the one from which the watchdog acts.
TAKEN_CORE, SPARE_CORE = 0, 1
SPINNER_PRIORITY, WATCHDOG_PRIORITY = 50, 60
# Nothing may have a core for itself for longer.
SPIN_S_MAX, KERNEL_ENDS_US = 1.0, 1_200_000

# An overload: a flood, and two busy processes on each core.
FLOOD = ("--clients", "20", "--rate", "max", "--batch", "1024", "--duration", "500ms")
BESIDE_LOAD = ("--clients", "2", "--rate", "50", "--duration", "4s")
FILL_BYTES = 1 << 16


@contextlib.contextmanager
def nothing(place):
    yield


def agent(place):
    return [processes.Worker(place.agent.pid)]


def workers(place):
    return processes.workers(place.metronome.master)


def master(place):
    return [processes.Worker(place.metronome.master)]


def everything(place):
    """The server first: its workers cannot be replaced then."""
    return master(place) + workers(place) + agent(place)


def stopped(who, seconds):
    """Stops processes for a time."""
    @contextlib.contextmanager
    def cause(place):
        held = who(place)
        for process in held:
            process.signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
            yield
        finally:
            for process in held:
                process.signal(signal.SIGCONT)
                process.close()
    return cause


def killed(who, seconds):
    """Stops processes for a time and ends them then, so that they cannot count it themselves."""
    @contextlib.contextmanager
    def cause(place):
        with stopped(who, seconds)(place):
            for process in who(place):
                process.signal(signal.SIGKILL)
                process.close()
            yield
    return cause


def master_and_agent(place):
    return master(place) + agent(place)


def on_core(who):
    """Binds all threads of processes, and those to come with them, to the core that is taken; workers that are not among
    them to the other one."""
    @contextlib.contextmanager
    def cause(place):
        bound, chosen = everything(place), who(place)
        of_chosen = {process.pid for process in chosen}
        before = {task: cores for process in bound for task, cores in cores_of(process.pid).items()}
        try:
            for process in bound:
                if process.pid in of_chosen or processes.is_worker(process.pid):
                    core = TAKEN_CORE if process.pid in of_chosen else SPARE_CORE
                    for task in cores_of(process.pid):
                        bind(task, {core})
            yield
        finally:
            of_all = set().union(*before.values())
            for process in bound:
                for task in cores_of(process.pid):
                    bind(task, before.get(task, of_all))
            for process in bound + chosen:
                process.close()
    return cause


def cores_of(pid):
    """The cores of each thread of a process."""
    cores = {}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(ProcessLookupError):
                cores[int(name)] = os.sched_getaffinity(int(name))
    return cores


def bind(task, cores):
    # A thread may have ended meanwhile.
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(task, cores)


def spinner(seconds):
    """Takes a core: a process of real-time priority that does nothing but run."""
    assert seconds <= SPIN_S_MAX
    command = ["chrt", "-f", str(WATCHDOG_PRIORITY), "taskset", "-c", str(SPARE_CORE),
               "timeout", "-s", "KILL", str(seconds),
               "prlimit", f"--rttime={KERNEL_ENDS_US}:{KERNEL_ENDS_US}",
               "chrt", "-f", str(SPINNER_PRIORITY), "taskset", "-c", str(TAKEN_CORE),
               "sh", "-c", "while :; do :; done"]

    @contextlib.contextmanager
    def cause(place):
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield
    return cause


def quota(of, seconds):
    """Leaves the control group of one end next to no CPU for a while."""
    @contextlib.contextmanager
    def cause(place):
        group = place.groups[of]
        group.limit(groups.QUOTA_US)
        try:
            time.sleep(seconds)
            yield
        finally:
            group.limit(None)
    return cause


def lossy(share, seconds):
    """Loses a share of the segments to the data port, by chance, in the network of this script."""
    @contextlib.contextmanager
    def cause(place):
        port = place.metronome.data.rpartition(":")[2]
        rule = ["INPUT", "-p", "tcp", "--dport", port, "-m", "statistic", "--mode", "random",
                "--probability", str(share), "-j", "DROP"]
        subprocess.run(["iptables", "-A", *rule], check=True)
        try:
            time.sleep(seconds)
        finally:
            subprocess.run(["iptables", "-D", *rule], check=True)
        yield
    return cause


@contextlib.contextmanager
def full_disk(place):
    """Fills the file system of the database to the last byte until the run is over."""
    path = place.database / "filler"
    try:
        with open(path, "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(bytes(FILL_BYTES)):
                pass
        yield
        place.until_over()
        if (left := os.statvfs(place.database).f_bavail) > 4:
            raise SystemExit(f"the disk was not full: {left} blocks were left ({errno.errorcode[errno.ENOSPC]} expected)")
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def overload(place):
    """A flood that is over just before the run."""
    processes.answer(place.metronome.benchctl("start", "--agent", place.name, *FLOOD))
    yield


@contextlib.contextmanager
def run_beside(place):
    """Another run of another agent, longer than the one that is judged."""
    beside = place.metronome.benchctl("start", "--agent", BESIDE, *BESIDE_LOAD)
    time.sleep(0.3)
    try:
        yield
        place.until_over()
    finally:
        code, out, error = processes.answer(beside)
        if code in (1, 2):
            raise SystemExit(f"the run beside ended with {code}: {out or error}")

"""One run per call: a cause in the middle of its load, and what the run names as its limit."""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from causing import cases, causes, groups, judging
from lies import relay, timer
from torturing import processes

# Runs of a case whose cause did not lie within the load, before the script gives up.
PLACING_TRIES = 5
# Runs of a case on a host that is busy in each, in the short form.
TRIES = 3
OVERHEAD_S = 30
INSIDE = "METRONOME_TEST_CAUSES_INSIDE"
CLIENTS_MAX = 100
# What the timer must have been late by to be to blame, ns: as much as makes a packet late.
BUSY_NS = 10_000_000
DATABASE_BYTES = 16 << 20
# Hides both from a process, as on a host that does not have them.
WITHOUT_FIGURES = 'mount -t tmpfs none /sys/fs/cgroup && mount --bind /dev/null /proc/pressure/cpu && exec "$@"'


@dataclasses.dataclass(frozen=True)
class Result:
    case: object
    code: int
    run: dict
    faults: list
    # By how much the independent timer was late at most while the load ran, ns.
    timer_late_ns: int

    @property
    def limit(self):
        return judging.limit_of(self.run)

    @property
    def is_right(self):
        return self.limit == self.case.limit

    @property
    def is_good(self):
        return self.is_right and not self.faults


@dataclasses.dataclass
class Place:
    """Where a cause is to be: the processes of one run."""

    metronome: object
    name: str
    agent: object
    groups: dict
    database: pathlib.Path
    started: object = None

    def until_over(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.started.wait(cases.SECONDS + OVERHEAD_S)


class Trials:
    """The servers and agents of one script. A context: they end with it.

    A server of real-time priority with agents beside each other, and one in a control group of its own, without that
    priority: a quota does not hold for it.
    """

    def __init__(self, executables, folder):
        self.folder = pathlib.Path(folder)
        self.executables = executables
        # Why what some cases need is not there.
        self.lacking = {}
        # By case: from its connections on.
        self.waits_s = {}

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.groups = self._attempt(stack, cases.GROUPS, groups.made([causes.AGENT, causes.SERVER])) or {}
            self.database = self.folder / "database"
            self.database.mkdir()
            self._attempt(stack, cases.FILE_SYSTEM, small_file_system(self.database))
            self._attempt(stack, cases.REAL_TIME, real_time())
            self._attempt(stack, cases.MOUNTS, own_mounts())
            self._attempt(stack, cases.NETWORK_RULES, own_network())
            self.witness = stack.enter_context(timer.Timer(is_real_time=True))
            self.plain = self._server(stack, "plain", database=self.database)
            agents = {causes.PLAIN: self.plain.agent, causes.BESIDE: self.plain.add_agent(causes.BESIDE)}
            if cases.MOUNTS not in self.lacking:
                prefix = ("unshare", "--mount", "sh", "-c", WITHOUT_FIGURES, "sh")
                agents[causes.UNKNOWN] = self.plain.add_agent(causes.UNKNOWN, prefix)
            self.systems = {causes.PLAIN: (self.plain, agents)}
            if self.groups:
                prefix = self.groups[causes.AGENT].prefix
                agents[causes.GROUPED] = self.plain.add_agent(causes.GROUPED, prefix, ("--high-priority", "false"))
                prefix = ("env", "METRONOME_HIGH_PRIORITY=false", *self.groups[causes.SERVER].prefix)
                grouped = self._server(stack, "grouped", prefix=prefix)
                self.systems[causes.GROUPED] = (grouped, {causes.PLAIN: grouped.agent})
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def _attempt(self, stack, what, context):
        """Enters a context; where the host does not grant it, records why."""
        try:
            return stack.enter_context(context)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or str(error)
            self.lacking[what] = reason.strip()
            return None

    def _server(self, stack, name, **more):
        folder = self.folder / name
        folder.mkdir()
        metronome = processes.Metronome(self.executables, folder, workers=1, max_clients=CLIENTS_MAX, **more)
        return stack.enter_context(metronome)

    def why_not(self, case):
        """Why a case cannot be made here; None if it can."""
        return next((f"{need}: {self.lacking[need]}" for need in sorted(case.needs) if need in self.lacking), None)

    def make(self, case, tries=1):
        """Makes one run of a case; again while it is wrong and the host was busy, up to so many times."""
        for _ in range(tries):
            result = self._placed(case)
            if result.is_good or result.timer_late_ns < BUSY_NS:
                break
        return result

    def _placed(self, case):
        """A run whose cause lay within its load. How long after the connections the load begins is learnt from those
        of the same case."""
        wait_s = self.waits_s.setdefault(case.name, cases.BEGIN_S)
        for _ in range(PLACING_TRIES):
            began_ns = time.monotonic_ns()
            code, run, loaded_s, cause_began_s, cause_ended_s = self._make_once(case, wait_s)
            late_ns = max(self.witness.late_within(began_ns, time.monotonic_ns()), default=0)
            if case.cause is causes.nothing or judging.is_within(run, cause_began_s, cause_ended_s, cases.SECONDS):
                return Result(case, code, run, judging.faults_of(case, run, code), late_ns)
            wait_s = max(0.0, judging.seconds_of(run["started_at"]) - loaded_s) + cases.BEGIN_S
            self.waits_s[case.name] = wait_s
        return Result(case, code, run, ["its cause never lay within the load"], late_ns)

    def _make_once(self, case, wait_s):
        metronome, agents = self.systems[case.server]
        name = metronome.agent_name if case.agent == causes.PLAIN else case.agent
        place = Place(metronome, name, agents[case.agent], self.groups, self.database)
        with contextlib.ExitStack() as stack:
            path = stack.enter_context(relay.Relay(metronome.data, case.path)) if case.path else None
            if path:
                # A relay that waits for a core is a slow path. Not every user may set it.
                with contextlib.suppress(PermissionError):
                    os.sched_setscheduler(path.process.pid, os.SCHED_RR, os.sched_param(1))
            stack.enter_context(case.before(place))
            place.started = self._start(place, case, path)
            wait_until_loaded(place)
            loaded_s = time.time()
            time.sleep(wait_s)
            began_s = time.time()
            with case.cause(place):
                ended_s = time.time()
            return *finish(place.started), loaded_s, began_s, ended_s

    def _start(self, place, case, path):
        load = ["--clients", str(cases.CLIENTS), "--rate", str(cases.RATE_HZ), "--duration", f"{cases.SECONDS * 1000:.0f}ms"]
        load += ["--agent", place.name, "--wait", "5s", *cases.OBJECTIVES, *case.flags]
        return place.metronome.benchctl("start", *load, *(["--target", path.address] if path else []))


def wait_until_loaded(place):
    """Waits until the clients of the run are connected, or it is over."""
    def is_loaded():
        server = place.metronome.ask("server")
        connected = sum(worker["connections"] for worker in server["workers"])
        return connected >= cases.CLIENTS or place.started.poll() is not None
    processes.wait_until("the load has begun", is_loaded)


def finish(started):
    """Returns the exit code and the object of a benchctl; one that does not end in time is killed."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.wait(cases.SECONDS + OVERHEAD_S)
    if started.poll() is None:
        started.kill()
    code, out, error = processes.answer(started)
    try:
        return code, json.loads(out)
    except ValueError:
        return code, {"error": {"code": f"benchctl: {error or code}"}}


@contextlib.contextmanager
def small_file_system(folder):
    """A file system of its own, small enough to be filled."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DATABASE_BYTES}", "none", str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def real_time():
    """Whether this script may start processes of real-time priority, and has a second core for their watchdog."""
    if not {causes.TAKEN_CORE, causes.SPARE_CORE} <= os.sched_getaffinity(0):
        raise OSError("cores 0 and 1 are needed")
    command = ["chrt", "-f", str(causes.WATCHDOG_PRIORITY), "true"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    yield


@contextlib.contextmanager
def own_mounts():
    """Whether a process of this script can be shown another /sys and /proc."""
    command = ["unshare", "--mount", "sh", "-c", WITHOUT_FIGURES, "sh", "true"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    yield


@contextlib.contextmanager
def own_network():
    """Whether this script has a network of its own, and may have rules in it."""
    if INSIDE not in os.environ:
        raise OSError("no network of its own")
    rule = ["INPUT", "-p", "tcp", "--dport", "1", "-m", "statistic", "--mode", "random", "--probability", "0.5", "-j", "DROP"]
    for action in ("-A", "-D"):
        subprocess.run(["iptables", action, *rule], check=True, capture_output=True, text=True)
    yield


def enter_network():
    """Runs this script again in a network of its own, where root can make one; else it goes on as it is."""
    enter = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        if os.geteuid() == 0 and INSIDE not in os.environ:
            subprocess.run([*enter, "true"], check=True, capture_output=True)
            os.execvpe(enter[0], [*enter, sys.executable, *sys.argv], {**os.environ, INSIDE: "1"})


def in_folder():
    return tempfile.mkdtemp(prefix="metronome-causes-")

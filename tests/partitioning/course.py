"""The course of one cell: hosts, a run, the cut, what is seen meanwhile, the mending, and the next run."""

import contextlib
import dataclasses
import pathlib
import signal
import time

from partitioning import cells, hosts, judging
from partitioning.hosts import AGENT, BENCHCTL, SERVER
from partitioning.router import CONTROL_PORT, DATA_PORT, Router

CLIENTS, RATE = 4, 250
# Of a run that is cut in its middle, some seconds are left when the cut is mended.
SECONDS = {cells.BEFORE: 4, cells.RUNNING: 10, cells.STOP: 10, cells.BRIEF: 4}
LOAD_BEFORE_CUT_S = 1
# Every command has ended, and the states agree for good, so long after the cut is mended.
END_S_MAX = 60
POLL_S = 0.5
# The states agree when they have done so for that long.
SETTLED_S = 2


@dataclasses.dataclass
class Observed:
    """All that is judged of a cell. Times are those of the router, s."""

    # What benchctl ended with: `start`, and `stop` where there was one.
    start: hosts.Answer
    stop: hosts.Answer | None
    # The run as the server has stored it, and the text that it shows of it; None where it has none.
    run: dict | None
    text: str | None
    cut_s: float
    mended_s: float
    # The longest time that the router stood still.
    stalled_s: float
    # By client: what the router has seen of its load.
    flows: list
    # When the first packet passed again on a link that was cut; when the states agreed, and what they were until then.
    passed_again_s: float
    agreed_s: float | None
    disagreed: list
    # The next run.
    next: hosts.Answer
    # By name: what the processes ended with.
    ends: dict


def make(cell, executables, folder):
    with contextlib.ExitStack() as stack:
        three = hosts.Hosts(stack, executables, pathlib.Path(folder))
        addresses = {name: bytes(map(int, name.split("."))) for name in hosts.HOSTS}
        router = stack.enter_context(Router(three.devices, addresses[SERVER], addresses[BENCHCTL]))
        return Course(cell, three, router).take()


class Course:
    def __init__(self, cell, three, router):
        self.cell, self.hosts, self.router = cell, three, router
        database = str(three.folder / "runs.sqlite")
        flags = ["--host", "0.0.0.0", "--grpc", f"{SERVER}:{CONTROL_PORT}", "--insecure-no-tls", "--workers", "1"]
        self.server = three.serve(SERVER, "metronome-server", *flags, "--database", database)
        self.agent = three.serve(AGENT, "metronome-agent", "--server", f"{SERVER}:{CONTROL_PORT}", "--name", "far")

    def take(self):
        started, stop = self.cut()
        self.wait(self.cell.lasts_s - (time.monotonic() - self.router.cut_s))
        if self.cell.stops_server:
            self.server.send_signal(signal.SIGCONT)
        self.router.mend()
        agreed_s, disagreed = self.await_agreement(started)
        # Where the stop did not come through, the run goes on to its end.
        start = hosts.Answer(started, self.left_s())
        stop = stop and hosts.Answer(stop, self.left_s())
        run_id = self.newest_run()
        hosts.wait_until("the run is over", lambda: not self.active_runs(), END_S_MAX)
        run = self.hosts.ask(SERVER, "show", run_id).object if run_id else None
        text = self.hosts.ask(SERVER, "show", run_id, form="text").text if run_id else None
        flows = list(self.router.flows.values())
        # Before the next run, whose packets pass too.
        passed_again_s = self.router.first_passed_again_s(self.cell.links)
        following = self.hosts.ask(BENCHCTL, "start", *load(2), "--wait", "5s")
        return Observed(
            start, stop, run, text, self.router.cut_s, self.router.mended_s, self.router.stalled_s, flows,
            passed_again_s, agreed_s, disagreed, following, self.end_processes())

    def cut(self):
        """Starts the run and cuts the links when it is time. Returns the commands that wait for an end."""
        if self.cell.moment == cells.BEFORE:
            self.router.cut(self.cell)
        started = self.hosts.benchctl(BENCHCTL, "start", *load(SECONDS[self.cell.moment]))
        if self.cell.moment == cells.BEFORE:
            return started, None
        hosts.wait_until("the load flows", self.router.last_fresh_s)
        self.wait(LOAD_BEFORE_CUT_S)
        run_id = self.newest_run()
        if self.cell.stops_server:
            # Its workers go on, and take what comes.
            self.server.send_signal(signal.SIGSTOP)
        self.router.cut(self.cell)
        stop = self.hosts.benchctl(BENCHCTL, "stop", run_id) if self.cell.moment == cells.STOP else None
        return started, stop

    def await_agreement(self, started):
        """Returns since when the states agree, and how the last ones did not."""
        agreed_s, disagreed = None, []
        until_s = self.router.mended_s + judging.AGREED_S_MAX + SETTLED_S + 5
        while time.monotonic() < until_s and not (agreed_s and time.monotonic() > agreed_s + SETTLED_S):
            begun_s = time.monotonic()
            if faults := self.disagreement(started):
                agreed_s, disagreed = None, faults
            else:
                agreed_s = agreed_s or begun_s
            self.wait(POLL_S)
        return agreed_s, disagreed

    def disagreement(self, started):
        """What benchctl, the server and the agent have in another way. What changes meanwhile is asked for again."""
        for _ in range(3):
            server = self.states(SERVER, "runs", "agents", "server")
            benchctl = self.states(BENCHCTL, "runs")
            connections, is_waiting = self.hosts.connections(AGENT, DATA_PORT), started.poll() is None
            faults = judging.disagreement(server, benchctl, connections, is_waiting)
            if not faults:
                break
        return faults

    def states(self, host, *commands):
        """The answers of the server to commands of a host; None where there is one that it has not answered."""
        answers = [self.hosts.ask(host, command) for command in commands]
        return None if any(answer.code for answer in answers) else [answer.object for answer in answers]

    def newest_run(self):
        runs = self.hosts.ask(SERVER, "runs").object["runs"]
        return runs[0]["run_id"] if runs else None

    def active_runs(self):
        return self.hosts.ask(SERVER, "server").object["runs_active"]

    def left_s(self):
        return max(1, self.router.mended_s + END_S_MAX - time.monotonic())

    def end_processes(self):
        ends = {}
        for name, process in (("metronome-agent", self.agent), ("metronome-server", self.server)):
            process.terminate()
            with contextlib.suppress(Exception):
                ends[name] = process.wait(hosts.DEADLINE_S)
        return ends

    @staticmethod
    def wait(seconds):
        time.sleep(max(0, seconds))


def load(seconds):
    return ["--clients", str(CLIENTS), "--rate", str(RATE), "--duration", f"{seconds}s"]

"""One run per call: a lie made against the executables, and what came of it."""

import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys
import time

import grpc

from lies import fake_agent, judging, relay, timer
from torturing import processes

# Runs of a case on a host that is busy in each.
TRIES = 3
# How much longer than its load a run may take, with the answer of benchctl.
OVERHEAD_S = 30
CLIENTS_MAX = 200
# A gRPC thread that holds the interpreter delays the load by this much.
SWITCH_S = 0.0005


@dataclasses.dataclass
class Result:
    """What a run has ended with, and a sentence for each thing that is wrong with it."""

    case: object
    code: int
    run: dict
    faults: list
    # How often the timer was late meanwhile.
    host_late: int

    @property
    def is_expected(self):
        return any(out.matches(self.run) for out in self.case.allowed)

    @property
    def is_good(self):
        return self.is_expected and not self.faults

    @property
    def is_of_the_host(self):
        """Whether a busy host is all that is wrong with it, and another witness has seen it busy."""
        expected = frozenset().union(*(out.named for out in self.case.allowed))
        return not self.is_expected and self.host_late > 0 and judging.is_of_the_host(self.run, expected)


class Trials:
    """A server, an agent and the fake agents of one script. A context: they end with it."""

    def __init__(self, executables, folder, workers=2):
        self.system = processes.Metronome(executables, folder, workers, CLIENTS_MAX)
        self.names = (f"liar-{number}" for number in itertools.count(1))
        sys.setswitchinterval(SWITCH_S)

    def __enter__(self):
        try:
            self.channel = grpc.insecure_channel(self.system.grpc)
            self.messages = fake_agent.Messages(self.channel)
            self.witness = timer.Timer(is_real_time=False)
            self.witness.__enter__()
        except BaseException:
            self.system.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.witness.__exit__()
        self.channel.close()
        self.system.__exit__()

    def make(self, case):
        """Makes one lie and returns its result; again, as long as the host is to blame for what it has ended with."""
        for _ in range(TRIES):
            result = self.make_once(case)
            if not result.is_of_the_host:
                break
        return result

    def make_once(self, case):
        began_ns = time.monotonic_ns()
        code, run, faults = getattr(self, f"make_on_{case.kind}")(case)
        course = case.make if isinstance(case.make, type) else None
        ahead_us = getattr(course, "clock_ahead_ns", 0) / 1000
        faults += judging.false_figures(run, code, ahead_us)
        faults += [f"{name} is named as a cause" for name in sorted(case.never & judging.codes(run))]
        host_late = self.witness.late_within(began_ns, time.monotonic_ns())
        return Result(case, code, run, faults, len(host_late))

    def make_on_agent(self, case):
        course, name = case.make(), next(self.names)
        with fake_agent.FakeAgent(self.messages, name, course) as agent:
            code, run = self.finish(self.start(case, name), case)
        failed = [f"the fake agent failed: {agent.failure}"] if agent.failure and case.is_control else []
        return code, run, failed + judging.wrongly_held(run, agent.off_ns, agent.planned)

    def make_on_relay(self, case):
        with relay.Relay(self.system.data, case.make) as path:
            started = self.start(case, self.system.agent_name, path.address)
            return *self.finish(started, case), []

    def make_on_process(self, case):
        started = self.start(case, self.system.agent_name)
        processes.wait_until("the load has begun", lambda: started.poll() is not None or self.is_running(case.load[0]))
        case.make(self.system)
        return *self.finish(started, case), []

    def is_running(self, clients):
        server = self.system.ask("server")
        return sum(worker["connections"] for worker in server["workers"]) >= clients

    def start(self, case, agent, target=None):
        clients, rate, seconds, batch = case.load
        load = ["--clients", str(clients), "--rate", "max" if rate is None else str(rate), "--batch", str(batch)]
        if case.groups:
            own = f"agents={agent} target={target}" if target else f"agents={agent}"
            load = [part for group in case.groups for part in ("--group", f"{group} {own}")]
        else:
            load += ["--agent", agent, *(["--target", target] if target else [])]
        return self.system.benchctl("start", *load, "--duration", f"{seconds}s", "--wait", "5s")

    def finish(self, started, case):
        """Returns the exit code and the object of a benchctl; one that does not end in time is killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(case.load[2] + OVERHEAD_S)
        if started.poll() is None:
            started.kill()
        code, out, error = processes.answer(started)
        try:
            return code, json.loads(out)
        except ValueError:
            return code, {"error": {"code": f"benchctl: {error or code}"}}

"""One run per call: a path that behaves as a case has it, a load on it, and what came of it."""

import dataclasses
import time

from paths import judging
from paths.hosts import FOREIGN, result_of, wait_until

# Runs of a case on a host that is busy in each.
TRIES = 3


@dataclasses.dataclass
class Result:
    """What a run has ended with, what the path did meanwhile, and a sentence for each thing that is wrong."""

    case: object
    run: dict
    report: dict
    faults: list

    @property
    def is_of_the_host(self):
        return bool(self.faults) and judging.is_of_the_host(self.case, self.run, self.report)


def make(path, system, case):
    """Makes a run; again, as long as a busy host can have done what is wrong with it."""
    for _ in range(TRIES):
        result = make_once(path, system, case)
        if not result.is_of_the_host:
            break
    return result


def make_once(path, system, case):
    path.set(case.to_server, case.to_agent)
    path.report()
    flags = [*case.load, "--duration", f"{case.seconds}s", "--agent", case.agent, *case.objectives]
    run = system.benchctl("start", *flags, "--wait", "5s")
    if case.later is not None:
        # An agent on another clock has a connection for its probes.
        connections = int(case.load[case.load.index("--clients") + 1]) + (case.agent == FOREIGN)
        wait_until("the load has begun", lambda: run.poll() is not None or system.connections() == connections)
        time.sleep(case.seconds / 2)
        path.set(case.later, case.to_agent)
    code, answer = result_of(run)
    report = path.report()
    return Result(case, answer, report, judging.faults_of(case, answer, code) + judging.own_faults(report))

"""The cost of idle clients: memory and CPU of server, worker and agent with 10,000 of them against 10.

An idle client is connected and verified and waits for its next packet: 0.001 Hz, one packet in 1,000 s. Spread over the
period, 10 of the 10,000 send theirs in any second; staggered, each has sent its first and waits for the second."""

import contextlib
import pathlib
import resource
import time

from comparing import metronome
from comparing.processes import Failed, DEADLINE_S, process_cpu_s

MANY, FEW = 10_000, 10
RATE_HZ = 0.001
# Each process has a descriptor per client and a few of its own.
DESCRIPTORS = MANY + 500
# Lets the work of the start end.
SETTLE_S = 2


def raise_descriptors(_bench):
    """Raises the limit of descriptors to one for each client; returns the reason where that fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= DESCRIPTORS:
        return None
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(hard, DESCRIPTORS)))
        return None
    return f"{DESCRIPTORS} open files are needed and {hard} allowed: ulimit -Hn"


def resident_kib(pid):
    """Proportional set size: a page shared by n processes counts 1/n in each."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])


def idle(bench, clients, phase):
    with metronome.started(bench, clients) as one:
        plan = ("--clients", clients, "--rate", RATE_HZ, "--phase", phase)
        one.ask("start", "--detach", "--duration", "1h", *plan)
        wait_for_clients(one, clients)
        time.sleep(SETTLE_S)
        pids = [one.master, one.agent, *one.workers()]
        before_s = sum(map(process_cpu_s, pids))
        time.sleep(bench.seconds)
        cpu_s = sum(map(process_cpu_s, pids)) - before_s
        memory_kib = sum(map(resident_kib, pids))
        one.ask("stop", "--all")
    return {"memory_kib": memory_kib, "cpu_percent": 100 * cpu_s / bench.seconds}


def wait_for_clients(one, clients):
    until = time.monotonic() + DEADLINE_S
    while (admitted := one.ask("server")["connections"]["admitted"]) < clients:
        if time.monotonic() > until:
            raise Failed(f"{admitted} of {clients} idle clients are connected")
        time.sleep(0.1)


def opened(phase):
    @contextlib.contextmanager
    def both(bench):
        yield lambda: idle(bench, MANY, phase), lambda: idle(bench, FEW, phase)

    return both

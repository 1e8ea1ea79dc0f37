"""The cost of ten watchers of a run for the server and the load: the same run with and without them.

A watcher is `benchctl watch`. It stands for one on another host, so it must not take CPU from the load, and its own CPU
time is reported separately."""

import contextlib
import time

from comparing import metronome
from comparing.processes import Failed, process_cpu_s

WATCHERS = 10
# Watchers get only the CPU that the load leaves.
LAST = ("nice", "-n", 19)


def watched(one, watchers, plan):
    """Makes one run with a number of watchers and returns its figures; CPU as shares of one core."""
    bench, workers = one.bench, one.workers()
    before_s = [process_cpu_s(pid) for pid in (one.master, *workers)]
    run_id = one.ask("start", "--detach", "--duration", f"{bench.seconds}s", *plan)["run_id"]
    with contextlib.ExitStack() as stack:
        watch = (bench.target / "benchctl", "--server", one.grpc, "-q", "-o", "json", "watch", run_id)
        watching = [stack.enter_context(bench.running(*LAST, *watch)) for _ in range(watchers)]
        # Until then only the watchers follow the run; the following `watch` to the end is the same on both sides.
        time.sleep(bench.seconds)
        report = one.ask("watch", run_id)
        ended = [bench.result(watcher) for watcher in watching]
    master_s, worker_s = (process_cpu_s(pid) - before for pid, before in zip((one.master, *workers), before_s))
    metronome.check(report)
    if any(code not in metronome.ENDED_WELL for _, _, code in ended):
        raise Failed(f"watchers ended with {[code for _, _, code in ended]}")
    return {
        "master_percent": 100 * master_s / bench.seconds,
        "server_percent": 100 * (master_s + worker_s) / bench.seconds,
        "watchers_percent": 100 * sum(cpu_s for _, cpu_s, _ in ended) / bench.seconds,
        "late_p99_us": report["lateness_us"]["percentiles"]["p99"],
    }


def opened(clients, plan):
    @contextlib.contextmanager
    def both(bench):
        with metronome.started(bench, clients) as one:
            yield lambda: watched(one, WATCHERS, plan), lambda: watched(one, 0, plan)

    return both

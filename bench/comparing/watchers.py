"""What ten watchers of a run cost the server and the load: the same run with and without them.

A watcher is `benchctl watch`. It stands for one on another host, so it may not take the load's turn and its own CPU time
is told apart."""

import contextlib
import time

from comparing import metronome
from comparing.processes import Failed, process_cpu_s

WATCHERS = 10
# What the load has no use for.
LAST = ("nice", "-n", 19)


def watched(one, watchers, plan):
    """One run with so many watchers; its figures, as shares of one core where it is CPU."""
    bench, workers = one.bench, one.workers()
    before_s = [process_cpu_s(pid) for pid in (one.master, *workers)]
    run_id = one.ask("start", "--detach", "--duration", f"{bench.seconds}s", *plan)["run_id"]
    with contextlib.ExitStack() as stack:
        watch = (bench.target / "benchctl", "--server", one.grpc, "-q", "-o", "json", "watch", run_id)
        watching = [stack.enter_context(bench.running(*LAST, *watch)) for _ in range(watchers)]
        # Until then nobody else asks; what follows then to the end is the same in both.
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
        "late_p99_us": report["lateness_us"]["p99"],
    }


def opened(clients, plan):
    @contextlib.contextmanager
    def both(bench):
        with metronome.started(bench, clients) as one:
            yield lambda: watched(one, WATCHERS, plan), lambda: watched(one, 0, plan)

    return both

"""The experiment with io_uring for the read path: uring.c's io_uring reader against its epoll reader, a core each."""

import contextlib
import subprocess

from comparing.limit import cores
from comparing.processes import equal, free_port
from comparing.subjects import BESIDES_S


def missing(bench):
    """Why io_uring is missing here or lacks a feature: an old kernel, or a container that forbids it."""
    tried = subprocess.run([bench.folder / "uring", "check"], capture_output=True, text=True)
    if tried.returncode != 0:
        return f"io_uring is not available: {tried.stderr.strip()}"
    return None if len(cores()) == 2 else "it needs a core for the sender and one for the reader"


def read(bench, clients, rate_hz, mode):
    port, program, (sender, reader) = free_port(), bench.folder / "uring", cores()
    read_for_s = bench.seconds + BESIDES_S
    with bench.running("taskset", "-c", reader, program, "read", port, read_for_s, mode, ready="ready") as sink:
        with bench.running("taskset", "-c", sender, program, "send", port, bench.seconds, clients, rate_hz) as source:
            sent = bench.figures(source)
        output = bench.figures(sink)
    equal(f"{mode}: packets sent = read", sent["packets"], output["packets"])
    return {
        "packets": output["packets"],
        "reader_ns": output["cpu_s"] * 1e9 / output["packets"],
        "reader_kernel_ns": output["kernel_s"] * 1e9 / output["packets"],
        "sender_ns": sent["cpu_s"] * 1e9 / sent["packets"],
        "packets_per_receive": output["packets"] / output["receives"],
        "transit_p50_us": output["transit_p50_us"],
        "transit_p99_us": output["transit_p99_us"],
    }


def opened(clients, rate_hz, gather=""):
    """`gather`: "" for a wake-up per packet, ":500" for batched reads every 500 µs."""

    @contextlib.contextmanager
    def both(bench):
        yield (lambda: read(bench, clients, rate_hz, f"uring{gather}"), lambda: read(bench, clients, rate_hz, f"epoll{gather}"))

    return both

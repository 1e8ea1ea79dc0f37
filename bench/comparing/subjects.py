"""The other subjects: floor, sockperf, iperf3 and the seed. Each function makes one run and returns its figures."""

import json
import re
import subprocess
import sys

from comparing.metronome import judged_figures
from comparing.processes import Failed, enough, equal, free_port, wait_for_port
from comparing.tools import HERE

# A sink or reader is started before its load and ends after it.
BESIDES_S = 10


def may_be_real_time():
    return subprocess.run(["chrt", "-r", "2", "true"], stderr=subprocess.DEVNULL).returncode == 0


def as_ours(cores_of_server=2):
    """The commands that give the floor's two ends the priorities of our workers and pacing threads: (sink, generator)."""
    if not may_be_real_time():
        return (), ()
    as_worker = ("chrt", "-r", 1) if cores_of_server > 1 else ("nice", "-n", -10)
    return as_worker, ("chrt", "-r", 2)


def floor(bench, clients, rate_hz, of_sink=(), of_generator=()):
    """floor gen against floor sink, a wake-up per packet. Both command lines may begin with another program."""
    port, program = free_port(), bench.folder / "floor"
    with bench.running(*of_sink, program, "sink", port, bench.seconds + BESIDES_S, "epoll", ready="ready") as sink:
        with bench.running(*of_generator, program, "gen", port, bench.seconds, clients, rate_hz) as gen:
            sent = bench.figures(gen)
        read = bench.figures(sink)
    equal("floor: packets sent = read", sent["packets"], read["packets"])
    return {
        "packets": sent["packets"],
        "agent_ns": sent["cpu_s"] * 1e9 / sent["packets"],
        "worker_ns": read["cpu_s"] * 1e9 / read["packets"],
        "late_p50_us": sent["late_p50_us"],
        "late_p99_us": sent["late_p99_us"],
        "skipped": sent["scheduled"] - sent["packets"],
    }


def sockperf(bench, rate_hz):
    """sockperf under-load, one client: CPU of the client."""
    port = free_port()
    where = ["--tcp", "-i", "127.0.0.1", "-p", port]
    with bench.running("sockperf", "server", *where):
        wait_for_port(port)
        load = ["under-load", *where, "-m", 32, "--mps", rate_hz, "-t", bench.seconds]
        with bench.running("sockperf", *load) as client:
            output, cpu_s, code = bench.result(client)
    if code != 0 or "Summary" not in output:
        raise Failed(f"sockperf ended with {code}: {output[-200:]}")
    return {"agent_cpu_s": cpu_s}


def sockperf_round_trip(bench, rate_hz, size):
    """sockperf under-load in which every message is answered. It prints half of each round trip."""
    port = free_port()
    where = ["--tcp", "-i", "127.0.0.1", "-p", port]
    with bench.running("sockperf", "server", *where):
        wait_for_port(port)
        load = ["under-load", *where, "-m", size, "--mps", rate_hz, "--reply-every", 1, "-t", bench.seconds]
        with bench.running("sockperf", *load) as client:
            output, cpu_s, code = bench.result(client)
    halves = dict(re.findall(r"percentile (\d+\.\d+) =\s+(\d+\.\d+)", output))
    if code != 0 or not {"50.000", "99.000"} <= halves.keys():
        raise Failed(f"sockperf ended with {code}: {output[-200:]}")
    return {f"rtt_from_write_p{name[:2]}_us": 2 * float(halves[name]) for name in ("50.000", "99.000")} | {"agent_cpu_s": cpu_s}


def seed(bench, clients, rate_hz):
    """The seed's client against the seed's server."""
    port = free_port()
    with bench.running(sys.executable, HERE / "seed" / "server.py", port, clients, ready="ready") as server:
        with bench.running(sys.executable, HERE / "seed" / "client.py", port, bench.seconds, clients, rate_hz) as client:
            sent = bench.figures(client)
        read = bench.figures(server)
    equal("seed: packets sent = read", sent["packets"], read["packets"])
    sender_ns, reader_ns = (side["cpu_s"] * 1e9 / sent["packets"] for side in (sent, read))
    return {"packets": sent["packets"], "agent_ns": sender_ns, "server_ns": reader_ns, "ends_ns": sender_ns + reader_ns}


def seed_to_reader(bench, clients, rate_hz):
    port = free_port()
    with bench.running(bench.folder / "reader", port, bench.seconds, clients, rate_hz, ready="ready") as reader:
        with bench.running(sys.executable, HERE / "seed" / "client.py", port, bench.seconds, clients, rate_hz) as client:
            bench.figures(client)
        return judged_figures("seed", bench.figures(reader), clients * rate_hz * bench.seconds)


def iperf3_to_reader(bench, clients, rate_hz):
    """Blocks of 32 bytes at the same rate, through the neutral reader. Its pacing timer is set to the period:
    by default it reads the clock only once a millisecond."""
    port, behind = free_port(), free_port()
    with bench.running("iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", behind):
        wait_for_port(behind)
        with bench.running(bench.folder / "reader", port, bench.seconds, clients, rate_hz, behind, ready="ready") as reader:
            period_us = 1_000_000 // rate_hz
            iperf3(bench, port, ["-P", clients, "-l", 32, "-b", rate_hz * 32 * 8, "--pacing-timer", period_us])
            return judged_figures("iperf3", bench.figures(reader), clients * rate_hz * bench.seconds)


def iperf3_flood(bench, streams):
    """Sends as much as possible, in its default blocks."""
    port = free_port()
    with bench.running("iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", port):
        wait_for_port(port)
        output = iperf3(bench, port, ["-P", streams])
    return {"bytes_per_s": output["end"]["sum_received"]["bits_per_second"] / 8}


def iperf3_blocks(bench, clients, rate_hz, size):
    """Blocks of a size at a rate: CPU time of both ends for each block."""
    port = free_port()
    with bench.running("iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", port) as server:
        wait_for_port(port)
        flags = ["-P", clients, "-l", size, "-b", rate_hz * size * 8, "--pacing-timer", 1_000_000 // rate_hz]
        command = ["iperf3", "-c", "127.0.0.1", "-p", port, "-t", bench.seconds, "-N", "-J", *flags]
        with bench.running(*command) as client:
            output, agent_s, code = bench.result(client)
        _, worker_s, _ = bench.result(server)
    if code != 0:
        raise Failed(f"iperf3 ended with {code}: {output[-300:]}")
    blocks = json.loads(output)["end"]["sum_received"]["bytes"] / size
    enough("iperf3", clients * rate_hz * bench.seconds, blocks)
    figures = {"agent_ns": agent_s * 1e9 / blocks, "worker_ns": worker_s * 1e9 / blocks}
    return {"packets": blocks, **figures, "ends_ns": figures["agent_ns"] + figures["worker_ns"]}


def iperf3(bench, port, flags):
    with bench.running("iperf3", "-c", "127.0.0.1", "-p", port, "-t", bench.seconds, "-N", "-J", *flags) as client:
        output, _, code = bench.result(client)
    if code != 0:
        raise Failed(f"iperf3 ended with {code}: {output[-300:]}")
    return json.loads(output)

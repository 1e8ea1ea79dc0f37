"""Metronome as a subject: a server with one worker and an agent, whose CPU time is read from outside."""

import contextlib
import dataclasses
import json
import re
import subprocess
import tempfile

from comparing import processes
from comparing.processes import Failed, enough, equal, free_port, process_cpu_s

# Exit codes of valid, partial, invalid and not held runs: all of them are reported.
ENDED_WELL = (0, 3, 4, 99)
# Counts of packets that were compared with a schedule.
OF_SCHEDULE = ("off_schedule", "left_out", "in_time", "spread_understated", "spread_uncertain", "warm_up_left_out")
# Counts that a client on the server's clock does not have.
OF_OTHER_CLOCKS = ("below_floor",)

# A server whose packet handler looks at every byte.
WITH_HANDLER = "examples/sum_payloads"

# The times of a run, by the short names of their figures.
TIMES = {"late": "lateness", "transit": "transit", "rtt_from_due": "rtt_from_due", "rtt_from_write": "rtt_from_write"}


def help_of(bench, *command):
    return subprocess.run([bench.target / command[0], *command[1:], "--help"], capture_output=True, text=True).stdout


def has_batched_reads(bench):
    return "--rx-coalesce" in help_of(bench, "metronome-server")


def has_flood(bench):
    about = re.search(r"--rate <.*?(?=\n\s+-)", help_of(bench, "benchctl", "start"), re.DOTALL)
    return bool(about and re.search(r"\bmax\b", about[0]))


def has_handler(bench):
    return (bench.target / WITH_HANDLER).exists()


def has_shapes(bench):
    return "--arrivals" in help_of(bench, "benchctl", "start")


def has_sizes(bench):
    return "--packet-size" in help_of(bench, "benchctl", "start")


def has_replies(bench):
    return "--echo-every" in help_of(bench, "benchctl", "start")


@dataclasses.dataclass(frozen=True)
class System:
    """A server with one worker and an agent, both ready."""

    bench: processes.Bench
    grpc: str
    master: int
    agent: int

    def ask(self, *words):
        return ask(self.bench, self.grpc, *words)

    def workers(self):
        return [worker["pid"] for worker in self.ask("server")["workers"] if worker["pid"]]


@contextlib.contextmanager
def started(bench, clients, *flags, of_server=(), of_agent=(), executable="metronome-server"):
    """A system; `of_server` begins the server's command line, `of_agent` ends the agent's."""
    server = [*of_server, bench.target / executable, "--port", 0, "--grpc", "127.0.0.1:0", "--http", "off"]
    server += ["--workers", 1, "--max-clients", clients, "--database", tempfile.mkdtemp(dir=bench.folder) + "/runs.sqlite", *flags]
    with bench.running(*server, ready="ready") as master:
        words = master.first.split()
        grpc = words[words.index("grpc") + 1]
        with bench.running(bench.target / "metronome-agent", "--server", grpc, *of_agent, ready="ready") as agent:
            yield System(bench, grpc, master.pid, agent.pid)


@contextlib.contextmanager
def system(bench, clients, *flags, of_agent=()):
    """Yields a function that makes a run and returns its figures."""
    with started(bench, clients, *flags, of_agent=of_agent) as one:
        yield lambda *plan: run(one, plan)


def ask(bench, grpc, *words):
    command = bench.note([bench.target / "benchctl", "--server", grpc, "-q", "-o", "json", *words])
    asked = subprocess.run(command, capture_output=True, text=True)
    if asked.returncode not in ENDED_WELL:
        raise Failed(f"benchctl {words[0]} ended with {asked.returncode}: {asked.stderr.strip()}")
    return json.loads(asked.stdout)


def run(one, plan):
    """Makes one run; raises Failed unless all counts are exact."""
    workers = one.workers()
    pids = {"agent": [one.agent], "worker": workers, "server": [one.master, *workers]}
    before = {name: sum(map(process_cpu_s, of)) for name, of in pids.items()}
    report = one.ask("start", "--duration", f"{one.bench.seconds}s", *plan)
    took_s = {name: sum(map(process_cpu_s, of)) - before[name] for name, of in pids.items()}
    check(report)
    received = report["counts"]["received"]
    if not received or not report["elapsed_s"]:
        raise Failed(f"a run of {plan} has {received} packets in {report['elapsed_s']} s: nothing to divide by")
    return {
        "packets": received,
        "bytes_per_s": received * packet_bytes(report) / report["elapsed_s"],
        "agent_cpu_s": took_s["agent"],
        **{f"{name}_ns": seconds * 1e9 / received for name, seconds in took_s.items()},
        "ends_ns": (took_s["agent"] + took_s["server"]) * 1e9 / received,
        **{f"{short}_{name}_us": percentile(report, time, name) for short, time in TIMES.items() for name in ("p50", "p99")},
        "skipped": report["counts"]["skipped"],
        "verdict": report["verdict"]["status"],
    }


def percentile(report, time, name):
    """None where the run has no such time."""
    distribution = report.get(f"{time}_us")
    return distribution and distribution["percentiles"][name]


def packet_bytes(report):
    """Bytes of a packet of the first group."""
    return report["plan"]["groups"][0].get("packet_bytes", 32)


def check(report):
    if report["failure"]:
        raise Failed(f"a run failed: {report['failure']['sentence']}")
    counts = report["counts"]
    is_flood = report["plan"]["groups"][0]["profile"]["shape"] == "flood"
    # A flood has no schedule that its packets could be compared with.
    of_schedule = OF_SCHEDULE if is_flood else ()
    unset = {*of_schedule, *OF_OTHER_CLOCKS}
    unknown = [name for name, count in counts.items() if count is None and name not in unset]
    equal("packets whose number is not known", [], unknown)
    equal("packets scheduled = sent + skipped", counts["scheduled"], counts["sent"] + counts["skipped"])
    equal("packets sent = received", counts["sent"], counts["received"])
    for name in ("lost", "duplicated", "reordered", "gaps", "corrupt"):
        equal(f"packets {name}", 0, counts[name])
    for law in report["verdict"]["laws"]:
        # A flood plans no number of packets.
        status = "not_checkable" if is_flood and law["code"] == "PLAN_NOT_SCHEDULED" else "holds"
        equal(f"law {law['law']} ({law['sentence']})", status, law["status"])


def to_reader(bench, clients, rate_hz):
    """Runs the agent without a control plane, judged by the neutral reader."""
    port = free_port()
    with bench.running(bench.folder / "reader", port, bench.seconds, clients, rate_hz, ready="ready") as reader:
        command = [bench.target / "metronome-agent", "run", "--port", port, "--clients", clients, "--rate", rate_hz]
        with bench.running(*command, "--duration", bench.seconds, "-o", "json") as agent:
            output, _, code = bench.result(agent)
            if code not in ENDED_WELL:
                raise Failed(f"metronome-agent run ended with {code}")
        judged = bench.figures(reader)
    equal("packets sent = read by the neutral reader", json.loads(output)["counts"]["sent"], judged["packets"])
    return judged_figures("metronome-agent", judged, clients * rate_hz * bench.seconds)


def judged_figures(who, judged, expected):
    """The neutral reader's figures of a generator, and of itself."""
    enough(who, expected, judged["packets"])
    return {
        "packets": judged["packets"],
        "gap_p50_us": judged["gap_error_us"]["p50"],
        "gap_p99_us": judged["gap_error_us"]["p99"],
        "arrived_late_p99_us": judged["late_us"]["p99"],
        "reader_longest_gap_us": judged["reader"]["longest_gap_us"],
        "packets_read_together": judged["reader"]["packets_together"],
        "reader_waits": judged["reader"]["waits"],
    }

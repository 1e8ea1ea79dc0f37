"""All comparisons and their goals. A comparison opens what it needs once and is then run by turns."""

import contextlib
import dataclasses
from collections.abc import Callable

from comparing import idle, limit, metronome, subjects, uring, watchers
from comparing.ratios import MORE, Goal, more_each

CLIENTS, RATE_HZ = 10, 10_000


@dataclasses.dataclass(frozen=True)
class Comparison:
    name: str
    # A context that yields two functions without arguments: ours and theirs.
    opened: Callable
    goals: tuple[Goal, ...]
    # Why this build cannot be measured; None: it can.
    missing: Callable = lambda bench: None
    # Tools beside gcc and our own.
    tools: tuple[str, ...] = ()


def plan(clients=CLIENTS, rate_hz=RATE_HZ, *more):
    return "--clients", clients, "--rate", rate_hz, *more


def of_system(theirs, *run_plan, clients=CLIENTS, flags=(), of_agent=()):
    """Ours is a run of a whole system, theirs any function of the bench."""

    @contextlib.contextmanager
    def opened(bench):
        with metronome.system(bench, clients, *flags, of_agent=of_agent) as run:
            yield lambda: run(*run_plan), lambda: theirs(bench)

    return opened


def of_runs(ours, theirs, clients):
    """Two plans on one system."""

    @contextlib.contextmanager
    def opened(bench):
        with metronome.system(bench, clients) as run:
            yield lambda: run(*ours), lambda: run(*theirs)

    return opened


# The flags of each shape for a client whose mean rate is SHAPES_HZ, by the length of a run in s.
SHAPES_HZ = 1_000
SHAPES = {
    "poisson": lambda seconds: ("--rate", SHAPES_HZ, "--arrivals", "poisson", "--seed", 42),
    "burst": lambda seconds: ("--burst", 50, "--every", f"{50_000 // SHAPES_HZ}ms"),
    "ramp": lambda seconds: ("--rate", f"0..{2 * SHAPES_HZ}"),
    "steps": lambda seconds: ("--rate", f"{SHAPES_HZ // 2}:{seconds * 500}ms,{SHAPES_HZ * 3 // 2}"),
    "on-off": lambda seconds: ("--rate", 2 * SHAPES_HZ, "--on", f"{seconds * 125}ms", "--off", f"{seconds * 125}ms"),
}


def of_shape(flags):
    """Ours is a load of a shape, theirs the constant one of the same mean rate on the same system."""

    @contextlib.contextmanager
    def opened(bench):
        with metronome.system(bench, CLIENTS) as run:
            shape = ("--clients", CLIENTS, *flags(bench.seconds))
            yield lambda: run(*shape), lambda: run(*plan(CLIENTS, SHAPES_HZ))

    return opened


def of_pacings(other):
    """Ours has the default pacing, theirs is the same agent with another pacing."""

    @contextlib.contextmanager
    def opened(bench):
        with metronome.started(bench, CLIENTS) as default, metronome.started(bench, CLIENTS, of_agent=("--pacing", other)) as asked:
            yield lambda: metronome.run(default, plan()), lambda: metronome.run(asked, plan())

    return opened


@contextlib.contextmanager
def handler(bench):
    """Ours has a packet handler, theirs has none: packets of 256 bytes."""
    asked = plan(CLIENTS, RATE_HZ, "--packet-size", 256, "--payload", "pattern")
    with metronome.started(bench, CLIENTS, executable=metronome.WITH_HANDLER) as with_one, metronome.started(bench, CLIENTS) as without:
        yield lambda: metronome.run(with_one, asked), lambda: metronome.run(without, asked)


@contextlib.contextmanager
def gaps_iperf3(bench):
    yield lambda: metronome.to_reader(bench, CLIENTS, RATE_HZ), lambda: subjects.iperf3_to_reader(bench, CLIENTS, RATE_HZ)


@contextlib.contextmanager
def gaps_seed(bench):
    yield lambda: metronome.to_reader(bench, CLIENTS, RATE_HZ), lambda: subjects.seed_to_reader(bench, CLIENTS, RATE_HZ)


def floor(bench):
    of_sink, of_generator = subjects.as_ours()
    return subjects.floor(bench, CLIENTS, RATE_HZ, of_sink, of_generator)


def no_batched_reads(bench):
    return None if metronome.has_batched_reads(bench) else "this build has no --rx-coalesce"


def no_flood(bench):
    return None if metronome.has_flood(bench) else "this build has no --rate max"


def no_sizes(bench):
    return None if metronome.has_sizes(bench) else "this build has no --packet-size"


def no_handler(bench):
    return None if metronome.has_handler(bench) else f"{metronome.WITH_HANDLER} is not built"


def no_replies(bench):
    return None if metronome.has_replies(bench) else "this build has no --echo-every"


def no_shapes(bench):
    return None if metronome.has_shapes(bench) else "this build has no --arrivals"


# One worker reads, as the floor has one reader.
EXACT = ("--rx-coalesce", 0)


@contextlib.contextmanager
def against_floor(bench):
    flags = EXACT if metronome.has_batched_reads(bench) else ()
    with of_system(floor, *plan(), flags=flags)(bench) as both:
        yield both


GAP_GOALS = (Goal("gap_p99_us", "µs", 1 / 20), Goal("gap_p50_us", "µs"), Goal("arrived_late_p99_us", "µs"))
SHAPE_GOALS = (Goal("ends_ns", "ns/packet", 1.3), Goal("agent_ns", "ns/packet", 1.3), Goal("worker_ns", "ns/packet", 1.3))

# A shape costs what its wake-ups cost: those of random arrivals serve one client each. So there is nothing to hold.
AGAINST_CONSTANT = (
    Goal("agent_ns", "ns/packet"),
    Goal("worker_ns", "ns/packet"),
    Goal("late_p50_us", "µs"),
    Goal("late_p99_us", "µs"),
)

# Packets of a size against blocks of that size, at one rate.
SIZES = (32, 64, 256, 1_400)
SIZE_GOALS = (Goal("agent_ns", "ns/packet"), Goal("worker_ns", "ns/packet"), Goal("ends_ns", "ns/packet"))

# Every packet of one client is answered, at both.
ROUND_TRIP_GOALS = (
    Goal("rtt_from_write_p50_us", "µs", 1.15),
    Goal("rtt_from_write_p99_us", "µs", 1.5),
    Goal("agent_cpu_s", "CPU s"),
)

# What looking at 224 bytes of each packet costs, one call of the handler for each read.
HANDLER_GOALS = (Goal("worker_ns", "ns/packet"), Goal("transit_p50_us", "µs"), Goal("transit_p99_us", "µs"))

# What a packet in a hundred that asks for a reply costs the others.
ECHO_GOALS = (
    Goal("late_p50_us", "µs", 1.05),
    Goal("late_p99_us", "µs", 1.05),
    Goal("transit_p50_us", "µs", 1.05),
    Goal("transit_p99_us", "µs", 1.05),
    Goal("agent_ns", "ns/packet", 1.05),
)

# 10,000 idle clients must cost almost nothing: less than 1 % of a core.
EACH = more_each(idle.MANY - idle.FEW, "KiB")
IDLE_GOALS = (Goal("memory_kib", "KiB", 16, way=EACH), Goal("cpu_percent", "% of a core", 1, way=MORE))
IDLE_FIGURES = (Goal("memory_kib", "KiB", way=EACH), Goal("cpu_percent", "% of a core", way=MORE))

# The default is the one that is in time at the least price.
PACING_GOALS = (Goal("agent_ns", "ns/packet"), Goal("late_p50_us", "µs"), Goal("late_p99_us", "µs"))

# io_uring is kept only if it is clearly better.
URING_GOALS = (
    Goal("reader_ns", "ns/packet", 0.9),
    Goal("reader_kernel_ns", "ns/packet"),
    Goal("sender_ns", "ns/packet"),
    Goal("transit_p50_us", "µs"),
    Goal("transit_p99_us", "µs"),
    Goal("packets_per_receive", "packets"),
)


def round_trip(name, of_agent=()):
    """Every packet of one client is answered, by us and by sockperf."""

    def theirs(bench):
        return subjects.sockperf_round_trip(bench, RATE_HZ, 32)

    ours = plan(1, RATE_HZ, "--echo-every", 1)
    opened = of_system(theirs, *ours, clients=1, of_agent=of_agent)
    return Comparison(name, opened, ROUND_TRIP_GOALS, missing=no_replies, tools=("sockperf",))


ALL = (
    Comparison(
        "floor",
        against_floor,
        (
            Goal("agent_ns", "ns/packet", 1.10),
            Goal("worker_ns", "ns/packet", 1.10),
            Goal("late_p50_us", "µs", 1.5),
            Goal("late_p99_us", "µs", 2),
        ),
    ),
    Comparison(
        "batched-reads",
        of_system(floor, *plan(), flags=("--rx-coalesce", 500)),
        (Goal("worker_ns", "ns/packet", 0.40), Goal("agent_ns", "ns/packet")),
        missing=no_batched_reads,
    ),
    Comparison("gaps-iperf3", gaps_iperf3, GAP_GOALS, tools=("iperf3",)),
    Comparison("gaps-seed", gaps_seed, GAP_GOALS),
    Comparison(
        "sockperf",
        of_system(lambda bench: subjects.sockperf(bench, RATE_HZ), *plan()),
        (Goal("agent_cpu_s", "CPU s", 1.0),),
        tools=("sockperf",),
    ),
    Comparison(
        "batches",
        of_system(lambda bench: subjects.seed(bench, CLIENTS, RATE_HZ), *plan(CLIENTS, RATE_HZ, "--batch", 50)),
        (Goal("ends_ns", "ns/packet", 1 / 5), Goal("agent_ns", "ns/packet", 1 / 5), Goal("server_ns", "ns/packet", 1 / 5)),
    ),
    Comparison(
        "flood",
        of_system(lambda bench: subjects.iperf3_flood(bench, 1), *plan(1, "max")),
        (Goal("bytes_per_s", "bytes/s", 0.9, at_least=True),),
        missing=no_flood,
        tools=("iperf3",),
    ),
    Comparison(
        "flood-10",
        of_system(lambda bench: subjects.iperf3_flood(bench, CLIENTS), *plan(CLIENTS, "max"), clients=CLIENTS),
        (Goal("bytes_per_s", "bytes/s", 0.8, at_least=True),),
        missing=no_flood,
        tools=("iperf3",),
    ),
    Comparison("limit", limit.opened, (Goal("clients_held", "clients", 0.9, at_least=True),), missing=limit.no_second_core),
    Comparison("idle", idle.opened("spread"), IDLE_GOALS, missing=idle.raise_descriptors),
    Comparison("idle-after-one", idle.opened("staggered"), IDLE_FIGURES, missing=idle.raise_descriptors),
    Comparison(
        "watchers",
        watchers.opened(CLIENTS, plan()),
        (
            Goal("master_percent", "% of a core", 1, way=MORE),
            Goal("server_percent", "% of a core", way=MORE),
            Goal("late_p99_us", "µs", 1.05),
        ),
    ),
    Comparison("uring", uring.opened(CLIENTS, RATE_HZ), URING_GOALS, missing=uring.missing, tools=("liburing",)),
    Comparison("uring-500", uring.opened(CLIENTS, RATE_HZ, ":500"), URING_GOALS, missing=uring.missing, tools=("liburing",)),
    Comparison("pacing-sleep", of_pacings("sleep"), PACING_GOALS),
    Comparison("pacing-spin", of_pacings("spin"), PACING_GOALS),
    Comparison("clients-1000", of_runs(plan(1_000, 100), plan(), 1_000), SHAPE_GOALS),
    Comparison("clients-100", of_runs(plan(100, 1_000), plan(), 100), SHAPE_GOALS),
    *(
        Comparison(
            f"size-{size}",
            of_system(
                lambda bench, size=size: subjects.iperf3_blocks(bench, CLIENTS, RATE_HZ, size),
                *plan(CLIENTS, RATE_HZ, "--packet-size", size),
            ),
            SIZE_GOALS,
            missing=no_sizes,
            tools=("iperf3",),
        )
        for size in SIZES
    ),
    round_trip("round-trip"),
    # Their client spins: with an agent that does, too, both keep a core awake.
    round_trip("round-trip-spin", of_agent=("--pacing", "spin")),
    Comparison("handler", handler, HANDLER_GOALS, missing=no_handler),
    Comparison("echo-100", of_runs(plan(CLIENTS, RATE_HZ, "--echo-every", 100), plan(), CLIENTS), ECHO_GOALS, missing=no_replies),
    *(Comparison(f"shape-{name}", of_shape(flags), AGAINST_CONSTANT, missing=no_shapes) for name, flags in SHAPES.items()),
)

# For CI: every tool and program once, for a second each.
SHORT = ("floor", "batched-reads", "gaps-iperf3", "gaps-seed", "sockperf", "batches", "flood", "limit", "idle", "watchers", "uring", "size-256", "round-trip", "echo-100")

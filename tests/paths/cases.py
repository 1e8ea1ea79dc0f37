"""The table of all cases: what the path does, the load on it, what the spread must show, and with what it may end.

A path is described for each direction as the emulator reads it (os/examples/path_emulator), times in µs; what
misbehaves is the data path alone. 5 ms a way are the time of a path between two cities, 15 ms that of one across a country.
"""

import dataclasses

from lies.judging import HELD, HELD_ELSEWHERE, HELD_OUT, Out, VALID, not_held
from paths.hosts import DATA_PORT, FOREIGN, FOREIGN_S, OWN

# 4,000 packets/s in all. Bursts whose period is no part of that of the bunches.
STEADY = ("--clients", "4", "--rate", "1k")
RANDOM = (*STEADY, "--arrivals", "poisson", "--seed", "7")
BURSTS = ("--clients", "4", "--burst", "7", "--every", "7ms")
LOADS = {"steady": STEADY, "random arrivals": RANDOM, "bursts": BURSTS}

HEADER_BYTES, RATE = 32, 4_000

CITY, COUNTRY = "delay_us=5000", "delay_us=15000"
# An objective that is stricter than the default one of 100 ms.
STRICT = ("--threshold", "spread.p99<=15ms")


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    allowed: tuple
    to_server: str = CITY
    to_agent: str = CITY
    # What the way to the server does from the middle of the load on.
    later: str | None = None
    load: tuple = STEADY
    # 10,000 packets are the fewest that have a p99.9.
    seconds: float = 3.0
    objectives: tuple = ()
    agent: str = FOREIGN
    # The least and the most of percentiles of the spread and of its maximum, µs. Where the least of a client falls by
    # more than 10 ms after its first packets, as in bunches, the quantiles among which these can lie are not shown.
    spread_us: dict = dataclasses.field(default_factory=dict)
    # Whether the short form leaves it out.
    is_long: bool = False

    @property
    def is_clean(self):
        return self.to_server.startswith("delay_us") and " " not in self.to_server and self.later is None

    @property
    def delay_us(self):
        """What every packet to the server takes at least."""
        return int(self.to_server.split()[0].removeprefix("delay_us="))

    @property
    def is_lossy(self):
        """Whether the way to the server drops packets by chance."""
        return "loss_ppm" in self.to_server


def data(settings, delay=CITY):
    """A path whose data alone is treated so."""
    return f"{delay} port={DATA_PORT} {settings}"


NOT_KEPT_UP = not_held("kept_up")
SPREAD = not_held("spread")
# A server without probes of the path finds no relation to the foreign clock, and one with probes an offset; never
# its own clock.
HELD_FAR = (HELD_ELSEWHERE, Out(VALID, HELD, clock="offset"))
# What a host adds to the spread of a clean path, µs; a busy one more, then the run is made again.
OF_A_HOST_US = 5_000


def on_clean_paths():
    quiet = {"p50": (0, 2_000), "p99": (0, OF_A_HOST_US)}
    yield Case("clean", HELD_FAR, spread_us=quiet)
    yield Case("clean: the server's own clock", (HELD_OUT,), agent=OWN, spread_us=quiet)
    yield Case("clean: 1 ms there, 10 ms back", HELD_FAR, "delay_us=1000", "delay_us=10000", spread_us=quiet,
               is_long=True)
    # 120 packets of each client are on their way at once; TCP begins with ten, and the others wait meanwhile.
    yield Case("clean: 60 ms a way, behind a warm-up", HELD_FAR, "delay_us=60000", "delay_us=60000",
               load=(*STEADY, "--warm-up", "1s"), seconds=5.0, spread_us=quiet, is_long=True)


def on_faults():
    """The four faults of a path, each on three loads: none of the twelve may pass unseen."""
    for load, flags in LOADS.items():
        more = {"load": flags, "is_long": load != "steady"}
        # The limits allow for what a host adds. Of uniform waits from 0 to 20 ms half are 10 ms and less.
        yield Case(f"bunches of 20 ms: {load}", (SPREAD,), data("bunch_us=20000"), objectives=STRICT,
                   spread_us={"p50": (6_000, 14_000), "max": (16_000, 40_000)}, **more)
        # From the middle of the load on, so that half of the packets have it. Six times as many packets are on
        # their way then, and wait in the sender until TCP lets them.
        yield Case(f"50 ms more in mid-run: {load}", (SPREAD,), later=data("delay_us=55000"), objectives=STRICT,
                   spread_us={"p99": (48_000, 100_000)}, **more)
        # What waits is sent in large segments, whose headers cost little.
        yield Case(f"half of the rate: {load}", (NOT_KEPT_UP,), data(f"bytes_per_s={RATE * HEADER_BYTES // 2}"),
                   seconds=2.0, spread_us={"max": (500_000, 4_000_000)}, **more)
        yield Case(f"stalls of 0.3 s each second: {load}", (SPREAD,), data("stall_us=300000 stall_every_us=1000000"),
                   spread_us={"p90": (150_000, 320_000)}, **more)


def on_default_objectives():
    """Faults that are beyond the default objectives."""
    yield Case("bunches of 300 ms", (SPREAD,), data("bunch_us=300000"), spread_us={"max": (250_000, 500_000)}, is_long=True)
    yield Case("150 ms more in mid-run", (SPREAD,), later=data("delay_us=155000"), spread_us={"p99": (148_000, 300_000)},
               is_long=True)
    yield Case("90 % of the rate", (NOT_KEPT_UP,), data(f"bytes_per_s={RATE * HEADER_BYTES * 9 // 10}"), seconds=2.0,
               spread_us={"max": (50_000, 1_000_000)}, is_long=True)
    yield Case("one stall of 1.4 s", (SPREAD,), later=data("stall_us=1400000"), spread_us={"p99": (1_000_000, 1_500_000)},
               is_long=True)


def on_lossy_paths():
    """TCP sends again what is lost, and the packets behind it wait: no packet is missing, and the spread shows the wait."""
    # A packet that is lost comes a round trip of 30 ms later at least, and so does the first of those behind it.
    for percent, quantile in ((5, "p90"), (1, "p99"), (0.1, "p99")):
        yield Case(f"{percent} % lost", (SPREAD,), data(f"loss_ppm={round(percent * 10_000)}", COUNTRY), COUNTRY,
                   objectives=STRICT, spread_us={quantile: (15_000, 2_000_000)}, is_long=percent != 1)
    yield Case("jitter, in order", (SPREAD,), data("jitter_us_mean=10000 jitter=exponential"), objectives=STRICT,
               spread_us={"max": (40_000, 500_000)}, is_long=True)
    yield Case("jitter, packets overtake", (Out(VALID),), data("jitter_us_mean=2000 order=free"),
               spread_us={"p50": (500, 20_000)}, is_long=True)


def all_cases():
    return [*on_clean_paths(), *on_faults(), *on_default_objectives(), *on_lossy_paths()]

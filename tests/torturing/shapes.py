"""Loads of every shape that has due times, all of about the same mean rate: flags of `benchctl start`, and what each client plans.

Pure. The number of packets is that of loads.reference, which computes it without Metronome. `rate` is in packets per second and client.
"""

from loads import reference
from loads.reference import S

MS = S // 1000
BURST_EVERY_NS = 100 * MS
ON_NS = OFF_NS = 200 * MS

# More random arrivals in all than this take minutes to draw in Python; then only the server's own laws check their number.
DRAWS_MAX = 1_000_000


def constant(rate, seconds):
    return ["--rate", str(rate)], {"shape": "constant", "rate_millihertz": 1000 * rate}


def poisson(rate, seconds):
    return ["--rate", str(rate), "--arrivals", "poisson"], {"shape": "poisson", "rate_millihertz": 1000 * rate}


def burst(rate, seconds):
    packets = max(1, rate * BURST_EVERY_NS // S)
    flags = ["--burst", str(packets), "--every", f"{BURST_EVERY_NS // MS}ms"]
    return flags, {"shape": "burst", "packets": packets, "every_ns": BURST_EVERY_NS}


def ramp(rate, seconds):
    return ["--rate", f"0..{2 * rate}"], {"shape": "ramp", "from_millihertz": 0, "to_millihertz": 2000 * rate}


def steps(rate, seconds):
    """A quarter of the run each: the rate, twice the rate, silence, the rate."""
    quarter_ms = seconds * 250
    rates = [(rate, quarter_ms), (2 * rate, quarter_ms), (0, quarter_ms), (rate, None)]
    flag = ",".join(f"{one}:{lasts}ms" if lasts else str(one) for one, lasts in rates)
    rows = [{"rate_millihertz": 1000 * one, **({"duration_ns": lasts * MS} if lasts else {})} for one, lasts in rates]
    return ["--rate", flag], {"shape": "steps", "steps": rows}


def on_off(rate, seconds):
    """Twice the rate in half of the time."""
    flags = ["--rate", str(2 * rate), "--on", f"{ON_NS // MS}ms", "--off", f"{OFF_NS // MS}ms"]
    return flags, {"shape": "on_off", "rate_millihertz": 2000 * rate, "on_ns": ON_NS, "off_ns": OFF_NS}


SHAPES = {"constant": constant, "poisson": poisson, "burst": burst, "ramp": ramp, "steps": steps, "on-off": on_off}


def flags(name, rate, seconds, batch):
    """The flags of a load, without those of clients and duration. Random arrivals have a write each."""
    return SHAPES[name](rate, seconds)[0] + (["--batch", str(batch)] if name != "poisson" else [])


def planned(name, rate, seconds, clients, seed):
    """What each client plans; None where that takes too long to compute. `seed` is that of the run's plan."""
    load = {"profile": SHAPES[name](rate, seconds)[1], "duration_ns": seconds * S, "seed": seed}
    if name != "poisson":
        return [reference.packets(load)] * clients
    if rate * seconds * clients > DRAWS_MAX:
        return None
    return [reference.packets({**load, "client": client}) for client in range(clients)]

"""When each packet of a load is due, computed without Metronome: from the table in proto/metronome/v1/plan.proto alone.

A load is a dictionary: `profile` with its `shape` and the fields of the API (rates in millihertz, times in ns), `duration_ns`,
`batch`, `seed`. Due times are ns after the client's start. Shapes with a formula are areas below a rate, in exact fractions;
random arrivals are drawn from a ChaCha8 that is written out here. Without arguments this program writes vectors.json anew, which
the tests of metronome-proto and test_reference.py read."""

import itertools
import json
import math
import pathlib
from fractions import Fraction

VECTORS = pathlib.Path(__file__).with_name("vectors.json")

S = 1_000_000_000
PER_1000_S = 1000 * S
FOREVER = float("inf")


# Random arrivals.


def quarter_round(state, a, b, c, d):
    for to, plus, turned, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[to] = (state[to] + state[plus]) & 0xFFFFFFFF
        mixed = state[turned] ^ state[to]
        state[turned] = (mixed << by | mixed >> (32 - by)) & 0xFFFFFFFF


def chacha8_block(key, counter):
    """16 words of 32 bits; the counter has 64 bits, the nonce is 0."""
    words = [int.from_bytes(key[at : at + 4], "little") for at in range(0, 32, 4)]
    constants = [int.from_bytes(b"expand 32-byte k"[at : at + 4], "little") for at in range(0, 16, 4)]
    first = [*constants, *words, counter & 0xFFFFFFFF, counter >> 32, 0, 0]
    state = list(first)
    for _ in range(4):
        for column in range(4):
            quarter_round(state, column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            turned = [4 * row + (column + row) % 4 for row in range(4)]
            quarter_round(state, *turned)
    return [(a + b) & 0xFFFFFFFF for a, b in zip(state, first, strict=True)]


def draws(seed, client):
    """64-bit words, the lower half of each first."""
    key = seed.to_bytes(8, "little") + client.to_bytes(4, "little") + bytes(20)
    for counter in itertools.count():
        block = chacha8_block(key, counter)
        for at in range(0, 16, 2):
            yield block[at] | block[at + 1] << 32


def gaps_ns(rate_millihertz, seed, client):
    """The gaps, rounded down. math.log is the host's, Metronome's is that of libm: in about 1 of 1000 cases they differ in the
    last of 53 bits, so by 2e-16 of the gap, and that changes its whole ns in about 1 of 10^10 gaps at 10 kHz."""
    for draw in draws(seed, client):
        u = ((draw >> 11) + 1) / 2**53
        yield int(-math.log(u) * float(PER_1000_S) / float(rate_millihertz))


# Shapes with a formula: rates as pieces.


def pieces(profile, duration_ns):
    """(begins, rate at its begin in packets per ns, change of the rate per ns, ends), without end or to the end of the run."""

    def millihertz(rate):
        return Fraction(rate, PER_1000_S)

    match profile["shape"]:
        case "constant":
            yield 0, millihertz(profile["rate_millihertz"]), 0, FOREVER
        case "ramp":
            first, last = millihertz(profile["from_millihertz"]), millihertz(profile["to_millihertz"])
            yield 0, first, (last - first) / duration_ns, duration_ns
        case "steps":
            begins = 0
            for step in profile["steps"]:
                ends = begins + step["duration_ns"] if "duration_ns" in step else FOREVER
                yield begins, millihertz(step["rate_millihertz"]), 0, ends
                begins = ends
        case "on_off":
            for begins in itertools.count(0, profile["on_ns"] + profile["off_ns"]):
                ends = begins + profile["on_ns"]
                yield begins, millihertz(profile["rate_millihertz"]), 0, ends
                yield ends, Fraction(0), 0, ends + profile["off_ns"]
        case shape:
            raise ValueError(f"{shape} has no rate")


def area(rate, change, ns):
    return rate * ns + Fraction(change) * ns * ns / 2


def whole_ns(rate, change, packets):
    """The last whole ns up to which the area of a piece is no more than `packets`. Exact: roots are those of integers."""
    if change == 0:
        return packets / rate // 1
    # a t^2 + b t <= c in integers.
    scale = math.lcm(Fraction(change).denominator * 2, rate.denominator, Fraction(packets).denominator)
    a, b, c = int(change / 2 * scale), int(rate * scale), int(packets * scale)
    inside = b * b + 4 * a * c
    root = math.isqrt(inside)
    if a > 0:
        return (root - b) // (2 * a)
    return (b - (root if root * root == inside else root + 1)) // (-2 * a)


def packets(load):
    """How many packets a client has. Of random arrivals: those that are due within the duration."""
    profile, duration_ns = load["profile"], load["duration_ns"]
    if profile["shape"] == "poisson":
        return sum(1 for _ in poisson(load, load["client"]))
    if profile["shape"] == "burst":
        return duration_ns // profile["every_ns"] * profile["packets"]
    total = Fraction(0)
    for begins, rate, change, ends in pieces(profile, duration_ns):
        if begins >= duration_ns:
            break
        total += area(rate, change, min(ends, duration_ns) - begins)
    return int(total)


def poisson(load, client):
    due_ns = 0
    for gap_ns in gaps_ns(load["profile"]["rate_millihertz"], load["seed"], client):
        due_ns += gap_ns
        if due_ns >= load["duration_ns"]:
            return
        yield due_ns


def due_at(load, places):
    """When these packets are due, which rise, of a load with a formula."""
    profile, batch = load["profile"], load.get("batch", 1)
    if profile["shape"] == "burst":
        return [place // profile["packets"] * profile["every_ns"] for place in places]
    due, before = [], Fraction(0)
    of_piece = pieces(profile, load["duration_ns"])
    begins, rate, change, ends = next(of_piece)
    for place in places:
        first = place - place % batch
        while ends != FOREVER and first >= before + (inside := area(rate, change, ends - begins)):
            before += inside
            begins, rate, change, ends = next(of_piece)
        due.append(int(begins + whole_ns(rate, change, first - before)))
    return due


def due_times(load, client=0):
    """All due times of a client, in order."""
    if load["profile"]["shape"] == "poisson":
        return list(poisson(load, client))
    return due_at(load, range(packets(load)))


# Vectors.


def loads():
    """Every shape, at ordinary and at extreme values."""
    day = 86_400 * S

    def load(duration_ns, batch=1, seed=42, client=7, **profile):
        return {"profile": profile, "duration_ns": duration_ns, "batch": batch, "seed": seed, "client": client}

    yield load(1 * S, shape="constant", rate_millihertz=10_000_000)
    yield load(day, shape="constant", rate_millihertz=333_333, batch=7)
    yield load(day, shape="constant", rate_millihertz=1_000_000_000)
    yield load(1 * S, shape="poisson", rate_millihertz=10_000_000)
    yield load(100 * S, shape="poisson", rate_millihertz=1_000, seed=2**53 - 1, client=9_999)
    yield load(1 * S // 10, shape="poisson", rate_millihertz=100_000_000, seed=1, client=0)
    yield load(10 * S, shape="burst", packets=50, every_ns=100_000_000, batch=16)
    yield load(10 * S, shape="burst", packets=7, every_ns=333_333_333)
    yield load(day, shape="burst", packets=1_000_000, every_ns=1000 * S)
    yield load(10 * S, shape="ramp", from_millihertz=0, to_millihertz=20_000_000)
    yield load(10 * S, shape="ramp", from_millihertz=20_000_000, to_millihertz=0, batch=3)
    yield load(7 * S, shape="ramp", from_millihertz=1_001, to_millihertz=3_333)
    yield load(day, shape="ramp", from_millihertz=0, to_millihertz=1_000_000_000)
    yield load(day, shape="ramp", from_millihertz=1_000_000_000, to_millihertz=999_999_999)
    yield load(
        12 * S,
        shape="steps",
        steps=[
            {"rate_millihertz": 1_000_000, "duration_ns": 5 * S},
            {"rate_millihertz": 5_000_000, "duration_ns": 5 * S},
            {"rate_millihertz": 10_000_000},
        ],
    )
    yield load(
        3 * S,
        batch=4,
        shape="steps",
        steps=[
            {"rate_millihertz": 0, "duration_ns": 250_000_001},
            {"rate_millihertz": 7_777, "duration_ns": 999_999_999},
            {"rate_millihertz": 0, "duration_ns": 3},
            {"rate_millihertz": 1_234_567, "duration_ns": 77},
            {"rate_millihertz": 33_333},
        ],
    )
    yield load(10 * S, shape="on_off", rate_millihertz=1_000_000, on_ns=200_000_000, off_ns=800_000_000)
    yield load(10 * S, shape="on_off", rate_millihertz=7_001, on_ns=333_333_331, off_ns=1_000_000_007, batch=2)


def vector(load):
    """The load with its number of packets and the due times of its first ones, some in the middle and its last ones."""
    number = packets(load)
    if load["profile"]["shape"] == "poisson":
        due = due_times(load, load["client"])
        places = sorted({*range(min(16, number)), *range(number // 2, min(number // 2 + 4, number)), number - 1})
        return {**load, "packets": number, "due_ns": [[place, due[place]] for place in places]}
    middle = {number // 3 + more for more in range(4)} | {number * 2 // 3 + more for more in range(4)}
    places = sorted(place for place in {*range(16), *middle, *range(number - 4, number)} if 0 <= place < number)
    return {**load, "packets": number, "due_ns": [list(pair) for pair in zip(places, due_at(load, places), strict=True)]}


def written():
    """The text of vectors.json: a line for each load."""
    lines = ",\n  ".join(json.dumps(vector(load)) for load in loads())
    return f"[\n  {lines}\n]\n"


if __name__ == "__main__":
    VECTORS.write_text(written())

"""What a neutral reader's stamps must be for a load of each shape. Lists of ns in, figures and faults out.

Two questions are kept apart. Due times, which packets carry, must be those of the reference to the nanosecond: `misplaced`. Stamps
are compared with the law within a tolerance, since between a due time and a stamp lie a wake-up and a write: `judge`."""

import bisect
import itertools
import math

from loads import reference

MS = 1_000_000
# Of written gaps the deciles 2 to 9 lie within 3 % of the law's; shorter gaps depend on how fast a reader reads.
DECILES = range(2, 10)
DECILES_WITHIN = 0.03
# By chance the second decile of so many gaps is off by 1 %; of fewer ones, deciles are compared with those of the due times alone.
GAPS_FOR_THE_LAW = 50_000
# Counts of a stretch of time: 2 % and 2 packets, which may be written on the other side of its border.
COUNT_WITHIN, COUNT_MORE = 0.02, 2
# Half of all bursts and silences keep their times to this; a busy machine may delay the others.
MEDIAN_WITHIN_NS = 1 * MS


def misplaced(due_ns, expected_ns):
    """How many of a client's due times are none of those expected, in their order, whatever the client's start. Packets that were
    skipped are missing: one of the first 100 is there."""
    if not due_ns:
        return len(expected_ns)
    fewest = len(due_ns)
    for first_ns in expected_ns[:100]:
        start_ns, place, wrong = due_ns[0] - first_ns, 0, 0
        for one in due_ns:
            # The first of those that are due together and not taken yet.
            at = bisect.bisect_left(expected_ns, one - start_ns, place)
            if at < len(expected_ns) and expected_ns[at] == one - start_ns:
                place = at + 1
            else:
                wrong += 1
        fewest = min(fewest, wrong)
        if fewest == 0:
            return 0
    return fewest


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def gaps(stamps):
    return [later - earlier for earlier, later in itertools.pairwise(stamps)]


def since_start(stamps, due_ns):
    """Stamps as ns since the latest start for which no packet is early: due_ns are those of the same packets after the start."""
    start = min(stamp - due for stamp, due in zip(stamps, due_ns, strict=True))
    return [stamp - start for stamp in stamps]


def deciles(values, expected):
    """Deciles 2 to 9 against those expected: (decile, ns, expected ns, difference in parts of the expected)."""
    ordered = sorted(values)
    found = [(decile, quantile(ordered, decile / 10), expected(decile / 10)) for decile in DECILES]
    return [(decile, ns, of_law, ns / of_law - 1) for decile, ns, of_law in found]


def bursts(stamps, every_ns):
    """The (first stamp, number) of groups that silences of more than half a distance part."""
    groups = []
    for stamp in stamps:
        if groups and stamp - last < every_ns / 2:
            groups[-1][1] += 1
        else:
            groups.append([stamp, 1])
        last = stamp
    return [tuple(group) for group in groups]


def count_faults(what, found, expected):
    """Faults of counts by stretches of time."""
    return [
        f"{what} {number}: {seen} packets instead of {wanted}"
        for number, (seen, wanted) in enumerate(zip(found, expected, strict=True))
        if abs(seen - wanted) > COUNT_WITHIN * wanted + COUNT_MORE
    ]


def counts(times, borders):
    """How many lie in each stretch between two borders."""
    return [bisect.bisect_left(times, end) - bisect.bisect_left(times, begin) for begin, end in itertools.pairwise(borders)]


def judge(load, clients):
    """Figures, as text, and faults of the stamps of all clients. `clients`: of each its stamps, and the due times of the same packets
    after its start."""
    profile, shape = load["profile"], load["profile"]["shape"]
    times = [since_start(stamps, due) for stamps, due in clients]
    late = [time - due for of, (_, due) in zip(times, clients, strict=True) for time, due in zip(of, due, strict=True)]
    figures = [f"behind the first: p50 {quantile(late, 0.5) / 1000:.0f} us, p99 {quantile(late, 0.99) / 1000:.0f} us"]
    if shape == "poisson":
        return figures, of_poisson(profile, times, [due for _, due in clients], figures)
    return figures, BY_SHAPE[shape](load, profile, times, figures)


def of_constant(load, profile, times, figures):
    period_ns = 1e12 / profile["rate_millihertz"]
    median = quantile([abs(gap - period_ns) for of in times for gap in gaps(of)], 0.5)
    figures.append(f"|gap - period| p50 {median / 1000:.0f} us")
    return [f"half of the gaps are {median} ns off"] if median > MEDIAN_WITHIN_NS else []


def of_poisson(profile, times, due_times, figures):
    written, due = ([gap for of in all_of for gap in gaps(of)] for all_of in (times, due_times))
    ordered = sorted(due)
    rows = [("due times", deciles(written, lambda part: quantile(ordered, part)))]
    if len(written) >= GAPS_FOR_THE_LAW:
        rows.append(("law", deciles(written, lambda part: -math.log(1 - part) * 1e12 / profile["rate_millihertz"])))
    faults = []
    for of, row in rows:
        figures.append(f"deciles 2 to 9 of {len(written)} gaps and the {of}: {', '.join(f'{off:+.1%}' for *_, off in row)}")
        faults += [f"decile {decile}: {ns} ns, of the {of} {wanted:.0f} ns" for decile, ns, wanted, off in row if abs(off) > DECILES_WITHIN]
    return faults


def of_burst(load, profile, times, figures):
    packets, every_ns = profile["packets"], profile["every_ns"]
    faults, off, length = [], [], []
    for of in times:
        groups = bursts(of, every_ns)
        if len(groups) < 2:
            return ["the packets of a client are no bursts"]
        faults += [f"a burst of {number} packets" for _, number in groups if number != packets]
        off += [abs(gap - every_ns) for gap in gaps([first for first, _ in groups])]
        ends = itertools.accumulate(number for _, number in groups)
        length += [of[end - 1] - first for (first, _), end in zip(groups, ends, strict=True)]
    figures.append(f"{len(length)} bursts, p50 {quantile(length, 0.5) / 1000:.0f} us long, distances p50 {quantile(off, 0.5) / 1000:.0f} us off")
    if quantile(off, 0.5) > MEDIAN_WITHIN_NS:
        faults.append(f"half of the distances are {quantile(off, 0.5)} ns off")
    return faults


def of_stretches(what, borders):
    def judged(load, profile, times, figures):
        at = borders(load, profile)
        expected = [one * len(times) for one in counts(reference.due_times(load), at)]
        found = [sum(column) for column in zip(*(counts(of, at) for of in times), strict=True)]
        figures.append(f"packets of each {what}: {' '.join(map(str, found))}")
        return count_faults(what, found, expected)

    return judged


def tenths(load, profile):
    return [load["duration_ns"] * tenth // 10 for tenth in range(11)]


def step_borders(load, profile):
    ends = itertools.accumulate(step["duration_ns"] for step in profile["steps"][:-1])
    return [0, *ends, load["duration_ns"]]


def of_on_off(load, profile, times, figures):
    on_ns, cycle_ns = profile["on_ns"], profile["on_ns"] + profile["off_ns"]
    # What was due at the end of a stretch may be written a little later.
    borders = [begin + part for begin in range(0, load["duration_ns"], cycle_ns) for part in (0, on_ns + 20 * MS)]
    borders = [*(border for border in borders if border < load["duration_ns"]), load["duration_ns"]]
    expected = [one * len(times) for one in counts(reference.due_times(load), borders)]
    found = [sum(column) for column in zip(*(counts(of, borders) for of in times), strict=True)]
    figures.append(f"packets on, off, on …: {' '.join(map(str, found))}")
    return count_faults("stretch", found, expected)


BY_SHAPE = {
    "constant": of_constant,
    "burst": of_burst,
    "ramp": of_stretches("tenth", tenths),
    "steps": of_stretches("step", step_borders),
    "on_off": of_on_off,
}

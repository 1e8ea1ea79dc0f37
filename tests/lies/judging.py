"""What a run's JSON must show after a lie: pure functions of that object.

`Out` is one allowed end of a run; `cause` is what the run names as the reason; `false_figures` returns a sentence for
each figure that is shown although it is not known, or that cannot be true.
"""

import dataclasses

VALID, PARTIAL, INVALID = "valid", "partial", "invalid"
HELD, NOT_HELD, NOT_JUDGED = "held", "not_held", "not_judged"

TIMES = ("lateness_us", "transit_us", "latency_us", "spread_us")
ONE_WAY = ("transit_us", "latency_us")
ONE_WAY_OF_CLIENTS = ("transit_p99_us", "latency_p99_us", "latency_max_us")
# Times that count from due: the quantiles above `valid_to` of the verdict are not known.
FROM_DUE = ("latency_us", "spread_us")
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "p99_99": 0.9999}
BEYOND_MIN = 10
# Quantiles are bucket edges.
BUCKET = 1.01

EXIT_CODES = {VALID: 0, PARTIAL: 3, INVALID: 4}
EXIT_NOT_HELD = 99


@dataclasses.dataclass(frozen=True)
class Out:
    """An allowed end: the verdict, where given the outcome, and what must be named: for a verdict that is not valid a
    reason, for `not_held` a missed metric; one of them is enough."""
    verdict: str
    outcome: str | None = None
    named: frozenset = frozenset()
    # Whether what is named must be the first reason.
    is_first: bool = False

    def matches(self, run):
        verdict, outcome = ends(run)
        if verdict != self.verdict or self.outcome not in (None, outcome):
            return False
        causes = reasons(run) if verdict != VALID else missed(run)
        return not self.named or bool(self.named & set(causes[:1] if self.is_first else causes))

    def __str__(self):
        words = [self.verdict, self.outcome or "", "/".join(sorted(self.named))]
        return " ".join(filter(None, words))


def invalid(*named, is_first=False):
    return Out(INVALID, None, frozenset(named), is_first)


def partial(*named, is_first=False):
    return Out(PARTIAL, None, frozenset(named), is_first)


def not_held(*named):
    return Out(VALID, NOT_HELD, frozenset(named))


HELD_OUT = Out(VALID, HELD)


def ends(run):
    """The verdict and the outcome, as words; the state where there is no verdict."""
    if run.get("verdict") is None:
        return run.get("state") or "error", None
    return run["verdict"]["status"], (run.get("outcome") or {}).get("status")


def reasons(run):
    return [reason["code"] for reason in (run.get("verdict") or {}).get("reasons", [])]


def missed(run):
    """The metrics of the objectives that were missed."""
    objectives = (run.get("outcome") or {}).get("objectives", [])
    return [objective["metric"] for objective in objectives if objective["status"] == NOT_HELD]


def not_judged(run):
    objectives = (run.get("outcome") or {}).get("objectives", [])
    return [objective["metric"] for objective in objectives if objective["status"] == NOT_JUDGED]


def cause(run):
    """What the run names as its cause, for people: the first reason and how many follow, or the missed metrics."""
    codes = reasons(run)
    if codes:
        return codes[0] + (f" +{len(codes) - 1}" if len(codes) > 1 else "")
    if missed(run):
        return ", ".join(missed(run))
    if failure := run.get("failure") or run.get("error"):
        return failure["code"]
    return "–"


def false_figures(run, code, clock_ahead_us=0):
    """Returns a sentence for each figure that is not known and shown all the same, or cannot be true."""
    if run.get("verdict") is None:
        return [f"{name} is shown without a report" for name in ("counts", *TIMES, "rate", "cpu") if run.get(name)]
    faults = wrong_ends(run, code) + unknown_times(run) + unknown_of_clients(run) + absurd(run)
    for agent in run.get("agents") or []:
        bound_us = (agent["clock"] or {}).get("bound_us")
        if is_same(agent) and bound_us is not None and abs(clock_ahead_us) > bound_us:
            faults.append(f"the clock is proved the server's within {bound_us} us and is {clock_ahead_us} us ahead")
    return faults


def wrong_ends(run, code):
    verdict, outcome = ends(run)
    expected = EXIT_NOT_HELD if (verdict, outcome) == (VALID, NOT_HELD) else EXIT_CODES[verdict]
    faults = [] if code == expected else [f"benchctl ended with {code}, not {expected}"]
    if verdict == INVALID and outcome != NOT_JUDGED:
        faults.append(f"the figures are invalid and judged all the same: {outcome}")
    if outcome == HELD and missed(run):
        faults.append(f"held, although {missed(run)} was missed")
    if verdict == VALID and "broken" in {law["status"] for law in run["verdict"]["laws"]}:
        faults.append("valid with a broken law")
    return faults


def is_same(agent):
    return (agent["clock"] or {}).get("relation") == "same"


def unknown_times(run):
    faults = []
    of_runs = [("", run)] + [(f"group {group['group']}: ", group) for group in run.get("groups") or []]
    no_clock = not any(is_same(agent) for agent in run.get("agents") or [])
    valid_to = run["verdict"].get("valid_to")
    for where, part in of_runs:
        faults += [f"{where}{name} is shown without a common clock" for name in ONE_WAY if no_clock and part.get(name)]
        for name in TIMES:
            if part.get(name):
                limit = SHARES.get((valid_to or "").replace(".", "_"), 1) if name in FROM_DUE else 1
                faults += [f"{where}{name}: {fault}" for fault in unknown_quantiles(part[name], limit)]
    return faults


def unknown_quantiles(times, limit):
    faults, count = [], times["count"]
    if not count:
        faults.append("a distribution without a value")
    for name, value in times["percentiles"].items():
        beyond = round(count * (1 - SHARES[name]), 6)
        if value is None:
            continue
        if beyond < BEYOND_MIN:
            faults.append(f"{name} is shown with {beyond:g} of {count} values beyond it")
        if SHARES[name] > limit:
            faults.append(f"{name} is shown, but the run is valid to {limit}")
        if not times["min"] / BUCKET <= value <= times["max"] * BUCKET:
            faults.append(f"{name} {value} is not between min {times['min']} and max {times['max']}")
    return faults


def unknown_of_clients(run):
    faults = []
    agents = {agent["agent"]: agent for agent in run.get("agents") or []}
    for client in run.get("clients") or []:
        received, shown = client["counts"].get("received"), [n for n in ONE_WAY_OF_CLIENTS if client.get(n) is not None]
        agent = agents.get(client["agent"])
        if shown and agent and not is_same(agent):
            faults.append(f"client {client['client']}: {shown} without a common clock")
        p99s = [name for name in client if name.endswith("_p99_us") and client[name] is not None]
        if p99s and (received or 0) < 100 * BEYOND_MIN:
            faults.append(f"client {client['client']}: {p99s} of {received} packets")
    parts = [("run", run["counts"])] + [(f"client {c['client']}", c["counts"]) for c in run.get("clients") or []]
    for where, counts in parts:
        if counts and counts.get("lost") is not None and None in (counts["sent"], counts["received"]):
            faults.append(f"{where}: lost {counts['lost']} of sent {counts['sent']}, received {counts['received']}")
    for agent in agents.values():
        of_lost = [name for name in ("cpu_s", "writes", "oversleep_max_us") if agent[name] is not None]
        if agent["failure"] and of_lost:
            faults.append(f"agent {agent['agent']} failed with {agent['failure']['code']} and has {of_lost}")
    return faults


def absurd(run):
    """Figures that no host can have."""
    faults, cpu = [], run.get("cpu") or {}
    lasted_s = (run.get("elapsed_s") or 0) + 60
    sent = (run["counts"] or {}).get("sent")
    figures = [("cpu.generator_s", cpu.get("generator_s"), lasted_s * run["plan"]["threads"])]
    figures += [("cpu.packets_per_write", cpu.get("packets_per_write"), 1 << 20)]
    for agent in run.get("agents") or []:
        name = f"agent {agent['agent']}: "
        figures += [(f"{name}cpu_s", agent["cpu_s"], lasted_s * run["plan"]["threads"]),
                    (f"{name}oversleep_max_us", agent["oversleep_max_us"], 1e6 * lasted_s)]
        if sent is not None:
            figures.append((f"{name}writes", agent["writes"], 2 * sent + 1000))
    faults += [f"{name} is {value}" for name, value, most in figures if value is not None and not 0 <= value <= most]
    offered, achieved = ((run.get("rate") or {}).get(name) for name in ("offered_hz", "achieved_hz"))
    if offered and achieved and achieved > offered * 1.0001 and ends(run)[0] == VALID:
        faults.append(f"achieved {achieved} Hz is more than the {offered} Hz offered")
    return faults

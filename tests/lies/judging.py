"""What a run's JSON must show after a lie: pure functions of that object.

`Out` is one allowed end of a run; `cause` is what the run names as the reason; `false_figures` returns a sentence for
each figure that is shown although it is not known, or that cannot be true.
"""

import collections
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

# A run that has held has at most this share of its packets later than the objective of the delay allows, and with the
# share that the generator may send late; none is written early. The path on loopback is not in these.
OFF_MAX_NS, OFF_SHARE, EARLY_MAX_NS = 100_000_000, 0.011, 1_000_000

OF_THE_HOST = {"LATENESS", "CLIENT_LATENESS", "kept_up", "latency", "spread"}

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
    # The relation of the agent's clock, where it matters.
    clock: str | None = None
    # The quantiles to which it may be valid, where it must be valid to one.
    valid_to: frozenset = frozenset()

    def matches(self, run):
        verdict, outcome = ends(run)
        if verdict != self.verdict or self.outcome not in (None, outcome):
            return False
        if self.valid_to and run["verdict"].get("valid_to") not in self.valid_to:
            return False
        if self.clock and any((agent["clock"] or {}).get("relation") != self.clock for agent in run["agents"]):
            return False
        causes = reasons(run) if verdict != VALID else missed(run)
        return not self.named or bool(self.named & set(causes[:1] if self.is_first else causes))

    def __str__(self):
        words = [self.verdict, self.outcome or "", "/".join(sorted(self.named)), self.clock and f"clock {self.clock}"]
        return " ".join(filter(None, words))


def invalid(*named, is_first=False):
    return Out(INVALID, None, frozenset(named), is_first)


def partial(*named, is_first=False):
    return Out(PARTIAL, None, frozenset(named), is_first)


def not_held(*named):
    return Out(VALID, NOT_HELD, frozenset(named))


HELD_OUT = Out(VALID, HELD)
HELD_ELSEWHERE = Out(VALID, HELD, clock="unknown")


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


def codes(run):
    """Every code of a reason or a failure in a run."""
    found = set(reasons(run))
    rows = [run, *(run.get("verdict") or {}).get("reasons", []), *(run.get("agents") or []), *(run.get("clients") or [])]
    return found | {row["failure"]["code"] for row in rows if row.get("failure")}


def is_of_the_host(run, expected=frozenset()):
    """Whether nothing is named beside what is expected but what a busy host can do: a late generator, path or receiver."""
    named = (set(reasons(run)) or set(missed(run))) - expected
    return bool(named) and named <= OF_THE_HOST


def cause(run):
    """What the run names as its cause, for people: the first reason and how many follow, or the missed metrics."""
    if found := reasons(run):
        return found[0] + (f" +{len(found) - 1}" if len(found) > 1 else "")
    if missed(run):
        return ", ".join(missed(run))
    if failure := run.get("failure") or run.get("error"):
        return failure["code"]
    return "–"


def false_figures(run, code, clock_ahead_us=0):
    """Returns a sentence for each figure that is not known and shown all the same, or cannot be true."""
    if run.get("verdict") is None:
        return [f"{name} is shown without a report" for name in ("counts", *TIMES, "rate", "cpu") if run.get(name)]
    faults = wrong_ends(run, code) + unknown_times(run) + unknown_of_objectives(run) + unknown_of_clients(run) + absurd(run)
    for agent in run.get("agents") or []:
        bound_us = (agent["clock"] or {}).get("bound_us")
        if is_same(agent) and bound_us is not None and abs(clock_ahead_us) > bound_us:
            faults.append(f"the clock is proved the server's within {bound_us} us and is {clock_ahead_us} us ahead")
    return faults


def wrongly_held(run, off_ns, planned):
    """Returns what is wrong with a run that has held, from how much later than the schedule each packet was truly
    written, ns, and how many were planned. Without a common clock only their spread is to be seen."""
    if ends(run) != (VALID, HELD) or not off_ns:
        return []
    least_ns = 0 if any(is_same(agent) for agent in run["agents"]) else min(off_ns)
    late = sum(not -EARLY_MAX_NS <= one_ns - least_ns <= OFF_MAX_NS for one_ns in off_ns)
    faults = [f"held, although {len(off_ns)} of {planned} packets were written"] if len(off_ns) != planned else []
    if late > OFF_SHARE * planned:
        faults.append(f"held, although {late} of {planned} packets were not written by the schedule")
    return faults


def wrong_ends(run, code):
    verdict, outcome = ends(run)
    expected = EXIT_NOT_HELD if (verdict, outcome) == (VALID, NOT_HELD) else EXIT_CODES[verdict]
    faults = [] if code == expected else [f"benchctl ended with {code}, not {expected}"]
    if verdict == INVALID and outcome != NOT_JUDGED:
        faults.append(f"the figures are invalid and judged all the same: {outcome}")
    if verdict == PARTIAL and outcome == HELD:
        faults.append("partial, and held all the same")
    if outcome == HELD and missed(run):
        faults.append(f"held, although {missed(run)} was missed")
    if verdict == VALID and "broken" in {law["status"] for law in run["verdict"]["laws"]}:
        faults.append("valid with a broken law")
    return faults


def is_same(agent):
    return (agent["clock"] or {}).get("relation") == "same"


def share_of(quantile):
    """The share of a quantile by its name, `p99.9`; None where it is not one of those that are shown."""
    return SHARES.get((quantile or "").replace(".", "_"))


def valid_to_of(run):
    return share_of(run["verdict"].get("valid_to")) or 1


def unknown_times(run):
    """The faults of the run's times; those of its groups only where the run has none, since they are the same."""
    no_clock = not any(is_same(agent) for agent in run.get("agents") or [])
    valid_to = valid_to_of(run)

    def of_part(part):
        faults = [f"{name} is shown without a common clock" for name in ONE_WAY if no_clock and part.get(name)]
        for name in filter(part.get, TIMES):
            limit = valid_to if name in FROM_DUE else 1
            faults += [f"{name}: {fault}" for fault in unknown_quantiles(part[name], limit)]
        return faults

    of_groups = ((group["group"], fault) for group in run.get("groups") or [] for fault in of_part(group))
    return of_part(run) or [f"group {name}: {fault}" for name, fault in of_groups]


def unknown_quantiles(times, limit):
    """Returns a sentence for each kind of fault, with the quantiles that have it."""
    count, low, high = times["count"], times["min"] / BUCKET, times["max"] * BUCKET
    shown = {name: value for name, value in times["percentiles"].items() if value is not None}
    kinds = {
        f"shown of {count} values": [name for name in shown if round(count * (1 - SHARES[name]), 6) < BEYOND_MIN],
        f"shown, but the run is valid to {limit}": [name for name in shown if SHARES[name] > limit],
        f"not between min {times['min']} and max {times['max']}": [
            f"{name} {value}" for name, value in shown.items() if not low <= value <= high],
    }
    faults = [f"{', '.join(names)} {what}" for what, names in kinds.items() if names]
    return faults if count else ["a distribution without a value"]


def unknown_of_objectives(run):
    """Returns a sentence for each objective whose `observed` is not known or is not the run's figure."""
    objectives = (run.get("outcome") or {}).get("objectives", [])
    return [f"{of['metric']} was observed as {of['observed']}: {fault}"
            for of in objectives if of.get("observed") is not None for fault in faults_of_observed(run, of)]


def faults_of_observed(run, objective):
    metric, observed, counts = objective["metric"], objective["observed"], run["counts"] or {}
    if ends(run)[0] == INVALID:
        yield "nothing of an invalid run is judged"
    elif f"{metric}_us" in TIMES:
        yield from faults_of_observed_time(run, objective)
    else:
        shown = kept_up_percent(counts) if metric == "kept_up" else counts.get(metric)
        # A share is rounded down to millionths.
        if shown is None or abs(shown - observed) > (1.1e-4 if metric == "kept_up" else 0):
            yield f"the counts have {shown}"


def kept_up_percent(counts):
    scheduled, in_time = counts.get("scheduled"), counts.get("in_time")
    return 100 * in_time / scheduled if scheduled and in_time is not None else None


def faults_of_observed_time(run, objective):
    observed, name = objective["observed"], f"{objective['metric']}_us"
    times, share, scheduled = run.get(name), share_of(objective["quantile"]), (run["counts"] or {}).get("scheduled")
    if not times or scheduled is None:
        yield "the run does not have it"
    elif not times["min"] / BUCKET <= observed <= times["max"] * BUCKET:
        yield f"not between min {times['min']} and max {times['max']}"
    elif share and round(scheduled * (1 - share), 6) < BEYOND_MIN:
        yield f"{objective['quantile']} of {scheduled} packets"
    elif share and name in FROM_DUE and share > valid_to_of(run):
        yield f"{objective['quantile']}, but the run is valid to {valid_to_of(run)}"


def unknown_of_clients(run):
    """Returns a sentence for each kind of fault, with the number of clients that have it."""
    kinds = collections.Counter()
    agents = {agent["agent"]: agent for agent in run.get("agents") or []}
    for client in run.get("clients") or []:
        agent = agents.get(client["agent"])
        p99s = [name for name in client if name.endswith("_p99_us")]
        for name in (*p99s, "latency_max_us"):
            if client[name] is None:
                continue
            if name in ONE_WAY_OF_CLIENTS and agent and not is_same(agent):
                kinds[f"{name} is shown without a common clock"] += 1
            if name in p99s and (client["counts"].get("received") or 0) < 100 * BEYOND_MIN:
                kinds[f"{name} is shown of fewer than {100 * BEYOND_MIN} packets"] += 1
        kinds.update(unknown_counts(client["counts"]))
    faults = [f"{clients} clients: {kind}" for kind, clients in kinds.items()]
    return faults + unknown_counts(run["counts"]) + unknown_of_agents(agents.values())


def unknown_counts(counts):
    if not counts or counts.get("lost") is None or None not in (counts["sent"], counts["received"]):
        return []
    return ["lost is shown, but not what was sent and received"]


def unknown_of_agents(agents):
    faults = []
    for agent in agents:
        shown = [name for name in ("cpu_s", "writes", "oversleep_max_us") if agent[name] is not None]
        if agent["failure"] and shown:
            faults.append(f"agent {agent['agent']} failed with {agent['failure']['code']} and has {shown}")
    return faults


def absurd(run):
    """Figures that no host can have."""
    if ends(run)[0] == INVALID:
        return []  # The verdict itself is that the figures may not be used.
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
    # What is drawn may be more than its mean.
    is_drawn = any(group["profile"]["shape"] == "poisson" for group in run["plan"]["groups"])
    if offered and achieved and achieved > offered * 1.0001 and not is_drawn:
        faults.append(f"achieved {achieved} Hz is more than the {offered} Hz offered")
    return faults

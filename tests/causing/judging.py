"""What a run must name as its limit, and how often it did: pure functions of the run's JSON."""

import collections
import datetime
import math

from lies import judging as ends

UNKNOWN = "not known"
# The share of the runs of a case that must be right, and of clean runs that may be flagged.
RIGHT_MIN, FLAGGED_MAX = 0.95, 0.01
# A timer that was late by less explains nothing: a packet of the load is late from 10 ms on.
LATE_NS_MIN = 5_000_000


def limit_of(run):
    """The limit that a run names."""
    return (run.get("limit") or {}).get("kind") or UNKNOWN


def sentence_of(run):
    failure = (run.get("failure") or run.get("error") or {}).get("code")
    return (run.get("limit") or {}).get("sentence") or failure or "no sentence"


def faults_of(case, run, code):
    """Returns a sentence for each thing that is wrong with a run, its limit aside."""
    if run.get("verdict") is None:
        return [f"there is no verdict: {ends.cause(run)}"]
    return wrong_codes(case, run) + false_zeros(case, run) + ends.false_figures(run, code)


def wrong_codes(case, run):
    """A reason that applies is given; one that the plan allows is a note and no reason."""
    reasons, notes = set(ends.reasons(run)), allowed_of(run)
    faults = [f"the reason {reason} is missing" for reason in sorted(case.reasons - reasons)]
    faults += [f"the reason {reason} is given" for reason in sorted(case.absent & reasons)]
    faults += [f"{reason} is allowed and makes the run invalid" for reason in sorted(case.allowed & reasons)]
    return faults + [f"{reason} is allowed and in no note" for reason in sorted(case.allowed - notes)]


def allowed_of(run):
    """The codes of what the plan allowed and what applied."""
    notes = run["verdict"]["notes"]
    return {note["figures"]["code"] for note in notes if note["code"] == "ALLOWED"}


def false_zeros(case, run):
    """A figure that a host does not have is null, and there is a figure of each host."""
    hosts = run.get("hosts") or []
    roles = collections.Counter(host["role"] for host in hosts)
    faults = [f"there is no figure of the host of the {role}" for role in ("server", "agent") if not roles[role]]
    for host in hosts:
        if host["role"] != "agent":
            continue
        for name in case.unknown:
            if (shown := host["total"][name]) is not None:
                faults.append(f"{name} of a host that does not have it is shown as {shown}")
    return faults


def seconds_of(instant):
    """An instant of the JSON as seconds since 1970."""
    return datetime.datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp()


def is_within(run, began_s, ended_s, seconds):
    """Whether a cause, between two instants of the wall clock, lay within the load; else it was another case."""
    if not run.get("started_at"):
        return True
    started_s = seconds_of(run["started_at"])
    return started_s <= began_s and ended_s <= started_s + seconds


def right_min(runs):
    """How many of so many runs must be right: 19 of 20, and all of fewer than 20."""
    return math.ceil(runs * RIGHT_MIN - 1e-9) if runs >= 20 else runs


def wrong_cases(results):
    """Returns a sentence for each case whose limit was wrong too often."""
    for case, limits in by_case(results).items():
        right = limits[case.limit]
        if right < right_min(limits.total()):
            named = ", ".join(f"{count} x {limit}" for limit, count in limits.most_common())
            yield f"{case.name}: {case.limit} is right, and {named} was named"


def by_case(results):
    """How often each limit was named, by case, in the order of the results."""
    cases = {}
    for result in results:
        cases.setdefault(result.case, collections.Counter())[limit_of(result.run)] += 1
    return cases


def matrix(results, limits):
    """The confusion matrix, as the lines of a Markdown table."""
    columns = [*limits, UNKNOWN]
    yield "| cause | expected | " + " | ".join(columns) + " | right |"
    yield "|---|---|" + "---|" * len(columns) + "---|"
    for case, named in by_case(results).items():
        cells = [str(named[limit]) if named[limit] else "·" for limit in columns]
        yield f"| {case.name} | {case.limit} | " + " | ".join(cells) + f" | {named[case.limit]} of {named.total()} |"


def own_timer_late_ns(run):
    """By how much the idle timers of the run's own processes were late at most."""
    late_us = [host["total"]["timer_late_max_us"] for host in run.get("hosts") or []]
    return max(late_us, default=0) * 1000


def faults_of_clean(flagged, runs):
    """`flagged` has, of each clean run with a limit, how late a timer was meanwhile, ns: the script's, which no program
    under test can delay, or the run's own. More than 1 % of the runs is a fault, and so is one without a late timer."""
    faults = []
    if len(flagged) > max(1, runs * FLAGGED_MAX):
        faults.append(f"{len(flagged)} of {runs} clean runs name a limit, at most 1 % may")
    unseen = sum(late_ns < LATE_NS_MIN for late_ns in flagged)
    return faults + [f"{unseen} clean runs name a limit, and the timer was never late"] * (unseen > 0)

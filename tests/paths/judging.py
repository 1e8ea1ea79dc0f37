"""What a run on an emulated path must show: pure functions of the run's JSON and of the emulator's report."""

from lies import judging
from paths.hosts import FOREIGN, FOREIGN_S

# Beyond these the host was too busy for the path to be what was asked for, µs. What leaves at one instant, 1,200
# packets at the end of a stall, is handed on in 3 ms.
LATENESS_P99_US_MAX, LATENESS_US_MAX = 5_000, 10_000
# What a host adds to the fastest packet of a clean path, µs.
OF_A_HOST_US = 2_000


def faults_of(case, run, code):
    """Returns a sentence for each thing that is wrong with a run."""
    if run.get("verdict") is None:
        return [f"there is no verdict: {judging.cause(run)}"]
    return [*wrong_end(case, run), *wrong_spread(case, run), *wrong_network(case, run), *wrong_clock(case, run), *missing_packets(run), *judging.false_figures(run, code)]


def wrong_end(case, run):
    if any(out.matches(run) for out in case.allowed):
        return []
    ends = " ".join(filter(None, judging.ends(run)))
    causes = judging.reasons(run) or judging.missed(run) or judging.not_judged(run)
    return [f"{ends} {causes}; {' or '.join(map(str, case.allowed))} is allowed"]


def wrong_spread(case, run):
    """A time of the spread is one outside of what the path makes of it, also one that is not shown. A percentile that a
    late generator may have spoilt is not to be shown, and the outcome must be right without it."""
    faults = []
    for name, (least_us, most_us) in case.spread_us.items():
        us = spread_us(run, name)
        if us is None and (judging.share_of(name) or 0) > judging.valid_to_of(run):
            continue
        if us is None or not least_us <= us <= most_us:
            faults.append(f"the spread's {name} is {us} us, not from {least_us} to {most_us}")
    return faults


def wrong_network(case, run):
    """The agent's kernel has sent again what the way to the server has lost, and a clean path loses nothing. What both
    kernels have sent again is in the note, which a run without it has not."""
    ends = {"retransmitted_by_agents": run.get("generator_tcp"), "retransmitted_by_server": run.get("receiver_tcp")}
    again = {name: tcp["retransmitted"] for name, tcp in ends.items() if tcp and tcp["retransmitted"] is not None}
    if len(again) != len(ends):
        return [f"what was sent again is not known at both ends: {ends}"]
    notes = [note["figures"] for note in run["verdict"]["notes"] if note["code"] == "RETRANSMITTED"]
    faults = []
    if case.is_lossy and again["retransmitted_by_agents"] == 0:
        faults.append("the agent's kernel has sent nothing again on a path that loses")
    if case.is_clean and any(again.values()):
        faults.append(f"segments were sent again on a clean path: {again}")
    if len(notes) != any(again.values()) or any(note.get(name) != again[name] for note in notes for name in again):
        faults.append(f"sent again {again}, and notes {notes}")
    return faults


def wrong_clock(case, run):
    """The foreign clock is off by what the time namespace has, to the bound that is shown, and no packet was faster than
    the path can be."""
    if case.agent != FOREIGN or judging.ends(run)[0] != judging.VALID:
        return []
    clock = run["agents"][0]["clock"]
    if clock["relation"] != "offset":
        return [f"the relation of the clocks is {clock['relation']}"]
    faults = []
    off_us = abs(clock["offset_us"] + FOREIGN_S * 1e6)
    if off_us > clock["bound_us"]:
        faults.append(f"the offset is wrong by {off_us} us, beyond its bound of {clock['bound_us']} us")
    one_way = run.get("one_way_us")
    if one_way is None:
        return [*faults, "there are no one-way times"]
    least_us, fastest_us = case.delay_us, one_way["min"]
    if fastest_us + one_way["bound"] < least_us:
        faults.append(f"a packet took {fastest_us} us on a path of {least_us} us, bound {one_way['bound']} us")
    if case.is_clean and fastest_us - one_way["bound"] > least_us + OF_A_HOST_US:
        faults.append(f"the fastest packet took {fastest_us} us on a path of {least_us} us, bound {one_way['bound']} us")
    return faults


def missing_packets(run):
    """A path loses no packet of TCP: it comes late."""
    counts = run["counts"]
    if judging.ends(run)[0] != judging.VALID:
        return []
    if counts["lost"] != 0 or counts["sent"] != counts["received"]:
        return [f"lost {counts['lost']}, sent {counts['sent']}, received {counts['received']}"]
    return []


def spread_us(run, name):
    """A percentile of the spread, or its maximum; None where it is not shown."""
    spread = run.get("spread_us") or {}
    return spread.get("max") if name == "max" else (spread.get("percentiles") or {}).get(name)


def is_disturbed(report):
    """Whether the emulator was late itself, so that the path was another one than asked for."""
    late = [way["lateness_us"] for way in report.values() if way["passed"]]
    return any(one["p99"] > LATENESS_P99_US_MAX or one["p100"] > LATENESS_US_MAX for one in late)


def is_of_the_host(case, run, report):
    """Whether a busy host can have done all that is wrong: a late emulator, or a late generator or receiver on a path
    that adds no delay."""
    if is_disturbed(report) or set(judging.reasons(run)) & judging.OF_THE_HOST:
        return True
    # A late generator may have spoilt the quantiles above this one.
    if (run.get("verdict") or {}).get("valid_to"):
        return True
    return case.is_clean and judging.is_of_the_host(run)


def own_faults(report):
    """What the emulator must never do."""
    return [f"the emulator failed to pass {way['failed']} packets {name}" for name, way in report.items() if way["failed"]]

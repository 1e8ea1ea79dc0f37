"""What must hold in every cell, and what a user sees of it: pure functions of what was observed."""

from lies import judging as results
from partitioning import cells

FRAME_BYTES = 32
# Hello and start go before the packets of a client.
FRAMES_BEFORE = 2

# From the loss of control to the last byte of load, and from the first packet that passes again to one state everywhere, s.
STOPPED_S_MAX, AGREED_S_MAX = 3.2, 5.0

EXIT_CODES = (0, 1, 3, 4, 99)
OVER = ("ended", "failed", "aborted")
# What a busy machine adds to the reasons.
LATE = {"LATENESS", "CLIENT_LATENESS"}
# A router that stood still for longer may have made packets late itself, and so may the host: the delay that is judged, s.
STALLED_S_MAX = 0.1
# An agent that is lost so has not reported what it has sent.
UNREPORTED = {"AGENT_LOST", "AGENT_SILENT", "AGENT_RESTARTED", "NO_FINAL_REPORT"}
# What no text may claim of a run that an agent is missing from.
CLAIMS = ("the counts prove each other", "lost 0", "0 lost")
# What only a lost agent has, beside every kind of loss.
OF_AGENT = ("scheduled", "sent", "skipped", "blocked", "lost")


def seen(observed):
    """What a user sees, in stable words: of `stop`, of `start`, and of the run as it is stored."""
    return tuple(map(str, (command(observed.stop), command(observed.start), run_words(observed.run))))


def command(answer):
    if answer is None:
        return "–"
    return " ".join(filter(None, (str(answer.code), answer.failure)))


def run_words(run):
    if run is None:
        return "none"
    verdict, outcome = results.ends(run)
    if run["verdict"] is None:
        return f"{run['state']}: {(run['failure'] or {}).get('code')}"
    causes = [cause(reason) for reason in run["verdict"]["reasons"]]
    return f"{run['state']}, {verdict}, {outcome}" + (": " + ", ".join(causes) if causes else "")


def cause(reason):
    """A reason, with the failure that led to it."""
    failure = (reason["failure"] or {}).get("code")
    return reason["code"] if failure in (None, reason["code"]) else f"{reason['code']} ({failure})"


def is_of_the_host(cell, observed):
    """Whether a busy machine may have spoiled the cell: its generator was late, or the server or the router stood still,
    but for a server that the cell has stopped."""
    run, following = observed.run, observed.next.object
    stood_still = observed.stalled_s > STALLED_S_MAX or was_paused(following) or (was_paused(run) and not cell.stops_server)
    return stood_still or is_late(run) or is_late(following)


def was_paused(run):
    return bool(run and run.get("verdict")) and "SERVER_PAUSED" in {note["code"] for note in run["verdict"]["notes"]}


def is_late(run):
    return bool(run and run.get("verdict") and set(results.reasons(run)) & LATE)


def faults(cell, observed):
    """A sentence for each thing that is not as it must be in every cell."""
    return [*of_load(cell, observed), *of_states(observed), *of_commands(observed), *of_run(cell, observed),
            *of_counts(observed), *of_next(observed)]


def of_load(cell, observed):
    if not cell.loses_control:
        return
    fresh = [(at_s, count) for flow in observed.flows for at_s, count in flow.fresh]
    late = [(at_s, count) for at_s, count in fresh if at_s > observed.cut_s + STOPPED_S_MAX]
    # A run whose agent has its lease again by then begins after the cut.
    if late and not begins_later(observed):
        after_s = max(late)[0] - observed.cut_s
        yield (f"load went on after control was lost: {sum(count for _, count in late)} bytes later than "
               f"{STOPPED_S_MAX} s, the last {after_s:.2f} s after the cut")


def begins_later(observed):
    """Whether every client has sent its first byte after the cut was mended."""
    return all(flow.fresh[0][0] >= observed.mended_s for flow in observed.flows if flow.fresh)


def of_states(observed):
    if observed.agreed_s is None:
        yield f"the states do not agree: {observed.disagreed}"
    elif observed.agreed_s - observed.passed_again_s > AGREED_S_MAX:
        yield (f"the states agreed {observed.agreed_s - observed.passed_again_s:.1f} s after the first packet passed: "
               f"{observed.disagreed}")


def disagreement(server, benchctl, connections, is_waiting):
    """What is not the same for the server (its runs, agents and figures), a benchctl elsewhere (the runs), and an
    agent (its connections); `is_waiting`: whether the benchctl that started the run waits for its end."""
    if server is None or benchctl is None:
        return [f"{'the server itself' if server is None else 'benchctl'} gets no answer"]
    (runs, agents, figures), (elsewhere,) = server, benchctl
    states = [[(run["run_id"], run["state"]) for run in of["runs"]] for of in (runs, elsewhere)]
    found = [] if states[0] == states[1] else [f"the runs are {states[0]} at the server and {states[1]} at benchctl"]
    active = [run_id for run_id, state in states[0] if state not in OVER]
    if [agent["name"] for agent in agents["agents"]] != ["far"]:
        found.append(f"the server lists the agents {agents['agents']}")
    elif agents["agents"][0]["run_ids"] != active:
        found.append(f"the agent is in {agents['agents'][0]['run_ids']}, and {active} go on")
    at_server = sum(worker["connections"] for worker in figures["workers"])
    if at_server != connections:
        found.append(f"the server has {at_server} connections and the agent {connections}")
    if connections and not active:
        found.append(f"{connections} connections are left without a run")
    if is_waiting and not active:
        found.append("benchctl waits for a run that is over")
    return found


def of_commands(observed):
    for name, answer in (("start", observed.start), ("stop", observed.stop)):
        if answer and answer.is_hung:
            yield f"{name} did not end"
        elif answer and answer.code not in EXIT_CODES:
            yield f"{name} ended with {answer.code}, which is not documented"
        elif answer and not answer.object:
            yield f"{name} printed no object"
    for name, code in observed.ends.items():
        if code:
            yield f"{name} ended with {code}"
    if len(observed.ends) != 2:
        yield f"only {list(observed.ends)} ended when asked to"


def of_run(cell, observed):
    """What the run shows, and whether it may."""
    run, printed = observed.run, observed.start.object
    if run is None:
        return
    if "run_id" in printed:
        yield from results.false_figures(printed, observed.start.code)
        if run_words(printed) != run_words(run):
            yield f"start printed {run_words(printed)}, and {run_words(run)} is stored"
    elif results.false_figures(run, exit_of(run)):
        yield from results.false_figures(run, exit_of(run))
    if run["verdict"] and (lost := [agent for agent in run["agents"] if (agent["failure"] or {}).get("code") in UNREPORTED]):
        shown = [name for name in run["counts"] if name in OF_AGENT or name.startswith("lost_")]
        if shown := [name for name in shown if run["counts"][name] is not None]:
            yield f"{shown} are shown, although only {[agent['agent'] for agent in lost]} has them"
        if claims := [claim for claim in CLAIMS if claim in observed.text]:
            yield f"the text has {claims}, which cannot be known"
        rows = [row["client"] for row in run["clients"] or [] if row["counts"]["sent"] is not None]
        if rows:
            yield f"what clients {rows} have sent is shown, although only a lost agent has it"
    if run["verdict"] and results.ends(run) == (results.VALID, results.HELD) and cells.DATA in cell.links:
        if cell.moment != cells.BEFORE and not observed.stop:
            yield "the run held, although the path of its packets was cut"


def exit_of(run):
    """The exit code that stands for a run."""
    verdict, outcome = results.ends(run)
    return results.EXIT_NOT_HELD if (verdict, outcome) == (results.VALID, results.NOT_HELD) else results.EXIT_CODES.get(verdict, 1)


def packets(stream_bytes):
    """Whole packets in the first bytes of a client's stream."""
    return max(0, stream_bytes // FRAME_BYTES - FRAMES_BEFORE)


def of_counts(observed):
    """The run's counts against those of the router."""
    run = observed.run
    if not run or not run["verdict"] or results.ends(run)[0] == results.INVALID:
        return
    counts = run["counts"]
    passed = sum(packets(flow.passed) for flow in observed.flows)
    # A connection that came to nothing has no end.
    loaded = [packets(flow.emitted) for flow in observed.flows if packets(flow.emitted)]
    emitted = sum(loaded)
    if counts["received"] is not None and counts["received"] > passed:
        yield f"{counts['received']} packets were received, and {passed} passed the router"
    # The last frame of a client is its end.
    if counts["sent"] is not None and counts["sent"] < emitted - len(loaded):
        yield f"{counts['sent']} packets were sent, and the router has seen {emitted}"
    if results.ends(run)[0] == results.VALID and not counts["sent"] == counts["received"] == emitted - len(loaded):
        yield f"valid, with {counts['sent']} sent and {counts['received']} received, and {emitted} frames at the router"


def of_next(observed):
    run = observed.next.object
    # A host that stays busy may make its generator late, and nothing else of the run may be wrong.
    of_host = is_late(run) and set(results.reasons(run)) <= LATE
    if not run.get("verdict") or results.ends(run)[0] != results.VALID and not of_host:
        yield f"the next run: {observed.next.code} {observed.next.failure or run_words(run)}"

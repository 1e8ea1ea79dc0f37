"""Verifies the counters of a server independently. Pure: reported figures in, one sentence for each fault out.

A run passes only when the list of faults is empty.
"""

# Reasons of the verdict that concern the load and not the counters: a busy machine sends late.
LOAD_REASONS = {"LATENESS", "CLIENT_LATENESS"}

# Counters that a client on the server's clock does not have.
OF_OTHER_CLOCKS = {"below_floor"}

# Private memory that a process may have gained; allocators keep what was freed.
GROWTH_MIB_MAX = 16

# The promise is 2 s; the rest allows for a machine on which master and script have to wait for a core.
STOP_SECONDS_MAX = 4

# A log line that a peer can cause is written at most this often.
EXHAUSTED_LINE_EVERY_S = 5

# A loop that spins uses a whole core.
EXHAUSTED_CPU_SHARE_MAX = 0.5

LEDGER_GROWTH_MIB_MAX = 1

SLOPE_MIB_PER_HOUR_MAX = 1


def check_run(run, planned, clients):
    """Checks the report of a run of so many clients against itself and against what each of them `planned`; None where the
    script cannot compute that."""
    if run["failure"]:
        return [f"the run failed: {run['failure']['sentence']}"]
    counts, each, agents = run["counts"], [client["counts"] for client in run["clients"]], run["agents"]
    # What is not known is null, and no figure at all: a run of which everything is known is expected here.
    known = [counts, *each, *(agent["counts"] or {"sent": None} for agent in agents)]
    known = [{name: count for name, count in figures.items() if name not in OF_OTHER_CLOCKS} for figures in known]
    times = {name: run[name] for name in ("lateness_us", "transit_us", "latency_us")}
    if None in times.values() or any(None in figures.values() for figures in known):
        return ["figures are not known: " + "; ".join(reason["sentence"] for reason in run["verdict"]["reasons"])]
    unwanted = ("lost", "duplicated", "reordered", "gaps", "corrupt", "read_before_written")
    faults = [f"{name} is {counts[name]}, not 0" for name in unwanted if counts[name] != 0]
    sums = {
        **({"the plan": sum(planned)} if planned else {}),
        "counts.scheduled": counts["scheduled"],
        "sent + skipped": counts["sent"] + counts["skipped"],
        "scheduled, summed over the clients": sum(client["scheduled"] for client in each),
    }
    faults += differ("scheduled", sums)
    sums = {"counts.sent": counts["sent"], "counts.received": counts["received"]}
    for field in ("sent", "received"):
        sums[f"{field}, summed over the clients"] = sum(client[field] for client in each)
    sums["sent, summed over the agents"] = sum(agent["counts"]["sent"] for agent in agents)
    for name, distribution in times.items():
        sums[f"count of {name}"] = distribution["count"]
    faults += differ("sent", sums)
    if len(run["clients"]) != clients:
        faults.append(f"{len(run['clients'])} clients are reported, not {clients}")
    for client, own in zip(run["clients"], planned or [None] * clients):
        faults += check_client(client, own)
    verdict = run["verdict"]
    for law in verdict["laws"]:
        if law["status"] != "holds":
            faults.append(f"the law {law['law']!r} is {law['status']}: {law['sentence']}")
    return faults + [f"the verdict: {reason['sentence']}" for reason in verdict["reasons"] if reason["code"] not in LOAD_REASONS]


def check_client(client, planned):
    name = f"client {client['client']}"
    if planned is not None and client["counts"]["scheduled"] != planned:
        yield f"{name} has {client['counts']['scheduled']} packets scheduled, its plan has {planned}"
    if client["failure"]:
        yield f"{name}: {client['failure']['sentence']}"
    if client["attempts"] != 1:
        yield f"{name} connected {client['attempts']} times: its connection was dropped"
    sent, received = client["counts"]["sent"], client["counts"]["received"]
    if sent != received:
        yield f"{name}: its agent sent {sent}, its workers received {received}"


def check_replies(run, echo_every):
    """Checks the replies of a run of which each `echo_every`th packet of a client, from its first on, asked for one."""
    if run["failure"]:
        return []
    faults = []
    for client in run["clients"]:
        counts = client["counts"]
        name = f"client {client['client']}"
        sent = counts["sent"]
        asked = -(-sent // echo_every) if echo_every and sent is not None else 0
        replies = {field: counts[f"replies_{field}"] for field in ("requested", "wanted", "dropped", "read", "unexpected")}
        if None in replies.values():
            faults.append(f"{name}: its replies are not known: {replies}")
            continue
        faults += differ(f"{name}: replies asked for", {"by its packets": asked, "sent": replies["requested"], "wanted": replies["wanted"]})
        faults += differ(f"{name}: replies", {"wanted - dropped": replies["wanted"] - replies["dropped"], "read": replies["read"]})
        if replies["unexpected"]:
            faults.append(f"{name} has read {replies['unexpected']} replies that it had not asked for")
    return faults


def check_peers(peer_counts, server, clients_of_runs):
    """Checks the script's own counts of its connections against the server's."""
    raw, connections = server["raw"], server["connections"]
    faults = peer_counts.faults[:5]
    if len(peer_counts.faults) > 5:
        faults.append(f"… and {len(peer_counts.faults) - 5} more of the script's own connections failed")
    faults += differ("raw connections", {"the script": peer_counts.counted, "the server": raw["connections"]})
    faults += differ("raw bytes", {"the script": peer_counts.bytes, "the server": raw["bytes"]})
    faults += differ("raw packets", {"the script": peer_counts.packets, "the server": raw["packets"]})
    # Only connections that stayed silent, or whose first bytes came late, may be refused as late.
    if connections["refused_late"] > peer_counts.silent + peer_counts.late:
        late, silent = connections["refused_late"], peer_counts.silent
        faults.append(f"{late} connections were refused late, {silent} were silent and {peer_counts.late} late")
    # A connection that is reset before it is accepted never reaches the server.
    most = peer_counts.opened + clients_of_runs
    if not most - peer_counts.reset <= connections["accepted"] <= most:
        accepted = connections["accepted"]
        faults.append(f"{accepted} connections were accepted of {most}, of which {peer_counts.reset} were reset")
    return faults


def check_server(server, packets, refused_full=0):
    """Checks that nothing is left open at the end, and that all `packets` that were ever sent are counted."""
    recoveries = server["recoveries"]
    by_workers = sum(worker["packets"] for worker in server["workers"])
    counted = {"ever sent": packets, "by the workers and by recovery": by_workers + recoveries["packets"]}
    faults = differ("packets", counted)
    if recoveries["connections_lost"]:
        faults.append(f"{recoveries['connections_lost']} connections were lost with their worker")
    for name in ("pending", "admitted"):
        if server["connections"][name]:
            faults.append(f"{server['connections'][name]} connections are still {name}")
    refused = {"the script": refused_full, "the server": server["connections"]["refused_full"]}
    faults += differ("connections refused because the server is full", refused)
    if server["connections"]["refused_raw"]:
        faults.append(f"{server['connections']['refused_raw']} connections were refused raw")
    return faults


def check_disruptions(disruptions, kills, stops, restarts, upgrades, spares=0):
    """Checks that all the requested disruptions were made: fewer of them prove less."""
    faults = list(disruptions.faults)
    done = {"kills": (disruptions.kills, kills), "stops": (len(disruptions.stop_seconds), stops)}
    done["restarts"] = (len(disruptions.restart_seconds), restarts)
    done["upgrades"] = (len(disruptions.upgrade_seconds), upgrades)
    done["kills of the spare"] = (disruptions.kills_of_spares, spares)
    for name, (made, asked) in done.items():
        if made < asked:
            faults.append(f"only {made} of {asked} {name} were made in the time available")
    late = [seconds for seconds in disruptions.stop_seconds if seconds > STOP_SECONDS_MAX]
    if late:
        faults.append(f"{len(late)} stopped workers were replaced late, the last after {max(late):.2f} s")
    return faults


def check_exhaustion(lines, seconds, cpu_share):
    """Checks that a server without descriptors logs it, but not too often, and uses little CPU meanwhile."""
    faults = []
    most = 1 + seconds / EXHAUSTED_LINE_EVERY_S
    if not 1 <= lines <= most:
        faults.append(f"a server without descriptors logged it {lines} times in {seconds:.0f} s, 1 to {most:.0f} are expected")
    if cpu_share > EXHAUSTED_CPU_SHARE_MAX:
        faults.append(f"the master of a server without descriptors used {100 * cpu_share:.0f} % of a core")
    return faults


def check_footprint(before, after):
    """Compares the resources held at the end with those held at the beginning."""
    faults = []
    if after.descriptors > before.descriptors:
        faults.append(f"the master holds {after.descriptors} descriptors, {before.descriptors} before")
    if after.zombies:
        faults.append(f"{after.zombies} zombies")
    if after.workers != before.workers:
        faults.append(f"{after.workers} workers run, {before.workers} before")
    limits = {"ledger_mib": LEDGER_GROWTH_MIB_MAX}
    for name in (name for name in before._fields if name.endswith("_mib")):
        was, is_ = getattr(before, name), getattr(after, name)
        if is_ - was > limits.get(name, GROWTH_MIB_MAX):
            faults.append(f"{name} grew from {was:.1f} to {is_:.1f}")
    return faults


def check_slopes(slopes):
    """Checks how fast memory grows over hours."""
    return [f"{name} grows by {rise:.2f} an hour" for name, rise in slopes.items() if rise >= SLOPE_MIB_PER_HOUR_MAX]


def check_log(log):
    """Reports panics: a panic is a bug even when every figure is right."""
    return [f"the server's log has: {line.strip()}" for line in log.splitlines() if "panicked" in line][:5]


def differ(what, sums):
    """Returns one sentence when figures that must be equal are not."""
    if len(set(sums.values())) <= 1:
        return []
    return [f"{what} differ: " + ", ".join(f"{name} {value}" for name, value in sums.items())]

"""The books, checked from outside. Pure: from what was reported to the sentences that accuse.

An empty list of faults is the only good end.
"""

# Reasons of the verdict that speak of the load, not of the books: a busy machine sends late.
LOAD_REASONS = {"LATENESS", "CLIENT_LATENESS", "BACKPRESSURE", "SCHEDULE_NOT_SENT", "CLIENT_SCHEDULE_NOT_SENT"}

# Private memory that a process may have gained; allocators keep what was freed.
GROWTH_MIB_MAX = 16

# The promise is 2 s; the rest is for a machine on which master and script have to wait for a core.
STOP_SECONDS_MAX = 4

# A log line that a peer can cause comes at most so often.
EXHAUSTED_LINE_EVERY_S = 5

# A loop that spins takes a whole core.
EXHAUSTED_CPU_SHARE_MAX = 0.5

LEDGER_GROWTH_MIB_MAX = 1

SLOPE_MIB_PER_HOUR_MAX = 1


def of_run(run, clients, rate_hz, seconds):
    """A run's report against the plan and against itself."""
    packets = run["packets"]
    unwanted = ("lost", "duplicated", "reordered", "gaps", "corrupt")
    faults = [f"{name} is {packets[name]}, not 0" for name in unwanted if packets[name]]
    planned = round(clients * rate_hz * seconds)
    sums = {
        "the plan": planned,
        "packets.scheduled": packets["scheduled"],
        "sent + skipped": packets["sent"] + packets["skipped"],
        "scheduled, summed over the clients": sum(client["scheduled"] for client in run["clients"]),
    }
    faults += differ("scheduled", sums)
    sums = {"packets.sent": packets["sent"], "packets.received": packets["received"]}
    for field in ("sent", "received"):
        sums[f"{field}, summed over the clients"] = sum(client[field] for client in run["clients"])
    sums["sent, summed over the agents"] = sum(agent["sent"] for agent in run["agents"])
    for name in ("lateness_us", "transit_us", "latency_us"):
        sums[f"count of {name}"] = run[name]["count"]
    faults += differ("sent", sums)
    if len(run["clients"]) != clients:
        faults.append(f"{len(run['clients'])} clients are reported, not {clients}")
    for client in run["clients"]:
        faults += of_client(client)
    faults += [f"the law {law['law']!r} is broken: {law['figures']}" for law in run["laws"] if not law["holds"]]
    reasons = run["verdict"]["reasons"]
    return faults + [f"the verdict: {reason['text']}" for reason in reasons if reason["code"] not in LOAD_REASONS]


def of_client(client):
    name = f"client {client['client']}"
    if client["error"]:
        yield f"{name}: {client['error']}"
    if client["attempts"] != 1:
        yield f"{name} connected {client['attempts']} times: its connection was dropped"
    if client["sent"] != client["received"]:
        yield f"{name}: its agent sent {client['sent']}, its workers received {client['received']}"


def of_peers(tally, server, clients_of_runs):
    """The script's own connections against what the server says of them."""
    raw, connections = server["raw"], server["connections"]
    faults = tally.faults[:5]
    if len(tally.faults) > 5:
        faults.append(f"… and {len(tally.faults) - 5} more of the script's own connections failed")
    faults += differ("raw connections", {"the script": tally.counted, "the server": raw["connections"]})
    faults += differ("raw bytes", {"the script": tally.bytes, "the server": raw["bytes"]})
    faults += differ("raw packets", {"the script": tally.packets, "the server": raw["packets"]})
    # Nobody had to be told that he was late but those who would never have said anything, or were late.
    if connections["refused_late"] > tally.silent + tally.late:
        late, silent = connections["refused_late"], tally.silent
        faults.append(f"{late} connections were refused late, {silent} were silent and {tally.late} late")
    # One that is reset before it is accepted never was there for the server.
    most = tally.opened + clients_of_runs
    if not most - tally.reset <= connections["accepted"] <= most:
        accepted = connections["accepted"]
        faults.append(f"{accepted} connections were accepted of {most}, of which {tally.reset} were reset")
    return faults


def of_server(server, packets, refused_full=0):
    """What must be nothing when all is over; and `packets`, all that were ever sent, are all there."""
    recoveries = server["recoveries"]
    by_workers = sum(worker["packets"] for worker in server["workers"])
    counted = {"ever sent": packets, "by the workers and for the dead": by_workers + recoveries["packets"]}
    faults = differ("packets", counted)
    if recoveries["connections_lost"]:
        faults.append(f"{recoveries['connections_lost']} connections were lost with their workers")
    for name in ("pending", "admitted"):
        if server["connections"][name]:
            faults.append(f"{server['connections'][name]} connections are still {name}")
    refused = {"the script": refused_full, "the server": server["connections"]["refused_full"]}
    faults += differ("connections refused since it is full", refused)
    if server["connections"]["refused_raw"]:
        faults.append(f"{server['connections']['refused_raw']} connections were refused raw")
    return faults


def of_trouble(trouble, kills, stops, restarts, upgrades):
    """Less trouble than was asked for proves less."""
    faults = list(trouble.faults)
    done = {"kills": (trouble.kills, kills), "stops": (len(trouble.stop_seconds), stops)}
    done["restarts"] = (len(trouble.restart_seconds), restarts)
    done["upgrades"] = (len(trouble.upgrade_seconds), upgrades)
    for name, (made, asked) in done.items():
        if made < asked:
            faults.append(f"only {made} of {asked} {name} were made in the time there was")
    late = [seconds for seconds in trouble.stop_seconds if seconds > STOP_SECONDS_MAX]
    if late:
        faults.append(f"{len(late)} stopped workers were replaced late, the last after {max(late):.2f} s")
    return faults


def of_exhaustion(lines, seconds, cpu_share):
    """A server without descriptors says so, not too often, and rests meanwhile."""
    faults = []
    most = 1 + seconds / EXHAUSTED_LINE_EVERY_S
    if not 1 <= lines <= most:
        faults.append(f"a server without descriptors has said so {lines} times in {seconds:.0f} s, 1 to {most:.0f} are right")
    if cpu_share > EXHAUSTED_CPU_SHARE_MAX:
        faults.append(f"the master of a server without descriptors took {100 * cpu_share:.0f} % of a core")
    return faults


def of_footprint(before, after):
    """What is held at the end against what was held at the beginning."""
    faults = []
    if after.descriptors > before.descriptors:
        faults.append(f"the master holds {after.descriptors} descriptors, {before.descriptors} before")
    if after.zombies:
        faults.append(f"{after.zombies} zombies")
    if after.workers != before.workers:
        faults.append(f"{after.workers} workers live, {before.workers} before")
    limits = {"ledger_mib": LEDGER_GROWTH_MIB_MAX}
    for name in (name for name in before._fields if name.endswith("_mib")):
        was, is_ = getattr(before, name), getattr(after, name)
        if is_ - was > limits.get(name, GROWTH_MIB_MAX):
            faults.append(f"{name} grew from {was:.1f} to {is_:.1f}")
    return faults


def of_slopes(slopes):
    """Memory over hours."""
    return [f"{name} grows by {rise:.2f} an hour" for name, rise in slopes.items() if rise >= SLOPE_MIB_PER_HOUR_MAX]


def of_log(log):
    """A panic is a bug even when everything came out right."""
    return [f"the server's log says: {line.strip()}" for line in log.splitlines() if "panicked" in line][:5]


def differ(what, sums):
    """One sentence when figures that must be one are not."""
    if len(set(sums.values())) <= 1:
        return []
    return [f"{what} differ: " + ", ".join(f"{name} {value}" for name, value in sums.items())]

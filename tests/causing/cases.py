"""The table of all cases: what is done to a run, and the limit that it must name.

The load is 20 clients of 100 packets/s for 1.5 s, 3,000 packets. At that rate a packet is late from 10 ms on, which a busy
host does not do to one in a hundred. The one objective is `latency.p99<20ms`, which no default can stand in for.
What must be missed is more than one packet in a hundred:

  an end that is away for t ms holds up the packets that are due meanwhile: of 50 ms those of the first 40 are late,
  2.7 % of the schedule, so that the run is invalid; a worker that is away for 100 ms reads those of the first 80 too
  late, 5.3 %, and so the objective is missed
  a path that is 50 ms longer, carries half of the rate, bunches by 0.3 s or loses three segments in ten makes more slow than that
"""

import dataclasses

from causing import causes
from lies import relay

CLIENTS, RATE_HZ, SECONDS = 20, 100, 1.5
# From the first packet on: a cause begins in the load.
BEGIN_S = 0.25
OBJECTIVES = ("--no-default-objectives", "--threshold", "latency.p99<20ms")

GENERATOR, RECEIVER, NETWORK, NONE = "generator", "receiver", "network", "none"
LIMITS = (GENERATOR, RECEIVER, NETWORK, NONE)

# What a case needs of the host, beside processes.
GROUPS, REAL_TIME, FILE_SYSTEM, MOUNTS, NETWORK_RULES = (
    "control groups", "real-time priority", "a file system", "mounts", "rules of a network")


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    limit: str
    # Begins and ends the cause while the load runs: a context, made of the place where it is to be.
    cause: object = causes.nothing
    # Begins before the run and ends with it.
    before: object = causes.nothing
    # The fault of a relay between both ends.
    path: object = None
    # Where: the plain server, or that in a control group; and the agent.
    server: str = causes.PLAIN
    agent: str = causes.PLAIN
    flags: tuple = ()
    needs: frozenset = frozenset()
    # Codes of reasons that must be given, of those that must not, and of notes that must.
    reasons: frozenset = frozenset()
    absent: frozenset = frozenset()
    allowed: frozenset = frozenset()
    # Figures of the agent's host that are not known.
    unknown: tuple = ()
    # Whether the short form leaves it out.
    is_long: bool = False

    @property
    def is_control(self):
        return self.name == "control"


def case(name, limit, **more):
    for codes in ("needs", "reasons", "absent", "allowed"):
        more[codes] = frozenset(more.get(codes, ()))
    return Case(name, limit, **more)


CONTROL = case("control", NONE)

QUOTA_S, SPIN_S = 0.5, 0.3
# Half of what one client of the load sends.
HALF_BYTES_PER_S = RATE_HZ * relay.FRAME_BYTES / 2

ON_AGENTS = [
    case("agent stopped for 50 ms", GENERATOR, cause=causes.stopped(causes.agent, 0.05)),
    case("agent stopped for 500 ms", GENERATOR, cause=causes.stopped(causes.agent, 0.5)),
    case("agent's core taken for 300 ms", GENERATOR, before=causes.on_core(causes.agent), cause=causes.spinner(SPIN_S),
         needs=[REAL_TIME]),
    case("agent's quota used up for 500 ms", GENERATOR, agent=causes.GROUPED, cause=causes.quota(causes.AGENT, QUOTA_S),
         needs=[GROUPS], reasons=["THROTTLED"]),
    case("the same, allowed", GENERATOR, agent=causes.GROUPED, cause=causes.quota(causes.AGENT, QUOTA_S),
         flags=("--allow", "THROTTLED"), needs=[GROUPS], allowed=["THROTTLED"]),
    case("everything frozen for 300 ms", GENERATOR, cause=causes.stopped(causes.everything, 0.3), reasons=["FROZEN"]),
    case("the same, allowed (FROZEN)", GENERATOR, cause=causes.stopped(causes.everything, 0.3),
         flags=("--allow", "FROZEN"), allowed=["FROZEN"]),
    case("master and agent stopped for 300 ms", GENERATOR, cause=causes.stopped(causes.master_and_agent, 0.3),
         absent=["FROZEN"]),
]

ON_SERVERS = [
    case("worker stopped for 100 ms", RECEIVER, cause=causes.stopped(causes.workers, 0.1)),
    case("worker stopped for 1 s", RECEIVER, cause=causes.stopped(causes.workers, 1.0)),
    case("worker stopped for 500 ms, then killed", RECEIVER, cause=causes.killed(causes.workers, 0.5)),
    case("worker's core taken for 300 ms", RECEIVER, before=causes.on_core(causes.workers), cause=causes.spinner(SPIN_S),
         needs=[REAL_TIME]),
    case("server's quota used up for 500 ms", RECEIVER, server=causes.GROUPED, cause=causes.quota(causes.SERVER, QUOTA_S),
         needs=[GROUPS]),
]

ON_PATHS = [
    case("path 50 ms longer", NETWORK, path=lambda: relay.Delay(0.05)),
    case("path carries half of the rate", NETWORK, path=lambda: relay.Limit(HALF_BYTES_PER_S)),
    # All the time: a client writes its start, from which a single stall would count, well before its first packet.
    case("path passes bunches every 0.3 s on", NETWORK, path=lambda: relay.Bunch(0.3)),
    # A segment that is lost alone is sent again when the next one arrives, 10 ms later: it takes two in a row.
    case("path loses 30 % for 0.8 s", NETWORK, cause=causes.lossy(0.3, 0.8), needs=[NETWORK_RULES]),
]

HARMLESS = [
    case("path that a relay passes on", NONE, path=relay.Fault),
    case("master stopped for 500 ms", NONE, cause=causes.stopped(causes.master, 0.5)),
    case("disk full in mid-run", NONE, cause=causes.full_disk, needs=[FILE_SYSTEM]),
    case("overload just before", NONE, before=causes.overload),
    case("second light run beside", NONE, before=causes.run_beside),
    case("agent's host without groups and pressure", NONE, agent=causes.UNKNOWN, needs=[MOUNTS],
         unknown=("throttled_s", "pressure_s")),
]

CASES = ON_AGENTS + ON_SERVERS + ON_PATHS + HARMLESS

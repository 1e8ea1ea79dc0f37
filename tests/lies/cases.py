"""The table of all cases: how each lie is made and with what it may end.

An agent's lie is made by the fake agent, a path's by the relay under the real agent, a process's by signals.
"""

import dataclasses

from lies import agent_lies, process_lies, relay
from lies.judging import HELD_ELSEWHERE, HELD_OUT, Out, VALID, invalid, not_held, partial

# Clients, packets per second of each, seconds, packets per write. 10,000 packets are the fewest that have a p99.9.
SLOW = (2, 5000, 1.0, 50)
QUICK = (2, 5000, 0.2, 50)
# Not over before its start, however early it is.
EARLY = (2, 5000, 0.4, 50)
SINGLE = (2, 500, 0.2, 1)
# As many bytes as ten clients of 1 kHz, in writes that a relay in Python passes on without being late.
PATH = (4, 2500, 1.0, 10)
QUICK_PATH = (4, 2500, 0.2, 10)
FLEET = (10, 1000, 3.0, 1)
# Each packet of two clients asks for a reply.
ECHO = (2, 500, 0.4, 1)
ASKING = ("name=asking clients=2 rate=500 echo_every=1",)
# Beside the duration, for loads that are no single steady group.
ARRIVALS = ("clients=2 rate=500 arrivals=poisson",)
GROUPS = ("name=slow clients=1 rate=250", "name=fast clients=1 rate=1k")


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    # "agent", "relay" or "process".
    kind: str
    make: object
    allowed: tuple
    load: tuple = SLOW
    # The groups as flags, in place of all of the load but its duration.
    groups: tuple = ()
    # Codes of reasons and failures that would name a cause which it was not.
    never: frozenset = frozenset()
    # Whether the short form leaves it out.
    is_long: bool = False

    @property
    def is_control(self):
        return self.name.startswith(("honest", "control"))


def on_agent(name, *allowed, **more):
    return Case(name, "agent", agent_lies.LIES[name], allowed, **more)


def on_path(name, make, *allowed, **more):
    return Case(f"path: {name}", "relay", make, allowed, **{"load": PATH, **more})


def on_process(name, make, *allowed, **more):
    return Case(f"process: {name}", "process", make, allowed, **{"load": FLEET, **more})


def bytes_per_s(load, share):
    """The share of what one client of the load sends."""
    return load[1] * relay.FRAME_BYTES * share


NO_DELAY_JUDGED = Out(VALID)
OFF_SCHEDULE = invalid("SCHEDULE_NOT_FOLLOWED")
TOO_EARLY = invalid("READ_BEFORE_DUE", "READ_BEFORE_WRITTEN", "READ_BEFORE_START")
DELAYED = not_held("latency", "spread")
UNTRUE = invalid("SCHEDULE_MISCOUNTED", "PLAN_NOT_SCHEDULED", "LOSS_NOT_PLACED", "LOSS_ON_CLEAN_END", "END_DIFFERS",
                 "END_ACK_DIFFERS", "UNREAD_BEYOND_BUFFERS", "SCHEDULE_NOT_FOLLOWED")
# A message that no agent can send may end the session instead.
REFUSED = partial("AGENT_LOST")

CONTROLS = [
    on_agent("honest", HELD_OUT),
    on_agent("honest, foreign clock", HELD_ELSEWHERE),
    on_path("control", relay.Fault, HELD_OUT),
]

ON_AGENT = [
    on_agent("one burst in the middle, first and last in time", TOO_EARLY, load=QUICK),
    on_agent("one burst at the end, first and last in time", DELAYED),
    on_agent("all but the last at the start", TOO_EARLY, load=QUICK),
    on_agent("foreign clock: all but the last at the start", TOO_EARLY, load=QUICK),
    on_agent("foreign clock: one burst in the middle", TOO_EARLY, load=QUICK),
    on_agent("foreign clock: one burst, 2 s late", DELAYED),
    on_agent("foreign clock: one burst at the end", DELAYED),
    on_agent("foreign clock: begins in the middle, at twice the pace", DELAYED, load=(2, 2500, 2.0, 25)),
    on_agent("foreign clock: a burst every 0.5 s", DELAYED),
    on_agent("a burst every 0.5 s", DELAYED),
    # Within the limits: the delay is in transit, and below 100 ms.
    on_agent("all 50 ms late, claimed in time", HELD_OUT),
    on_agent("all 500 ms late, claimed in time", DELAYED),
    on_agent("all 200 ms early", TOO_EARLY, load=EARLY),
    on_agent("written at twice the pace, so over early", TOO_EARLY, load=QUICK),
    on_agent("foreign clock: written at twice the pace", TOO_EARLY, load=QUICK),
    on_agent("written at half the pace", not_held("kept_up"), load=QUICK),
    on_agent("a fifth written 200 ms late and claimed blocked", DELAYED),
    on_agent("claims to be 50 ms later than it is", invalid("READ_BEFORE_WRITTEN"), load=QUICK),
    on_agent("due times run backwards", OFF_SCHEDULE, load=QUICK),
    on_agent("due times at another pace", OFF_SCHEDULE, load=QUICK),
    on_agent("two due times swapped", OFF_SCHEDULE, load=QUICK),
    on_agent("a due time repeated", OFF_SCHEDULE, load=QUICK),
    on_agent("one due time 1 ns early", OFF_SCHEDULE, load=QUICK),
    on_agent("one due time 1 ns late", OFF_SCHEDULE, load=QUICK),
    on_agent("one due time 2 ns late", OFF_SCHEDULE, load=QUICK),
    on_agent("due times drift by 1 ns a packet", OFF_SCHEDULE, load=QUICK),
    on_agent("foreign clock: due times drift by 1 ns a packet", OFF_SCHEDULE, load=QUICK),
    on_agent("every due time is the time of writing", OFF_SCHEDULE, load=QUICK),
    on_agent("starts 1 s late", invalid("STARTED_ELSEWHEN"), load=QUICK),
    # Within the limits: when the clock of another host began is not known.
    on_agent("foreign clock: starts 1 s late", HELD_ELSEWHERE, load=QUICK),
    on_agent("starts 200 ms early", invalid("STARTED_ELSEWHEN", "READ_BEFORE_START"), load=EARLY),
    on_agent("honest, random arrivals", HELD_OUT, load=QUICK, groups=ARRIVALS),
    on_agent("honest, two groups", HELD_OUT, load=QUICK, groups=GROUPS),
    on_agent("random arrivals of another seed", OFF_SCHEDULE, load=QUICK, groups=ARRIVALS),
    on_agent("random arrivals at even distances", OFF_SCHEDULE, load=QUICK, groups=ARRIVALS),
    on_agent("leaves out the last random arrivals", invalid("PLAN_NOT_SCHEDULED"), load=QUICK, groups=ARRIVALS),
    on_agent("the loads of two groups swapped", OFF_SCHEDULE, load=QUICK, groups=GROUPS),
    on_agent("a start that is 5 ms later than that of the packets", OFF_SCHEDULE, load=QUICK),
    on_agent("foreign clock: a start that is 5 ms later than that of the packets", OFF_SCHEDULE, load=QUICK),
    on_agent("a start whose offset is a whole second", invalid("STARTED_ELSEWHEN"), load=QUICK),
    on_agent("no start", invalid("CORRUPT"), load=QUICK),
    on_agent("two starts", invalid("CORRUPT"), load=QUICK),
    on_agent("sends half, claims all", UNTRUE, load=QUICK),
    on_agent("sends half, claims all and every acknowledgement", UNTRUE, load=QUICK),
    on_agent("sends half, claims half scheduled", invalid("PLAN_NOT_SCHEDULED"), load=QUICK),
    on_agent("sends half, claims the rest blocked and skipped", not_held("skipped"), load=QUICK),
    on_agent("finishes at 80 %", invalid("PLAN_NOT_SCHEDULED"), load=QUICK),
    on_agent("skips 5 %, claims all sent", UNTRUE, load=SINGLE),
    on_agent("skips 5 %, claims that fewer were scheduled", invalid("PLAN_NOT_SCHEDULED"), load=SINGLE),
    on_agent("skips 5 % and packs the rest into the schedule", OFF_SCHEDULE, load=SINGLE),
    on_agent("a tenth more packets than planned", invalid("PLAN_NOT_SCHEDULED", "SCHEDULE_NOT_FOLLOWED"), load=QUICK),
    on_agent("a tenth more packets than planned, claims the plan", UNTRUE, load=QUICK),
    on_agent("one record twice, the same", Out(VALID), invalid("RECORDS_CONTRADICT"), load=SINGLE),
    on_agent("one record twice, with other counts", invalid("RECORDS_CONTRADICT"), REFUSED, load=SINGLE),
    on_agent("a record of a client that it does not have", invalid("RECORDS_CONTRADICT"), REFUSED, load=SINGLE),
    on_agent("one record missing", partial("CLIENT_LOST", "AGENT_LOST"), load=SINGLE),
    on_agent("the digest of other packets", invalid("DIGESTS_DIFFER"), load=SINGLE),
    on_agent("one acknowledged packet too many", invalid("END_ACK_DIFFERS", "LOSS_NOT_PLACED"), load=SINGLE),
    on_agent("kernel acknowledged 2^63 bytes", invalid("LOSS_NOT_PLACED"), REFUSED, load=SINGLE),
    on_agent("kernel acknowledged one packet too many", invalid("LOSS_NOT_PLACED"), load=SINGLE),
    on_agent("counts of 2^63", UNTRUE, REFUSED, load=SINGLE),
    # Figures of which nothing follows: the run stands, and what cannot be true is not shown.
    on_agent("negative CPU time", NO_DELAY_JUDGED, REFUSED, load=SINGLE),
    on_agent("CPU time and writes of 2^63 - 1", NO_DELAY_JUDGED, REFUSED, load=SINGLE),
    on_agent("0 writes and no CPU time", NO_DELAY_JUDGED, REFUSED, load=SINGLE),
    on_agent("progress of 2^63", NO_DELAY_JUDGED, REFUSED, load=SINGLE),
    on_agent("progress that falls", NO_DELAY_JUDGED, REFUSED, load=SINGLE),
    on_agent("a second hello with a higher attempt in mid-run", partial("CLIENT_LOST"),
             invalid("RECORDS_CONTRADICT"), load=SINGLE),
    # Another clock is no lie about the load: the run stands, without one-way times.
    *(on_agent(f"a clock 10 s {way}, claimed the server's", HELD_ELSEWHERE) for way in ("ahead", "behind")),
    # Unless the exchanges prove less than that; then the bound that is shown must be more than 1 ms.
    on_agent("a clock 1 ms ahead, claimed the server's", HELD_OUT, TOO_EARLY),
    on_agent("a clock 1 ms behind, claimed the server's", HELD_OUT),
    on_agent("never answers a probe of the clock", HELD_ELSEWHERE),
    on_agent("a clock whose readings jump by 1 s in mid-run", HELD_ELSEWHERE, load=(2, 2000, 2.6, 20)),
]

UNTRUE_REPLIES = invalid("REPLIES_MISSING", "HISTOGRAM_MISCOUNTED")


def on_asking(name, *allowed, load=ECHO):
    return on_agent(name, *allowed, load=load, groups=ASKING)


ON_ASKING = [
    on_asking("honest, with replies", HELD_OUT),
    on_asking("round trips of 1 us", UNTRUE_REPLIES),
    on_asking("foreign clock: round trips from due that are shorter than from write", UNTRUE_REPLIES),
    on_asking("the slowest round trip left out", UNTRUE_REPLIES),
    on_asking("a reply and a round trip more of each client", UNTRUE_REPLIES),
    on_asking("asked for half of the replies", UNTRUE_REPLIES),
    on_asking("replies of 2^63", UNTRUE_REPLIES, REFUSED),
    # As many as there are when there is a p99.
    on_asking("a p99 of the round trips that none of them has", UNTRUE_REPLIES, load=(2, 500, 2.2, 1)),
    on_asking("buckets whose counts sum to more than 2^64", REFUSED),
    on_asking("a bucket that does not exist", REFUSED),
    on_asking("a bucket twice", REFUSED),
    on_asking("round trips of a group that does not exist", REFUSED),
    on_asking("progress with round trips without end", NO_DELAY_JUDGED, REFUSED),
]

SIZED = ("clients=2 rate=500 packet_size=200",)
OF_ANOTHER_SIZE = invalid("CORRUPT", "BYTES_DIFFER", "STARTED_ELSEWHEN")


def on_sized(name, *allowed):
    return on_agent(name, *allowed, load=SINGLE, groups=SIZED)


ON_SIZED = [
    on_sized("honest, 200 bytes", HELD_OUT),
    on_sized("packets of 32 bytes where 200 are asked for", OF_ANOTHER_SIZE),
    on_sized("packets of 201 bytes where 200 are asked for", OF_ANOTHER_SIZE),
    on_sized("a start whose rest is not zero", OF_ANOTHER_SIZE),
    *(on_sized(name, partial("CLIENT_LOST"), OF_ANOTHER_SIZE) for name in (
        "an end whose rest is not zero", "an end whose tag covers its header alone", "an end of 32 bytes")),
]

AT = 100  # The frame at which a path changes the stream.

ON_PATH = [
    *(on_path(f"carries {round(share * 100)} % of the rate", lambda share=share: relay.Limit(bytes_per_s(PATH, share)),
              not_held("kept_up")) for share in (0.9, 0.8, 0.5)),
    # Half a second of it is within the 10 ms that are allowed behind the last due time.
    on_path("carries 98 % of the rate", lambda: relay.Limit(bytes_per_s(PATH, 0.98)), not_held("kept_up"),
            load=(4, 2500, 2.0, 10)),
    # What is in the last bunch was due up to 50 ms before it goes on, and 10 ms are allowed behind the last due time.
    on_path("bunches of 50 ms", lambda: relay.Bunch(0.05), HELD_OUT, not_held("kept_up")),
    on_path("bunches of 300 ms", lambda: relay.Bunch(0.3), DELAYED),
    on_path("50 ms later", lambda: relay.Delay(0.05), HELD_OUT),
    on_path("150 ms later", lambda: relay.Delay(0.15), DELAYED),
    on_path("stalls for 1.4 s", lambda: relay.Hold(0.3, 1.4), DELAYED, load=(4, 2500, 2.0, 10)),
    on_path("holds 2 s at the start", lambda: relay.Hold(0.0, 2.0), DELAYED, load=(4, 2500, 2.2, 10)),
    on_path("breaks every connection", lambda: relay.Break(5000), partial("CLIENT_LOST", is_first=True),
            load=QUICK_PATH),
    on_path("a packet twice", lambda: relay.Repeat(AT), invalid("SEQUENCE_BROKEN", is_first=True),
            load=QUICK_PATH),
    on_path("seven bytes twice", lambda: relay.RepeatBytes(AT), invalid("CORRUPT", is_first=True), load=QUICK_PATH),
    on_path("a packet left out", lambda: relay.LeaveOut(AT), invalid("SEQUENCE_BROKEN", is_first=True),
            load=QUICK_PATH),
    on_path("a flipped bit", lambda: relay.FlipBit(AT), invalid("CORRUPT", is_first=True), load=QUICK_PATH),
    on_path("two packets swapped", lambda: relay.Swap(AT), invalid("SEQUENCE_BROKEN", is_first=True),
            load=QUICK_PATH),
]

# The first frame that is changed is a reply.
REPLY = 20


def on_replies(name, make, *allowed):
    return on_path(f"replies: {name}", lambda: relay.OnReplies(make(REPLY)), *allowed, load=ECHO, groups=ASKING)


NO_REPLY = invalid("REPLIES_UNEXPECTED", "REPLIES_MISSING")
CUT_OFF = partial("CLIENT_LOST")

ON_REPLIES = [
    on_path("replies: control", relay.Fault, HELD_OUT, load=ECHO, groups=ASKING),
    on_replies("a reply twice", relay.Repeat, NO_REPLY),
    on_replies("a reply left out", relay.LeaveOut, NO_REPLY),
    on_replies("two replies swapped", relay.Swap, NO_REPLY),
    on_replies("a flipped bit", relay.FlipBit, NO_REPLY, CUT_OFF),
    on_replies("seven bytes twice", relay.RepeatBytes, NO_REPLY, CUT_OFF),
    on_replies("garbage without end", relay.Garbage, NO_REPLY, CUT_OFF),
    on_replies("one reply without end", relay.RepeatWithoutEnd, NO_REPLY, CUT_OFF),
    on_replies("a reply that was due at 0", relay.DueZero, NO_REPLY),
    on_replies("a reply that is due in 10 s", relay.DueInFuture, NO_REPLY),
    on_replies("a reply of another client", relay.OfAnotherClient, NO_REPLY),
]

ON_PROCESS = [
    on_process("a worker stopped for 1.4 s", process_lies.stop_workers(1.4), DELAYED),
    on_process("the agent stopped for 50 ms", process_lies.stop_agent(0.05),
               Out(VALID, valid_to=frozenset({"p99", "p90"})), load=(10, 1000, 10.0, 1), is_long=True),
    on_process("the agent stopped for 1 s", process_lies.stop_agent(1.0), invalid("LATENESS", is_first=True)),
    on_process("kill -9 of the agent in a flood", process_lies.kill_agent, partial("AGENT_LOST", is_first=True),
               load=(10, None, 2.0, 1024), never=frozenset({"BYTES_DIFFER"})),
    on_process("the master stopped for 3.5 s", process_lies.stop_master(3.5),
               Out(VALID), partial("AGENT_LOST", is_first=True), load=(10, 1000, 5.0, 1), never=frozenset({"AGENT_SILENT"})),
]

CASES = ON_AGENT + ON_ASKING + ON_SIZED + ON_PATH + ON_REPLIES + ON_PROCESS

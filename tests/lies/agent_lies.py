"""Ways in which an agent can send another load than the schedule, or report another one than it sent.

Each is a course of the fake agent: what it does not override is honest, but for a claimed lateness of 0, so that a
busy machine gives no other reason than the lie. LIES has all of them by name.
"""

import dataclasses

from lies import fake_agent
from lies.fake_agent import SECOND_NS, Course, Packet
from torturing import handshake

MS_NS = 1_000_000
LIES = {}


def lie(name):
    """Registers a course under the name that the table shows."""
    def register(course):
        LIES[name] = course
        return course

    return register


@lie("honest")
class Honest(Course):
    """The control."""


@lie("honest, foreign clock")
class HonestForeign(Course):
    """The control on another host's clock."""
    is_foreign = True


class Lie(Course):
    """Claims that every packet was written in time."""

    def lateness_ns(self, late_ns):
        return 0


class Written(Lie):
    """Due times of the schedule, each claimed to be written in time, written when `written_ns` has it."""

    def packets(self, schedule):
        rows = [Packet(n, schedule.due_ns(n), self.written_ns(schedule, n)) for n in range(schedule.packets)]
        return sorted(rows, key=lambda packet: packet.at_ns)


class Due(Lie):
    """Written by the schedule, with the due times of `due_ns`."""

    def packets(self, schedule):
        return [Packet(n, self.due_ns(schedule, n), schedule.due_ns(n)) for n in range(schedule.packets)]


def middle_ns(schedule):
    return (schedule.start_ns + schedule.end_ns) // 2


def is_first_or_last(schedule, n):
    return n == 0 or n == schedule.packets - 1


# Packets that are written at another time than the one at which they are due.


@lie("one burst in the middle, first and last in time")
class BurstInTheMiddle(Written):
    def written_ns(self, schedule, n):
        return schedule.due_ns(n) if is_first_or_last(schedule, n) else middle_ns(schedule)


@lie("one burst at the end, first and last in time")
class BurstAtTheEnd(Written):
    def written_ns(self, schedule, n):
        return schedule.due_ns(n) if n == 0 else schedule.end_ns


@lie("all but the last at the start")
class AllAtTheStart(Written):
    def written_ns(self, schedule, n):
        return schedule.start_ns if n < schedule.packets - 1 else schedule.end_ns


@lie("foreign clock: all but the last at the start")
class ForeignAllAtTheStart(AllAtTheStart):
    is_foreign = True


@lie("foreign clock: one burst in the middle")
class ForeignBurstInTheMiddle(BurstInTheMiddle):
    is_foreign = True


@lie("foreign clock: one burst, 2 s late")
class ForeignLateBurst(Written):
    is_foreign = True

    def written_ns(self, schedule, n):
        return schedule.end_ns + 2 * SECOND_NS


@lie("foreign clock: one burst at the end")
class ForeignBurstAtTheEnd(BurstAtTheEnd):
    """Each packet is read sooner after its due time than the one before it."""
    is_foreign = True


@lie("foreign clock: begins in the middle, at twice the pace")
class ForeignCatchesUp(Written):
    is_foreign = True

    def written_ns(self, schedule, n):
        return (schedule.due_ns(n) + schedule.end_ns) // 2


@lie("foreign clock: a burst every 0.5 s")
class ForeignBursts(Written):
    """Behind the due times, so that no packet is read before it is due."""
    is_foreign = True

    def written_ns(self, schedule, n):
        bursts = (schedule.due_ns(n) - schedule.start_ns) // (SECOND_NS // 2) + 1
        return schedule.start_ns + bursts * SECOND_NS // 2


@lie("a burst every 0.5 s")
class Bursts(ForeignBursts):
    is_foreign = False


@lie("all 50 ms late, claimed in time")
class Late50(Written):
    def written_ns(self, schedule, n):
        return schedule.due_ns(n) + 50 * MS_NS


@lie("all 500 ms late, claimed in time")
class Late500(Written):
    def written_ns(self, schedule, n):
        return schedule.due_ns(n) + 500 * MS_NS


@lie("all 200 ms early")
class Early(Written):
    def written_ns(self, schedule, n):
        return schedule.due_ns(n) - 200 * MS_NS


@lie("written at twice the pace, so over early")
class TwiceThePace(Written):
    def written_ns(self, schedule, n):
        return schedule.start_ns + (schedule.due_ns(n) - schedule.start_ns) // 2


@lie("foreign clock: written at twice the pace")
class ForeignTwiceThePace(TwiceThePace):
    is_foreign = True


@lie("written at half the pace")
class HalfThePace(Written):
    def written_ns(self, schedule, n):
        return schedule.start_ns + (schedule.due_ns(n) - schedule.start_ns) * 2


@lie("claims to be 50 ms later than it is")
class ClaimsLater(Lie):
    def lateness_ns(self, late_ns):
        return late_ns + 50 * MS_NS


@lie("a fifth written 200 ms late and claimed blocked")
class ClaimsBlocked(Lie):
    """Each is sent behind the ones that were due before it, with the lateness that it has."""

    def packets(self, schedule):
        first = schedule.packets * 2 // 5
        release_ns = schedule.due_ns(first + schedule.packets // 5) + 200 * MS_NS
        at = lambda n: schedule.due_ns(n) if n < first else max(schedule.due_ns(n), release_ns)  # noqa: E731
        return [Packet(n, schedule.due_ns(n), at(n)) for n in range(schedule.packets)]

    late = 0

    def lateness_ns(self, late_ns):
        self.late += late_ns > 2 * MS_NS
        return late_ns

    def records(self, records):
        for record in records:
            record["counts"]["blocked"] = -(-self.late // len(records))


# Due times that are not those of the schedule.


@lie("due times run backwards")
class Backwards(Due):
    def due_ns(self, schedule, n):
        return schedule.due_ns(n if is_first_or_last(schedule, n) else schedule.packets - 1 - n)


@lie("due times at another pace")
class OtherPace(Due):
    """The first half at twice the pace, the rest at two thirds of it; the first and the last are right."""

    def due_ns(self, schedule, n):
        elapsed_ns, half_ns = schedule.due_ns(n) - schedule.start_ns, (schedule.end_ns - schedule.start_ns) // 2
        bent_ns = elapsed_ns // 2 if elapsed_ns < half_ns else half_ns // 2 + (elapsed_ns - half_ns) * 3 // 2
        return schedule.due_ns(n) if is_first_or_last(schedule, n) else schedule.start_ns + bent_ns


@lie("two due times swapped")
class SwappedDues(Due):
    def due_ns(self, schedule, n):
        first = schedule.packets // 2 // schedule.batch * schedule.batch
        second = first + schedule.batch
        return schedule.due_ns({first: second, second: first}.get(n, n))


@lie("a due time repeated")
class RepeatedDue(Due):
    """The first packet of a write is due when that of the write before it was."""

    def due_ns(self, schedule, n):
        first = schedule.packets // 2 // schedule.batch * schedule.batch
        return schedule.due_ns(first - schedule.batch if n == first else n)


class OneOff(Due):
    """One due time in the middle."""
    off_ns = 0

    def due_ns(self, schedule, n):
        return schedule.due_ns(n) + self.off_ns * (n == schedule.packets // 2)


@lie("one due time 1 ns early")
class OneNsEarly(OneOff):
    off_ns = -1


@lie("one due time 1 ns late")
class OneNsLate(OneOff):
    off_ns = 1


@lie("one due time 2 ns late")
class TwoNsLate(OneOff):
    off_ns = 2


@lie("due times drift by 1 ns a packet")
class Drift(Due):
    def due_ns(self, schedule, n):
        return schedule.due_ns(n) + n


@lie("foreign clock: due times drift by 1 ns a packet")
class ForeignDrift(Drift):
    is_foreign = True


@lie("every due time is the time of writing")
class DueWhenWritten(Lie):
    """A burst in the middle, whose due times are those at which it is written."""

    def packets(self, schedule):
        at = BurstInTheMiddle().written_ns
        return [Packet(n, at(schedule, n), at(schedule, n)) for n in range(schedule.packets)]


@lie("starts 1 s late")
class StartsLate(Lie):
    def start_ns(self, asked_ns):
        return asked_ns + SECOND_NS


@lie("foreign clock: starts 1 s late")
class ForeignStartsLate(StartsLate):
    is_foreign = True


@lie("starts 200 ms early")
class StartsEarly(Lie):
    def start_ns(self, asked_ns):
        return asked_ns - 200 * MS_NS


# Loads of other shapes and groups, and their starts.


@lie("honest, random arrivals")
class HonestArrivals(Course):
    """The control of loads that are drawn."""


@lie("honest, two groups")
class HonestGroups(Course):
    """The control of loads that differ."""


@lie("random arrivals of another seed")
class OtherSeed(Lie):
    def seed(self, asked):
        return asked ^ 1


@lie("random arrivals at even distances")
class EvenArrivals(Due):
    """As many as planned, and within the duration."""

    def due_ns(self, schedule, n):
        return schedule.due_ns(schedule.packets - 1) * (n + 1) // schedule.packets


@lie("the loads of two groups swapped")
class SwappedGroups(Lie):
    def profiles(self, asked):
        return asked[::-1]


@lie("leaves out the last random arrivals")
class LeavesOutTheLast(Lie):
    def packets(self, schedule):
        return super().packets(schedule)[:-5]

    def record(self, record, schedule):
        record["counts"].update(scheduled=record["counts"]["sent"], skipped=0)


@lie("a start that is 5 ms later than that of the packets")
class StartShifted(Lie):
    def start_frames(self, frames, start_ns, offset_ns):
        return frames.start(start_ns + offset_ns + 5 * MS_NS, offset_ns)


@lie("foreign clock: a start that is 5 ms later than that of the packets")
class ForeignStartShifted(StartShifted):
    is_foreign = True


@lie("a start whose offset is a whole second")
class OffsetShifted(Lie):
    """As if the run had started a second before."""

    def start_frames(self, frames, start_ns, offset_ns):
        return frames.start(start_ns + offset_ns, offset_ns + SECOND_NS)


@lie("no start")
class NoStart(Lie):
    def start_frames(self, frames, start_ns, offset_ns):
        return b""


@lie("two starts")
class TwoStarts(Lie):
    def start_frames(self, frames, start_ns, offset_ns):
        return 2 * super().start_frames(frames, start_ns, offset_ns)


# Another number of packets.


class Fewer(Lie):
    """Sends `share` of the packets and reports the rest as `claim` has it."""
    share = 0.5

    def packets(self, schedule):
        return super().packets(schedule)[: int(schedule.packets * self.share)]


@lie("sends half, claims all")
class HalfClaimsAll(Fewer):
    def record(self, record, schedule):
        record["counts"].update(sent=schedule.packets, skipped=0)


@lie("sends half, claims all and every acknowledgement")
class HalfClaimsAllAcknowledged(HalfClaimsAll):
    def record(self, record, schedule):
        super().record(record, schedule)
        record.update(acknowledged=schedule.packets, kernel_acknowledged_bytes=32 * schedule.packets)


@lie("sends half, claims half scheduled")
class HalfClaimsHalf(Fewer):
    def record(self, record, schedule):
        record["counts"].update(scheduled=record["counts"]["sent"], skipped=0)


@lie("sends half, claims the rest blocked and skipped")
class HalfClaimsBlocked(Fewer):
    def record(self, record, schedule):
        record["counts"].update(blocked=record["counts"]["skipped"])


@lie("finishes at 80 %")
class FinishesEarly(HalfClaimsHalf):
    share = 0.8


class Hides(Lie):
    """Leaves out every 20th packet and numbers the rest without a gap."""

    def packets(self, schedule):
        left = [packet for packet in super().packets(schedule) if packet.sequence % 20 != 19]
        return [dataclasses.replace(packet, sequence=n) for n, packet in enumerate(left)]


@lie("skips 5 %, claims all sent")
class HidesAsSent(Hides):
    def record(self, record, schedule):
        record["counts"].update(sent=schedule.packets, skipped=0)


@lie("skips 5 %, claims that fewer were scheduled")
class HidesAsUnscheduled(Hides):
    def record(self, record, schedule):
        record["counts"].update(scheduled=record["counts"]["sent"], skipped=0)


@lie("skips 5 % and packs the rest into the schedule")
class HidesInDues(Lie):
    """As many packets as planned, but every 20th place is left out and others are due twice."""

    def packets(self, schedule):
        places = [n - 1 if n % 20 == 19 else n for n in range(schedule.packets)]
        if schedule.batch > 1:
            places = [n - schedule.batch if n // schedule.batch % 20 == 19 else n for n in range(schedule.packets)]
        return [Packet(n, schedule.due_ns(place), schedule.due_ns(place)) for n, place in enumerate(places)]


@lie("a tenth more packets than planned")
class MoreThanPlanned(Lie):
    def packets(self, schedule):
        more = dataclasses.replace(schedule, packets=schedule.packets * 11 // 10)
        return super().packets(more)

    def record(self, record, schedule):
        record["counts"].update(scheduled=record["counts"]["sent"], skipped=0)


@lie("a tenth more packets than planned, claims the plan")
class MoreClaimsThePlan(MoreThanPlanned):
    def record(self, record, schedule):
        record["counts"].update(scheduled=schedule.packets, sent=schedule.packets, skipped=0)


# Records that are not true.


@lie("one record twice, the same")
class RecordTwice(Lie):
    """As an agent may send it that was not sure whether the first one had come."""

    def records(self, records):
        records.append(dict(records[0]))


@lie("one record twice, with other counts")
class RecordTwiceOtherwise(Lie):
    def records(self, records):
        fewer = {name: count - 1 for name, count in records[0]["counts"].items() if name in ("scheduled", "sent")}
        records.append({**records[0], "counts": {**records[0]["counts"], **fewer}})


@lie("a record of a client that it does not have")
class ForeignRecord(Lie):
    def records(self, records):
        records[0]["client"] = 77


@lie("one record missing")
class RecordMissing(Lie):
    def records(self, records):
        del records[-1]


@lie("the digest of other packets")
class OtherDigest(Lie):
    def record(self, record, schedule):
        record["digest"] ^= 1


@lie("one acknowledged packet too many")
class OtherAcknowledged(Lie):
    def record(self, record, schedule):
        record["acknowledged"] += 1


@lie("kernel acknowledged 2^63 bytes")
class AbsurdKernel(Lie):
    def record(self, record, schedule):
        record["kernel_acknowledged_bytes"] = 1 << 63


@lie("kernel acknowledged one packet too many")
class KernelOneMore(Lie):
    def record(self, record, schedule):
        record["kernel_acknowledged_bytes"] += 32


@lie("counts of 2^63")
class AbsurdCounts(Lie):
    def record(self, record, schedule):
        record["counts"] = {"scheduled": 1 << 63, "sent": 1 << 63, "skipped": 0, "blocked": 0}


@lie("negative CPU time")
class NegativeCpu(Lie):
    def finished(self, finished):
        finished.update(cpu_ns=-1, oversleep_max_ns=-1)


@lie("CPU time and writes of 2^63 - 1")
class AbsurdCpu(Lie):
    def finished(self, finished):
        finished.update(cpu_ns=(1 << 63) - 1, writes=(1 << 63) - 1, oversleep_max_ns=(1 << 63) - 1)


@lie("0 writes and no CPU time")
class NoWrites(Lie):
    def finished(self, finished):
        finished.update(cpu_ns=0, writes=0)


@lie("progress of 2^63")
class AbsurdProgress(Lie):
    def progress(self, progress):
        progress["counts"] = dict.fromkeys(("scheduled", "sent", "skipped", "blocked"), 1 << 63)


@lie("progress that falls")
class FallingProgress(Lie):
    def progress(self, progress):
        progress["counts"] = {name: 10_000_000 - count for name, count in progress["counts"].items()}


# Round trips that are not true, of packets that all ask for a reply.


@lie("honest, with replies")
class HonestReplies(Lie):
    """The control of packets that ask. The threads that read replies make it late."""


@lie("round trips of 1 us")
class FastRoundTrips(Lie):
    def round_trips(self, pairs):
        return [1000] * len(pairs), [1000] * len(pairs)


@lie("foreign clock: round trips from due that are shorter than from write")
class FastFromDue(Lie):
    is_foreign = True

    def round_trips(self, pairs):
        return [1000] * len(pairs), [write_ns for _, write_ns in pairs]


@lie("the slowest round trip left out")
class SlowestLeftOut(Lie):
    def round_trips(self, pairs):
        return [sorted(times)[:-1] for times in super().round_trips(pairs)]


@lie("a reply and a round trip more of each client")
class MoreReplies(Lie):
    def round_trips(self, pairs):
        return [[*times, times[0], times[0]] for times in super().round_trips(pairs)]

    def record(self, record, schedule):
        record["counts"]["replies_read"] += 1
        record["round_trips"] += 1


@lie("asked for half of the replies")
class AskedForHalf(Lie):
    def record(self, record, schedule):
        record["counts"]["replies_requested"] //= 2


@lie("replies of 2^63")
class AbsurdReplies(Lie):
    def record(self, record, schedule):
        record["counts"].update(replies_requested=1 << 63, replies_read=1 << 63)
        record["round_trips"] = 1 << 63


@lie("a p99 of the round trips that none of them has")
class OtherP99(Lie):
    def record(self, record, schedule):
        record.update(rtt_from_due_p99_ns=9000, rtt_from_write_p99_ns=9000)


class Buckets(Lie):
    """Both distributions are these buckets."""
    indices, counts = (), ()

    def finished(self, finished):
        for of in finished["round_trips"]:
            buckets = {"indices": list(self.indices), "counts": list(self.counts)}
            of.update(from_due=buckets, from_write=buckets)


@lie("buckets whose counts sum to more than 2^64")
class BucketsOverflow(Buckets):
    indices, counts = (1, 2), (1 << 63, 1 << 63)


@lie("a bucket that does not exist")
class NoBucket(Buckets):
    indices, counts = (1 << 31,), (1,)


@lie("a bucket twice")
class BucketTwice(Buckets):
    indices, counts = (5, 5), (200, 200)


@lie("round trips of a group that does not exist")
class ForeignGroup(Lie):
    def finished(self, finished):
        finished["round_trips"][0]["group"] = "other"


@lie("progress with round trips without end")
class AbsurdRoundTrips(Lie):
    def progress(self, progress):
        buckets = {"indices": [3455], "counts": [(1 << 64) - 1]}
        progress["round_trips"] = [{"group": "asking", "from_due": buckets, "from_write": buckets}]


# Packets of 200 bytes that are not those.


@lie("honest, 200 bytes")
class HonestSize(Lie):
    """The control of larger packets."""


@lie("packets of 32 bytes where 200 are asked for")
class SmallPackets(Lie):
    def packet_bytes(self, asked):
        return handshake.FRAME_BYTES


@lie("packets of 201 bytes where 200 are asked for")
class LargerPackets(Lie):
    def packet_bytes(self, asked):
        return asked + 1


@lie("a start whose rest is not zero")
class StartWithRest(Lie):
    """The checksum covers what is there."""

    def start_frames(self, frames, start_ns, offset_ns):
        zeros, frames.rest = frames.rest, b"\1" * len(frames.rest)
        start = super().start_frames(frames, start_ns, offset_ns)
        frames.rest = zeros
        return start


@lie("an end whose rest is not zero")
class EndWithRest(Lie):
    """The tag covers what is there."""

    def end_frame(self, frames, sent):
        frames.rest = b"\1" * len(frames.rest)
        return frames.end(sent)


@lie("an end whose tag covers its header alone")
class EndOfHeader(Lie):
    def end_frame(self, frames, sent):
        zeros, frames.rest = frames.rest, b""
        return frames.end(sent) + zeros


@lie("an end of 32 bytes")
class ShortEnd(Lie):
    def end_frame(self, frames, sent):
        frames.rest = b""
        return frames.end(sent)


# Connections and clocks.


@lie("a second hello with a higher attempt in mid-run")
class SecondHello(Lie):
    """The packets go on along the first connection."""

    def in_mid_run(self, agent):
        first = agent.clients[0]
        frames = handshake.RunClient(agent.prepare.key, int(agent.prepare.run_id, 16), agent.prepare.agent_index,
                                     first.frames.client, attempt=2)
        self.second = fake_agent.open_connection(frames, first.address)


@lie("a clock 10 s ahead, claimed the server's")
class Ahead10(Lie):
    clock_ahead_ns = 10 * SECOND_NS


@lie("a clock 10 s behind, claimed the server's")
class Behind10(Lie):
    clock_ahead_ns = -10 * SECOND_NS


@lie("a clock 1 ms ahead, claimed the server's")
class Ahead1Ms(Lie):
    clock_ahead_ns = MS_NS


@lie("a clock 1 ms behind, claimed the server's")
class Behind1Ms(Lie):
    clock_ahead_ns = -MS_NS


@lie("never answers a probe of the clock")
class NoProbes(Lie):
    answers_probes = False


@lie("a clock whose readings jump by 1 s in mid-run")
class Jumps(Lie):
    def in_mid_run(self, agent):
        self.readings_ahead_ns = SECOND_NS

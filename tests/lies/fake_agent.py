"""An agent in Python, written from agent_service.proto and docs/protocol.md alone.

It registers, answers the exchanges of clock readings, connects its clients, sends what its `Course` makes of
the schedule and reports what the course claims. The messages come from the server's reflection (pip install
grpcio grpcio-reflection), so that a change of the contract needs no step of generation here.

    with FakeAgent(messages, name, course) as agent:   registered
        agent.over.wait()                              its one run is over

Times are ns of the agent's clock: CLOCK_MONOTONIC, and what the course's clock is ahead of it. One thread writes for
all clients, so that a load of a few hundred writes a second is as much as it sends in time.

Whatever the course claims, `off_ns` has how much later than the server's schedule each packet was truly written.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
import queue
import select
import socket
import struct
import sys
import threading
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from loads import reference
from torturing import handshake

SECOND_NS = 1_000_000_000
PROTOCOL_VERSION = 2
CAPABILITIES = ["profile.constant", "profile.poisson", "groups", "phase.auto", "echo", "packet_size"]
ALIVE_EVERY_S = 0.5
NICE = -10
# The longest wait for an answer on the data port.
ANSWER_S = 10
LATENESS_MAX_NS = (1 << 32) - 1
# From linux/tcp.h: where tcpi_bytes_acked stands in struct tcp_info.
BYTES_ACKED_AT = 120
# The same spin as a pacing thread needs: a sleep is about this much too long.
SPIN_NS = 200_000


@dataclasses.dataclass
class Packet:
    """One packet as it is to be written. Times are from the start."""

    sequence: int
    due_ns: int
    # When it is written; packets of one instant share a write.
    at_ns: int


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The schedule of one client at a steady rate, from the start of the run: plan.proto has the formula."""

    # That of the client's first packet.
    start_ns: int
    rate_millihertz: int
    batch: int
    packets: int
    duration_ns: int

    def due_ns(self, n):
        return self.start_ns + (n - n % self.batch) * 1000 * SECOND_NS // self.rate_millihertz

    @property
    def period_ns(self):
        return self.batch * 1000 * SECOND_NS // self.rate_millihertz

    @property
    def end_ns(self):
        return self.due_ns(self.packets - 1)


@dataclasses.dataclass(frozen=True)
class Arrivals:
    """The schedule of one client with random arrivals, as the reference has it. They begin at the start of the run."""

    dues: tuple
    start_ns: int = 0

    def due_ns(self, n):
        return self.dues[n]

    @property
    def packets(self):
        return len(self.dues)


class Course:
    """What an agent does: the honest one. A lie overrides a part of it."""

    # Whether it claims a clock that is not the server's, and by how much its clock is ahead of the real one.
    is_foreign = False
    clock_ahead_ns = 0
    answers_probes = True
    # By how much the readings that it sends are ahead of its clock.
    readings_ahead_ns = 0

    def lateness_ns(self, late_ns):
        """What a packet claims that is written so late."""
        return late_ns

    def start_ns(self, asked_ns):
        """When the schedule begins, from when the server asked for."""
        return asked_ns

    def seed(self, asked):
        """What random arrivals are drawn from, from what the server asked for."""
        return asked

    def profiles(self, asked):
        """The profiles of the groups, from those that the server asked for."""
        return asked

    def packet_bytes(self, asked):
        """The size of its packets, from that which the server asked for."""
        return asked or handshake.FRAME_BYTES

    def end_frame(self, frames, sent):
        """What a client sends behind its last packet."""
        return frames.end(sent)

    def start_frames(self, frames, start_ns, offset_ns):
        """What a client sends before its first packet: the run starts at `start_ns`, the client `offset_ns` later."""
        return frames.start(start_ns + offset_ns, offset_ns)

    def packets(self, schedule):
        """The packets of one client in the order in which they are written. Called before the start."""
        dues = ((n, schedule.due_ns(n)) for n in range(schedule.packets))
        return [Packet(n, due_ns, due_ns) for n, due_ns in dues]

    def in_mid_run(self, agent):
        """Called once, when half of the packets have been written."""

    def progress(self, progress):
        """Changes a message of progress."""

    def record(self, record, schedule):
        """Changes the record of one client."""

    def records(self, records):
        """Changes the list of all records."""

    def round_trips(self, pairs):
        """The round trips from due and from write of a group, from those of its replies, ns."""
        return [due_ns for due_ns, _ in pairs], [write_ns for _, write_ns in pairs]

    def finished(self, finished):
        """Changes the last message."""


class Messages:
    """The types of the API, as reflection describes them."""

    def __init__(self, channel):
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = pool.FindServiceByName("metronome.v1.AgentService").FindMethodByName("Session")
        self.pool = pool
        self.Request = message_factory.GetMessageClass(method.input_type)
        response = message_factory.GetMessageClass(method.output_type)
        self.open_session = channel.stream_stream(
            "/metronome.v1.AgentService/Session",
            request_serializer=self.Request.SerializeToString,
            response_deserializer=response.FromString,
        )


class FakeAgent:
    """One session with one run. `over` is set when the run is over or the server has ended the stream."""

    def __init__(self, messages, name, course, max_clients=100):
        self.messages, self.name, self.course, self.max_clients = messages, name, course, max_clients
        self.outgoing = queue.Queue()
        self.welcomed, self.over = threading.Event(), threading.Event()
        self.failure = None
        self.clients, self.prepare = [], None
        self.off_ns, self.planned = [], 0

    def __enter__(self):
        self.call = self.messages.open_session(iter(self.outgoing.get, None))
        self.send("register", self.registration())
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self.follow, self.live)]
        for thread in self.threads:
            thread.start()
        if not self.welcomed.wait(ANSWER_S):
            self.call.cancel()
            raise SystemExit(f"the server does not welcome {self.name}: {self.failure}")
        return self

    def __exit__(self, *_):
        self.over.set()
        self.outgoing.put(None)
        self.call.cancel()
        for client in self.clients:
            client.close()

    def send(self, kind, fields):
        request = self.messages.Request()
        part = getattr(request, kind)
        part.SetInParent()
        for name, value in fields.items():
            set_field(part, name, value)
        self.outgoing.put(request)
        return request

    def registration(self):
        boot_id = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = pathlib.Path("/proc/self/ns/time")
        foreign = "00000000-0000-4000-8000-000000000000"
        clock = {"boot_id": foreign if self.course.is_foreign else boot_id,
                 "time_namespace": str(namespace.readlink()) if namespace.exists() else ""}
        return {"protocol_version_min": PROTOCOL_VERSION, "protocol_version_max": PROTOCOL_VERSION, "name": self.name,
                "capabilities": CAPABILITIES,
                "capacity": {"max_clients": self.max_clients, "cores": 1}, "clock": clock, "version": "0"}

    def now_ns(self):
        """This agent's clock, as it claims it."""
        return time.monotonic_ns() + self.course.clock_ahead_ns

    def live(self):
        while not self.over.wait(ALIVE_EVERY_S):
            self.send("alive", {})

    def follow(self):
        """Carries out the server's orders until the stream ends."""
        try:
            for order in self.call:
                kind = order.WhichOneof("message")
                if handle := getattr(self, f"on_{kind}", None):
                    handle(getattr(order, kind))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                self.failure = f"{error.code().name}: {error.details()}"
        except Exception as error:  # The run must end, whatever the fault is; `failure` has it.
            self.failure = f"{type(error).__name__}: {error}"
        self.over.set()

    def on_welcome(self, _):
        self.welcomed.set()

    def on_clock_probe(self, probe):
        if self.course.answers_probes:
            received_ns = self.now_ns() + self.course.readings_ahead_ns
            sent_ns = self.now_ns() + self.course.readings_ahead_ns
            self.send("clock_reading", {"server_ns": probe.server_ns, "received_ns": received_ns, "sent_ns": sent_ns})

    def on_prepare(self, prepare):
        self.prepare = prepare
        run = int(prepare.run_id, 16)
        for share in prepare.shares:
            host, _, port = share.target.receivers.address.rpartition(":")
            for index in range(share.first_client, share.first_client + share.clients):
                frames = handshake.RunClient(prepare.key, run, prepare.agent_index, index,
                                             packet_bytes=self.course.packet_bytes(share.packet_bytes))
                address = (host.strip("[]") or "127.0.0.1", int(port))
                self.clients.append(FakeClient(frames, address, share.group, share.echo_every))
        # Here, because the start follows within some 20 ms.
        self.schedules = self.make_schedules()
        self.planned = sum(schedule.packets for schedule in self.schedules)
        self.writes = self.make_writes()
        self.send("prepared", {"run_id": prepare.run_id})

    def on_start(self, start):
        is_absolute = start.WhichOneof("at") == "start_at_ns"
        asked_ns = start.start_at_ns if is_absolute else self.now_ns() + start.start_in.ToNanoseconds()
        threading.Thread(target=self.run, args=(asked_ns,), daemon=True).start()

    def on_stop(self, _):
        self.over.set()

    def run(self, asked_ns):
        """The load and the reports. A fault ends the session, and `failure` has it."""
        # As a pacing thread; not every user may set it.
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            self.load(self.course.start_ns(asked_ns), asked_ns)
            self.report()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
        self.over.set()

    def make_schedules(self):
        shares = self.prepare.shares
        profiles = self.course.profiles([share.profile for share in shares])
        shared = zip(shares, profiles, strict=True)
        return [schedule for share, profile in shared for schedule in self.schedules_of(share, profile)]

    def schedules_of(self, share, profile):
        """The schedules of the clients of one group."""
        duration_ns = self.prepare.duration.ToNanoseconds()
        if profile.WhichOneof("shape") == "poisson":
            shape = {"shape": "poisson", "rate_millihertz": profile.poisson.rate_millihertz}
            load = {"profile": shape, "duration_ns": duration_ns, "seed": self.course.seed(self.prepare.seed)}
            clients = range(share.first_client, share.first_client + share.clients)
            return [Arrivals(tuple(reference.poisson(load, client))) for client in clients]
        rate = profile.constant.rate_millihertz
        packets = max(1, rate * duration_ns // (1000 * SECOND_NS))
        first = Schedule(0, rate, share.batch, packets, duration_ns)
        room_ns = min(first.period_ns, duration_ns - first.end_ns)
        step_ns = min(20_000, room_ns // 2 // share.clients)
        return [dataclasses.replace(first, start_ns=step_ns * n) for n in range(share.clients)]

    def make_writes(self):
        """What is written, as tuples of the instant, the client, its schedule and the packets of one write."""
        writes = []
        for client, schedule in zip(self.clients, self.schedules):
            for packet in self.course.packets(schedule):
                if writes and writes[-1][1] is client and writes[-1][0] == packet.at_ns:
                    writes[-1][3].append(packet)
                else:
                    writes.append((packet.at_ns, client, schedule, [packet]))
        return sorted(writes, key=lambda write: write[0])

    def load(self, start_ns, asked_ns):
        """Writes the packets of all clients, each at its instant from `start_ns`; the server asked for `asked_ns`."""
        began_ns, next_progress = time.thread_time_ns(), 0
        self.oversleep_ns = 0
        for client, schedule in zip(self.clients, self.schedules):
            client.start(self.course.start_frames(client.frames, start_ns, schedule.start_ns))
        for number, (at_ns, client, schedule, packets) in enumerate(self.writes):
            if number == len(self.writes) // 2:
                self.course.in_mid_run(self)
            until_ns = start_ns + at_ns - self.course.clock_ahead_ns
            self.oversleep_ns = max(self.oversleep_ns, sleep_until(until_ns))
            now_ns = self.now_ns()
            client.write(packets, start_ns, now_ns, self.course.lateness_ns)
            self.off_ns += [now_ns - asked_ns - schedule.due_ns(packet.sequence) for packet in packets]
            if time.monotonic_ns() > next_progress:
                next_progress = time.monotonic_ns() + SECOND_NS // 4
                self.report_progress()
        self.cpu_ns = time.thread_time_ns() - began_ns

    def report_progress(self):
        sent = sum(client.sent for client in self.clients)
        counts = {"scheduled": sent, "sent": sent, "skipped": 0, "blocked": 0}
        progress = {"run_id": self.prepare.run_id, "counts": counts}
        self.course.progress(progress)
        self.send("progress", progress)

    def report(self):
        records = []
        for client, schedule in zip(self.clients, self.schedules):
            client.end(self.course.end_frame)
            record = client.record(schedule)
            self.course.record(record, schedule)
            records.append(record)
        self.course.records(records)
        self.send("client_records", {"run_id": self.prepare.run_id, "clients": records})
        finished = {"run_id": self.prepare.run_id, "cpu_ns": self.cpu_ns, "writes": len(self.writes),
                    "oversleep_max_ns": self.oversleep_ns}
        asking = sorted({client.group for client in self.clients if client.echo_every})
        if asking:
            finished["round_trips"] = [self.round_trips(group) for group in asking]
        self.course.finished(finished)
        self.send("finished", finished)

    def round_trips(self, group):
        """Both distributions of a group, as the course claims them."""
        pairs = [pair for client in self.clients if client.group == group for pair in client.round_trips]
        from_due, from_write = (buckets(times) for times in self.course.round_trips(pairs))
        return {"group": group, "from_due": from_due, "from_write": from_write}


class FakeClient:
    """One connection of the data port."""

    def __init__(self, frames, address, group="", echo_every=0):
        self.frames, self.address = frames, address
        self.group, self.echo_every = group, echo_every
        self.sent = self.digest = self.start_bytes = self.asked = 0
        self.acknowledged = self.failure = None
        # From due and from write of each reply, ns, and the frame behind the last one.
        self.round_trips, self.last_frame = [], b""
        self.socket = open_connection(frames, address)
        self.acked_before = self.bytes_acked()
        self.reader = threading.Thread(target=self.read_replies, daemon=True)
        if echo_every:
            self.reader.start()

    def read_replies(self):
        """Until the first frame that is none. Each is taken for what it claims: the course is what lies here."""
        with contextlib.suppress(OSError):
            while (frame := read_frame(self.socket))[2] & 15 == handshake.REPLY:
                due_ns, lateness_ns = struct.unpack_from("<QI", frame, 16)
                from_due_ns = time.monotonic_ns() - due_ns
                self.round_trips.append((from_due_ns, from_due_ns - lateness_ns))
            self.last_frame = frame

    def start(self, start_frames):
        """Sends the start."""
        if self.failure:
            return
        try:
            self.socket.sendall(start_frames)
            self.start_bytes = len(start_frames)
        except OSError as error:
            self.fail(f"the connection broke: {error}")

    def write(self, packets, start_ns, now_ns, claim):
        if self.failure:
            return
        data = bytearray()
        for packet in packets:
            due_ns = start_ns + packet.due_ns
            lateness_ns = min(max(claim(now_ns - due_ns), 0), LATENESS_MAX_NS)
            asks = bool(self.echo_every) and packet.sequence % self.echo_every == 0
            self.asked += asks
            frame = self.frames.packet(packet.sequence, due_ns, handshake.ECHO * asks, lateness_ns)
            checksum = int.from_bytes(frame[28:32], "little")
            self.digest = (self.digest + checksum * (2 * packet.sequence + 1)) % (1 << 64)
            data += frame
        try:
            self.socket.sendall(data)
            self.sent += len(packets)
        except OSError as error:
            self.fail(f"the connection broke: {error}")

    def end(self, end_frame):
        """Sends the end and waits for the peer's count."""
        if self.failure:
            return
        try:
            self.socket.sendall(end_frame(self.frames, self.sent))
            self.socket.shutdown(socket.SHUT_WR)
            if self.echo_every:
                self.reader.join(ANSWER_S)
            frame = self.last_frame or read_frame(self.socket)
        except OSError as error:
            return self.fail(f"the end was not acknowledged: {error}")
        self.acknowledged = int.from_bytes(frame[8:16], "little")
        if frame != self.frames.end_ack(self.acknowledged):
            self.acknowledged = None
            self.fail(f"the end was answered by {frame.hex()}")

    def fail(self, sentence):
        self.failure = sentence

    def record(self, schedule):
        counts = {"scheduled": schedule.packets, "sent": self.sent, "skipped": schedule.packets - self.sent, "blocked": 0}
        record = {"client": self.frames.client, "counts": counts, "digest": self.digest, "attempts": 1}
        if self.echo_every:
            replies = len(self.round_trips)
            counts |= {"replies_requested": self.asked, "replies_read": replies, "replies_unexpected": 0}
            record["round_trips"] = replies
        if self.acknowledged is not None:
            record["acknowledged"] = self.acknowledged
        # The end and the FIN are no packets.
        size = handshake.FRAME_BYTES + len(self.frames.rest)
        beyond = self.bytes_acked() - self.acked_before - self.start_bytes - size * self.sent
        record["kernel_acknowledged_bytes"] = size * self.sent + beyond - min(max(beyond, 0), size + 1)
        if self.failure:
            record["failure"] = {"code": "FAILURE_CODE_CONNECTION_BROKEN", "sentence": self.failure}
        return record

    def bytes_acked(self):
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED_AT + 8)
        return struct.unpack_from("<Q", info, BYTES_ACKED_AT)[0]

    def close(self):
        self.socket.close()


def open_connection(frames, address):
    """Connects and exchanges the hellos."""
    connection = socket.create_connection(address, timeout=ANSWER_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(frames.hello())
    answer = read_frame(connection)
    if answer != frames.hello_ack():
        connection.close()
        raise ConnectionError(f"the hello was answered by {answer.hex()}")
    return connection


def read_frame(connection):
    frame = b""
    while len(frame) < handshake.FRAME_BYTES:
        part = connection.recv(handshake.FRAME_BYTES - len(frame))
        if not part:
            raise ConnectionError(f"the peer closed after {len(frame)} bytes of an answer")
        frame += part
    return frame


def buckets(times):
    """A distribution as the API has it."""
    counts = collections.Counter(bucket(ns) for ns in times)
    indices = sorted(counts)
    return {"indices": indices, "counts": [counts[index] for index in indices]}


def bucket(ns):
    """The bucket of a time, as proto/histogram.rs has the layout."""
    units = min(max(ns, 0), (1 << 36) - 1) >> 3
    shift = (units | 0xFF).bit_length() - 8
    return (shift << 7) + (units >> shift)


def sleep_until(at_ns):
    """Returns how much too late it woke, ns; 0 where there was nothing to wait for."""
    left_ns = at_ns - time.monotonic_ns()
    if left_ns <= 0:
        return 0
    if left_ns > SPIN_NS:
        select.select([], [], [], (left_ns - SPIN_NS) / 1e9)
    while (now_ns := time.monotonic_ns()) < at_ns:
        pass
    return now_ns - at_ns


def set_field(message, name, value):
    """Sets a field from plain values; a list of dicts is a repeated message, a text may name an enum's value."""
    field = message.DESCRIPTOR.fields_by_name[name]
    if isinstance(value, dict):
        part = getattr(message, name)
        part.SetInParent()
        for inner, inner_value in value.items():
            set_field(part, inner, inner_value)
    elif isinstance(value, list) and field.message_type is None:
        getattr(message, name).extend(value)
    elif isinstance(value, list):
        for row in value:
            part = getattr(message, name).add()
            for inner, inner_value in row.items():
                set_field(part, inner, inner_value)
    elif field.enum_type and isinstance(value, str):
        setattr(message, name, field.enum_type.values_by_name[value].number)
    else:
        setattr(message, name, value)

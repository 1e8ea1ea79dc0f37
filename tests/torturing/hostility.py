"""Peers that mean no good: one act each, in a process of its own, that counts what it has done and seen.

An act prepares, waits for `begin`, and ends when it is told to. Every connection is followed to its end:
what the server has answered, and whether it should have. Connections come from several addresses of
127.0.0.0/8, since one has not enough ports.
"""

import itertools
import select
import socket
import struct
import time

from torturing import peers, sealed

# For anything that the server owes, on a machine that is busy as well.
PATIENCE_S = 30

# From linux/in.h: the port is chosen with the connection, so that each address has all of them for each peer.
IP_BIND_ADDRESS_NO_PORT = 24
SOURCES = 8

STORM_HZ = 2000
# Whoever opens thousands at a time on this host takes the cores that the clients need.
CROWD_HZ = 5000
# Each slow hello says a byte a second, not all at the same moment.
DRIP_EVERY_S = 1
DRIPS = 20
# The server counts from the accept, we from before.
HELLO_TIME_S = 5.0

ECHO_READERS = 4
# Far more than the buffers of both ends hold.
ECHOES = 20000
PORTION_BYTES = 4096
RECEIVE_BUFFER_BYTES = 4096

HALVES = 20
FLOOD = 300


class Act(peers.Actor):
    """The process of an act."""

    def __init__(self, act, address, secret, *sizes):
        super().__init__(live, act, address, secret, sizes)

    def begin(self):
        self.ours.send("begin")


def live(channel, act, address, secret, sizes):
    peers.take_descriptors()
    stage = Stage(channel, address, secret)
    try:
        act(stage, *sizes)
    except OSError as error:
        stage.fault(f"{act.__name__} ended early: {error}")
    # An act may be over before it is told to end.
    channel.recv()
    channel.send(stage.tally)


class Stage:
    """What every act needs: the way to the server, and its own account of what happened."""

    def __init__(self, channel, address, secret):
        host, _, port = address.rpartition(":")
        self.channel, self.secret = channel, secret
        self.host, self.port = host, int(port)
        self.tally = peers.Tally()

    def wait_for_begin(self):
        self.channel.recv()

    def is_over(self, wait_s=0.0):
        """Whether the end was asked for, now or within `wait_s`."""
        return self.channel.poll(wait_s)

    def connect(self, receive_buffer_bytes=None):
        connection = socket.socket()
        connection.settimeout(PATIENCE_S)
        if receive_buffer_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((f"127.0.0.{2 + self.tally.opened % SOURCES}", 0))
        connection.connect((self.host, self.port))
        self.tally.opened += 1
        return connection

    def count(self, sent_bytes, packets):
        """A connection of which the server is to say the same."""
        self.tally.counted += 1
        self.tally.bytes += sent_bytes
        self.tally.packets += packets

    def fault(self, sentence):
        self.tally.faults.append(sentence)


def storm(stage):
    """Connects and resets, thousands of times a second."""
    stage.wait_for_begin()
    started, done = time.monotonic(), 0
    while not stage.is_over(0.002):
        due = int((time.monotonic() - started) * STORM_HZ)
        # What is late by more than that is left out: a storm that lags is no flood.
        for _ in range(min(due - done, STORM_HZ // 20)):
            reset(stage.connect())
            stage.tally.silent += 1
            stage.tally.reset += 1
        done = due


def slow_hellos(stage, count):
    """Connections that say a hello byte by byte: each is told that it is late, 5 s after it came."""
    stage.wait_for_begin()
    waiting = Answers(stage)
    for pause_s in paces(CROWD_HZ, count):
        waiting.look(pause_s)
        waiting.add(stage.connect(), sealed.head(sealed.HELLO))
    deadline = time.monotonic() + PATIENCE_S
    drips, drip_at = 0, time.monotonic()
    while waiting.open and time.monotonic() < deadline:
        waiting.look(max(0.0, drip_at - time.monotonic()))
        if time.monotonic() >= drip_at:
            drip_at += DRIP_EVERY_S / DRIPS
            drips += 1
            # Whoever was answered says nothing more: that would reset the answer away.
            waiting.look(0)
            waiting.say(b"\x01", lambda descriptor: descriptor % DRIPS == drips % DRIPS)
    stage.tally.silent += count
    refused = [seconds for seconds, answer in waiting.answers if answer == sealed.refusal(sealed.LATE)]
    if len(refused) != count:
        stage.fault(f"{count - len(refused)} of {count} slow hellos were not told that they are late")
    if refused and min(refused) < HELLO_TIME_S:
        stage.fault(f"a slow hello was refused after {min(refused):.3f} s, before its {HELLO_TIME_S:.0f} s were over")


def crowd(stage, places, beyond):
    """More raw clients than there are places: so many stay, the others are told that the server is full."""
    stage.wait_for_begin()
    waiting, packet = Answers(stage), b"tick" * 8
    for pause_s in paces(CROWD_HZ, places + beyond):
        waiting.look(pause_s)
        waiting.add(stage.connect(), packet)
    deadline = time.monotonic() + PATIENCE_S
    while len(waiting.answers) < beyond and time.monotonic() < deadline:
        waiting.look(0.1)
    while not stage.is_over(0.1):
        waiting.look(0)
    refused = [answer for _, answer in waiting.answers if answer == sealed.refusal(sealed.FULL)]
    stage.tally.refused_full += len(refused)
    if len(refused) != beyond or len(waiting.answers) != beyond:
        stage.fault(f"{len(refused)} of {len(waiting.answers)} that were answered were told it is full, not {beyond}")
    for connection in waiting.leave():
        ended_empty(stage, connection, "a raw client that had a place")
        stage.count(len(packet), 1)


def mute_readers(stage):
    """Clients that ask for echoes and never read them: they lose echoes, and no packet is lost of theirs."""
    due_ns = time.monotonic_ns()
    clients = [sealed.Client(stage.secret, client) for client in range(ECHO_READERS)]
    packets = [b"".join(client.packet(number, due_ns, sealed.ECHO) for number in range(ECHOES)) for client in clients]
    stage.wait_for_begin()
    connections = [greet(stage, client, RECEIVE_BUFFER_BYTES) for client in clients]
    # In small portions: a worker keeps no more echoes of one read than it can owe.
    for start in range(0, len(packets[0]), PORTION_BYTES):
        for connection, stream in zip(connections, packets):
            connection.sendall(stream[start : start + PORTION_BYTES])
        time.sleep(0.004)
    while not stage.is_over(1):
        pass
    for client, connection, stream in zip(clients, connections, packets):
        end = client.end(ECHOES)
        connection.sendall(end)
        connection.shutdown(socket.SHUT_WR)
        heard = rest(connection)
        stage.count(len(stream) + 2 * sealed.FRAME_BYTES, ECHOES)
        if heard[-sealed.FRAME_BYTES :] != client.end_ack(ECHOES):
            stage.fault(f"the end of client {client.client} was not acknowledged with {ECHOES} packets")
        frames = [heard[at : at + sealed.FRAME_BYTES] for at in range(0, len(heard), sealed.FRAME_BYTES)]
        # In order, and each once: what follows in the stream has to hold all that follows among the echoes.
        left = iter([stream[at : at + sealed.FRAME_BYTES] for at in range(0, len(stream), sealed.FRAME_BYTES)])
        if not all(frame in left for frame in frames[:-1]):
            stage.fault(f"the echoes of client {client.client} are not what it has sent")
        if len(frames) > ECHOES:
            stage.fault(f"client {client.client} got every echo: its window was never shut")
        connection.close()


def halves(stage):
    """Clients and raw clients that stop in mid-packet, and go with a FIN or a reset."""
    clients = [sealed.Client(stage.secret, client) for client in range(HALVES)]
    stage.wait_for_begin()
    opened = []
    for client in clients:
        said = b"".join(client.packet(number, time.monotonic_ns()) for number in range(4))[:-19]
        opened.append((greet(stage, client), said, sealed.FRAME_BYTES))
        opened.append((stage.connect(), b"tick" * 11 + b"t", 0))
    for connection, said, before in opened:
        connection.sendall(said)
        stage.count(before + len(said), len(said) // sealed.FRAME_BYTES)
    while not stage.is_over(1):
        pass
    for number, (connection, *_) in enumerate(opened):
        # Both kinds of client go both ways.
        if number // 2 % 2:
            reset(connection)
        else:
            connection.shutdown(socket.SHUT_WR)
            ended_empty(stage, connection, "one that stopped in mid-packet")


def flood(stage):
    """Silent connections, more than there are descriptors for, and a new one for each that is sent away."""
    stage.wait_for_begin()
    waiting = Answers(stage)
    for pause_s in paces(STORM_HZ):
        waiting.look(pause_s)
        if stage.is_over():
            break
        if len(waiting.open) < FLOOD:
            waiting.add(stage.connect(), b"")
    deadline = time.monotonic() + PATIENCE_S
    while waiting.open and time.monotonic() < deadline:
        waiting.look(0.1)
    for _, answer in waiting.answers:
        full, late = (answer == sealed.refusal(code) for code in (sealed.FULL, sealed.LATE))
        stage.tally.refused_full += full
        stage.tally.silent += late
        if not full and not late:
            stage.fault(f"a silent connection was answered {answer.hex() or 'not at all'}")
    if waiting.open:
        stage.fault(f"{len(waiting.open)} silent connections were never answered")


class Answers:
    """Open connections, and the answers of those that the server has ended, each with its age in seconds."""

    def __init__(self, stage):
        self.stage, self.poller = stage, select.epoll()
        self.open, self.answers = {}, []

    def add(self, connection, said):
        began = time.monotonic()
        connection.sendall(said)
        connection.setblocking(False)
        self.open[connection.fileno()] = (connection, began, bytearray())
        self.poller.register(connection.fileno(), select.EPOLLIN)

    def say(self, data, is_asked):
        for descriptor, (connection, _, heard) in self.open.items():
            try:
                if not heard and is_asked(descriptor):
                    connection.send(data)
            except OSError:
                pass  # It was ended meanwhile, which the next look finds.

    def look(self, wait_s):
        # By default it tells of 1,023 at most, and the others would be looked at too late.
        for descriptor, _ in self.poller.poll(wait_s, max(1, len(self.open))):
            connection, began, heard = self.open[descriptor]
            try:
                came = connection.recv(4096)
            except OSError:
                came = b""
            heard += came
            if not came:
                self.answers.append((time.monotonic() - began, bytes(heard)))
                del self.open[descriptor]
                connection.close()

    def leave(self):
        """Those that are still open, blocking again."""
        left = [connection for connection, _, _ in self.open.values()]
        for connection in left:
            connection.settimeout(PATIENCE_S)
            connection.shutdown(socket.SHUT_WR)
        return left


def paces(rate_hz, count=None):
    """How long to wait before the next of `count`, or of any number, at this rate."""
    started = time.monotonic()
    for number in itertools.count() if count is None else range(count):
        yield max(0.0, started + number / rate_hz - time.monotonic())


def greet(stage, client, receive_buffer_bytes=None):
    """A connection whose hello was acknowledged."""
    connection = stage.connect(receive_buffer_bytes)
    connection.sendall(client.hello())
    ack = connection.recv(sealed.FRAME_BYTES, socket.MSG_WAITALL)
    if ack != client.hello_ack():
        stage.fault(f"the hello of client {client.client} was answered {ack.hex() or 'not at all'}")
    return connection


def rest(connection):
    """All that comes until the server's end of the stream."""
    heard = bytearray()
    while came := connection.recv(1 << 16):
        heard += came
    return bytes(heard)


def ended_empty(stage, connection, who):
    answer = rest(connection)
    if answer:
        stage.fault(f"{who} was answered {answer.hex()}")
    connection.close()


def reset(connection):
    linger_on_for_0_s = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_on_for_0_s)
    connection.close()

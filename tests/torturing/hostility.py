"""Hostile peers: each attack runs in a process of its own, which counts what it has sent and received.

An attack prepares, waits for `begin`, and ends on request. Every connection is followed to its end: what
the server has answered, and whether that was correct. Connections come from several addresses of
127.0.0.0/8, since one address does not have enough ports.
"""

import itertools
import select
import socket
import struct
import time

from torturing import handshake, peers

# For every answer of the server, also on a busy machine.
DEADLINE_S = 30

# From linux/in.h: the port is chosen on connect, so that each address has all ports for each peer.
IP_BIND_ADDRESS_NO_PORT = 24
SOURCES = 8

STORM_HZ = 2000
PROBES_HZ = 500
# Opening thousands at once on this host would take the cores that the clients need.
CROWD_HZ = 5000
# Each slow hello sends a byte a second, not all at the same moment.
DRIP_EVERY_S = 1
DRIPS = 20
# The server counts from the accept, this script from before it.
HELLO_TIME_S = 5.0

ECHO_READERS = 4
# Far more than the buffers of both ends hold.
ECHOES = 20000
PORTION_BYTES = 4096
RECEIVE_BUFFER_BYTES = 4096
# What a slow reader reads after each portion of its packets: less than a reply.
SIPS_BYTES = 7

HALVES = 20
FLOOD = 300


class Attack(peers.ChildProcess):
    """The process that runs an attack."""

    def __init__(self, attack, address, secret, *sizes):
        super().__init__(run_attack, attack, address, secret, sizes)

    def begin(self):
        self.ours.send("begin")


def run_attack(pipe, attack, address, secret, sizes):
    peers.take_descriptors()
    attacker = Attacker(pipe, address, secret)
    try:
        attack(attacker, *sizes)
    except OSError as error:
        attacker.fault(f"{attack.__name__} ended early: {error}")
    # An attack may be over before its end is requested.
    pipe.recv()
    pipe.send(attacker.counts)


class Attacker:
    """What every attack needs: how to reach the server, and its own counts."""

    def __init__(self, pipe, address, secret):
        host, _, port = address.rpartition(":")
        self.pipe, self.secret = pipe, secret
        self.host, self.port = host, int(port)
        self.counts = peers.PeerCounts()

    def wait_for_begin(self):
        self.pipe.recv()

    def is_over(self, wait_s=0.0):
        """Whether the end was requested, now or within `wait_s`."""
        return self.pipe.poll(wait_s)

    def connect(self, receive_buffer_bytes=None):
        connection = socket.socket()
        connection.settimeout(DEADLINE_S)
        if receive_buffer_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((f"127.0.0.{2 + self.counts.opened % SOURCES}", 0))
        connection.connect((self.host, self.port))
        self.counts.opened += 1
        return connection

    def count(self, sent_bytes, packets):
        """Counts a connection that the server must count in the same way."""
        self.counts.counted += 1
        self.counts.bytes += sent_bytes
        self.counts.packets += packets

    def fault(self, sentence):
        self.counts.faults.append(sentence)


def storm(attacker):
    """Connects and resets, thousands of times a second."""
    attacker.wait_for_begin()
    started, done = time.monotonic(), 0
    while not attacker.is_over(0.002):
        due = int((time.monotonic() - started) * STORM_HZ)
        # At most 50 ms are caught up, so that a storm that lags does not become a burst.
        for _ in range(min(due - done, STORM_HZ // 20)):
            reset(attacker.connect())
            attacker.counts.silent += 1
            attacker.counts.reset += 1
        done = due


def slow_hellos(attacker, count):
    """Connections that send a hello byte by byte: each is refused as late, 5 s after it was accepted."""
    attacker.wait_for_begin()
    waiting = Answers(attacker)
    for pause_s in paces(CROWD_HZ, count):
        waiting.look(pause_s)
        waiting.add(attacker.connect(), handshake.head(handshake.HELLO))
    deadline = time.monotonic() + DEADLINE_S
    drips, drip_at = 0, time.monotonic()
    while waiting.open and time.monotonic() < deadline:
        waiting.look(max(0.0, drip_at - time.monotonic()))
        if time.monotonic() >= drip_at:
            drip_at += DRIP_EVERY_S / DRIPS
            drips += 1
            # A connection that was answered sends nothing more: a reset would discard the answer.
            waiting.look(0)
            waiting.send(b"\x01", lambda descriptor: descriptor % DRIPS == drips % DRIPS)
    attacker.counts.silent += count
    refused = [seconds for seconds, answer in waiting.answers if answer == handshake.refusal(handshake.LATE)]
    if len(refused) != count:
        attacker.fault(f"{count - len(refused)} of {count} slow hellos were not refused as late")
    if refused and min(refused) < HELLO_TIME_S:
        attacker.fault(f"a slow hello was refused after {min(refused):.3f} s, before its {HELLO_TIME_S:.0f} s were over")


def crowd(attacker, slots, beyond):
    """More raw clients than there are slots: `slots` of them stay, the others are refused because the server is full."""
    attacker.wait_for_begin()
    waiting, packet = Answers(attacker), b"tick" * 8
    for pause_s in paces(CROWD_HZ, slots + beyond):
        waiting.look(pause_s)
        waiting.add(attacker.connect(), packet)
    deadline = time.monotonic() + DEADLINE_S
    while len(waiting.answers) < beyond and time.monotonic() < deadline:
        waiting.look(0.1)
    while not attacker.is_over(0.1):
        waiting.look(0)
    refused = [answer for _, answer in waiting.answers if answer == handshake.refusal(handshake.FULL)]
    attacker.counts.refused_full += len(refused)
    if len(refused) != beyond or len(waiting.answers) != beyond:
        attacker.fault(f"{len(refused)} of {len(waiting.answers)} answers were the refusal of a full server, not {beyond}")
    for connection in waiting.leave():
        ended_empty(attacker, connection, "a raw client that had a slot")
        attacker.count(len(packet), 1)


def mute_readers(attacker):
    """Clients that ask for a reply with every packet and never read one: replies are dropped, and none of their packets
    is lost."""
    reply_readers(attacker, lambda connection: b"")


def slow_readers(attacker):
    """The same, but each reads now and then a few bytes, no whole reply."""
    reply_readers(attacker, lambda connection: connection.recv(SIPS_BYTES))


def reply_readers(attacker, read):
    """Clients of which each packet asks for a reply, and `read` returns what is read after each portion."""
    due_ns = time.monotonic_ns()
    clients = [handshake.Client(attacker.secret, client) for client in range(ECHO_READERS)]
    packets = [b"".join(client.packet(number, due_ns, handshake.ECHO) for number in range(ECHOES)) for client in clients]
    attacker.wait_for_begin()
    connections = [greet(attacker, client, RECEIVE_BUFFER_BYTES) for client in clients]
    # In small portions: the server keeps at most 254 replies of a connection.
    early = [bytearray() for _ in clients]
    for start in range(0, len(packets[0]), PORTION_BYTES):
        for connection, stream, came in zip(connections, packets, early):
            connection.sendall(stream[start : start + PORTION_BYTES])
            came += read(connection)
        time.sleep(0.004)
    while not attacker.is_over(1):
        pass
    for client, connection, stream, came in zip(clients, connections, packets, early):
        end = client.end(ECHOES)
        connection.sendall(end)
        connection.shutdown(socket.SHUT_WR)
        received = bytes(came) + read_to_end(connection)
        attacker.count(len(stream) + 3 * handshake.FRAME_BYTES, ECHOES)
        if received[-handshake.FRAME_BYTES :] != client.end_ack(ECHOES):
            attacker.fault(f"the end of client {client.client} was not acknowledged with {ECHOES} packets")
        frames = [received[at : at + handshake.FRAME_BYTES] for at in range(0, len(received), handshake.FRAME_BYTES)]
        # In order, and each once: the replies must be a subsequence of those to the packets that were sent.
        left = (handshake.reply(stream[at : at + handshake.FRAME_BYTES]) for at in range(0, len(stream), handshake.FRAME_BYTES))
        if not all(frame in left for frame in frames[:-1]):
            attacker.fault(f"the replies of client {client.client} are not those to its packets")
        if len(frames) > ECHOES:
            attacker.fault(f"client {client.client} got every reply: its window was never shut")
        connection.close()


def halves(attacker):
    """Clients and raw clients that stop in mid-packet and end with a FIN or a reset."""
    clients = [handshake.Client(attacker.secret, client) for client in range(HALVES)]
    attacker.wait_for_begin()
    opened = []
    for client in clients:
        data = b"".join(client.packet(number, time.monotonic_ns()) for number in range(4))[:-19]
        opened.append((greet(attacker, client), data, 2 * handshake.FRAME_BYTES))
        opened.append((attacker.connect(), b"tick" * 11 + b"t", 0))
    for connection, data, before in opened:
        connection.sendall(data)
        attacker.count(before + len(data), len(data) // handshake.FRAME_BYTES)
    while not attacker.is_over(1):
        pass
    for number, (connection, *_) in enumerate(opened):
        # Both kinds of client end in both ways.
        if number // 2 % 2:
            reset(connection)
        else:
            connection.shutdown(socket.SHUT_WR)
            ended_empty(attacker, connection, "one that stopped in mid-packet")


def probes(attacker):
    """Probes in front of any hello, and hellos of probes without the key: each is refused with its reason."""
    forged = handshake.RunClient(bytes(32), 1, 0, handshake.PROBE_CLIENT)
    first = [(handshake.probe(0), handshake.PROTOCOL), (forged.hello() + handshake.probe(0), handshake.HELLO_REFUSED)]
    attacker.wait_for_begin()
    waitings = [Answers(attacker) for _ in first]
    for number, pause_s in enumerate(paces(PROBES_HZ)):
        if attacker.is_over(pause_s):
            break
        waitings[number % 2].look(0)
        waitings[number % 2].add(attacker.connect(), first[number % 2][0])
    deadline = time.monotonic() + DEADLINE_S
    for waiting, (_, code) in zip(waitings, first):
        while waiting.open and time.monotonic() < deadline:
            waiting.look(0.1)
        refused = [answer for _, answer in waiting.answers if answer == handshake.refusal(code)]
        if waiting.open or len(refused) < len(waiting.answers):
            attacker.fault(f"{len(waiting.open)} + {len(waiting.answers) - len(refused)} were not refused with {code}")


def flood(attacker):
    """Silent connections, more than there are descriptors for, and a new one for each that is refused."""
    attacker.wait_for_begin()
    waiting = Answers(attacker)
    for pause_s in paces(STORM_HZ):
        waiting.look(pause_s)
        if attacker.is_over():
            break
        if len(waiting.open) < FLOOD:
            waiting.add(attacker.connect(), b"")
    deadline = time.monotonic() + DEADLINE_S
    while waiting.open and time.monotonic() < deadline:
        waiting.look(0.1)
    for _, answer in waiting.answers:
        full, late = (answer == handshake.refusal(code) for code in (handshake.FULL, handshake.LATE))
        attacker.counts.refused_full += full
        attacker.counts.silent += late
        if not full and not late:
            attacker.fault(f"a silent connection was answered {answer.hex() or 'not at all'}")
    if waiting.open:
        attacker.fault(f"{len(waiting.open)} silent connections were never answered")


class Answers:
    """Open connections, and the answers of those that the server has ended, each with its age in seconds."""

    def __init__(self, attacker):
        self.attacker, self.poller = attacker, select.epoll()
        self.open, self.answers = {}, []

    def add(self, connection, data):
        began = time.monotonic()
        connection.sendall(data)
        connection.setblocking(False)
        self.open[connection.fileno()] = (connection, began, bytearray())
        self.poller.register(connection.fileno(), select.EPOLLIN)

    def send(self, data, is_asked):
        for descriptor, (connection, _, received) in self.open.items():
            try:
                if not received and is_asked(descriptor):
                    connection.send(data)
            except OSError:
                pass  # It was ended meanwhile; the next look notices.

    def look(self, wait_s):
        # By default it returns at most 1,023 events, and the others would be looked at too late.
        for descriptor, _ in self.poller.poll(wait_s, max(1, len(self.open))):
            connection, began, received = self.open[descriptor]
            try:
                came = connection.recv(4096)
            except OSError:
                came = b""
            received += came
            if not came:
                self.answers.append((time.monotonic() - began, bytes(received)))
                del self.open[descriptor]
                connection.close()

    def leave(self):
        """Ends the sending side of the connections that are still open and returns them, blocking again."""
        left = [connection for connection, _, _ in self.open.values()]
        for connection in left:
            connection.settimeout(DEADLINE_S)
            connection.shutdown(socket.SHUT_WR)
        return left


def paces(rate_hz, count=None):
    """Yields how long to wait before each of `count` connections, or of any number, at this rate."""
    started = time.monotonic()
    for number in itertools.count() if count is None else range(count):
        yield max(0.0, started + number / rate_hz - time.monotonic())


def greet(attacker, client, receive_buffer_bytes=None):
    """Returns a connection whose hello was acknowledged."""
    connection = attacker.connect(receive_buffer_bytes)
    connection.sendall(client.challenge())
    challenge = connection.recv(handshake.FRAME_BYTES, socket.MSG_WAITALL)
    if not client.is_challenged_by(challenge):
        attacker.fault(f"the challenge of client {client.client} was answered {challenge.hex() or 'not at all'}")
    connection.sendall(client.hello())
    ack = connection.recv(handshake.FRAME_BYTES, socket.MSG_WAITALL)
    if ack != client.hello_ack():
        attacker.fault(f"the hello of client {client.client} was answered {ack.hex() or 'not at all'}")
    return connection


def read_to_end(connection):
    """Returns everything that comes until the server ends its side of the stream."""
    received = bytearray()
    while came := connection.recv(1 << 16):
        received += came
    return bytes(received)


def ended_empty(attacker, connection, who):
    answer = read_to_end(connection)
    if answer:
        attacker.fault(f"{who} was answered {answer.hex()}")
    connection.close()


def reset(connection):
    linger_on_for_0_s = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_on_for_0_s)
    connection.close()

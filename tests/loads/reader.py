"""A neutral reader: takes what a generator sends, stamps each packet, and depends on nothing that Metronome computes.

It answers as a server of the static run does (docs/protocol.md), since only then do packets carry their due times. The stamp is
the kernel's, CLOCK_REALTIME ns at which the segment came in over loopback (SO_TIMESTAMPNS), so it does not matter how late this
program reads. Segments of a connection that wait together are joined and have the stamp of the last one: gaps shorter than the
time until a read come out as 0, which `joined` counts. Where the kernel gives no stamp, the time of the read is taken."""

import gc
import secrets
import select
import socket
import struct
import time
from typing import NamedTuple

from torturing import handshake
from torturing.handshake import CHALLENGE, END, FRAME_BYTES, HELLO, NONCE_BYTES, PACKET

# Of Linux; the socket module does not have it.
SO_TIMESTAMPNS = 35
STAMP = struct.Struct("@qq")
FIELDS = struct.Struct("<4xIQQII")


class Packet(NamedTuple):
    """What one packet states of itself, and when it came."""

    client: int
    sequence: int
    due_ns: int
    stamp_ns: int


class Strange(Exception):
    """A frame that does not belong where it came."""


class Connection:
    """One client of the static run whose key derives from these 32 bytes."""

    def __init__(self, sock, secret):
        self.sock = sock
        self.static_key = handshake.mac(secret, b"metronome key v1" + struct.pack("<QH", 0, 0))
        self.nonce, self.key = secrets.token_bytes(NONCE_BYTES), None
        # The frames of its own side as the client makes them, once it has said hello.
        self.of_client = None
        self.frames, self.begun = [], b""
        self.has_ended = False

    def read(self):
        """Takes what has come, frame by frame; whether the connection is still open."""
        while True:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(FRAME_BYTES - len(self.begun), 64)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.begun += data
            if len(self.begun) == FRAME_BYTES:
                frame, self.begun = self.begun, b""
                # Packets are many: what they state is looked at later.
                if frame[2] == 1 << 4 | PACKET and self.of_client and not self.has_ended:
                    self.frames.append((frame, stamp_ns(ancillary)))
                else:
                    self.answer(frame)

    def answer(self, frame):
        kind = next((kind for kind in (CHALLENGE, HELLO, END) if frame[:3] == handshake.head(kind)), None)
        if kind == CHALLENGE and not self.key:
            self.key = handshake.mac(self.static_key, b"metronome connection v2" + frame[-NONCE_BYTES:] + self.nonce)
            self.sock.sendall(handshake.challenge(self.nonce))
        elif kind == HELLO and self.key and not self.of_client:
            attempt, agent, client, run = struct.unpack("<3xBHHQ16x", frame)
            self.of_client = handshake.RunClient(self.key, run, agent, client, attempt)
            self.expect(self.of_client.hello(), frame)
            self.sock.sendall(self.of_client.hello_ack())
        elif kind == END and self.of_client and not self.has_ended:
            self.expect(self.of_client.end(len(self.frames)), frame)
            self.has_ended = True
            self.sock.sendall(self.of_client.end_ack(len(self.frames)))
        else:
            raise Strange(f"no frame belongs here: {frame.hex()}")

    def expect(self, expected, frame):
        if frame != expected:
            raise Strange(f"another frame was expected: {frame.hex()} instead of {expected.hex()}")

    def packets(self):
        if not self.has_ended:
            raise Strange(f"a connection was closed behind {len(self.frames)} packets, without an end")
        found = [Packet(*FIELDS.unpack(frame)[:3], stamp) for frame, stamp in self.frames]
        if [packet.sequence for packet in found] != list(range(len(found))):
            raise Strange("sequence numbers do not count up from 0")
        return found


def listener():
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    # Connections inherit it; on one that is set later, the first packets have no stamp.
    listening.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return listening


def stamp_ns(ancillary):
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, ns = STAMP.unpack(data[: STAMP.size])
            return seconds * 1_000_000_000 + ns
    return time.time_ns()


def read_all(listening, secret, number, seconds, is_running):
    """Reads so many connections to their ends; the packets of each. Raises TimeoutError when they have not ended after so many seconds,
    or when the sender runs no more and has not opened them all; Strange for what no client sends."""
    until = time.monotonic() + seconds
    connections, ended = {}, 0
    gc.disable()
    with select.epoll() as poller:
        poller.register(listening, select.EPOLLIN)
        try:
            while ended < number:
                if time.monotonic() > until:
                    raise TimeoutError(f"{ended} of {number} connections have ended after {seconds} s")
                events = poller.poll(0.1)
                if not events and len(connections) < number and not is_running():
                    raise TimeoutError(f"the sender has ended and opened {len(connections)} of {number} connections")
                for descriptor, _ in events:
                    if descriptor == listening.fileno():
                        sock, _ = listening.accept()
                        sock.setblocking(False)
                        connections[sock.fileno()] = Connection(sock, secret)
                        poller.register(sock, select.EPOLLIN)
                    elif not connections[descriptor].read():
                        # Closed below, so that no other connection has the same descriptor.
                        poller.unregister(descriptor)
                        ended += 1
        finally:
            gc.enable()
            for connection in connections.values():
                connection.sock.close()
    return [connection.packets() for connection in connections.values()]


def joined(packets):
    """Packets with the stamp of the one before them."""
    return sum(later.stamp_ns == earlier.stamp_ns for earlier, later in zip(packets, packets[1:], strict=False))

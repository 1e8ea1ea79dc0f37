"""Clients that know nothing of Metronome: the script's own sockets, so its own count of bytes.

They run in a process of their own while workers die. `raw` clients send chunks of any length all
the time; a `storm` opens connections, so many a second, each with one errand:

| errand | does | must get |
|---|---|---|
| short | sends up to 3,000 bytes and its FIN | nothing but the end of the stream; every byte is counted |
| forged | a hello with a tag that nobody made | one refusal with the code for hellos, then the end |
| silent | connects and closes | nothing |
| reset | connects and resets (SO_LINGER 0) | nothing |
"""

import errno
import multiprocessing
import os
import random
import selectors
import socket
import struct
import time

# proto/packet.rs: magic, version 1 and kind; proto/seal.rs: the code of a refused hello.
HELLO = b"\xb1\x4d\x11"
REFUSED_HELLO = b"\xb1\x4d\x15\x02" + bytes(28)
RAW_BYTES = b"tick" * 1024

# A worker that is stopped is replaced within 2 s; this is for a machine that is busy as well.
PATIENCE_S = 30

# Of the process, for its own open sockets.
CONNECTIONS_MAX = 900


class Tally:
    """What the peers know."""

    def __init__(self):
        self.opened = {"raw": 0, "short": 0, "forged": 0, "silent": 0, "reset": 0}
        # Of raw and short: connection by connection bytes that were sent; whole packets of 32.
        self.bytes = self.packets = 0
        self.faults = []


class Peers:
    """The process of the peers. `finish` ends it and gives its tally."""

    def __init__(self, address, raw, storm_hz, seed):
        self.ours, theirs = multiprocessing.Pipe()
        # Forked before the script has a thread.
        self.process = multiprocessing.get_context("fork").Process(
            target=run, args=(theirs, address, raw, storm_hz, seed), daemon=True
        )
        self.process.start()
        theirs.close()

    def finish(self):
        self.ours.send("finish")
        tally = self.ours.recv()
        self.process.join()
        return tally


def run(channel, address, raw, storm_hz, seed):
    host, _, port = address.rpartition(":")
    crowd = Crowd((host, int(port)), random.Random(seed))
    for _ in range(raw):
        crowd.open("raw")
    started, asked, is_finishing = time.monotonic(), 0, False
    while not (is_finishing and not crowd.connections):
        if not is_finishing and channel.poll():
            channel.recv()
            is_finishing = True
            crowd.finish()
        due = int((time.monotonic() - started) * storm_hz) if not is_finishing else asked
        while asked < due and len(crowd.connections) < CONNECTIONS_MAX:
            asked += 1
            crowd.open(crowd.random.choice(["short", "short", "forged", "silent", "reset"]))
        crowd.turn(0.002)
    channel.send(crowd.tally)


class Crowd:
    """Every connection there is, and one turn of the loop at a time."""

    def __init__(self, address, source):
        self.address, self.random = address, source
        self.selector = selectors.DefaultSelector()
        self.connections = set()
        self.tally = Tally()

    def open(self, errand):
        self.tally.opened[errand] += 1
        peer = socket.socket()
        peer.setblocking(False)
        code = peer.connect_ex(self.address)
        if code not in (0, errno.EINPROGRESS):
            self.tally.faults.append(f"a {errand} connection was not taken: {os.strerror(code)}")
            peer.close()
            return
        connection = Connection(peer, errand, self.random)
        self.connections.add(connection)
        self.selector.register(peer, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)

    def finish(self):
        """The raw clients have sent enough."""
        for connection in self.connections:
            if connection.errand == "raw":
                connection.is_last_chunk = True

    def turn(self, wait_s):
        now = time.monotonic()
        for key, events in self.selector.select(wait_s):
            connection = key.data
            try:
                is_over = connection.serve(events)
            except OSError as error:
                self.fault(connection, str(error))
                is_over = True
            if is_over:
                self.close(connection)
            else:
                self.selector.modify(connection.peer, connection.wants(), connection)
        for connection in [late for late in self.connections if late.deadline < now]:
            self.fault(connection, f"nothing happened for {PATIENCE_S} s")
            self.close(connection)
        self.wake_the_paced(now)

    def wake_the_paced(self, now):
        for connection in self.connections:
            if connection.errand == "raw" and connection.next_chunk_at and connection.next_chunk_at <= now:
                connection.next_chunk_at = 0
                self.selector.modify(connection.peer, connection.wants(), connection)

    def fault(self, connection, what):
        self.tally.faults.append(f"a {connection.errand} connection failed after {connection.sent} bytes: {what}")

    def close(self, connection):
        if connection.errand in ("raw", "short"):
            self.tally.bytes += connection.sent
            self.tally.packets += connection.sent // 32
        fault = connection.verdict()
        if fault:
            self.fault(connection, fault)
        self.selector.unregister(connection.peer)
        self.connections.discard(connection)
        connection.peer.close()


class Connection:
    """One errand. Sockets never wait; `wants` says for what the loop is to wake it."""

    def __init__(self, peer, errand, source):
        self.peer, self.errand, self.random = peer, errand, source
        self.sent, self.received = 0, b""
        self.has_sent_all = False
        self.is_last_chunk = errand != "raw"
        self.next_chunk_at = 0
        self.deadline = time.monotonic() + PATIENCE_S
        if errand == "short":
            self.waiting = RAW_BYTES[: source.randrange(1, 3000)]
        elif errand == "forged":
            self.waiting = HELLO + b"\x01" + source.randbytes(28)
        else:
            self.waiting = b""

"""Clients that do not use Metronome's protocol: the script's own sockets, which it counts itself.

They run in a process of their own while workers die. Raw clients send chunks of any length all the
time. A storm opens a given number of connections a second, each with a randomly chosen behaviour.
"""

import asyncio
import contextlib
import multiprocessing
import os
import random
import resource
import socket
import struct
import time

from torturing import handshake

# A hello of no run that the server has, and its refusals: docs/protocol.md.
HELLO = handshake.head(handshake.HELLO)
HELLO_REFUSED = handshake.refusal(handshake.HELLO_REFUSED)
LATE_REFUSED = handshake.refusal(handshake.LATE)
RAW_BYTES = b"tick" * 1024

# A worker that is stopped is replaced within 2 s; the rest allows for a busy machine.
DEADLINE_S = 30

# The server refuses a connection that has sent no whole hello for this long after it was accepted.
HELLO_TIME_S = 5

# The same as the server's: with a lower priority than the workers, the storm would get too little CPU.
# Not every user may set it.
NICE = -10

# Connections of a storm that are open at once. With more, this process itself would be late on a busy machine.
STORM_MAX = 1000


class PeerCounts:
    """What the peers have counted themselves."""

    def __init__(self):
        self.opened = 0
        # Connections that send nothing, and of these the ones that reset.
        self.silent = self.reset = 0
        # Connections that were refused because their first bytes came too late: that is this script's fault.
        self.late = 0
        # Connections that were refused because the server is full.
        self.refused_full = 0
        # Connections that the server must count as raw: how many, their bytes, their whole packets.
        self.counted = self.bytes = self.packets = 0
        self.seconds = 0.0
        self.faults = []

    def add(self, other):
        """Adds the counts of other peers."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Late(Exception):
    """A connection was refused or reset correctly: it had been silent for too long."""


class ChildProcess:
    """A process that runs `target(pipe, *arguments)`; the pipe carries orders and, at the end, its counts."""

    def __init__(self, target, *arguments):
        self.ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=target, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def finish(self):
        """Ends the process and returns its counts."""
        self.ours.send("finish")
        counts = self.ours.recv()
        self.process.join()
        return counts


class Peers(ChildProcess):
    """The process that runs the peers."""

    def __init__(self, address, raw, storm_hz, seed):
        super().__init__(run_peers, address, raw, storm_hz, seed)


def take_descriptors():
    """Raises the limit of open files as far as it may be raised."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run_peers(pipe, address, raw, storm_hz, seed):
    """The body of the process: all connections share one event loop."""
    take_descriptors()
    with contextlib.suppress(PermissionError):
        os.nice(NICE)
    host, _, port = address.rpartition(":")
    crowd = Crowd(host, int(port), random.Random(seed))
    asyncio.run(crowd.run_all(pipe, raw, storm_hz))
    pipe.send(crowd.counts)


class Crowd:
    """All connections; each is a task with one behaviour."""

    def __init__(self, host, port, source):
        self.host, self.port, self.random = host, port, source
        self.counts = PeerCounts()
        self.tasks = set()
        self.is_finishing = asyncio.Event()

    async def run_all(self, pipe, raw, storm_hz):
        asyncio.get_running_loop().add_reader(pipe.fileno(), self.is_finishing.set)
        for _ in range(raw):
            self.send_on(self.raw)
        behaviours = [self.short, self.short, self.forged, self.silent, self.reset]
        started, asked = time.monotonic(), 0
        while not self.is_finishing.is_set():
            due = int((time.monotonic() - started) * storm_hz)
            for _ in range(min(due - asked, STORM_MAX - len(self.tasks))):
                self.send_on(self.random.choice(behaviours))
            asked = due
            await asyncio.sleep(0.005)
        while self.tasks:
            await asyncio.wait(self.tasks)
        self.counts.seconds = time.monotonic() - started

    def send_on(self, behaviour):
        task = asyncio.create_task(self.run(behaviour))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self, behaviour):
        """Connects, runs the behaviour and closes, and notes what went wrong."""
        name = behaviour.__name__
        self.counts.opened += 1
        peer = Peer()
        try:
            await peer.connect(self.host, self.port)
            await behaviour(peer)
        except Late:
            self.counts.late += 1
        except (OSError, asyncio.TimeoutError) as error:
            self.counts.faults.append(f"a {name} connection failed: {error or 'no answer came'}")
        finally:
            peer.close()

    async def raw(self, peer):
        """Sends until the end of the run, in chunks that split packets anywhere."""
        sent = 0
        while not self.is_finishing.is_set():
            sent += await peer.send(RAW_BYTES[: self.random.randrange(1, 300)])
            await asyncio.sleep(self.random.uniform(0, 0.004))
        await self.end_counted(peer, sent)

    async def short(self, peer):
        """A raw client that sends little."""
        await self.end_counted(peer, await peer.send(RAW_BYTES[: self.random.randrange(1, 3000)]))

    async def forged(self, peer):
        """Sends a hello with a random tag: exactly one whole refusal must come, then the end."""
        await peer.send(HELLO + b"\x01" + self.random.randbytes(28))
        answer = await peer.read_to_end()
        if answer != HELLO_REFUSED:
            self.counts.faults.append(f"a forged hello was answered {answer.hex() or 'not at all'}")

    async def silent(self, _):
        """Connects and closes."""
        self.counts.silent += 1

    async def reset(self, peer):
        """Connects and resets."""
        peer.reset_on_close()
        self.counts.silent += 1
        self.counts.reset += 1

    async def end_counted(self, peer, sent):
        """Ends the stream; the server ends its side only when a worker has read all of it."""
        answer = await peer.end()
        if answer:
            self.counts.faults.append(f"a raw client was answered {answer.hex()}")
            return
        self.counts.counted += 1
        self.counts.bytes += sent
        self.counts.packets += sent // 32


class Peer:
    """One connection. It records whether its own first bytes were late, and raises Late for the consequences."""

    def __init__(self):
        self.began = time.monotonic()
        self.reader = self.writer = None
        # From before the connection was established, so it is longer than the server has waited.
        self.silent_s = None

    async def connect(self, host, port):
        self.reader, self.writer = await asyncio.wait_for(asyncio.open_connection(host, port), DEADLINE_S)

    async def send(self, data):
        """Writes the data and returns its length."""
        with self.excusing():
            self.writer.write(data)
            if self.silent_s is None:
                self.silent_s = time.monotonic() - self.began
            await asyncio.wait_for(self.writer.drain(), DEADLINE_S)
        return len(data)

    async def end(self):
        """Ends this side of the stream and returns everything that the server sends until it ends its own."""
        with self.excusing():
            self.writer.write_eof()
        return await self.read_to_end()

    async def read_to_end(self):
        """Returns everything that the server sends until it ends its side of the stream."""
        with self.excusing():
            answer = await asyncio.wait_for(self.reader.read(), DEADLINE_S)
        if answer == LATE_REFUSED and self.was_late():
            raise Late
        return answer

    @contextlib.contextmanager
    def excusing(self):
        """A reset of a connection that was late is no fault of the server; an answer that never comes is one."""
        try:
            yield
        except OSError as error:
            if self.was_late() and not isinstance(error, TimeoutError):
                raise Late from error
            raise

    def was_late(self):
        return self.silent_s >= HELLO_TIME_S

    def reset_on_close(self):
        linger_on_for_0_s = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_on_for_0_s)

    def close(self):
        if self.writer:
            self.writer.close()

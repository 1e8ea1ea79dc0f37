"""Clients that know nothing of Metronome: the script's own sockets, so its own count of bytes.

They live in a process of their own while workers die. Raw clients send chunks of any length all the
time. A storm opens connections, so many a second, each with an errand of its own, drawn by lot.
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

# proto/packet.rs: magic, version 1 and kind. proto/seal.rs: the code of a refused hello.
HELLO = b"\xb1\x4d\x11"
HELLO_REFUSED = b"\xb1\x4d\x15\x02" + bytes(28)
LATE_REFUSED = b"\xb1\x4d\x15\x03" + bytes(28)
RAW_BYTES = b"tick" * 1024

# A worker that is stopped is replaced within 2 s; the rest is for a machine that is busy as well.
PATIENCE_S = 30

# The server refuses a connection that has said nothing for so long after it was accepted.
HELLO_TIME_S = 5

# As the server's: behind workers that come first, a storm would be a breeze. Not granted to everyone.
NICE = -10

# Connections of a storm at a time. With more, this process itself would be late on a busy machine.
STORM_MAX = 1000


class Tally:
    """What the peers know of themselves."""

    def __init__(self):
        self.opened = 0
        # Those that say nothing, and of these the ones that reset.
        self.silent = self.reset = 0
        # Those that were refused since they said their first word too late: that is this script's fault.
        self.late = 0
        # Those that were told that the server is full.
        self.refused_full = 0
        # Of those that the server is to count as raw: how many, their bytes, their whole packets.
        self.counted = self.bytes = self.packets = 0
        self.seconds = 0.0
        self.faults = []


    def add(self, other):
        """Adds what others know of themselves."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Late(Exception):
    """A connection was refused or reset, and rightly so: it had been silent for too long."""


class Actor:
    """A process that lives by a channel to it: `live(channel, *arguments)`."""

    def __init__(self, live, *arguments):
        self.ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=live, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def finish(self):
        """Ends it; its tally."""
        self.ours.send("finish")
        tally = self.ours.recv()
        self.process.join()
        return tally


class Peers(Actor):
    """The process of the peers."""

    def __init__(self, address, raw, storm_hz, seed):
        super().__init__(live, address, raw, storm_hz, seed)


def take_descriptors():
    """As many as there may be."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def live(channel, address, raw, storm_hz, seed):
    """The process: everything is in its one loop."""
    take_descriptors()
    with contextlib.suppress(PermissionError):
        os.nice(NICE)
    host, _, port = address.rpartition(":")
    crowd = Crowd(host, int(port), random.Random(seed))
    asyncio.run(crowd.live(channel, raw, storm_hz))
    channel.send(crowd.tally)


class Crowd:
    """Every connection, each a task that runs one errand."""

    def __init__(self, host, port, source):
        self.host, self.port, self.random = host, port, source
        self.tally = Tally()
        self.tasks = set()
        self.is_finishing = asyncio.Event()

    async def live(self, channel, raw, storm_hz):
        asyncio.get_running_loop().add_reader(channel.fileno(), self.is_finishing.set)
        for _ in range(raw):
            self.send_on(self.raw)
        errands = [self.short, self.short, self.forged, self.silent, self.reset]
        started, asked = time.monotonic(), 0
        while not self.is_finishing.is_set():
            due = int((time.monotonic() - started) * storm_hz)
            for _ in range(min(due - asked, STORM_MAX - len(self.tasks))):
                self.send_on(self.random.choice(errands))
            asked = due
            await asyncio.sleep(0.005)
        while self.tasks:
            await asyncio.wait(self.tasks)
        self.tally.seconds = time.monotonic() - started

    def send_on(self, errand):
        task = asyncio.create_task(self.run(errand))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self, errand):
        """Connects, runs the errand and closes, and notes what went wrong."""
        name = errand.__name__
        self.tally.opened += 1
        peer = Peer()
        try:
            await peer.connect(self.host, self.port)
            await errand(peer)
        except Late:
            self.tally.late += 1
        except (OSError, asyncio.TimeoutError) as error:
            self.tally.faults.append(f"a {name} connection failed: {error or 'nothing came any more'}")
        finally:
            peer.close()

    async def raw(self, peer):
        """Sends until the end of the run, in chunks that split packets anywhere."""
        sent = 0
        while not self.is_finishing.is_set():
            sent += await peer.say(RAW_BYTES[: self.random.randrange(1, 300)])
            await asyncio.sleep(self.random.uniform(0, 0.004))
        await self.end_counted(peer, sent)

    async def short(self, peer):
        """A raw client with little to say."""
        await self.end_counted(peer, await peer.say(RAW_BYTES[: self.random.randrange(1, 3000)]))

    async def forged(self, peer):
        """A hello with a tag that nobody made: one refusal, whole and once, then the end."""
        await peer.say(HELLO + b"\x01" + self.random.randbytes(28))
        answer = await peer.rest()
        if answer != HELLO_REFUSED:
            self.tally.faults.append(f"a forged hello was answered {answer.hex() or 'not at all'}")

    async def silent(self, _):
        """Connects and closes."""
        self.tally.silent += 1

    async def reset(self, peer):
        """Connects and resets."""
        peer.reset_on_close()
        self.tally.silent += 1
        self.tally.reset += 1

    async def end_counted(self, peer, sent):
        """The stream ends, and the server's end of it only when a worker has read all."""
        answer = await peer.end()
        if answer:
            self.tally.faults.append(f"a raw client was answered {answer.hex()}")
            return
        self.tally.counted += 1
        self.tally.bytes += sent
        self.tally.packets += sent // 32


class Peer:
    """One connection. It knows whether its own first word was late, and raises Late for what that brings."""

    def __init__(self):
        self.began = time.monotonic()
        self.reader = self.writer = None
        # From before the connection was there, thus longer than the server has waited for it.
        self.silent_s = None

    async def connect(self, host, port):
        self.reader, self.writer = await asyncio.wait_for(asyncio.open_connection(host, port), PATIENCE_S)

    async def say(self, data):
        """Writes, and returns how much that was."""
        with self.excusing():
            self.writer.write(data)
            if self.silent_s is None:
                self.silent_s = time.monotonic() - self.began
            await asyncio.wait_for(self.writer.drain(), PATIENCE_S)
        return len(data)

    async def end(self):
        """Says no more, and returns what the server has said once it says no more either."""
        with self.excusing():
            self.writer.write_eof()
        return await self.rest()

    async def rest(self):
        """All that comes until the server's end of the stream."""
        with self.excusing():
            answer = await asyncio.wait_for(self.reader.read(), PATIENCE_S)
        if answer == LATE_REFUSED and self.was_late():
            raise Late
        return answer

    @contextlib.contextmanager
    def excusing(self):
        """A reset of one that was late is no fault of the server's; an answer that never comes is."""
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

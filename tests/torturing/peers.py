"""Clients that know nothing of Metronome: the script's own sockets, so its own count of bytes.

They live in a process of their own while workers die. Raw clients send chunks of any length all the
time. A storm opens connections, so many a second, each with an errand of its own, drawn by lot.
"""

import asyncio
import multiprocessing
import random
import resource
import socket
import struct
import time

# proto/packet.rs: magic, version 1 and kind. proto/seal.rs: the code of a refused hello.
HELLO = b"\xb1\x4d\x11"
HELLO_REFUSED = b"\xb1\x4d\x15\x02" + bytes(28)
RAW_BYTES = b"tick" * 1024

# A worker that is stopped is replaced within 2 s; the rest is for a machine that is busy as well.
PATIENCE_S = 30

# Connections of a storm at a time.
STORM_MAX = 4000


class Tally:
    """What the peers know of themselves."""

    def __init__(self):
        self.opened = 0
        # Those that say nothing, and of these the ones that reset.
        self.silent = self.reset = 0
        # Of those that the server is to count as raw: how many, their bytes, their whole packets.
        self.counted = self.bytes = self.packets = 0
        self.faults = []


class Peers:
    """The process of the peers. `finish` ends it and gives its tally."""

    def __init__(self, address, raw, storm_hz, seed):
        self.ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=live, args=(theirs, address, raw, storm_hz, seed), daemon=True)
        self.process.start()
        theirs.close()

    def finish(self):
        self.ours.send("finish")
        tally = self.ours.recv()
        self.process.join()
        return tally


def live(channel, address, raw, storm_hz, seed):
    """The process: everything is in its one loop."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
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

    def send_on(self, errand):
        task = asyncio.create_task(self.run(errand))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self, errand):
        """Connects, runs the errand and closes, and notes what went wrong."""
        name = errand.__name__
        self.tally.opened += 1
        writer = None
        try:
            connecting = asyncio.open_connection(self.host, self.port)
            reader, writer = await asyncio.wait_for(connecting, PATIENCE_S)
            await errand(reader, writer)
        except (OSError, asyncio.TimeoutError) as error:
            self.tally.faults.append(f"a {name} connection failed: {error or 'nothing came any more'}")
        finally:
            if writer:
                writer.close()

    async def raw(self, reader, writer):
        """Sends until the end of the run, in chunks that split packets anywhere."""
        sent = 0
        while not self.is_finishing.is_set():
            sent += await self.write(writer, self.random.randrange(1, 300))
            await asyncio.sleep(self.random.uniform(0, 0.004))
        await self.end_counted(reader, writer, sent)

    async def short(self, reader, writer):
        """A raw client with little to say."""
        await self.end_counted(reader, writer, await self.write(writer, self.random.randrange(1, 3000)))

    async def forged(self, reader, writer):
        """A hello with a tag that nobody made: one refusal, whole and once, then the end."""
        writer.write(HELLO + b"\x01" + self.random.randbytes(28))
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        if answer != HELLO_REFUSED:
            self.tally.faults.append(f"a forged hello was answered {answer.hex() or 'not at all'}")

    async def silent(self, reader, writer):
        """Connects and closes."""
        self.tally.silent += 1

    async def reset(self, reader, writer):
        """Connects and resets."""
        linger_on_for_0_s = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_on_for_0_s)
        self.tally.silent += 1
        self.tally.reset += 1

    async def write(self, writer, count):
        writer.write(RAW_BYTES[:count])
        await asyncio.wait_for(writer.drain(), PATIENCE_S)
        return count

    async def end_counted(self, reader, writer, sent):
        """The stream ends, and the server's end of it only when a worker has read all."""
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        if answer:
            self.tally.faults.append(f"a raw client was answered {answer.hex()}")
        self.tally.counted += 1
        self.tally.bytes += sent
        self.tally.packets += sent // 32

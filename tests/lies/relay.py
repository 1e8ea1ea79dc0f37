"""A TCP relay between agent and server: a path with one fault, in a process of its own.

    with Relay(server, Fault) as relay: ... relay.address ...

What the agent sends passes through the fault from the first packet on, hello and answers pass as they are. Each
connection has a fault of its own, a pure rule: `take(data, now_s)` gets what came and returns what goes on, as pairs
of an instant (of `time.monotonic`) and bytes; b"" at the end of the stream; None for the bytes breaks the connection.
`take_back(data)` gets what the server sends behind its hello-ack, b"" at the end, and returns what the agent gets.
"""

import asyncio
import contextlib
import functools
import multiprocessing
import os
import socket
import struct
import time

from torturing import handshake

FRAME_BYTES = 32
READ_BYTES = 1 << 16


class Fault:
    """Passes everything on at once: the control. A fault overrides `take`."""

    def take(self, data, now_s):
        return [(now_s, data)]

    def take_back(self, data):
        return data


class Limit(Fault):
    """Passes at most so many bytes a second on; what came together goes on when the last byte of it may."""

    def __init__(self, bytes_per_s):
        self.bytes_per_s, self.free_s = bytes_per_s, 0.0

    def take(self, data, now_s):
        self.free_s = max(self.free_s, now_s) + len(data) / self.bytes_per_s
        return [(self.free_s, data)]


class Bunch(Fault):
    """Passes everything on at the next multiple of a period."""

    def __init__(self, period_s):
        self.period_s = period_s

    def take(self, data, now_s):
        return [((now_s // self.period_s + 1) * self.period_s, data)]


class Delay(Fault):
    """Passes everything on a fixed time later."""

    def __init__(self, delay_s):
        self.delay_s = delay_s

    def take(self, data, now_s):
        return [(now_s + self.delay_s, data)]


class Hold(Fault):
    """Passes nothing on for a while that begins so long after the first packet; then all of it at once."""

    def __init__(self, after_s, seconds):
        self.after_s, self.seconds, self.began_s = after_s, seconds, None

    def take(self, data, now_s):
        if self.began_s is None:
            self.began_s = now_s
        first_s = self.began_s + self.after_s
        return [(max(now_s, first_s + self.seconds) if now_s >= first_s else now_s, data)]


class AtFrame(Fault):
    """Changes the stream where the frame of this number, from 0, begins. `change` has what it needs of the frames before."""

    needs_frames = 1

    def __init__(self, number):
        self.at, self.passed, self.kept = number * FRAME_BYTES, 0, b""

    def take(self, data, now_s):
        is_end, data, self.kept = not data, self.kept + data, b""
        first = self.at - self.passed
        needed = first + self.needs_frames * FRAME_BYTES
        if 0 <= first < len(data) and len(data) < needed and not is_end:
            data, self.kept = data[:first], data[first:]
        elif 0 <= first < len(data):
            data = data[:first] + self.change(data[first:])
            self.at = -1
        self.passed += len(data)
        parts = [(now_s, data)] if data else []
        return parts + [(now_s, b"")] if is_end else parts


class FlipBit(AtFrame):
    """One bit of the due time."""

    def change(self, data):
        return data[:16] + bytes([data[16] ^ 1]) + data[17:]


class Swap(AtFrame):
    """Two packets change places."""
    needs_frames = 2

    def change(self, data):
        return data[32:64] + data[:32] + data[64:]


class Repeat(AtFrame):
    """A whole packet comes twice."""

    def change(self, data):
        return data[:32] + data


class RepeatBytes(AtFrame):
    """Seven bytes in the middle of a packet come twice."""

    def change(self, data):
        return data[:17] + data[10:]


class LeaveOut(AtFrame):
    """A whole packet does not come."""

    def change(self, data):
        return data[32:]


class OnReplies(Fault):
    """A fault of one frame, made on what the server sends behind its hello-ack."""

    def __init__(self, fault):
        self.fault = fault

    def take_back(self, data):
        return b"".join(part for _, part in self.fault.take(data, 0.0))


class Garbage(AtFrame):
    """From the frame on bytes without end, in place of what there was."""

    def change(self, data):
        return b"\xb1\x4d\x18" + bytes(range(256)) * 4096


class RepeatWithoutEnd(AtFrame):
    """One frame again and again."""

    def change(self, data):
        return data[:32] * 65536 + data[32:]


class DueZero(AtFrame):
    """The frame is a reply to the same packet, with another due time and a good checksum."""
    due_ns = 0

    def change(self, data):
        frame = data[:16] + struct.pack("<Q", self.due_of(data)) + data[24:28]
        return frame + struct.pack("<I", handshake.crc32c(frame)) + data[32:]

    def due_of(self, data):
        return self.due_ns


class DueInFuture(DueZero):
    """Due 10 s later, so that the round trip would be negative."""

    def due_of(self, data):
        return struct.unpack_from("<Q", data, 16)[0] + 10_000_000_000


class OfAnotherClient(AtFrame):
    """The frame is a reply of the next client, with a good checksum."""

    def change(self, data):
        frame = data[:4] + struct.pack("<I", struct.unpack_from("<I", data, 4)[0] ^ 1) + data[8:28]
        return frame + struct.pack("<I", handshake.crc32c(frame)) + data[32:]


class Break(Fault):
    """The connection breaks when so many bytes have passed."""

    def __init__(self, after_bytes):
        self.left = after_bytes

    def take(self, data, now_s):
        self.left -= len(data)
        return [(now_s, data if self.left > 0 else None)]


class Relay:
    """The process with the relay. A context: the process ends with it."""

    def __init__(self, server, make_fault):
        self.server, self.make_fault = server, make_fault

    def __enter__(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = "127.0.0.1:{}".format(listener.getsockname()[1])
        host, _, port = self.server.rpartition(":")
        body = functools.partial(run, listener, (host, int(port)), self.make_fault)
        self.process = multiprocessing.get_context("fork").Process(target=body, daemon=True)
        self.process.start()
        listener.close()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.join()


def run(listener, server, make_fault):
    # The relay must not be the slowest part of the path; not every user may set it.
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    asyncio.run(serve(listener, server, make_fault))


async def serve(listener, server, make_fault):
    relayed = set()

    async def accepted(reader, writer):
        task = asyncio.current_task()
        relayed.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await relay(reader, writer, server, make_fault())
        relayed.discard(task)

    async with await asyncio.start_server(accepted, sock=listener) as serving:
        await serving.serve_forever()


async def relay(reader, writer, server, fault):
    """One connection, until both sides have ended."""
    to_reader, to_writer = await asyncio.open_connection(*server)
    for end in (writer, to_writer):
        end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    queue = asyncio.Queue()
    sides = [take_in(reader, queue, fault), pass_on(queue, to_writer), pass_back(to_reader, writer, fault)]
    try:
        await asyncio.gather(*sides)
    except Broken:
        for end in (writer, to_writer):
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        writer.close()
        to_writer.close()


class Broken(Exception):
    """The fault breaks the connection."""


async def take_in(reader, queue, fault):
    """Hands what the agent sends to the fault, and queues what that makes of it."""
    queue.put_nowait((0.0, await reader.readexactly(FRAME_BYTES)))
    while data := await reader.read(READ_BYTES):
        for part in fault.take(data, time.monotonic()):
            queue.put_nowait(part)
    for part in fault.take(b"", time.monotonic()):
        queue.put_nowait(part)


async def pass_on(queue, writer):
    """Writes what is queued, each part at its instant and never before the one before it."""
    while True:
        at_s, data = await queue.get()
        if (left_s := at_s - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
        if data is None:
            raise Broken
        if not data:
            return writer.write_eof()
        writer.write(data)
        await writer.drain()


async def pass_back(reader, writer, fault):
    writer.write(await reader.readexactly(FRAME_BYTES))
    while data := await reader.read(READ_BYTES):
        writer.write(fault.take_back(data))
        await writer.drain()
    writer.write(fault.take_back(b""))
    writer.close()

"""The router between three hosts: a thread that forwards what each sends through a TUN device, cuts links, and counts.

It is the neutral witness of a cell: it reads only headers of TCP, and its times are those of `time.monotonic`."""

import collections
import os
import select
import threading
import time

from partitioning import cells, segments

CONTROL_PORT, DATA_PORT = 50051, 8888
PACKET_BYTES_MAX = 1 << 16
READS_AT_ONCE = 64
WAIT_MS_MAX = 20


class Flow:
    """The load of one client: how many bytes it has put on the wire, each counted once, and how many of them passed."""

    def __init__(self, sequence):
        self.first = sequence + 1
        self.emitted = self.passed = 0
        # The instant at which bytes were seen for the first time, and how many.
        self.fresh = []

    def end_of(self, segment):
        return (segment.sequence - self.first + segment.payload_bytes) % segments.SEQUENCES

    def emit(self, segment, now_s):
        end = self.end_of(segment)
        if end > self.emitted:
            self.fresh.append((now_s, end - self.emitted))
            self.emitted = end

    def let_pass(self, segment):
        self.passed = max(self.passed, self.end_of(segment))


class Router(threading.Thread):
    """A context: it ends with it. `devices` has the file of each host's device, by the host's address."""

    def __init__(self, devices, server, benchctl):
        super().__init__(daemon=True)
        self.devices, self.server, self.benchctl = devices, server, benchctl
        self.is_over = False
        # How each cut link is cut.
        self.kinds = {}
        self.cut_s = self.mended_s = None
        self.held = collections.deque()
        # When a slow link has sent what waits for it.
        self.link_free_s = 0.0
        # The longest time between two turns, each of which is over after some 20 ms.
        self.stalled_s = 0.0
        # When the first packet passed on each link after it was mended.
        self.passed_again_s = {}
        # By the agent's port.
        self.flows = {}

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.join()

    def cut(self, cell):
        self.kinds = {link: cell.kind for link in cell.links}
        self.cut_s = time.monotonic()

    def mend(self):
        """What is held passes at once."""
        self.kinds, self.mended_s = {}, time.monotonic()

    def first_passed_again_s(self, links):
        """When the first packet passed on any of the links after they were mended; without any, when that was."""
        passed = dict(self.passed_again_s)
        return min((passed[link] for link in links if link in passed), default=self.mended_s)

    def last_fresh_s(self):
        """When a client last put bytes of its load on the wire; None without any."""
        return max((flow.fresh[-1][0] for flow in list(self.flows.values()) if flow.fresh), default=None)

    def run(self):
        poll = select.poll()
        for device in self.devices.values():
            poll.register(device, select.POLLIN)
        turned_s = time.monotonic()
        while not self.is_over:
            now_s = time.monotonic()
            self.stalled_s, turned_s = max(self.stalled_s, now_s - turned_s), now_s
            for device, _ in poll.poll(self.wait_ms()):
                self.read(device)
            self.release()

    def wait_ms(self):
        if not self.held:
            return WAIT_MS_MAX
        return min(WAIT_MS_MAX, max(0, 1000 * (self.held[0][0] - time.monotonic())))

    def read(self, device):
        for _ in range(READS_AT_ONCE):
            try:
                packet = os.read(device, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            segment = segments.parse(packet)
            if segment:
                self.take(packet, segment, time.monotonic())

    def take(self, packet, segment, now_s):
        is_to_server = segment.destination[0] == self.server
        link = self.link_of(segment, is_to_server)
        if link == cells.DATA and is_to_server:
            self.note_emitted(segment, now_s)
        kind = self.kinds.get(link)
        done = cells.treatment(kind, is_to_server) if kind else cells.PASS
        if done == cells.HOLD:
            self.held.append((now_s + cells.DELAY_S, packet, segment, link))
        elif done == cells.QUEUE:
            leaves_s = max(self.link_free_s, now_s) + len(packet) / cells.SLOW_BYTES_PER_S
            if leaves_s <= now_s + cells.SLOW_WAIT_S_MAX:
                self.link_free_s = leaves_s
                self.held.append((leaves_s, packet, segment, link))
        elif done == cells.PASS:
            self.forward(packet, segment, link, now_s)
        elif done == cells.ANSWER:
            if reset := segments.reset_of(segment):
                self.write(reset, segment.source[0])

    def link_of(self, segment, is_to_server):
        host, port = (segment.source[0], segment.destination[1]) if is_to_server else (segment.destination[0], segment.source[1])
        if host == self.benchctl:
            return cells.BENCHCTL
        return cells.CONTROL if port == CONTROL_PORT else cells.DATA

    def note_emitted(self, segment, now_s):
        port = segment.source[1]
        if segment.flags & segments.SYN and port not in self.flows:
            self.flows[port] = Flow(segment.sequence)
        if segment.payload_bytes and port in self.flows:
            self.flows[port].emit(segment, now_s)

    def release(self):
        now_s = time.monotonic()
        while self.held and (self.held[0][0] <= now_s or not self.kinds):
            _, packet, segment, link = self.held.popleft()
            self.forward(packet, segment, link, now_s)

    def forward(self, packet, segment, link, now_s):
        if self.mended_s and link not in self.passed_again_s:
            self.passed_again_s[link] = now_s
        flow = self.flows.get(segment.source[1])
        if flow and link == cells.DATA and segment.payload_bytes and segment.destination[0] == self.server:
            flow.let_pass(segment)
        self.write(packet, segment.destination[0])

    def write(self, packet, address):
        try:
            os.write(self.devices[address], packet)
        except (KeyError, OSError):
            pass  # No such host, or its device is full: a router loses packets then.

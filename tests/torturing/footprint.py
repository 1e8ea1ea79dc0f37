"""The resources that the server and the agent hold, read from /proc: descriptors, zombies, memory.

Memory is in MiB. `private` is memory that no file and no other process shares (RssAnon); `ledger` is what
the kernel has allocated for the shared memory, for all processes together.
"""

import collections
import os
import pathlib
import re
import threading
import time

from torturing import processes

MIB = 1024 * 1024

Footprint = collections.namedtuple(
    "Footprint", "descriptors zombies workers ledger_mib master_private_mib workers_private_mib agent_private_mib"
)


def take(metronome):
    """Returns the footprint now."""
    master = metronome.master
    children = processes.children(master)
    workers = [pid for pid in children if processes.is_worker(pid)]
    return Footprint(
        descriptors=len(os.listdir(f"/proc/{master}/fd")),
        zombies=sum(map(processes.is_zombie, children)),
        workers=len(workers),
        ledger_mib=ledger_mib(master),
        master_private_mib=private_mib(master),
        workers_private_mib=sum(map(private_mib, workers)),
        agent_private_mib=private_mib(metronome.agent.pid),
    )


def private_mib(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def ledger_mib(master):
    """Adds up the blocks of every memfd that the master holds."""
    blocks = {}
    for descriptor in pathlib.Path(f"/proc/{master}/fd").iterdir():
        try:
            if os.readlink(descriptor).startswith("/memfd:"):
                status = os.stat(descriptor)
                blocks[status.st_ino] = status.st_blocks
        except OSError:
            pass  # Closed meanwhile.
    return sum(blocks.values()) * 512 / MIB


class Samples(threading.Thread):
    """Takes footprints at an interval until `stop` is called."""

    def __init__(self, metronome, every_s):
        super().__init__(daemon=True)
        self.metronome, self.every_s = metronome, every_s
        self.stopping = threading.Event()
        self.taken = []

    def run(self):
        started = time.monotonic()
        while not self.stopping.wait(self.every_s):
            self.taken.append((time.monotonic() - started, take(self.metronome)))

    def stop(self):
        self.stopping.set()
        self.join()
        return self.taken


def slopes_mib_per_hour(samples):
    """Returns how fast each kind of memory grows, by least squares; the first tenth is left out as start-up."""
    settled = samples[len(samples) // 10 :]
    names = [name for name in Footprint._fields if name.endswith("_mib")]
    return {name: slope([(at_s / 3600, getattr(print_, name)) for at_s, print_ in settled]) for name in names}


def slope(points):
    """Returns the slope of the line through the points; 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0

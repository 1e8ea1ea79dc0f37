"""Disrupts the server under test: kills, stops and restarts workers and upgrades the server, at random instants.

One loop, no threads. A disruption is counted when it is done, never when it is planned.
"""

import json
import random
import select
import signal
import time

from torturing import processes

# No disruption before the run has begun or after it has stopped sending.
MARGIN_S = 0.3

# How soon to try again when there is no worker to disrupt.
AGAIN_S = 0.01


class Disruptions:
    """The disruptions that are planned and those that were made."""

    def __init__(self, metronome, seconds, kills, stops, restarts, upgrades, seed, spares=0):
        self.metronome = metronome
        self.random = random.Random(seed)
        disruptions = [self.kill] * kills + [self.stop] * stops + [self.restart] * restarts + [self.upgrade] * upgrades
        disruptions += [self.kill_spare] * spares
        self.random.shuffle(disruptions)
        instants = sorted(self.random.uniform(MARGIN_S, seconds - MARGIN_S) for _ in disruptions)
        # The next disruption is the last of the list.
        self.plan = list(zip(instants, disruptions))[::-1]
        self.kills = self.kills_of_readers = self.kills_of_spares = 0
        # For each stopped worker, how long until the master had ended it.
        self.stop_seconds = []
        # For each rolling restart, how long it took.
        self.restart_seconds = []
        # For each upgrade, the time from the order until the new server served.
        self.upgrade_seconds = []
        self.faults = []
        self.poller = select.poll()
        self.stopped = {}
        # The order that the server is carrying out, and those that will be given later.
        self.order = None
        self.orders_waiting = []

    def make(self, is_over):
        """Makes the disruptions until `is_over`, which is called often, returns true: the run has ended."""
        started = time.monotonic()
        while not is_over() or self.stopped or self.order:
            now = time.monotonic() - started
            if self.plan and self.plan[-1][0] <= now and not is_over():
                _, disruption = self.plan.pop()
                if not disruption():
                    self.plan.append((now + AGAIN_S, disruption))
                    # What cannot be done now holds up nothing else.
                    self.plan.sort(key=lambda planned: planned[0], reverse=True)
            self.order_next(is_over())
            self.faults += self.metronome.ended_badly()
            wait_s = self.plan[-1][0] - now if self.plan else AGAIN_S
            for descriptor, _ in self.poller.poll(1000 * max(0.0, min(wait_s, AGAIN_S))):
                self.note_end_of_stopped(descriptor)

    def kill(self):
        """Sends SIGKILL, at whatever instruction the worker is."""
        victim = self.victim()
        if victim is None:
            return False
        reads = victim.connections() > 0
        is_done = victim.signal(signal.SIGKILL)
        victim.close()
        self.kills += is_done
        self.kills_of_readers += is_done and reads
        return is_done

    def kill_spare(self):
        """Sends SIGKILL to the process that waits for the place of a worker, or has just got one."""
        for pid in filter(processes.is_spare, processes.children(self.metronome.master)):
            try:
                spare = processes.Worker(pid)
            except ProcessLookupError:
                continue
            is_done = processes.is_spare(pid) and spare.signal(signal.SIGKILL)
            spare.close()
            self.kills_of_spares += is_done
            return is_done
        return False

    def stop(self):
        """Sends SIGSTOP: the process exists, holds its connections and does nothing."""
        victim = self.victim()
        if victim is None or not victim.signal(signal.SIGSTOP):
            return False
        self.stopped[victim.descriptor] = (victim, time.monotonic())
        self.poller.register(victim.descriptor, select.POLLIN)
        return True

    def restart(self):
        """Requests a rolling restart once the previous order is carried out: two at a time would count as one."""
        self.orders_waiting.append("restart-workers")
        return True

    def upgrade(self):
        """Requests an upgrade: another server process takes over."""
        self.orders_waiting.append("upgrade")
        return True

    def victim(self):
        """Chooses a worker that is not stopped, preferably one that reads connections."""
        stopped = {worker.pid for worker, _ in self.stopped.values()}
        living = processes.workers(self.metronome.master)
        candidates = [worker for worker in living if worker.pid not in stopped]
        self.random.shuffle(candidates)
        chosen = max(candidates, key=lambda worker: worker.connections() > 0, default=None)
        for other in living:
            if other is not chosen:
                other.close()
        return chosen

    def note_end_of_stopped(self, descriptor):
        self.poller.unregister(descriptor)
        worker, since = self.stopped.pop(descriptor)
        self.stop_seconds.append(time.monotonic() - since)
        worker.close()

    def order_next(self, is_over):
        if self.order and self.order[1].poll() is not None:
            self.note_order(*self.order)
            self.order = None
        if self.orders_waiting and not self.order and not is_over:
            what = self.orders_waiting.pop(0)
            self.order = (what, self.metronome.benchctl("server", what), time.monotonic())

    def note_order(self, what, process, since):
        code, out, error = processes.answer(process)
        if code != 0:
            self.faults.append(f"server {what} failed: {out or error}")
        elif what == "upgrade":
            self.metronome.upgraded(json.loads(out)["pid"])
            self.upgrade_seconds.append(time.monotonic() - since)
        else:
            self.restart_seconds.append(time.monotonic() - since)

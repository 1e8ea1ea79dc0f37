"""The trouble that is made: workers are killed, stopped and restarted at random instants.

One loop, no threads. A deed is counted when it is done, never when it is planned.
"""

import random
import select
import signal
import time

from torturing import processes

# Nothing is done to a worker before the run has begun or after it has stopped sending.
MARGIN_S = 0.3

# How soon to try again when there is no worker to do it to.
AGAIN_S = 0.01


class Trouble:
    """What is to be done and what was done."""

    def __init__(self, metronome, seconds, kills, stops, restarts, seed):
        self.metronome, self.master = metronome, metronome.server.pid
        self.random = random.Random(seed)
        deeds = [self.kill] * kills + [self.stop] * stops + [self.restart] * restarts
        self.random.shuffle(deeds)
        instants = sorted(self.random.uniform(MARGIN_S, seconds - MARGIN_S) for _ in deeds)
        # The next is the last of the list.
        self.plan = list(zip(instants, deeds))[::-1]
        self.kills = self.kills_of_readers = 0
        # Of each stopped worker, how long until the master had ended it.
        self.stop_seconds = []
        # Of each rolling restart, how long it took.
        self.restart_seconds = []
        self.faults = []
        self.poller = select.poll()
        self.stopped = {}
        self.restarting = None
        self.restarts_waiting = 0

    def make(self, is_over):
        """Makes it until `is_over`, which is called often, says that the run has ended."""
        started = time.monotonic()
        while not is_over() or self.stopped or self.restarting:
            now = time.monotonic() - started
            if self.plan and self.plan[-1][0] <= now and not is_over():
                _, deed = self.plan.pop()
                if not deed():
                    self.plan.append((now + AGAIN_S, deed))
            self.restart_next(is_over())
            wait_s = self.plan[-1][0] - now if self.plan else AGAIN_S
            for descriptor, _ in self.poller.poll(1000 * max(0.0, min(wait_s, AGAIN_S))):
                self.note_end_of_stopped(descriptor)

    def kill(self):
        """kill -9, at whatever instruction it is."""
        victim = self.victim()
        if victim is None:
            return False
        reads = victim.connections() > 0
        is_done = victim.signal(signal.SIGKILL)
        victim.close()
        self.kills += is_done
        self.kills_of_readers += is_done and reads
        return is_done

    def stop(self):
        """SIGSTOP: the process lives, holds its connections and does nothing."""
        victim = self.victim()
        if victim is None or not victim.signal(signal.SIGSTOP):
            return False
        self.stopped[victim.descriptor] = (victim, time.monotonic())
        self.poller.register(victim.descriptor, select.POLLIN)
        return True

    def restart(self):
        """A rolling restart, when the last one is over: two at a time would be one."""
        self.restarts_waiting += 1
        return True

    def victim(self):
        """A worker that is not stopped; one that reads connections when there is one."""
        stopped = {worker.pid for worker, _ in self.stopped.values()}
        living = processes.workers(self.master)
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

    def restart_next(self, is_over):
        if self.restarting and self.restarting[0].poll() is not None:
            process, since = self.restarting
            code, _, error = processes.answer(process)
            self.restarting = None
            if code == 0:
                self.restart_seconds.append(time.monotonic() - since)
            else:
                self.faults.append(f"a restart of the workers failed: {error}")
        if self.restarts_waiting and not self.restarting and not is_over:
            self.restarts_waiting -= 1
            self.restarting = (self.metronome.benchctl("server", "restart-workers"), time.monotonic())

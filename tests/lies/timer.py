"""An independent witness of the host: processes that sleep for 1 ms again and again and report when they woke late.

One on each core, since a core may be taken while the others are free. They share nothing with the executables under
test: what those call late while no timer was is theirs.
"""

import contextlib
import multiprocessing
import os
import select
import time

# A packet of 1 kHz is late from one period on, and so is the timer.
LATE_NS = 1_000_000
SLEEP_S = 0.001


class Timer:
    """The processes of the timer. A context: they end with it."""

    def __init__(self, is_real_time):
        self.is_real_time, self.late = is_real_time, []

    def __enter__(self):
        fork = multiprocessing.get_context("fork")
        self.pipes, self.processes = [], []
        for core in os.sched_getaffinity(0):
            ours, theirs = fork.Pipe(duplex=False)
            process = fork.Process(target=sleep_again_and_again, args=(theirs, core, self.is_real_time), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
            process.join()

    def late_within(self, first_ns, last_ns):
        """How late one was, ns, each time that a sleep was overdue between two instants of CLOCK_MONOTONIC.

        To be called after each run: a pipe does not hold many.
        """
        for pipe in self.pipes:
            while pipe.poll():
                self.late.append(pipe.recv())
        return [late_ns for due_ns, late_ns in self.late if due_ns + late_ns >= first_ns and due_ns <= last_ns]


def sleep_again_and_again(pipe, core, is_real_time):
    """The body of a process. Not every user may set a priority: then it has that of the script."""
    os.sched_setaffinity(0, [core])
    with contextlib.suppress(PermissionError):
        os.nice(-10)
        if is_real_time:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    while True:
        due_ns = time.monotonic_ns() + int(SLEEP_S * 1e9)
        select.select([], [], [], SLEEP_S)
        if (late_ns := time.monotonic_ns() - due_ns) > LATE_NS:
            pipe.send((due_ns, late_ns))

"""An independent witness of the host: a process that sleeps for 1 ms again and again and reports when it woke late.

It shares nothing with the executables under test. What they call late while it never was is theirs.
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
    """The process of the timer. A context: the process ends with it."""

    def __init__(self, is_real_time):
        self.is_real_time, self.late = is_real_time, []

    def __enter__(self):
        fork = multiprocessing.get_context("fork")
        self.ours, theirs = fork.Pipe(duplex=False)
        self.process = fork.Process(target=sleep_again_and_again, args=(theirs, self.is_real_time), daemon=True)
        self.process.start()
        theirs.close()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.join()

    def late_within(self, first_ns, last_ns):
        """How late it was, ns, each time that a sleep was overdue between two instants of CLOCK_MONOTONIC.

        To be called after each run: the pipe does not hold many.
        """
        while self.ours.poll():
            self.late.append(self.ours.recv())
        return [late_ns for due_ns, late_ns in self.late if due_ns + late_ns >= first_ns and due_ns <= last_ns]


def sleep_again_and_again(pipe, is_real_time):
    """The body of the process. Not every user may set a priority: then it has that of the script."""
    with contextlib.suppress(PermissionError):
        os.nice(-10)
        if is_real_time:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    while True:
        due_ns = time.monotonic_ns() + int(SLEEP_S * 1e9)
        select.select([], [], [], SLEEP_S)
        if (late_ns := time.monotonic_ns() - due_ns) > LATE_NS:
            pipe.send((due_ns, late_ns))

"""How many clients of 10 kHz one sending thread holds on a core of its own, the reader on another: ours and the floor's.

Held means: nothing lost, nothing skipped, lateness p99 below 100 µs. It is that of each packet for ours and that of each
wake-up for the floor, whose clients are all due at once, which favours the floor. Both senders have the same priority."""

import contextlib
import os

from comparing import metronome, subjects

RATE_HZ = 10_000
LATE_P99_US_MAX = 100

# Upward in steps of this many clients until they are not held, then by one. A step that is not held is tried once more,
# because other work on the host may disturb a single try.
COARSE, TRIES, CLIENTS_MAX = 4, 2, 64


def highest(holds):
    """The most clients held, 0 to CLIENTS_MAX. Pure: `holds` returns whether one try held a number of clients."""

    def held(clients):
        return any(holds(clients) for _ in range(TRIES))

    most = 0
    for step in (COARSE, 1):
        while most + step <= CLIENTS_MAX and held(most + step):
            most += step
    return most


def is_held(figures):
    return not figures["skipped"] and figures["late_p99_us"] < LATE_P99_US_MAX


def cores():
    """One for the sender, one for the reader."""
    return sorted(os.sched_getaffinity(0))[:2]


def no_second_core(_bench):
    return None if len(cores()) == 2 else "it needs a core for the sender and one for the reader"


@contextlib.contextmanager
def opened(bench):
    sender, reader = cores()
    of_server, of_agent = ("taskset", "-c", reader), ("--pin-threads", "true")
    with metronome.started(bench, CLIENTS_MAX, of_server=of_server, of_agent=of_agent) as one:

        def ours(clients):
            return is_held(metronome.run(one, ("--clients", clients, "--rate", RATE_HZ)))

        def floor(clients):
            as_worker, as_pacing_thread = subjects.as_ours(cores_of_server=1)
            on = {"of_sink": ("taskset", "-c", reader, *as_worker), "of_generator": ("taskset", "-c", sender, *as_pacing_thread)}
            return is_held(subjects.floor(bench, clients, RATE_HZ, **on))

        yield lambda: {"clients_held": highest(ours)}, lambda: {"clients_held": highest(floor)}

"""Processes that stop or die in the middle of a run, by signals to those that this script has started.

Each lie is a function of the system under test, called when the clients are connected. A process is stopped for the
given time and always continued.
"""

import contextlib
import os
import signal
import time

from torturing import processes

# From the first packet on: a lie begins in the middle of the load.
BEGIN_S = 0.7


def stop(pids, seconds):
    """Stops processes for a time; one that has ended meanwhile is left alone."""
    time.sleep(BEGIN_S)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def stop_workers(seconds):
    return lambda system: stop([pid for pid in processes.children(system.master) if processes.is_worker(pid)], seconds)


def stop_agent(seconds):
    return lambda system: stop([system.agent.pid], seconds)


def stop_master(seconds):
    return lambda system: stop([system.master], seconds)


def kill_agent(system):
    """Kills the agent and starts another one for what follows."""
    time.sleep(BEGIN_S)
    system.agent.kill()
    system.agent.wait()
    system.start_agent(f"agent-{system.agent.pid}")

"""Processes that stop or die in the middle of a run, by signals to those that this script has started.

Each lie is a function of the system under test, called when the clients are connected. A process is stopped for the
given time and always continued; it is held by descriptor, so that no signal reaches another one.
"""

import signal
import time

from torturing import processes

# From the first packet on: a lie begins in the middle of the load.
BEGIN_S = 0.7


def stop(held, seconds):
    """Stops processes for a time; one that the server replaces meanwhile is left alone."""
    time.sleep(BEGIN_S)
    for process in held:
        process.signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        for process in held:
            process.signal(signal.SIGCONT)
            process.close()


def stop_workers(seconds):
    return lambda system: stop(processes.workers(system.master), seconds)


def stop_agent(seconds):
    return lambda system: stop([processes.Worker(system.agent.pid)], seconds)


def stop_master(seconds):
    return lambda system: stop([processes.Worker(system.master)], seconds)


def kill_agent(system):
    """Kills the agent and starts another one for what follows."""
    time.sleep(BEGIN_S)
    system.agent.kill()
    system.agent.wait()
    system.start_agent(f"agent-{system.agent.pid}")

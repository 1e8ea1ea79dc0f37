"""Processes that are measured: starting them, waiting for them, and their CPU time by the kernel. Seconds."""

import contextlib
import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time

# Beyond the length of a run: a process that hangs for longer is killed, and its comparison ends.
DEADLINE_S = 60

# The share of a schedule's packets that must arrive.
ENOUGH = 0.95

# Shown by file name alone, without the folders of this repository and this Python.
OURS = (str(pathlib.Path(__file__).resolve().parent), os.path.dirname(sys.executable))


class Failed(Exception):
    """A tool failed, or its counts are wrong."""


# The exceptions that reading the output of such a tool may raise.
SURPRISES = (Failed, OSError, ValueError, ArithmeticError, LookupError, subprocess.TimeoutExpired)


class ThrownOut(Exception):
    """A pair that cannot be compared, because one side did not do the work."""


class Bench:
    """What all subjects share: where programs are, how long a run is, and every command that was run."""

    def __init__(self, target, folder, seconds):
        self.target, self.folder, self.seconds = target, folder, seconds
        self.commands = []

    def note(self, command):
        command = [str(word) for word in command]
        shown = shlex.join(os.path.basename(word) if word.startswith((str(self.target), str(self.folder), *OURS)) else word for word in command)
        if shown not in self.commands:
            self.commands.append(shown)
        return command

    @contextlib.contextmanager
    def running(self, *command, ready=None):
        """A process that is ended on leaving, unless it has ended. With `ready`, its first line must have that word."""
        command = self.note(command)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "OTEL_"))}
        errors = tempfile.TemporaryFile("w+")
        with errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as child:
            try:
                if ready:
                    with ended_after(child, DEADLINE_S):
                        child.first = child.stdout.readline()
                    if ready not in child.first:
                        raise Failed("it printed no ready line")
                yield child
            except SURPRISES as surprise:
                raise Failed(f"{surprise} ({shlex.join(map(os.path.basename, command))}{last_words(errors)})") from surprise
            finally:
                if child.returncode is None:
                    child.terminate()
                    with ended_after(child, DEADLINE_S), contextlib.suppress(ChildProcessError):
                        child.wait()

    def result(self, child):
        """The output of a process, its CPU time including its children's, and its exit code."""
        with ended_after(child, 2 * self.seconds + DEADLINE_S):
            output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        return output, usage.ru_utime + usage.ru_stime, child.returncode

    def figures(self, child):
        output, _, code = self.result(child)
        if code != 0:
            raise Failed(f"{child.args[0]} ended with {code}")
        return json.loads(output.strip().splitlines()[-1])


@contextlib.contextmanager
def ended_after(child, seconds):
    """Kills the child after so many seconds, so that waiting for its output ends."""
    killer = threading.Timer(seconds, child.kill)
    killer.start()
    try:
        yield
    finally:
        killer.cancel()


def last_words(errors):
    """The end of what a child has written to standard error."""
    errors.seek(0)
    words = " ".join(errors.read()[-300:].split())
    return f": {words}" if words else ""


def process_cpu_s(pid):
    """The CPU time of all threads of a process, including those that have ended: its CPU clock."""
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for_port(port):
    """Waits until a process listens there, by /proc/net: a connection would disturb it."""
    wanted, until = f":{port:04X}", time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            lines = open(table).read().splitlines()[1:]
            if any(words[1].endswith(wanted) and words[3] == "0A" for words in map(str.split, lines)):
                return
        time.sleep(0.02)
    raise Failed(f"nothing listens on port {port}")


def enough(who, expected, got):
    """Throws the pair out if a generator sent much less than requested: its task would be easier than the other's."""
    if got < ENOUGH * expected:
        raise ThrownOut(f"{who}: the neutral reader saw {got:,} of {expected:,} packets")


def equal(what, expected, got):
    """Fails unless a count is exact."""
    if expected != got:
        raise Failed(f"{what}: expected {expected}, got {got}")


def warn(text):
    print(text, file=sys.stderr, flush=True)

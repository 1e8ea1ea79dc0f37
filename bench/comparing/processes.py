"""Processes that are measured: started, waited for, and what CPU time the kernel says they took. Seconds."""

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

# Beyond the length of a run: what hangs for longer is killed, and its comparison ends.
PATIENCE_S = 60

# Of the packets that a schedule has.
ENOUGH = 0.95

# Told by their names alone: where this repository and this Python lie is nobody's business.
OURS = (str(pathlib.Path(__file__).resolve().parent), os.path.dirname(sys.executable))


class Failed(Exception):
    """A tool that did not do what it was asked to."""


# What reading the words of such a tool may end with.
SURPRISES = (Failed, OSError, ValueError, ArithmeticError, LookupError, subprocess.TimeoutExpired)


class ThrownOut(Exception):
    """A pair that says nothing, since one side did not do the work."""


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
        """A process that is ended on leaving, if it has not by itself. With `ready`, its first line has that word."""
        command = self.note(command)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "OTEL_"))}
        errors = tempfile.TemporaryFile("w+")
        with errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as child:
            try:
                if ready:
                    with ended_after(child, PATIENCE_S):
                        child.first = child.stdout.readline()
                    if ready not in child.first:
                        raise Failed("it did not get ready")
                yield child
            except SURPRISES as surprise:
                raise Failed(f"{surprise} ({shlex.join(map(os.path.basename, command))}{last_words(errors)})") from surprise
            finally:
                if child.returncode is None:
                    child.terminate()
                    with ended_after(child, PATIENCE_S), contextlib.suppress(ChildProcessError):
                        child.wait()

    def result(self, child):
        """The last line that a process prints, as an object, and its CPU time with that of its children."""
        with ended_after(child, 2 * self.seconds + PATIENCE_S):
            told = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        return told, usage.ru_utime + usage.ru_stime, child.returncode

    def figures(self, child):
        told, _, code = self.result(child)
        if code != 0:
            raise Failed(f"{child.args[0]} ended with {code}")
        return json.loads(told.strip().splitlines()[-1])


@contextlib.contextmanager
def ended_after(child, seconds):
    """Whoever waits for a child in here does not wait for ever: its end is the end of its words."""
    killer = threading.Timer(seconds, child.kill)
    killer.start()
    try:
        yield
    finally:
        killer.cancel()


def last_words(errors):
    """What a child has said on standard error, the end of it."""
    errors.seek(0)
    words = " ".join(errors.read()[-300:].split())
    return f": {words}" if words else ""


def process_cpu_s(pid):
    """Of all threads of a process, those included that have ended: its CPU clock."""
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for_port(port):
    """Until something listens there, asked of the kernel: a connection would disturb it."""
    wanted, until = f":{port:04X}", time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            lines = open(table).read().splitlines()[1:]
            if any(words[1].endswith(wanted) and words[3] == "0A" for words in map(str.split, lines)):
                return
        time.sleep(0.02)
    raise Failed(f"nothing listens on port {port}")


def enough(who, expected, got):
    """A generator that sends much less than it was asked to has an easier task than the other side."""
    if got < ENOUGH * expected:
        raise ThrownOut(f"{who}: the neutral reader saw {got:,} of {expected:,} packets")


def equal(what, expected, got):
    """A count that has to be exact."""
    if expected != got:
        raise Failed(f"{what}: expected {expected}, got {got}")


def warn(text):
    print(text, file=sys.stderr, flush=True)

"""One executable in one environment: how it ends, and whether it may end so.

Every trial is a process group of its own, which has ended when its trial ends.
"""

import dataclasses
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

# A trial that has not ended by then hangs. Twice the longest wait that an executable documents.
DEADLINE_S = 60
# A server or an agent that is ready is ended by SIGTERM; one that cannot report that it is ready, after this long.
READY_S = 8
# Where its standard output cannot be read, and so its ready line is not seen. Ten times what a start takes.
UNSEEN_READY_S = 3

# What a person must never be shown.
PANICS = re.compile(r"panicked at|RUST_BACKTRACE|Error \{|Os \{ code|called `Result::unwrap")
OUT_OF_MEMORY = re.compile(r"memory allocation of \d+ bytes failed")


@dataclasses.dataclass(frozen=True)
class Command:
    """What is started, and the exit codes that its --help documents."""

    name: str
    arguments: tuple
    exits: frozenset
    # It serves until SIGTERM ends it.
    serves: bool = False
    # With the others of these it makes every system call that the rest makes.
    stands_for_all: bool = False


BENCHCTL = frozenset({0, 1, 2, 3, 4, 99})
SERVER = frozenset({0, 1, 2, 3})
AGENT = frozenset({0, 1, 2, 4})
# After Ctrl-C.
INTERRUPTED = frozenset({130, -signal.SIGINT})


def commands(folder, peer):
    """Returns the commands of a trial: `peer` is a server that stands outside of it."""
    benchctl, server, agent = (str(folder / name) for name in ("benchctl", "metronome-server", "metronome-agent"))
    load = ("--clients", "2", "--rate", "100", "--duration", "200ms")
    host, port = peer.data.rsplit(":", 1)
    return (
        Command("benchctl start", (benchctl, "start", *load), BENCHCTL, stands_for_all=True),
        Command("benchctl start, to a server", (benchctl, "--server", peer.grpc, "start", *load), BENCHCTL),
        Command("benchctl runs", (benchctl, "runs"), BENCHCTL),
        Command("benchctl config show", (benchctl, "config", "show"), BENCHCTL),
        Command("metronome-server", (server, "--port", "0", "--grpc", "127.0.0.1:0"), SERVER, serves=True, stands_for_all=True),
        Command("metronome-agent", (agent, "--server", peer.grpc), AGENT, serves=True, stands_for_all=True),
        Command("metronome-agent run", (agent, "run", "--host", host, "--port", port, *load), AGENT, stands_for_all=True),
    )


def run(command, environment, folder):
    """Returns a sentence for each thing that is wrong, none when all is well, and the exit code."""
    with tempfile.TemporaryDirectory(prefix="trial-", dir=folder) as scratch:
        os.chmod(scratch, 0o777)
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "OTEL_"))}
        variables |= {"METRONOME_DATABASE": f"{scratch}/runs.sqlite", "HOME": scratch, "TMPDIR": scratch, "NO_COLOR": "1"}
        variables |= environment.variables
        out, err = Stream(environment.stdout), Stream(environment.stderr)

        def prepare():
            out.close_in_child(1)
            err.close_in_child(2)
            environment.apply()
            # What started this script may ignore Ctrl-C, as nohup and the background of a shell do.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        process = subprocess.Popen(
            command.arguments, stdin=subprocess.DEVNULL, stdout=out.file, stderr=err.file, env=variables,
            cwd=scratch, preexec_fn=prepare, start_new_session=True,
        )
        # The reading end must see the end of the trial.
        out.file.close(), err.file.close()
        try:
            faults = wait(process, command, environment, out)
        finally:
            left = end_group(process)
        if left:
            faults.append("it left processes behind")
        out.close(), err.close()
        return faults + judge(command, environment, process.returncode, out.text() + err.text()), process.returncode


def wait(process, command, environment, out):
    if command.serves or environment.stdout == "full pipe":
        until = time.monotonic() + (UNSEEN_READY_S if environment.stdout else READY_S)
        while process.poll() is None and time.monotonic() < until and "ready" not in out.text():
            time.sleep(0.02)
        # A result waits for its reader, as that of every filter does. Ctrl-C ends it all the same: the first
        # one ends the run, the second one the wait.
        for signal_number in (signal.SIGTERM,) if command.serves else (signal.SIGINT, signal.SIGINT):
            if process.poll() is None:
                process.send_signal(signal_number)
                time.sleep(0 if command.serves else 1)
    try:
        process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        return [f"it has not ended after {DEADLINE_S} s"]
    return []


def judge(command, environment, code, said):
    """Returns what is wrong with an end: pure."""
    faults = []
    if PANICS.search(said):
        faults.append(f"it shows a panic or a Debug form: {shortened(said)}")
    if environment.may_abort and code == -signal.SIGABRT and OUT_OF_MEMORY.search(said):
        return faults
    if environment.stdout == "full pipe" and code in INTERRUPTED:
        return faults
    if code not in command.exits:
        faults.append(f"it ends with {code}: {shortened(said)}")
    if code == 1 and not (environment.stdout or environment.stderr) and not said.strip():
        faults.append("it ends with 1 without a sentence")
    return faults


def shortened(said):
    return " | ".join(said.strip().splitlines()[:8])[:900]


def end_group(process):
    """Ends what is left of a trial; whether anything was."""
    left = process.poll() is None
    # Workers and embedded processes end by themselves within moments once their parent has.
    until = time.monotonic() + (0 if left else 5)
    while group_lives(process.pid):
        if time.monotonic() >= until:
            left = True
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.01)
    process.wait()
    return left


def group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Stream:
    """Where one of a trial's streams goes: to a thread that keeps what it reads, or nowhere."""

    def __init__(self, kind):
        self.kind, self.kept, self.reader, self.heard = kind, None, None, bytearray()
        if kind == "full device":
            self.file = open("/dev/full", "wb")
            return
        reader, writer = os.pipe()
        self.file = os.fdopen(writer, "wb")
        if kind == "no reader":
            os.close(reader)
        elif kind == "full pipe":
            self.kept = reader
            fill(writer)
        else:
            self.reader = threading.Thread(target=self.read, args=(reader,))
            self.reader.start()

    def read(self, descriptor):
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            while part := pipe.read(65_536):
                self.heard += part

    def close_in_child(self, descriptor):
        if self.kind == "closed":
            os.close(descriptor)

    def text(self):
        return self.heard.decode(errors="replace")

    def close(self):
        """Call when the trial has ended: everything that it wrote is read then."""
        if self.reader:
            self.reader.join(DEADLINE_S)
        if self.kept is not None:
            os.close(self.kept)


def fill(pipe):
    """Fills a pipe whose reader never reads."""
    os.set_blocking(pipe, False)
    try:
        while True:
            os.write(pipe, bytes(4096))
    except BlockingIOError:
        os.set_blocking(pipe, True)

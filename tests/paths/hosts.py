"""Two networks that an emulated path joins, and a server and agents in them, each in processes of their own.

    with contextlib.ExitStack() as stack:
        path = Path(stack, executable, seed)      the namespaces, the TUN devices, the emulator
        system = System(stack, path, executables, folder)

The server is in the network of this script, the agents in the other one: one with the server's clock, one whose
CLOCK_MONOTONIC is FOREIGN_S ahead, as in another host. So the offset between them is known exactly.
"""

import ctypes
import json
import os
import pathlib
import subprocess
import sys
import time

from torturing.processes import next_line

INSIDE = "METRONOME_TEST_PATH_INSIDE"
SERVER, AGENT = "10.231.9.1", "10.231.9.2"
DATA_PORT = 8888
# How far the foreign clock is ahead.
FOREIGN_S = 3600
OWN, FOREIGN = "own", "foreign"
DEADLINE_S = 60
# Packets that wait in a device before the emulator has read them: it must never be the kernel that drops.
DEVICE_PACKETS = 10_000
# From linux/prctl.h.
PR_SET_PDEATHSIG, SIGKILL = 1, 9


def enter_namespaces(required):
    """Runs this script again in a network of its own; without root as root of a user namespace, where no thread can
    have real-time priority. Ends it where that, a TUN device or a clock of its own is not granted."""
    command = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    probe = "ip tuntap add probe mode tun && : <>/dev/net/tun && unshare --time --monotonic 1 --fork true"
    try:
        probed = subprocess.run([*command, "sh", "-c", probe], capture_output=True, text=True)
        problem = probed.stderr.strip() if probed.returncode else None
    except FileNotFoundError as error:
        problem = str(error)
    if problem:
        print(f"SKIPPED: no network with a TUN device, or no time namespace, can be made here: {problem}")
        sys.exit(1 if required else 0)
    os.execvpe(command[0], [*command, sys.executable, *sys.argv], {**os.environ, INSIDE: "1"})


class Path:
    """The second network and the emulator between it and this one. It begins as a path that takes no time."""

    def __init__(self, stack, executable, seed):
        holder = start(stack, ["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        self.at_agent = ["nsenter", "--target", str(holder.pid), "--net"]
        own = os.readlink("/proc/self/ns/net")
        wait_until("the agents' network is there", lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own)
        command = [str(executable), "near", "far", f"/proc/{holder.pid}/ns/net", str(seed)]
        self.emulator = start(stack, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if next_line(self.emulator, DEADLINE_S) != "ready\n":
            raise SystemExit(f"the emulator did not start: it ended with {self.emulator.wait(DEADLINE_S)}")
        for prefix, name, address, other in [([], "near", SERVER, AGENT), (self.at_agent, "far", AGENT, SERVER)]:
            for arguments in [["link", "set", "lo", "up"], ["address", "add", address, "peer", other, "dev", name],
                              ["link", "set", name, "txqueuelen", str(DEVICE_PACKETS), "up"]]:
                subprocess.run([*prefix, "ip", *arguments], check=True)

    def set(self, to_server, to_agent):
        """Changes the settings of both directions, texts as the emulator reads them."""
        self._ask(f"set far-to-near {to_server}")
        self._ask(f"set near-to-far {to_agent}")

    def report(self):
        """What each direction has done since the last report."""
        answer = json.loads(self._ask("report"))
        return {"to_server": answer["far_to_near"], "to_agent": answer["near_to_far"]}

    def _ask(self, command):
        self.emulator.stdin.write(f"{command}\n")
        self.emulator.stdin.flush()
        answer = next_line(self.emulator, DEADLINE_S).strip()
        if not answer or answer.startswith("error"):
            raise SystemExit(f"the emulator answers {answer!r} to {command!r}")
        return answer


class System:
    """A server here and the agents at the other end of the path."""

    def __init__(self, stack, path, executables, folder, workers=1):
        self.executables, self.folder = pathlib.Path(executables), pathlib.Path(folder)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "OTEL_"))}
        self.environment = {**kept, "NO_COLOR": "1", "METRONOME_HTTP": "off"}
        flags = ["--host", SERVER, "--port", str(DATA_PORT), "--grpc", f"{SERVER}:0", "--insecure-no-tls"]
        flags += ["--database", str(self.folder / "runs.sqlite"), "--workers", str(workers), "--max-clients", "100"]
        words = self._start(stack, [], "metronome-server", flags).split()
        self.grpc = words[words.index("grpc") + 1]
        clock = ["unshare", "--time", "--monotonic", str(FOREIGN_S), "--fork", "--kill-child"]
        for name, prefix in [(OWN, path.at_agent), (FOREIGN, [*path.at_agent, *clock])]:
            self._start(stack, prefix, "metronome-agent", ["--server", self.grpc, "--name", name])

    def _start(self, stack, prefix, name, flags):
        """Starts an executable and waits for its ready line."""
        log = stack.enter_context(open(self.folder / f"{name}.log", "ab"))
        command = [*prefix, str(self.executables / name), *flags]
        process = start(stack, command, stdout=subprocess.PIPE, stderr=log, text=True, env=self.environment)
        ready = next_line(process, DEADLINE_S)
        if "ready" not in ready:
            raise SystemExit(f"{name} did not start: it ended with {process.wait(DEADLINE_S)}, see {log.name}")
        return ready

    def benchctl(self, *arguments):
        command = [str(self.executables / "benchctl"), "--server", self.grpc, "-o", "json", "--quiet", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment)

    def ask(self, *arguments):
        """Runs benchctl and returns the object that it prints."""
        code, answer = result_of(self.benchctl(*arguments))
        if code != 0:
            raise SystemExit(f"benchctl {' '.join(arguments)} ended with {code}: {answer}")
        return answer

    def connections(self):
        return sum(worker["connections"] for worker in self.ask("server")["workers"])


def result_of(process, deadline_s=DEADLINE_S):
    """The exit code and the object of a benchctl; one that does not end in time is killed."""
    try:
        out, error = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, error = process.communicate()
    try:
        return process.returncode, json.loads(out)
    except ValueError:
        return process.returncode, {"error": {"code": f"benchctl: {error or process.returncode}"}}


def start(stack, command, **more):
    """Starts a process that ends with the stack, and with this script."""
    prctl = ctypes.CDLL(None).prctl
    process = subprocess.Popen(command, preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), **more)
    stack.callback(end, process)
    return process


def end(process):
    # `unshare --fork` takes no SIGTERM, and what it has started ends with it.
    process.terminate() if "--fork" not in process.args else process.kill()
    try:
        process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(what, happened):
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit(f"it was waited in vain until {what}")
        time.sleep(0.02)

"""Three hosts of one cell, each a network namespace with one TUN device, and the processes on them.

The processes end with this one, however it ends: the kernel kills them (PR_SET_PDEATHSIG)."""

import ctypes
import fcntl
import json
import os
import signal
import struct
import subprocess
import tempfile
import time

from torturing.processes import next_line

BENCHCTL, SERVER, AGENT = HOSTS = ("10.231.0.1", "10.231.0.2", "10.231.0.3")
DEVICE = "path"
DEADLINE_S = 30

# From linux/sched.h, linux/if_tun.h and linux/prctl.h.
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Hosts:
    """`devices` has the file of each host's device by its address, four bytes."""

    def __init__(self, stack, executables, folder):
        self.stack, self.executables, self.folder = stack, executables, folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "OTEL_"))}
        self.environment = {**kept, "NO_COLOR": "1", "METRONOME_HTTP": "off", "METRONOME_LOG": "info"}
        self.holders, self.devices = {}, {}
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        for address in HOSTS:
            holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], preexec_fn=die_with_parent)
            stack.callback(end, holder)
            self.holders[address] = holder.pid
            before = os.readlink("/proc/self/ns/net")
            wait_until("a host is there", lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != before)
            try:
                enter(os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY))
                device = open_device()
            finally:
                enter(own)
            stack.callback(os.close, device)
            self.devices[bytes(map(int, address.split(".")))] = device
            for command in (["link", "set", "lo", "up"], ["address", "add", f"{address}/24", "dev", DEVICE],
                            ["link", "set", DEVICE, "up"]):
                subprocess.run([*self.at(address), "ip", *command], check=True)
        os.close(own)

    def at(self, address):
        return ["nsenter", "--target", str(self.holders[address]), "--net"]

    def serve(self, address, name, *flags):
        """Starts a server or an agent and waits for its ready line."""
        log = open(self.folder / f"{name}.log", "ab")
        command = [*self.at(address), str(self.executables / name), *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=self.environment,
                                   preexec_fn=die_with_parent)
        self.stack.callback(end, process)
        ready = next_line(process, DEADLINE_S)
        if "ready" not in ready:
            raise SystemExit(f"{name} did not start: it ended with {process.wait(DEADLINE_S)}, see {log.name}")
        return process

    def benchctl(self, address, *arguments, form="json"):
        """Starts benchctl; `Answer` has what came of it."""
        out = tempfile.TemporaryFile("w+", dir=self.folder)
        command = [*self.at(address), str(self.executables / "benchctl"), "--server", f"{SERVER}:50051", "-o", form, "--quiet"]
        log = open(self.folder / "benchctl.log", "ab")
        process = subprocess.Popen([*command, *arguments], stdout=out, stderr=log, env=self.environment,
                                   preexec_fn=die_with_parent)
        process.out = out
        self.stack.callback(kill, process)
        return process

    def ask(self, address, *arguments, form="json"):
        return Answer(self.benchctl(address, *arguments, form=form))

    def connections(self, address, port):
        """How many connections of a host to a port are established there."""
        ends = [line.split()[2:4] for line in open(f"/proc/{self.holders[address]}/net/tcp").readlines()[1:]]
        return sum(remote.endswith(f":{port:04X}") and state == "01" for remote, state in ends)


class Answer:
    """The exit code of a benchctl and the object that it printed; waits for its end. `is_hung`: it had to be killed."""

    def __init__(self, process, deadline_s=DEADLINE_S):
        self.is_hung = False
        try:
            self.code = process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.is_hung = True
            process.kill()
            self.code = process.wait()
        process.out.seek(0)
        self.text = process.out.read()

    @property
    def object(self):
        return json.loads(self.text) if self.text.strip() else {}

    @property
    def failure(self):
        """The code of its error; None where it has none."""
        return (self.object.get("error") or {}).get("code")


def enter(namespace):
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def open_device():
    """Opens a new TUN device of the network namespace in which this thread is."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    return device


def wait_until(what, happened, deadline_s=DEADLINE_S):
    deadline = time.monotonic() + deadline_s
    while not (value := happened()):
        if time.monotonic() > deadline:
            raise SystemExit(f"it was waited in vain until {what}")
        time.sleep(0.02)
    return value


def end(process):
    process.terminate()
    try:
        process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process):
    process.kill()
    process.wait()

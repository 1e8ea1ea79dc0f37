"""A root of Debian whose systemd runs as the first process, in namespaces and control groups of its own.

What is absent on purpose: devices, the console, a network but loopback, and rights over the kernel's settings."""

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from . import debian

NAMESPACES = (*debian.NAMESPACES, "--cgroup", "--net")
# systemd as it is in containers: the folders of control groups that it may change begin at its own.
BOOT = debian.MOUNT + r"""
mount -o remount,bind,ro "$root/sys"
umount --recursive "$root/sys/fs/cgroup"
if [ "$1" = one ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/run"
enter
exec env --ignore-environment container=metronome PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --log-target=journal --unit=multi-user.target
"""
BOOT_S_MAX = 90
STATES = ("running", "degraded")


class NotBooted(Exception):
    """systemd does not run here; the text is why."""


class Machine:
    """A root whose systemd runs while the `with` lasts."""

    def __init__(self, root):
        self.root = root

    def __enter__(self):
        self._groups = control_groups()
        if not self._groups:
            raise NotBooted("there are no control groups that systemd can use")
        name = f"metronome-{os.getpid()}"
        self._groups = [group / name for group in self._groups]
        try:
            for group in self._groups:
                group.mkdir()
        except OSError as error:
            self._remove_groups()
            raise NotBooted(f"no control group can be made: {error.strerror}") from None
        self._said = tempfile.TemporaryFile("w+")
        layout = "one" if len(self._groups) == 1 else "two"
        join = "".join(f"echo $$ >{group}/cgroup.procs\n" for group in self._groups)
        script = join + 'exec "$@"'
        command = ["bash", "-euc", script, "join", *NAMESPACES, "bash", "-c", BOOT, "boot", str(self.root.folder), layout]
        self._unshare = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said)
        try:
            self._wait_until_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_until_up(self):
        end_s, state = time.monotonic() + BOOT_S_MAX, ""
        while time.monotonic() < end_s and self._unshare.poll() is None:
            self._first = first_process(self._unshare.pid)
            if self._first:
                state = self.run("systemctl is-system-running", is_checked=False).stdout.strip()
                if state in STATES:
                    return
            time.sleep(0.2)
        self._said.seek(0)
        raise NotBooted(f"systemd is {state or 'not there'} after {BOOT_S_MAX} s: {self._said.read()[-300:].strip()}")

    def __exit__(self, *_):
        if self._unshare.poll() is None:
            # The first process of a namespace ends all others of it.
            if first := first_process(self._unshare.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(first, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._unshare.wait(timeout=10)
            self._unshare.kill()
            self._unshare.wait()
        self._remove_groups()

    def _remove_groups(self):
        for group in self._groups:
            for folder, _, _ in os.walk(group, topdown=False):
                # A process that has ended may be in its group for a moment.
                for _ in range(50):
                    with contextlib.suppress(OSError):
                        os.rmdir(folder)
                        break
                    time.sleep(0.05)

    def run(self, script, is_checked=True, timeout_s=120):
        """Runs bash in there as root."""
        command = ["nsenter", f"--target={self._first}", "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup", "--root",
                   "--wd", "bash", "-c", script]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "xterm",
                       "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=timeout_s)
        if is_checked and done.returncode:
            raise SystemExit(f"in the booted root, {script!r} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        return done


def first_process(unshare):
    """The child of `unshare`, when it is systemd, or None."""
    with contextlib.suppress(OSError):
        children = pathlib.Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
        for child in children:
            if pathlib.Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
    return None


def control_groups():
    """This process's folders in the hierarchies that systemd needs: one where all is cgroup2, else two."""
    own = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    found = {}
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, flags, *_ = line.split()
        if kind == "cgroup2" and "" in own:
            found["two"] = pathlib.Path(place + own[""])
        elif kind == "cgroup" and "name=systemd" in flags.split(",") and "name=systemd" in own:
            found["one"] = pathlib.Path(place + own["name=systemd"])
    return list(found.values()) if "two" in found else []

"""Control groups with a CPU quota, of version 1 or 2, whichever this host has; they are removed at the end."""

import contextlib
import os
import pathlib
import time

ROOT = pathlib.Path("/sys/fs/cgroup")
# The least that a quota may be, once in a time that is as long as the cause: all but 1 ms of it is denied.
PERIOD_US, QUOTA_US = 500_000, 1_000
# Moves the shell into the group, then becomes the command.
ENTER = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'


class Group:
    """One group. A context: it is made and removed."""

    def __init__(self, parent, name):
        self.folder = parent / f"metronome-causes-{os.getpid()}-{name}"
        self.is_version_1 = (parent / "cpu.cfs_quota_us").exists()

    def __enter__(self):
        self.folder.mkdir()
        self.limit(None)
        return self

    def __exit__(self, *_):
        # A process that has just ended still counts for a moment.
        for _ in range(100):
            with contextlib.suppress(OSError):
                return self.folder.rmdir()
            time.sleep(0.05)
        self.folder.rmdir()

    @property
    def prefix(self):
        """The command that starts another one in the group."""
        return ("sh", "-c", ENTER, "sh", str(self.folder))

    def limit(self, quota_us):
        """Sets how much CPU time it may use in each period; None lifts the quota."""
        for name, text in settings(self.is_version_1, quota_us):
            (self.folder / name).write_text(text)


def settings(is_version_1, quota_us):
    """The files of a group and what is written to each."""
    if is_version_1:
        return [("cpu.cfs_period_us", str(PERIOD_US)), ("cpu.cfs_quota_us", str(-1 if quota_us is None else quota_us))]
    return [("cpu.max", f"{'max' if quota_us is None else quota_us} {PERIOD_US}")]


def parent():
    """The group below which this script may make its own. Raises OSError where there is none."""
    if (ROOT / "cpu" / "cpu.cfs_quota_us").exists():
        return ROOT / "cpu"
    controllers = (ROOT / "cgroup.subtree_control").read_text().split()
    if "cpu" not in controllers:
        (ROOT / "cgroup.subtree_control").write_text("+cpu")
    return ROOT


@contextlib.contextmanager
def made(names):
    """Groups by name. Raises OSError where this script has no right to make them."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Group(parent(), name)) for name in names}

"""The windows of `tests/path --windows N`: N short runs on each path, and whether the truth lies inside every bound.

The agent's clock is FOREIGN_S ahead by a time namespace of the same kernel, so the offset is known exactly and does
not drift. A window is a run: what its probes have proved, and the bound of its one-way times.
"""

import dataclasses
import statistics

from lies import judging as ends
from paths.hosts import FOREIGN, FOREIGN_S, result_of

LOAD = ("--clients", "2", "--rate", "500", "--duration", "1s")
# Most of the windows of a path that may have no verdict or no bound, on a host that is busy.
UNUSABLE_MAX = 0.2


@dataclasses.dataclass(frozen=True)
class WindowPath:
    name: str
    to_server: str
    to_agent: str

    @property
    def least_us(self):
        """What every packet to the server takes at least."""
        return int(self.to_server.split()[0].removeprefix("delay_us="))


PATHS = [
    WindowPath("symmetric, 5 ms a way", "delay_us=5000", "delay_us=5000"),
    WindowPath("1 ms there, 10 ms back", "delay_us=1000", "delay_us=10000"),
    WindowPath("5 ms, jitter of 1 ms", "delay_us=5000 jitter_us_mean=1000 jitter=exponential",
               "delay_us=5000 jitter_us_mean=1000 jitter=exponential"),
    WindowPath("5 ms, 1 % lost", "delay_us=5000 loss_ppm=10000", "delay_us=5000 loss_ppm=10000"),
    WindowPath("5 ms, 200 kB/s there", "delay_us=5000 bytes_per_s=200000", "delay_us=5000"),
    WindowPath("no delay", "delay_us=0", "delay_us=0"),
]


@dataclasses.dataclass(frozen=True)
class Window:
    """A run that has a bound."""

    off_us: float
    offset_bound_us: float
    one_way_bound_us: float
    fastest_us: float
    half_rtt_us: float

    @property
    def ratio(self):
        """The half width as a multiple of half of the least round trip."""
        return self.one_way_bound_us / self.half_rtt_us


def window_of(run):
    """None for a run that has no bound, as one that failed."""
    clock = ((run.get("agents") or [{}])[0]).get("clock") or {}
    one_way, rtt = run.get("one_way_us") or {}, run.get("probe_rtt_us") or {}
    values = [clock.get("offset_us"), clock.get("bound_us"), one_way.get("bound"), one_way.get("min"), rtt.get("min")]
    if None in values:
        return None
    offset, bound, one_way_bound, fastest, rtt_min = values
    return Window(abs(offset + FOREIGN_S * 1e6), bound, one_way_bound, fastest, rtt_min / 2)


def faults_of(path, window):
    """A sentence for each bound that the truth is outside of."""
    faults = []
    if window.off_us > window.offset_bound_us:
        faults.append(f"the offset is wrong by {window.off_us} us, beyond its bound of {window.offset_bound_us} us")
    if window.fastest_us + window.one_way_bound_us < path.least_us:
        faults.append(f"a packet took {window.fastest_us} us ± {window.one_way_bound_us} us on a path of {path.least_us} us")
    return faults


def measure(system, of_path, runs):
    """So many runs. Returns the row of the table and the faults."""
    windows, faults = [], []
    for number in range(runs):
        code, run = result_of(system.benchctl("start", *LOAD, "--agent", FOREIGN, "--wait", "5s"))
        window = window_of(run)
        if window is None:
            print(f"{of_path.name}, run {number}: no bound, exit {code}: {ends.cause(run)}", flush=True)
            continue
        windows.append(window)
        faults += [f"{of_path.name}, run {number}: {fault}" for fault in faults_of(of_path, window)]
    return row_of(of_path, windows), faults + too_few(of_path, len(windows), runs)


def too_few(of_path, windows, runs):
    if windows >= runs * (1 - UNUSABLE_MAX):
        return []
    return [f"{of_path.name}: only {windows} of {runs} runs have a bound"]


def row_of(of_path, windows):
    """Outside of the bound, the bound in µs and as a multiple of half of the least round trip: median and greatest."""
    if not windows:
        return f"| {of_path.name} | 0 | – | – | – |"
    outside = sum(bool(faults_of(of_path, window)) for window in windows)
    ratios = [window.ratio for window in windows]
    bounds = [window.one_way_bound_us for window in windows]
    return (f"| {of_path.name} | {len(windows)} | {outside} | {statistics.median(bounds):.0f}, {max(bounds):.0f} "
            f"| {statistics.median(ratios):.2f}, {max(ratios):.2f} |")

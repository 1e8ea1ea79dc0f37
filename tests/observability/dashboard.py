"""Runs the dashboard as Grafana shows it by default, on a real Prometheus with a day of scrapes made up.

Usage: dashboard.py DASHBOARD.json DATASOURCES.yml PROMETHEUS.yml

There is no Grafana here; what it does by default is computed: the step of a query from the range and the
number of points (of its Prometheus data source: pkg/promlib/intervalv2 and models/query.go), and with it
$__interval and $__rate_interval. Each query must be accepted over each range. Each end of a run must be
marked at its time, and nothing else: not a restart of the server, which sets its counters to 0.
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

MINUTE, HOUR, DAY = 60, 3600, 86_400
RANGES = (15 * MINUTE, HOUR, DAY)
# Of a panel as points that it asks for: it has about a pixel for each. An annotation asks for 100.
PANEL_POINTS, ANNOTATION_POINTS = 900, 100
# What Grafana takes for the time between two scrapes when its data source does not say it.
SCRAPE_DEFAULT = 15

# Below the first number (s) a step is rounded to the second one.
ROUNDED = (
    (0.0075, 0.005), (0.015, 0.01), (0.035, 0.02), (0.075, 0.05), (0.15, 0.1), (0.35, 0.2), (0.75, 0.5), (1.5, 1),
    (3.5, 2), (7.5, 5), (12.5, 10), (17.5, 15), (25, 20), (45, 30), (90, 60), (210, 120), (450, 300), (750, 600),
    (1050, 900), (1500, 1200), (2700, 1800), (5400, 3600), (9000, 7200), (16200, 10800), (32400, 21600),
)


def rounded(step):
    return next((to for below, to in ROUNDED if step < below), 43_200)


def step_of(range_s, points, scrape):
    """Seconds between two points of a query."""
    return max(rounded(range_s / points), scrape)


def rate_interval(step, scrape):
    return max(step + scrape, 4 * scrape)


def substituted(query, range_s, step, scrape):
    values = {
        "$__rate_interval": f"{rate_interval(step, scrape)}s",
        "$__interval": f"{step}s",
        "$__range": f"{range_s}s",
        "$instance": ".*",
    }
    for name, value in values.items():
        query = query.replace(name, value)
    return query


def seconds_in(text, name):
    """The seconds that a YAML file has under a name, or None."""
    found = re.search(rf"^\s*{name}: *\"?(\d+)s\"?\s*$", text, re.MULTILINE)
    return int(found[1]) if found else None


def scrapes(path, start, end, every, ended, restart):
    """Writes what a server counts: runs that ended (time, verdict), from 0 again after its restart."""
    with open(path, "w") as file:
        print("# TYPE metronome_runs_ended counter", file=file)
        for verdict in ("valid", "invalid"):
            # Not at multiples of a step, as no scrape is.
            for at in range(start + 2, end, every):
                since = restart if at >= restart else 0
                count = sum(since <= when <= at for when, of in ended if of == verdict)
                print(f'metronome_runs_ended_total{{instance="server:9464",verdict="{verdict}"}} {count} {at}', file=file)
        print("# EOF", file=file)


def ask(base, path, **query):
    url = f"{base}{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{query.get('query')}: {error.read().decode()}") from error


def queried(base, query, start, end, step):
    # As Grafana does it: from and to multiples of the step.
    start, end = start // step * step, end // step * step
    return ask(base, "/api/v1/query_range", query=query, start=start, end=end, step=step)["result"]


def marks(result, step):
    """The times at which something is marked: (verdict, first, last), points in a row as one."""
    found = []
    for series in result:
        for at, value in series["values"]:
            assert float(value) > 0, series
            verdict = series["metric"]["verdict"]
            if found and found[-1][0] == verdict and at - found[-1][2] <= step:
                found[-1] = (verdict, found[-1][1], at)
            else:
                found.append((verdict, at, at))
    return found


def faults_of_annotation(base, annotation, now, ended, scrape):
    faults = []
    # The least step of its own takes the place of the data source's.
    scrape = seconds_in(f"step: {annotation['step']}", "step") if annotation.get("step") else scrape
    for range_s in RANGES:
        step = step_of(range_s, ANNOTATION_POINTS, scrape)
        query = substituted(annotation["expr"], range_s, step, scrape)
        found = marks(queried(base, query, now - range_s, now, step), step)
        slack = rate_interval(step, scrape) + step
        # What ended at an edge may be marked beyond it.
        inside = [(when, verdict) for when, verdict in ended if now - range_s + slack < when < now - slack]
        for when, verdict in inside:
            if not any(of == verdict and first - step <= when + step and first >= when for of, first, _ in found):
                faults.append(f"{range_s} s: the {verdict} run that ended {now - when} s ago is not marked by {query}")
        for of, first, last in found:
            if not any(verdict == of and first - slack <= when <= last for when, verdict in ended):
                faults.append(f"{range_s} s: a mark {now - first} s ago, where no {of} run ended, by {query}")
        print(f"{range_s} s in steps of {step} s: {len(inside)} ends of runs, {len(found)} marks")
    return faults


def served(folder, port):
    (folder / "prometheus.yml").write_text("")
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
               "--storage.tsdb.retention.time=10d", f"--web.listen-address=127.0.0.1:{port}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main():
    dashboard, datasources, prometheus = (pathlib.Path(path).read_text() for path in sys.argv[1:])
    dashboard = json.loads(dashboard)
    scrape = seconds_in(datasources, "timeInterval") or SCRAPE_DEFAULT
    every = seconds_in(prometheus, "scrape_interval")
    # A whole day, so that it is a multiple of every step.
    now = int(time.time()) // DAY * DAY
    ended = [(now - ago, "valid") for ago in (90, 217, 301, 588, 1_203, 2_718, 3_141, 10_007, 31_415, 80_001)]
    ended += [(now - ago, "invalid") for ago in (400, 2_002, 50_003)]
    restart = now - 450
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        scrapes(folder / "metrics", now - DAY - HOUR, now + 1, every, sorted(ended), restart)
        create = ["promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "metrics", folder / "tsdb"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        server = served(folder, port)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"{base}/-/ready", timeout=5).close()
                    break
                except OSError:
                    if time.monotonic() > deadline or server.poll() is not None:
                        raise
                    time.sleep(0.1)
            queries = 0
            for panel in (panel for panel in dashboard["panels"] if panel["type"] != "row"):
                for target in panel["targets"]:
                    for range_s in RANGES:
                        step = step_of(range_s, PANEL_POINTS, scrape)
                        query = substituted(target["expr"], range_s, step, scrape)
                        assert "$" not in query, query
                        queried(base, query, now - range_s, now, step)
                        queries += 1
            annotations = dashboard["annotations"]["list"]
            for annotation in annotations:
                faults += faults_of_annotation(base, annotation, now, ended, scrape)
        finally:
            server.terminate()
            server.wait()
    print(f"{queries} queries and {len(annotations)} annotation of the dashboard by Grafana's defaults, {len(faults)} faults")
    print("\n".join(faults))
    return 1 if faults or not annotations else 0


if __name__ == "__main__":
    sys.exit(main())

"""Checks what receiver.py wrote: one trace over three services, the documented tree, the metrics.

Usage: spans.py FILE RUN_ID PACKETS EXEMPLARS

Every name must be in the published list of the conventions, not deprecated there, or lie below `metronome.`; every
exemplar in the file EXEMPLARS must be a span of a trace that came.
"""

import json
import sys
from pathlib import Path

from opentelemetry.semconv import schemas
from tree import lines, load

PARENTS = {
    "metronome.v1.RunService/StartRun": {"benchctl start", "metronome.v1.RunService/StartRun"},
    "run": {"metronome.v1.RunService/StartRun"},
    "preparing": {"run"},
    "starting": {"run"},
    "running": {"run"},
    "draining": {"run"},
    "merge": {"run"},
    "store": {"run"},
    "packet": {"run"},
    "agent a1": {"run"},
    "prepare": {"agent a1"},
    "connect": {"prepare"},
    "warm-up": {"agent a1"},
    "measure": {"agent a1"},
    "drain": {"agent a1"},
    "report": {"agent a1"},
}


COUNTERS_OF_RUNS = {"metronome_runs_ended_total", "metronome_runs_judged_total", "metronome_objectives_total"}


def published():
    """All names of the conventions that are not deprecated."""
    names = set()
    folder = Path(schemas.__file__).parent
    for source in [*folder.rglob("*_attributes.py"), *folder.rglob("*_metrics.py")]:
        lines = source.read_text().splitlines()
        for line, below in zip(lines, lines[2:]):
            name, found, value = line.partition(": Final = \"")
            if found and not below.startswith("Deprecated"):
                names.add(value.rstrip('"'))
    return names


def sent_names(records):
    for record in records:
        if "span" in record:
            yield from record["attributes"]
            yield from record["resource"]
            yield from (name for event in record["events"] for name in set(event) - {"name", "at_ns"})
        else:
            yield record["metric"]
            (data,) = (record["data"].get(kind) for kind in ("sum", "gauge", "histogram") if kind in record["data"])
            yield from (pair["key"] for point in data.get("dataPoints", []) for pair in point.get("attributes", []))


def check_names(records):
    names = {name for name in sent_names(records) if not name.startswith("metronome.")}
    assert names <= published(), names - published()
    listed = set((Path(__file__).parent / "../common/conventions.txt").read_text().split())
    assert listed <= published(), listed - published()
    urls = {url for record in records for url in record["schemas"]}
    assert urls == {schemas.Schemas.V1_44_0.value}, urls
    print(f"{len(names)} names of the conventions, of {urls.pop()}")


def expected_span(series):
    """What an exemplar of a series is, where only one name is right."""
    if series in COUNTERS_OF_RUNS:
        return "run"
    return "packet" if series.startswith("metronome_") else None


def check_exemplars(path, spans, run_id):
    known = {(span["trace"], span["span"]): span["name"] for span in spans}
    exemplars = [line.split() for line in open(path)]
    for trace, span, series in exemplars:
        name = known.get((trace, span))
        assert name == expected_span(series) or (name and not expected_span(series)), (series, trace, span, name)
    assert {series for _, _, series in exemplars} >= {
        "metronome_latency_seconds_bucket",
        "metronome_lateness_seconds_bucket",
        "metronome_transit_seconds_bucket",
        "rpc_server_call_duration_seconds_bucket",
        *COUNTERS_OF_RUNS,
    }
    # The counters lead to the trace of the run that they have counted.
    runs = {(span["trace"], span["span"]) for span in spans if span["attributes"].get("metronome.run.id") == run_id and span["name"] == "run"}
    counted = {(trace, span) for trace, span, series in exemplars if series in COUNTERS_OF_RUNS}
    assert counted == runs, (counted, runs)
    print(f"Prometheus has {len(exemplars)} exemplars, each a span that came")


def main():
    path, run_id, packets, exemplars = sys.argv[1:]
    spans = load(path)
    with open(path) as records:
        check_names([json.loads(record) for record in records])
    check_exemplars(exemplars, spans, run_id)
    run = next(span for span in spans if span["attributes"].get("metronome.run.id") == run_id and span["name"] == "run")
    own = [span for span in spans if span["trace"] == run["trace"]]
    names = {span["span"]: span["name"] for span in own}
    assert {span["service"] for span in own} == {"benchctl", "metronome-server", "metronome-agent"}
    for name, parents in PARENTS.items():
        found = [span for span in own if span["name"] == name]
        assert found, f"no span {name}"
        for span in found:
            assert names.get(span["parent"]) in parents, f"{name} lies below {names.get(span['parent'])}"
    assert sum(span["name"] == "packet" for span in own) == 10
    assert run["attributes"]["metronome.packets.received"] == int(packets)
    with open(path) as records:
        metrics = [record for record in map(json.loads, records) if "metric" in record]
    received = [metric for metric in metrics if metric["metric"] == "metronome.packets.received"]
    assert received[-1]["data"]["sum"]["dataPoints"][0]["asDouble"] == float(packets), received[-1]
    latency = [metric for metric in metrics if metric["metric"] == "metronome.latency"][-1]
    assert latency["data"]["histogram"]["dataPoints"][0]["count"] == packets, latency
    print("\n".join(lines(spans, run["trace"])))


if __name__ == "__main__":
    main()

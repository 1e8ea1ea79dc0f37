"""Checks what receiver.py wrote: one trace over three services, the documented tree, the metrics.

Usage: spans.py FILE RUN_ID PACKETS
"""

import sys

import json
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


def main():
    path, run_id, packets = sys.argv[1:]
    spans = load(path)
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

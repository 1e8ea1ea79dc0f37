"""Compares the metrics of the last run with its report: verdict, outcome, and every objective.

Usage: objectives.py METRICS RESULT.json

METRICS is a scrape as OpenMetrics text, RESULT.json what `benchctl start -o json` printed of the only run.
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

SCALES = {"seconds": 1e-9, "packets": 1, "ratio": 1e-6}
UNITS = {"ns": "seconds", "count": "packets", "share_ppm": "ratio"}


def samples_of(path):
    for family in parse(open(path).read()):
        for sample in family.samples:
            yield sample.name, dict(sample.labels), sample.value


def main():
    metrics, result = sys.argv[1:]
    samples = list(samples_of(metrics))
    result = json.load(open(result))
    outcome = result["outcome"]

    def states(name, label):
        return {labels[label] for of, labels, value in samples if of == name and value == 1}

    def of(name, **wanted):
        return [value for of, labels, value in samples if of == name and labels == wanted]

    assert states("metronome_last_run_verdict", "verdict") == {result["verdict"]["status"]}
    assert states("metronome_last_run_outcome", "outcome") == {outcome["status"]}
    assert of("metronome_runs_judged_total", outcome=outcome["status"]) == [1]
    for status in ("held", "not_held", "not_judged"):
        count = sum(objective["status"] == status for objective in outcome["objectives"])
        assert of("metronome_objectives_total", status=status) == [count], status
    print(json.dumps(outcome["objectives"][0]))


if __name__ == "__main__":
    main()

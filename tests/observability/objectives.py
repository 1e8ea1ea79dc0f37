"""Compares the metrics of the last run with its report: verdict, outcome, and every objective.

Usage: objectives.py METRICS RESULT.json

METRICS is a scrape as OpenMetrics text, RESULT.json what `benchctl start -o json` printed of the only run.
"""

import json
import math
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

# The base unit of a unit of the report, and how many of the base unit it is.
BASE = {"us": ("seconds", 1e-6), "packets": ("packets", 1), "percent": ("ratio", 1e-2)}
STATUSES = ("held", "not_held", "not_judged")


def samples_of(path):
    for family in parse(open(path).read()):
        for sample in family.samples:
            yield sample.name, dict(sample.labels), sample.value


def quantile_label(name):
    """0.999 of p99.9, and 1 of max."""
    share = 1.0 if name == "max" else round(float(name[1:]) / 100, 6)
    return f"{share:g}" if share < 1 else "1"


def labels_of(objective):
    labels = {name: objective[name] for name in ("metric", "comparison", "source")}
    if objective["quantile"]:
        labels["quantile"] = quantile_label(objective["quantile"])
    return labels


def main():
    metrics, result = sys.argv[1:]
    samples = list(samples_of(metrics))
    result = json.load(open(result))
    outcome = result["outcome"]

    def values(name, **wanted):
        return [value for of, labels, value in samples if of == name and labels == wanted]

    def states(name, label):
        return {labels[label] for of, labels, value in samples if of == name and value == 1}

    assert states("metronome_last_run_verdict", "verdict") == {result["verdict"]["status"]}
    assert states("metronome_last_run_outcome", "outcome") == {outcome["status"]}
    assert values("metronome_runs_judged_total", outcome=outcome["status"]) == [1]
    for status in STATUSES:
        count = sum(objective["status"] == status for objective in outcome["objectives"])
        assert values("metronome_objectives_total", status=status) == [count], status
    expected = 0
    for objective in outcome["objectives"]:
        labels = labels_of(objective)
        for status in STATUSES:
            shown = values("metronome_objective_status", **labels, status=status)
            assert shown == [float(status == objective["status"])], (objective, status, shown)
            expected += 1
        base, scale = BASE[objective["unit"]]
        for name in ("limit", "observed"):
            shown = values(f"metronome_objective_{name}_{base}", **labels)
            if objective[name] is None:
                assert shown == [], (objective, shown)
                continue
            # The report rounds to ns, and a share down to its millionths.
            assert len(shown) == 1 and math.isclose(shown[0], objective[name] * scale, rel_tol=1e-9, abs_tol=1e-9), (objective, shown)
            expected += 1
    of_objectives = [name for name, _, _ in samples if name.startswith("metronome_objective_")]
    assert len(of_objectives) == expected, "there are series of no objective of the run"
    print(f"{len(outcome['objectives'])} objectives of the run as {expected} series, {outcome['status']}")


if __name__ == "__main__":
    main()

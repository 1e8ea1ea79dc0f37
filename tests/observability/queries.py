"""Runs every query of the dashboard and of the alert rules against a real Prometheus.

Usage: queries.py PROMETHEUS_URL DASHBOARD.json ALERTS.yml EXPECTED_PACKETS EXEMPLARS

The exemplars that Prometheus has stored are written to the file EXEMPLARS, as TRACE_ID SPAN_ID SERIES lines.

A query must be accepted, and name only metrics that were scraped; the query of a panel that shows load must
return something. The packets that Prometheus has scraped must be those that the runs have counted.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request

VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "10m", "$instance": ".*"}
# Queries with these words return nothing while nothing goes wrong.
MAY_BE_EMPTY = ("recovery_pause", "> 0", "connections_refused", "objective_observed")
# Of an invalid run, as a busy machine may make one, nothing is judged.
MAY_BE_ABSENT = {"metronome_objective_observed_seconds"}


def ask(base, path, **query):
    with urllib.request.urlopen(f"{base}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


def substituted(query):
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def metric_names(query):
    return set(re.findall(r"\b(?:metronome|rpc|process)_[a-z_]+\b", query)) - {"rpc_method", "rpc_response_status_code"}


def main():
    base, dashboard, alerts, packets, exemplars = sys.argv[1:]
    known = set(ask(base, "/api/v1/label/__name__/values")) | MAY_BE_ABSENT
    panels = [panel for panel in json.load(open(dashboard))["panels"] if panel["type"] != "row"]
    faults, queries = [], 0
    for panel in panels:
        for target in panel["targets"]:
            query = substituted(target["expr"])
            queries += 1
            faults += [f"{panel['title']}: {name} was never scraped" for name in metric_names(query) - known]
            result = ask(base, "/api/v1/query", query=query)["result"]
            if not result and not any(word in query for word in MAY_BE_EMPTY):
                faults.append(f"{panel['title']}: no result for {query}")
    groups = ask(base, "/api/v1/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    for rule in rules:
        faults += [f"{rule['name']}: {rule['lastError']}"] if rule.get("lastError") else []
        faults += [f"{rule['name']}: {name} was never scraped" for name in metric_names(rule["query"]) - known]
    defined = open(alerts).read().count("- alert:")
    if len(rules) != defined:
        faults.append(f"{len(rules)} of {defined} rules are loaded")
    for name in ("sent_total", "received_total"):
        counted = ask(base, "/api/v1/query", query=f"metronome_packets_{name}")["result"][0]["value"][1]
        if float(counted) != float(packets):
            faults.append(f"Prometheus has {counted} packets as {name}, the runs counted {packets}")
    stored = ask(base, "/api/v1/query_exemplars", query='{__name__=~".+_(bucket|total)"}', start=time.time() - 3600, end=time.time())
    with open(exemplars, "w") as file:
        for series in stored:
            for exemplar in series["exemplars"]:
                labels = exemplar["labels"]
                print(labels["trace_id"], labels["span_id"], series["seriesLabels"]["__name__"], file=file)
    print(f"{queries} queries of {len(panels)} panels and {len(rules)} rules, {len(faults)} faults")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

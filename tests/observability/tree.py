"""Prints a trace as a tree, from what receiver.py wrote. Usage: tree.py FILE [TRACE_ID]

One line per span: its name, its service and its duration; its events are below it.
"""

import json
import sys
from collections import defaultdict


def load(path):
    with open(path) as lines:
        return [record for record in map(json.loads, lines) if "span" in record]


def lines(spans, trace):
    own = [span for span in spans if span["trace"] == trace]
    known = {span["span"] for span in own}
    children = defaultdict(list)
    for span in sorted(own, key=lambda span: (span["from_ns"], -span["until_ns"])):
        children[span["parent"] if span["parent"] in known else ""].append(span)

    def walk(span, depth):
        took_ms = (span["until_ns"] - span["from_ns"]) / 1e6
        mark = {2: " !"}.get(span["status"], "")
        yield f"{'  ' * depth}{span['name']}  [{span['service']}]  {took_ms:.2f} ms{mark}"
        for event in span["events"] if span["name"] != "packet" else []:
            yield f"{'  ' * depth}    · {event['name']}"
        packets = [child for child in children[span["span"]] if child["name"] == "packet"]
        for child in children[span["span"]]:
            if child["name"] != "packet" or child is packets[0]:
                yield from walk(child, depth + 1)
        if len(packets) > 1:
            yield f"{'  ' * (depth + 1)}… and {len(packets) - 1} more packets"

    for root in children[""]:
        yield from walk(root, 0)


if __name__ == "__main__":
    spans = load(sys.argv[1])
    wanted = sys.argv[2] if len(sys.argv) > 2 else spans[0]["trace"]
    print("\n".join(lines(spans, wanted)))

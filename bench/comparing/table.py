"""The table as Markdown and as JSON. Pure: it returns text."""

import dataclasses
import json
import types

HEAD = "| comparison | figure | unit | ours | theirs | ratio or more, median | from – to | goal | |\n|---|---|---|---|---|---|---|---|---|"
MET = {True: "met", False: "not met", None: ""}


def figure(value):
    """Formats a value with three significant figures, or all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def line(row):
    cells = [row.comparison, row.figure, row.unit, figure(row.ours), figure(row.theirs), f"{row.ratio:.3g}"]
    cells += [f"{row.ratio_min:.3g} – {row.ratio_max:.3g}", row.goal, MET[row.met] + ("" if row.agreed else " by the median")]
    return f"| {' | '.join(cells)} |"


def not_valid(measured):
    """For each comparison, how many of our runs were not valid by their own verdict; they count all the same."""
    for name, pairs in measured.items():
        verdicts = [mine["verdict"] for mine, _ in pairs if "verdict" in mine]
        late = len(verdicts) - verdicts.count("valid")
        if late:
            yield f"{name}: {late} of our {len(verdicts)} runs were not valid."


def markdown(host, title, rows, commands, left_out, thrown_out=(), measured=types.MappingProxyType({})):
    text = [f"{title}\n", "\n".join(f"- {name}: {value}" for name, value in host.items()), "", HEAD, *map(line, rows)]
    text += ["", *(f"Not measured: {name}: {reason}." for name, reason in left_out.items())]
    text += [f"Pair thrown out: {reason}." for reason in thrown_out]
    text += not_valid(measured)
    for name, lines in commands.items():
        text += ["", f"{name}:", "```text", *lines, "```"]
    return "\n".join(text) + "\n"


def as_json(host, title, rows, commands, left_out, pairs, thrown_out=()):
    """The table as JSON, with the figures of every pair for other evaluations."""
    text = {"title": title, "host": host, "rows": [dataclasses.asdict(row) for row in rows], "commands": commands}
    return json.dumps({**text, "not_measured": left_out, "thrown_out": list(thrown_out), "pairs": pairs}, indent=2) + "\n"

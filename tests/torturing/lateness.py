"""The p99 of the latency beside each attack and alone, as a table of which every figure follows from those shown.

A cell has a median, in µs, with the lowest and the highest in brackets where they are known; the last column is the
ratio of the two medians as the row shows them. Pairs of which a figure is not known are left out: a generator that was late
spoils the p99 of the latency.
"""

import re
import statistics

HEAD = "| attack | pairs | alone | during the attack | during ÷ alone |\n|---|---|---|---|---|"
CELL = r"([\d,]+) µs(?: \(([\d,]+) – ([\d,]+)\))?"
ROW = re.compile(rf"\| (?P<name>[^|]+) \| (?P<pairs>\d+) \| {CELL} \| {CELL} \| (?P<ratio>\d+\.\d\d) \|")


def is_known(p99s):
    return None not in p99s


def row_of(name, pairs):
    """One line of the table; `pairs` has (alone, during) in µs, of which one may be None."""
    known = [pair for pair in pairs if is_known(pair)]
    if not known:
        return f"| {name} | 0 | – | – | – |"
    sides = [[round(value) for value in side] for side in zip(*known)]
    # The median of the figures as they are shown, so that a reader's ratio is the same.
    medians = [round(statistics.median(side)) for side in sides]
    cells = [f"{median:,} µs ({min(side):,} – {max(side):,})" for median, side in zip(medians, sides)]
    return f"| {name} | {len(known)} | {cells[0]} | {cells[1]} | {medians[1] / max(1, medians[0]):.2f} |"


def faults_of(line):
    """Returns what a reader who recomputes a line of the table would find."""
    row = ROW.fullmatch(line)
    if row is None:
        return [] if line.endswith("| 0 | – | – | – |") else [f"not a row of the table: {line}"]
    figures = [text and int(text.replace(",", "")) for text in row.groups()[2:8]]
    alone, during = figures[:3], figures[3:]
    faults = [f"the median is outside its range: {line}" for median, low, high in (alone, during)
              if low is not None and not low <= median <= high]
    if f"{during[0] / max(1, alone[0]):.2f}" != row["ratio"]:
        faults.append(f"{during[0]} ÷ {alone[0]} is not {row['ratio']}: {line}")
    return faults

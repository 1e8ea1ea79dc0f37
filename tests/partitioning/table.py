"""The table of docs/partitions.md: what a user may see of each cell. Pure."""

from partitioning import cells

HEAD = "| cut | how | when | `stop` | `start` | the run |"
RULE = "|---|---|---|---|---|---|"
OR = "<br>or "
COLUMNS = ("stop", "start", "the run")


def read(text):
    """By cell: the ends that are allowed, each of them `(stop, start, run)`."""
    rows = {}
    for line in text.splitlines():
        parts = [part.strip() for part in line.strip("| ").split(" | ")]
        if len(parts) == 6 and parts[1] in (*cells.KINDS, cells.SLOW):
            cell = cells.Cell(tuple(parts[0].split(", ")), parts[1], parts[2])
            # Backticks are for the eye.
            columns = [part.replace("`", "").split(OR) for part in parts[3:]]
            rows[cell] = list(zip(*columns, strict=True))
    return rows


def row(cell, ends):
    columns = [OR.join(end[number] for end in ends) for number in range(len(COLUMNS))]
    return f"| {', '.join(cell.links)} | {cell.kind} | {cell.moment} | {' | '.join(columns)} |"


def written(text, seen, keeps=False):
    """The page with the rows of what was seen; rows of other cells stay."""
    rows, made = read(text), {}
    for cell, end in seen:
        made.setdefault(cell, []).append(end)
    for cell, ends in made.items():
        rows[cell] = sorted(set(ends) | set(rows.get(cell, []) if keeps else []))
    lines = text.splitlines()
    first = lines.index(HEAD)
    behind = next((number for number in range(first, len(lines)) if not lines[number].startswith("|")), len(lines))
    listed = [row(cell, rows[cell]) for cell in cells.ALL if cell in rows]
    return "\n".join([*lines[:first], HEAD, RULE, *listed, *lines[behind:]]) + "\n"


def faults(allowed, end):
    """What is wrong with an end of a cell."""
    if allowed is None:
        return [f"{' | '.join(end)} is not in the table, which has no such cell"]
    if end not in allowed:
        return [f"{' | '.join(end)}; the table has {' or '.join(' | '.join(one) for one in allowed)}"]
    return []

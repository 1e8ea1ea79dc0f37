#!/usr/bin/env python3
"""Makes a long history of a short one: copies the newest run that has ended, again and again, each older than the one before.

Usage: history.py DATABASE RUNS MINUTES

No server may have the file open. Each copy has an id, a request id, instants and labels of its own: number=N, counted from 1,
the newest; the oldest has origin=first beside it. All else is that of the run, its clients and its series included. Rows have
the digests that a server reads them by: what is made here wrongly is a run that cannot be read, and no other one.
"""

import hashlib
import sqlite3
import struct
import sys

LABELS, CREATED_AT, STARTED_AT, ENDED_AT = 3, 8, 9, 10


def varint(number):
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def fields(message):
    """The fields of a message, in order: number, wire type and value."""
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = read_varint(message, at)
        elif kind == 2:
            size, at = read_varint(message, at)
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"wire type {kind} is not among those of a run")
        yield key >> 3, kind, value


def field(number, kind, value):
    key = varint(number << 3 | kind)
    return key + (varint(value) if kind == 0 else varint(len(value)) + value)


def text(number, value):
    return field(number, 2, value.encode())


def earlier(timestamp, seconds):
    parts = {number: value for number, _, value in fields(timestamp)}
    parts[1] = parts[1] - seconds
    return b"".join(field(number, 0, value) for number, value in sorted(parts.items()))


def copied(run, run_id, request_id, labels, seconds):
    """The bytes of the run with another name, other labels, and so much earlier."""
    made = [text(1, run_id), text(2, request_id)]
    made += [field(LABELS, 2, text(1, key) + text(2, value)) for key, value in sorted(labels.items())]
    for number, kind, value in fields(run):
        if number in (CREATED_AT, STARTED_AT, ENDED_AT):
            made.append(field(number, kind, earlier(value, seconds)))
        elif number > LABELS:
            made.append(field(number, kind, value))
    return b"".join(made)


def digest(*parts):
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(struct.pack("<Q", len(part)) + part)
    return sha256.digest()[:8]


def key(number):
    return struct.pack("<q", number)


def lengthen(database, runs, minutes):
    columns = "run_id, request_sha256, state, created_ms, ended_ms, verdict, outcome, owner, run, report"
    row = database.execute(f"SELECT {columns} FROM run WHERE report IS NOT NULL ORDER BY run_id DESC").fetchone()
    run_id, request, state, created_ms, ended_ms, verdict, outcome, owner, run, report = row
    clients = database.execute("SELECT last_client, clients FROM client_page WHERE run_id = ?", [run_id]).fetchall()
    series = database.execute("SELECT page, pages, series FROM series_page WHERE run_id = ?", [run_id]).fetchall()
    for number in range(1, runs + 1):
        seconds = number * minutes * 60
        labels = {"suite": "nightly", "number": str(number)}
        if number == runs:
            labels["origin"] = "first"
        other = run_id - (seconds * 1000 << 16)
        request_id = f"copy-{number}"
        bytes_ = copied(run, f"{other:016x}", request_id, labels, seconds)
        of_report = digest(key(other), report)
        ints = [struct.pack("<i", value) for value in (state, verdict, outcome)]
        shown = digest(key(other), request_id.encode(), *ints, owner.encode(), bytes_, of_report)
        millis = seconds * 1000
        database.execute(
            f"INSERT INTO run ({columns}, request_id, digest, report_digest) VALUES ({', '.join('?' * 13)})",
            [other, request, state, created_ms - millis, ended_ms - millis, verdict, outcome, owner, bytes_, report, request_id, shown, of_report],
        )
        for last, page in clients:
            of_page = digest(key(other), key(last), page)
            database.execute("INSERT INTO client_page VALUES (?, ?, ?, ?)", [other, last, page, of_page])
        for page, pages, points in series:
            of_page = digest(key(other), key(page), key(pages), points)
            database.execute("INSERT INTO series_page VALUES (?, ?, ?, ?, ?)", [other, page, pages, points, of_page])
    print(f"{run_id - (runs * minutes * 60_000 << 16):016x}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with sqlite3.connect(sys.argv[1]) as connection:
        lengthen(connection, int(sys.argv[2]), int(sys.argv[3]))

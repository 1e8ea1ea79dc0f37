"""What a trial takes for a fault: a run that is not exact, a program that is required and not there."""

import contextlib
import io
import json
import types
import unittest
from unittest import mock

from peers import programs, trial
from peers.system import Load

SCHEDULED = 6000
EXACT = {"scheduled": SCHEDULED, "sent": SCHEDULED, "received": SCHEDULED, "lost": 0, "skipped": 0, "corrupt": 0}


def trial_with(short=False, required=False):
    return trial.Trial(types.SimpleNamespace(short=short, required=required, executables=None), "/")


def faults_of(counts, laws=("holds", "holds"), code=0):
    """The faults that are found in a run with these counts, and these statuses of its laws."""
    load = Load.__new__(Load)
    run = {"counts": counts, "verdict": {"laws": [{"code": "CORRUPT", "status": status} for status in laws]}}
    load.scheduled, load.reader = SCHEDULED, types.SimpleNamespace(join=lambda _: None, is_alive=lambda: False)
    load.process, load.texts = types.SimpleNamespace(returncode=code), (json.dumps(run), "")
    one = trial_with()
    with contextlib.redirect_stdout(io.StringIO()):
        load.expect_exact(one, "the run")
    return one.faults


class ARunIsExact(unittest.TestCase):
    def test_when_every_packet_is_counted_once_also_if_some_were_late(self):
        self.assertEqual(faults_of(EXACT), [])
        self.assertEqual(faults_of(EXACT, code=4), [])

    def test_never_when_a_packet_is_lost_skipped_corrupt_or_not_known(self):
        for name in EXACT:
            for wrong in (EXACT[name] + 1, None):
                self.assertEqual(len(faults_of({**EXACT, name: wrong})), 1, (name, wrong))

    def test_never_when_fewer_packets_were_scheduled_than_were_asked_for(self):
        half = {name: count // 2 for name, count in EXACT.items()}
        self.assertEqual(len(faults_of(half)), 1)

    def test_never_without_laws_or_with_one_that_does_not_hold(self):
        for laws in ((), ("holds", "broken"), ("holds", "not_checkable")):
            self.assertEqual(len(faults_of(EXACT, laws)), 1, laws)

    def test_never_when_it_is_partial_failed_or_not_held(self):
        for code in (1, 2, 3, 99, -9):
            self.assertEqual(len(faults_of(EXACT, code=code)), 1, code)


class AProgramThatIsNotThere(unittest.TestCase):
    def test_is_a_fault_where_it_is_required_and_could_have_been_installed(self):
        for name, short, required, is_fault in [
            ("haproxy", True, False, False),
            ("haproxy", True, True, True),
            ("jaeger", True, True, False),
            ("jaeger", False, True, True),
            ("jaeger", False, False, False),
        ]:
            one = trial_with(short, required)
            with mock.patch.object(programs, "find", return_value=None), contextlib.redirect_stdout(io.StringIO()) as printed:
                self.assertIsNone(one.program(name))
                self.assertIsNone(one.program(name))
            self.assertEqual(len(one.faults), is_fault, (name, short, required))
            self.assertEqual(printed.getvalue().count("SKIPPED"), 1)


if __name__ == "__main__":
    unittest.main()

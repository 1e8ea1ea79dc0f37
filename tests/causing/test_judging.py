"""What a run must name as its limit, and when a case is wrong."""

import types
import unittest

from causing import causes, cases, groups, judging

STOPPED = cases.CASES[0]
QUOTA = next(case for case in cases.CASES if case.reasons == {"THROTTLED"})
ALLOWED = next(case for case in cases.CASES if case.allowed == {"THROTTLED"})
HIDDEN = next(case for case in cases.CASES if case.unknown)


def run_of(limit=None, reasons=(), allowed=(), **total):
    """The parts of a run's JSON that are judged here."""
    host = {"throttled_s": 0.0, "pressure_s": 0.0, **total}
    return {
        "limit": limit and {"kind": limit, "sentence": "A sentence."},
        "verdict": {"reasons": [{"code": code} for code in reasons],
                    "notes": [{"code": "ALLOWED", "figures": {"code": code}} for code in allowed]},
        "hosts": [{"role": role, "total": host} for role in ("server", "agent")],
    }


def results(case, limits):
    return [types.SimpleNamespace(case=case, run=run_of(limit)) for limit in limits]


class Matrix(unittest.TestCase):
    def test_nineteen_of_twenty_are_enough_and_eighteen_are_not(self):
        for wrong, is_wrong in ((0, False), (1, False), (2, True)):
            made = results(STOPPED, ["generator"] * (20 - wrong) + ["network"] * wrong)
            self.assertEqual(bool(list(judging.wrong_cases(made))), is_wrong, wrong)

    def test_of_a_few_runs_each_must_be_right(self):
        made = results(STOPPED, ["generator", "none"])
        self.assertEqual(list(judging.wrong_cases(made)),
                         [f"{STOPPED.name}: generator is right, and 1 x generator, 1 x none was named"])

    def test_a_run_without_a_limit_is_in_a_column_of_its_own(self):
        head, _, row = judging.matrix(results(STOPPED, ["generator", None]), cases.LIMITS)
        self.assertEqual(head.split(" | ")[-2:], ["not known", "right |"])
        self.assertEqual(row.split(" | ")[2:], ["1", "·", "·", "·", "1", "1 of 2 |"])


class Figures(unittest.TestCase):
    def test_a_figure_that_a_host_does_not_have_must_be_null(self):
        shown = run_of("none")
        self.assertEqual(len(judging.false_zeros(HIDDEN, shown)), 2)
        hidden = run_of("none", throttled_s=None, pressure_s=None)
        self.assertEqual(judging.false_zeros(HIDDEN, hidden), [])
        self.assertEqual(judging.false_zeros(STOPPED, shown), [])

    def test_a_run_without_figures_of_a_host_is_a_fault(self):
        run = {**run_of("none"), "hosts": []}
        self.assertEqual(len(judging.false_zeros(STOPPED, run)), 2)


class Codes(unittest.TestCase):
    def faults(self, case, run):
        return [fault for fault in judging.wrong_codes(case, run)]

    def test_a_reason_that_applies_must_be_given(self):
        self.assertEqual(self.faults(QUOTA, run_of(reasons=["LATENESS", "THROTTLED"])), [])
        self.assertEqual(self.faults(QUOTA, run_of(reasons=["LATENESS"])), ["the reason THROTTLED is missing"])

    def test_one_that_the_plan_allows_must_be_a_note_and_no_reason(self):
        self.assertEqual(self.faults(ALLOWED, run_of(reasons=["LATENESS"], allowed=["THROTTLED"])), [])
        self.assertEqual(len(self.faults(ALLOWED, run_of(reasons=["THROTTLED"]))), 2)


class Placing(unittest.TestCase):
    def test_a_cause_lies_within_the_load_or_the_run_is_another_case(self):
        run = {"started_at": "1970-01-01T00:01:40.500Z"}
        for began_s, ended_s, is_within in ((100.6, 101.9, True), (100.4, 101.0, False), (101.0, 102.1, False)):
            self.assertEqual(judging.is_within(run, began_s, ended_s, 1.5), is_within)


class Clean(unittest.TestCase):
    def test_one_in_a_hundred_may_be_flagged_and_each_with_a_late_timer(self):
        self.assertEqual(judging.faults_of_clean([12_000_000] * 2, 200), [])
        self.assertEqual(len(judging.faults_of_clean([12_000_000] * 3, 200)), 1)
        self.assertEqual(len(judging.faults_of_clean([4_999_999], 200)), 1)


class Table(unittest.TestCase):
    def test_each_case_has_a_name_of_its_own_and_what_it_asks_for_is_long_enough_to_be_missed(self):
        self.assertEqual(len({case.name for case in cases.CASES}), len(cases.CASES))
        self.assertTrue({case.limit for case in cases.CASES} == set(cases.LIMITS))
        # Of the shortest cause, 50 ms, more than one packet in a hundred is late.
        late_s = 0.05 - 1 / cases.RATE_HZ
        self.assertGreater(late_s / cases.SECONDS, 0.02)

    def test_a_spinner_never_runs_for_longer_than_a_second(self):
        with self.assertRaises(AssertionError):
            causes.spinner(1.1)


class Groups(unittest.TestCase):
    def test_a_quota_is_set_and_lifted_in_both_versions(self):
        self.assertEqual(groups.settings(True, 1_000)[1], ("cpu.cfs_quota_us", "1000"))
        self.assertEqual(groups.settings(True, None)[1], ("cpu.cfs_quota_us", "-1"))
        self.assertEqual(groups.settings(False, None), [("cpu.max", f"max {groups.PERIOD_US}")])


if __name__ == "__main__":
    unittest.main()

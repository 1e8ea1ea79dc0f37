"""A run that shows what its path does has no faults, and each thing that is wrong is one. Run by `python3 -m unittest`."""

import unittest

from lies import test_judging as runs
from lies.judging import HELD_ELSEWHERE, HELD_OUT
from paths import cases, judging

CLEAN = cases.Case("clean", (HELD_OUT,), spread_us={"p50": (0, 2_000)}, agent=cases.OWN)
BUNCHED = cases.Case("bunched", (HELD_OUT,), cases.data("bunch_us=20000"), spread_us={"p50": (0, 2_000)}, agent=cases.OWN)


def report(p99=100.0, most=900.0, failed=0, passed=10):
    way = {"passed": passed, "lost": 0, "queue": 0, "failed": failed, "lateness_us": {"p99": p99, "p100": most}}
    return {"to_server": way, "to_agent": {**way}}


class Faults(unittest.TestCase):
    def faults(self, change=lambda run: None, case=CLEAN):
        return judging.faults_of(case, runs.changed(change), 0)

    def test_a_run_as_it_must_be_has_none(self):
        self.assertEqual(self.faults(), [])

    def test_another_end_is_one(self):
        case = cases.Case("clean", (HELD_ELSEWHERE,), agent=cases.OWN)
        self.assertIn("clock unknown is allowed", self.faults(case=case)[0])

    def test_a_spread_that_does_not_show_the_path_is_one_and_so_is_none(self):
        case = cases.Case("half", (HELD_OUT,), spread_us={"p99": (500_000, 900_000)}, agent=cases.OWN)
        self.assertIn("p99 is 30.0 us", self.faults(case=case)[0])
        faults = self.faults(lambda run: run["spread_us"]["percentiles"].update(p50=None))
        self.assertEqual(len(faults), 1, faults)
        faults = self.faults(lambda run: run.update(spread_us=None))
        self.assertIn("None", faults[0])

    def test_a_percentile_that_a_late_generator_may_have_spoilt_need_not_be_shown_and_any_other_must(self):
        def spoilt(run):
            run["verdict"].update(valid_to="p90")
            for times in (run, *run["groups"]):
                for name in ("latency_us", "spread_us"):
                    times[name]["percentiles"].update(p99=None, p99_9=None)
            for client in run["clients"]:
                client.update(latency_p99_us=None, spread_p99_us=None)

        def wrong(name):
            case = cases.Case("half", (HELD_OUT,), spread_us={name: (500_000, 900_000)})
            return judging.wrong_spread(case, runs.changed(spoilt))

        self.assertEqual(wrong("p99"), [])
        self.assertTrue(wrong("p90") and wrong("max"))

    def test_a_clock_beyond_its_bound_and_a_packet_that_was_too_fast_or_too_slow_are_wrong(self):
        case = cases.Case("clean", (HELD_OUT,))

        def faults(off_us, fastest_us, relation="offset"):
            def change(run):
                clock = {"relation": relation, "offset_us": off_us - cases.FOREIGN_S * 1e6, "bound_us": 50.0}
                run["agents"][0]["clock"] = clock
                run["one_way_us"] = {**run["spread_us"], "min": fastest_us, "bound": 60.0}

            return len(judging.wrong_clock(case, runs.changed(change)))

        self.assertEqual([faults(off_us, 5_030.0) for off_us in (0, 50, -50)], [0, 0, 0])
        self.assertEqual([faults(off_us, 5_030.0) for off_us in (51, -51)], [1, 1])
        self.assertEqual([faults(0, fastest_us) for fastest_us in (4_941.0, 4_939.0, 7_059.0, 7_061.0)], [0, 1, 0, 1])
        self.assertEqual(faults(0, 5_030.0, "unknown"), 1)
        self.assertEqual(len(judging.wrong_clock(case, runs.changed(lambda run: run["agents"][0].update(clock={
            "relation": "offset", "offset_us": -cases.FOREIGN_S * 1e6, "bound_us": 1.0})))), 1, "no one-way times")

    def test_a_packet_that_is_missing_in_a_valid_run_is_one(self):
        self.assertTrue(self.faults(lambda run: run["counts"].update(received=9_999, lost=1)))

    def test_a_run_without_a_verdict_is_one(self):
        faults = judging.faults_of(CLEAN, {"error": {"code": "NO_AGENT"}}, 1)
        self.assertEqual(faults, ["there is no verdict: NO_AGENT"])


    def test_what_a_path_loses_is_sent_again_and_noted_and_on_a_clean_one_there_is_no_such_thing(self):
        lossy = cases.Case("lossy", (HELD_OUT,), cases.data("loss_ppm=10000"))

        def faults(case, segments, noted):
            def change(run):
                run["generator_tcp"]["retransmitted"] = segments
                figures = {"connections": 1, "retransmitted_by_agents": noted, "retransmitted_by_server": 0}
                run["verdict"]["notes"] = [{"code": "RETRANSMITTED", "figures": figures}] if noted else []

            return judging.wrong_network(case, runs.changed(change))

        self.assertEqual(faults(lossy, 114, 114), [])
        self.assertEqual(faults(CLEAN, 0, None), [])
        self.assertEqual(faults(BUNCHED, 3, 3), [], "a path that is late can do that")
        for case, segments, noted in ((lossy, 0, None), (lossy, 114, None), (lossy, 114, 113), (CLEAN, 1, 1), (CLEAN, None, None)):
            self.assertEqual(len(faults(case, segments, noted)), 1, (case.name, segments, noted))


class Disturbances(unittest.TestCase):
    def test_a_late_emulator_is_one_in_either_direction(self):
        self.assertFalse(judging.is_disturbed(report()))
        self.assertTrue(judging.is_disturbed(report(p99=5_100.0)))
        self.assertTrue(judging.is_disturbed(report(most=10_100.0)))
        self.assertFalse(judging.is_disturbed(report(most=None, p99=None, passed=0)))

    def test_a_late_reader_can_spoil_a_clean_path_alone(self):
        def late(run):
            run["outcome"] = {"status": "not_held", "objectives": [{"metric": "spread", "status": "not_held"}]}

        run = runs.changed(late)
        self.assertTrue(judging.is_of_the_host(CLEAN, run, report()))
        self.assertFalse(judging.is_of_the_host(BUNCHED, run, report()))

    def test_a_late_generator_can_spoil_any_path(self):
        run = runs.changed(lambda run: run["verdict"].update(valid_to="p90"))
        self.assertTrue(judging.is_of_the_host(BUNCHED, run, report()))

    def test_packets_that_the_emulator_could_not_pass_are_its_own_fault(self):
        self.assertEqual(judging.own_faults(report()), [])
        self.assertEqual(len(judging.own_faults(report(failed=1))), 2)


class Cases(unittest.TestCase):
    def test_each_fault_is_put_on_each_load_and_the_short_form_has_each_fault(self):
        faults = list(cases.on_faults())
        self.assertEqual(len(faults), 12)
        self.assertEqual(len({case.name for case in cases.all_cases()}), len(cases.all_cases()))
        self.assertEqual([case.load for case in faults if not case.is_long], [cases.STEADY] * 4)

    def test_only_paths_that_delay_alone_are_clean(self):
        clean = [case.name for case in cases.all_cases() if case.is_clean]
        self.assertEqual(clean, [case.name for case in cases.on_clean_paths()])

    def test_an_unseen_fault_is_never_allowed_to_hold(self):
        for case in cases.on_faults():
            for out in case.allowed:
                self.assertEqual(out.outcome, "not_held", case.name)


if __name__ == "__main__":
    unittest.main()

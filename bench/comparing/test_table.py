"""Ratios are computed per pair, goals are judged by the median, the limit is found by steps, and the table has all of it."""

import contextlib
import json
import os
import unittest
import unittest.mock

from comparing import comparisons, limit, metronome, processes, ratios, table
from comparing.ratios import MORE, Goal, more_each


def pairs(*ours_and_theirs):
    return [({"ns": ours}, {"ns": theirs}) for ours, theirs in ours_and_theirs]


class Ratios(unittest.TestCase):
    def test_the_ratio_is_the_median_of_the_pairs_not_of_the_sides(self):
        row = ratios.row("x", Goal("ns", "ns", 1.5), pairs((10, 10), (30, 10), (40, 40)))
        self.assertEqual((row.ratio, row.ratio_min, row.ratio_max, row.pairs), (1, 1, 3, 3))
        self.assertEqual((row.ours, row.theirs), (30, 10))

    def test_a_goal_is_met_up_to_its_bound_and_by_the_median_alone(self):
        at_most, at_least = Goal("ns", "ns", 2), Goal("ns", "ns", 2, at_least=True)
        for ours, most, least in ((1, True, False), (2, True, True), (3, False, True)):
            given = pairs((ours, 1), (ours, 1), (100, 1))
            self.assertEqual(ratios.row("x", at_most, given).met, most)
            self.assertEqual(ratios.row("x", at_least, given).met, least)

    def test_pairs_on_both_sides_of_a_bound_are_marked_and_those_that_agree_are_not(self):
        for ours, agreed in (((1, 1, 2), True), ((1, 1, 3), False), ((3, 3, 4), True), ((3, 3, 1), False)):
            row = ratios.row("x", Goal("ns", "ns", 2), pairs(*((one, 1) for one in ours)))
            self.assertEqual(row.agreed, agreed)
            self.assertEqual("by the median" in table.line(row), not agreed)

    def test_without_a_bound_nothing_is_met_or_not(self):
        self.assertIsNone(ratios.row("x", Goal("ns", "ns"), pairs((1, 1))).met)

    def test_a_figure_that_one_side_lacks_or_that_is_0_makes_no_ratio(self):
        self.assertIsNone(ratios.row("x", Goal("ns", "ns"), [({"ns": 1}, {}), ({"ns": 1}, {"ns": 0})]))
        self.assertEqual(ratios.row("x", Goal("ns", "ns", theirs="cpu"), [({"ns": 3}, {"cpu": 2})]).ratio, 1.5)

    def test_a_difference_also_works_against_0_and_per_item(self):
        given = pairs((30, 0), (50, 10), (90, 10))
        row = ratios.row("x", Goal("ns", "ns", 40, way=MORE), given)
        self.assertEqual((row.ratio, row.goal, row.met), (40, "≤ 40 more", True))
        row = ratios.row("x", Goal("ns", "ns", 9, way=more_each(4, "ns")), given)
        self.assertEqual((row.ratio, row.goal, row.met), (10, "≤ 9 ns more each", False))

    def test_every_comparison_has_a_name_of_its_own_and_the_short_form_names_existing_ones(self):
        names = [comparison.name for comparison in comparisons.ALL]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual(set(comparisons.SHORT), set(names))


class Shapes(unittest.TestCase):
    def flags(self, name, seconds):
        words = [str(word) for word in comparisons.SHAPES[name](seconds)]
        return dict(zip(words[::2], words[1::2], strict=True))

    def test_every_shape_has_the_mean_rate_of_the_constant_load(self):
        def ms(text):
            return int(text.removesuffix("ms"))

        for seconds in (1, 3, 5, 600):
            self.assertEqual(self.flags("poisson", seconds)["--rate"], str(comparisons.SHAPES_HZ))
            burst = self.flags("burst", seconds)
            self.assertEqual(int(burst["--burst"]) * 1_000 / ms(burst["--every"]), comparisons.SHAPES_HZ)
            first, last = map(int, self.flags("ramp", seconds)["--rate"].split(".."))
            self.assertEqual((first + last) / 2, comparisons.SHAPES_HZ)
            slow, fast = self.flags("steps", seconds)["--rate"].split(",")
            slow_hz, slow_ms = slow.split(":")
            packets = int(slow_hz) * ms(slow_ms) + int(fast) * (seconds * 1_000 - ms(slow_ms))
            self.assertEqual(packets / seconds / 1_000, comparisons.SHAPES_HZ)
            on_off = self.flags("on-off", seconds)
            cycles = seconds * 1_000 / (ms(on_off["--on"]) + ms(on_off["--off"]))
            self.assertEqual(cycles % 1, 0)
            self.assertEqual(int(on_off["--rate"]) * ms(on_off["--on"]) * cycles / seconds / 1_000, comparisons.SHAPES_HZ)

    def test_each_has_a_row_by_turns_with_the_constant_load_on_one_system(self):
        bench, ran = processes.Bench("", "", 2), []

        @contextlib.contextmanager
        def system(*_):
            yield lambda *plan: ran.append(plan)

        for name, flags in comparisons.SHAPES.items():
            with unittest.mock.patch.object(metronome, "system", system), comparisons.of_shape(flags)(bench) as (ours, theirs):
                ours(), theirs()
            self.assertIn(f"shape-{name}", [comparison.name for comparison in comparisons.ALL])
            self.assertEqual(ran[-2], ("--clients", 10, *flags(2)))
            self.assertEqual(ran[-1], ("--clients", 10, "--rate", 1_000))


class Limit(unittest.TestCase):
    def test_the_climb_ends_at_the_most_that_is_held(self):
        for most in range(limit.CLIENTS_MAX + 1):
            self.assertEqual(limit.highest(lambda clients: clients <= most), most)

    def test_a_step_that_fails_once_is_tried_again_and_one_that_fails_twice_is_not(self):
        tried = []

        def holds(clients):
            tried.append(clients)
            return clients != 8 or tried.count(8) > 1

        self.assertEqual(limit.highest(holds), limit.CLIENTS_MAX)
        tried.clear()
        limit.highest(lambda clients: tried.append(clients))
        self.assertEqual(tried, [4, 4, 1, 1])

    def test_what_is_lost_late_or_skipped_is_not_held(self):
        self.assertTrue(limit.is_held({"skipped": 0, "late_p99_us": 99.9}))
        for late in ({"skipped": 1, "late_p99_us": 1}, {"skipped": 0, "late_p99_us": 100}):
            self.assertFalse(limit.is_held(late))


class Exactness(unittest.TestCase):
    def test_a_generator_that_does_much_less_than_asked_makes_no_pair(self):
        processes.enough("iperf3", 1_000, 950)
        with self.assertRaisesRegex(processes.ThrownOut, "iperf3: the neutral reader saw 949 of 1,000 packets"):
            processes.enough("iperf3", 1_000, 949)

    def test_a_run_without_a_packet_fails_instead_of_dividing_by_0(self):
        counts = dict.fromkeys(("scheduled", "sent", "skipped", "received", "lost", "duplicated", "reordered", "gaps", "corrupt"), 0)
        report = a_report("constant", counts=counts, workers=[])

        class Silent(metronome.System):
            def ask(self, *words):
                return report

        bench = processes.Bench("", "", 1)
        with self.assertRaisesRegex(processes.Failed, "0 packets"):
            metronome.run(Silent(bench, "", os.getpid(), os.getpid()), ())


    def test_only_a_flood_may_have_a_law_that_cannot_be_checked_and_only_that_of_the_plan(self):
        counts = {"scheduled": 7, "sent": 7, "skipped": 0, "received": 7}
        counts.update(dict.fromkeys(("lost", "duplicated", "reordered", "gaps", "corrupt"), 0))

        def check(shape, code, status):
            law = {"law": "a = b", "code": code, "status": status, "sentence": ""}
            metronome.check(a_report(shape, counts=counts, verdict={"laws": [law]}))

        check("flood", "PLAN_NOT_SCHEDULED", "not_checkable")
        check("flood", "BYTES_DIFFER", "holds")
        check("constant", "PLAN_NOT_SCHEDULED", "holds")
        for wrong in (
            ("constant", "PLAN_NOT_SCHEDULED", "not_checkable"),
            ("flood", "BYTES_DIFFER", "not_checkable"),
            ("flood", "PLAN_NOT_SCHEDULED", "broken"),
        ):
            with self.assertRaises(processes.Failed):
                check(*wrong)


def a_report(shape, **figures):
    """A run of a load of this shape, with the keys that are read of it."""
    plan = {"groups": [{"profile": {"shape": shape}}]}
    unknown = {"failure": None, "verdict": {"laws": []}, "elapsed_s": None, "lateness_us": None}
    return {"plan": plan, **unknown, **figures}


class Processes(unittest.TestCase):
    def test_a_child_that_fails_is_reported_with_its_reason_and_one_that_hangs_is_killed(self):
        bench = processes.Bench("", "", 1)
        with self.assertRaisesRegex(processes.Failed, "ended with 3.*no such load"):
            with bench.running("sh", "-c", "echo no such load >&2; exit 3") as child:
                bench.figures(child)
        with self.assertRaisesRegex(processes.Failed, "list index out of range"):
            with bench.running("true") as child:
                bench.figures(child)
        with bench.running("sleep", "1000") as child, processes.ended_after(child, 0.05):
            self.assertEqual(child.stdout.read(), "")


class Table(unittest.TestCase):
    rows = [ratios.row("floor", Goal("ns", "ns/packet", 1.1), pairs((3300, 3000), (3600, 3000), (3300, 3000)))]

    def test_a_line_has_both_sides_the_ratio_its_spread_and_the_goal(self):
        line = table.line(self.rows[0])
        self.assertEqual(line, "| floor | ns | ns/packet | 3,300 | 3,000 | 1.1 | 1.1 – 1.2 | ≤ 1.1 × | met by the median |")
        self.assertEqual(line.count("|"), table.HEAD.splitlines()[1].count("|"))

    def test_the_page_has_the_host_the_commands_and_what_was_not_measured(self):
        text = table.markdown({"cores": "2"}, "5 pairs", self.rows, {"floor": ["floor gen 1"]}, {"flood": "no --rate max"}, ["x"])
        for part in ("Pair thrown out: x.", "5 pairs", "- cores: 2", "| floor |", "floor gen 1", "Not measured: flood: no --rate max."):
            self.assertIn(part, text)

    def test_runs_of_ours_that_were_not_valid_are_reported(self):
        given = [({"ns": 1, "verdict": verdict}, {"ns": 1}) for verdict in ("valid", "invalid", "invalid")]
        text = table.markdown({}, "", [], {}, {}, (), {"floor": given, "gaps": pairs((1, 1))})
        self.assertIn("floor: 2 of our 3 runs were not valid.", text)
        self.assertNotIn("gaps:", text)

    def test_the_json_has_every_pair(self):
        read = json.loads(table.as_json({}, "", self.rows, {}, {}, {"floor": pairs((1, 2))}))
        self.assertEqual(read["pairs"]["floor"], [[{"ns": 1}, {"ns": 2}]])
        self.assertEqual(read["rows"][0]["met"], True)


if __name__ == "__main__":
    unittest.main()

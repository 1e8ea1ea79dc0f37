"""Ratios are of pairs, goals are judged by the median, and the table says all of it."""

import json
import unittest

from comparing import comparisons, ratios, table
from comparing.ratios import Goal


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

    def test_without_a_bound_nothing_is_met_or_not(self):
        self.assertIsNone(ratios.row("x", Goal("ns", "ns"), pairs((1, 1))).met)

    def test_a_figure_that_one_side_lacks_or_that_is_0_makes_no_ratio(self):
        self.assertIsNone(ratios.row("x", Goal("ns", "ns"), [({"ns": 1}, {}), ({"ns": 1}, {"ns": 0})]))
        self.assertEqual(ratios.row("x", Goal("ns", "ns", theirs="cpu"), [({"ns": 3}, {"cpu": 2})]).ratio, 1.5)

    def test_no_two_comparisons_have_a_name_and_the_short_form_knows_its_own(self):
        names = [comparison.name for comparison in comparisons.ALL]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual(set(comparisons.SHORT), set(names))


class Table(unittest.TestCase):
    rows = [ratios.row("floor", Goal("ns", "ns/packet", 1.1), pairs((3300, 3000), (3600, 3000), (3300, 3000)))]

    def test_a_line_has_both_sides_the_ratio_its_spread_and_the_goal(self):
        line = table.line(self.rows[0])
        self.assertEqual(line, "| floor | ns | ns/packet | 3,300 | 3,000 | 1.1 | 1.1 – 1.2 | ≤ 1.1 × | met |")
        self.assertEqual(line.count("|"), table.HEAD.splitlines()[1].count("|"))

    def test_the_page_has_the_host_the_commands_and_what_was_not_measured(self):
        told = table.markdown({"cores": "2"}, "5 pairs", self.rows, {"floor": ["floor gen 1"]}, {"flood": "no --rate max"})
        for part in ("5 pairs", "- cores: 2", "| floor |", "floor gen 1", "Not measured: flood: no --rate max."):
            self.assertIn(part, told)

    def test_the_json_has_every_pair(self):
        told = json.loads(table.as_json({}, "", self.rows, {}, {}, {"floor": pairs((1, 2))}))
        self.assertEqual(told["pairs"]["floor"], [[{"ns": 1}, {"ns": 2}]])
        self.assertEqual(told["rows"][0]["met"], True)


if __name__ == "__main__":
    unittest.main()

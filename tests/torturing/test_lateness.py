"""The table of hostile sockets: what stands there follows from what stands beside it."""

import pathlib
import random
import unittest

from torturing import lateness

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "robustness.md"


class Table(unittest.TestCase):
    def test_every_row_can_be_recomputed_from_what_it_shows(self):
        numbers = random.Random(1)
        for _ in range(1000):
            pairs = [(numbers.uniform(0.3, 9e4), numbers.uniform(0.3, 9e4)) for _ in range(numbers.randint(1, 9))]
            row = lateness.row_of("storm", pairs)
            self.assertIsNotNone(lateness.ROW.fullmatch(row), row)
            self.assertEqual(lateness.faults_of(row), [])

    def test_a_pair_with_an_unknown_figure_is_left_out(self):
        pairs = [(100.0, 150.0), (None, 9.0), (9.0, None)]
        self.assertEqual(lateness.row_of("storm", pairs), "| storm | 1 | 100 µs (100 – 100) | 150 µs (150 – 150) | 1.50 |")
        self.assertEqual(lateness.row_of("storm", [(None, 9.0)]), "| storm | 0 | – | – | – |")
        self.assertEqual(lateness.faults_of("| storm | 0 | – | – | – |"), [])

    def test_a_figure_that_contradicts_another_is_found(self):
        for row in ("| storm | 5 | 194 µs (140 – 250) | 172 µs (120 – 300) | 1.09 |",
                    "| storm | 5 | 194 µs (200 – 250) | 172 µs (120 – 300) | 0.89 |",
                    "| storm | 194 µs | 172 µs | +9 % (−55 to +27 %) |"):
            self.assertEqual(len(lateness.faults_of(row)), 1, row)

    def test_the_table_of_the_manual_can_be_recomputed(self):
        lines = PAGE.read_text().partition(lateness.HEAD + "\n")[2].splitlines()
        rows = lines[:lines.index("")]
        self.assertGreaterEqual(len(rows), 7)
        self.assertEqual([fault for row in rows for fault in lateness.faults_of(row)], [])


if __name__ == "__main__":
    unittest.main()

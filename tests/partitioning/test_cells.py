import itertools
import unittest

from partitioning import cells


class TheMatrixTest(unittest.TestCase):
    def test_every_cut_is_made_in_every_way_at_every_moment(self):
        self.assertEqual((len(cells.MATRIX), len(set(cells.MATRIX))), (84, 84))

    def test_the_short_form_has_each_cut_and_each_kind_at_each_moment(self):
        self.assertLessEqual(set(cells.SHORT), set(cells.ALL))
        short = [cell for cell in cells.SHORT if cell in cells.MATRIX]
        self.assertEqual(len(short), 12)
        self.assertEqual({cell.links for cell in short}, set(cells.CUTS))
        pairs = {(cell.kind, cell.moment) for cell in short}
        self.assertEqual(pairs, set(itertools.product(cells.KINDS, cells.MOMENTS)))

    def test_one_way_loses_only_what_the_server_sends(self):
        self.assertEqual(cells.treatment(cells.ONE_WAY, is_to_server=True), cells.PASS)
        self.assertEqual(cells.treatment(cells.ONE_WAY, is_to_server=False), cells.LOSE)

    def test_only_what_goes_to_the_server_waits_for_a_slow_link(self):
        self.assertEqual(cells.treatment(cells.SLOW, is_to_server=True), cells.QUEUE)
        self.assertEqual(cells.treatment(cells.SLOW, is_to_server=False), cells.PASS)

    def test_all_other_kinds_are_the_same_both_ways(self):
        for kind in set(cells.KINDS) - {cells.ONE_WAY}:
            self.assertEqual(cells.treatment(kind, True), cells.treatment(kind, False))
            self.assertNotEqual(cells.treatment(kind, True), cells.PASS)

    def test_control_is_lost_where_no_renewal_passes(self):
        lost = [cell for cell in cells.ALL if cell.loses_control]
        self.assertEqual(len(lost), 4 * 3 * 3 + 1)
        self.assertNotIn(cells.DELAY, {cell.kind for cell in lost})


if __name__ == "__main__":
    unittest.main()

"""What counts as a window, and that a truth outside of its bound is a fault."""

import unittest

from paths import windows

PATH = windows.WindowPath("5 ms", "delay_us=5000 loss_ppm=10000", "delay_us=5000")


def run(offset_us=-3600e6, bound_us=100.0, one_way_bound=110.0, fastest=5_050.0):
    return {
        "agents": [{"clock": {"relation": "offset", "offset_us": offset_us, "bound_us": bound_us}}],
        "one_way_us": {"bound": one_way_bound, "min": fastest},
        "probe_rtt_us": {"min": 200.0},
    }


class Windows(unittest.TestCase):
    def test_the_truth_inside_every_bound_is_no_fault(self):
        window = windows.window_of(run(offset_us=-3600e6 + 99))
        self.assertEqual(windows.faults_of(PATH, window), [])
        self.assertAlmostEqual(window.ratio, 1.1)

    def test_an_offset_and_a_packet_outside_of_their_bounds_are_faults(self):
        for wrong in (run(offset_us=-3600e6 + 101), run(offset_us=-3600e6 - 101), run(fastest=4_889.0)):
            window = windows.window_of(wrong)
            self.assertEqual(len(windows.faults_of(PATH, window)), 1)
            self.assertIn("| 1 | 1 |", windows.row_of(PATH, [window]))

    def test_a_run_without_a_bound_is_no_window_and_too_many_of_them_are_a_fault(self):
        for wrong in ({}, {"error": {}}, {**run(), "one_way_us": None}, run(bound_us=None)):
            self.assertIsNone(windows.window_of(wrong))
        self.assertEqual(len(windows.too_few(PATH, 7, 10)), 1)
        self.assertEqual(windows.too_few(PATH, 8, 10), [])
        self.assertIn("| 0 |", windows.row_of(PATH, []))


if __name__ == "__main__":
    unittest.main()

"""The loads of torture: each plans about as many packets as a constant one."""

import unittest

from torturing import shapes

RATE, SECONDS, CLIENTS = 1_000, 4, 2


class Shapes(unittest.TestCase):
    def test_every_shape_plans_about_what_its_mean_rate_gives(self):
        for name in shapes.SHAPES:
            planned = shapes.planned(name, RATE, SECONDS, CLIENTS, seed=7)
            self.assertEqual(len(planned), CLIENTS, name)
            for packets in planned:
                self.assertAlmostEqual(packets, RATE * SECONDS, delta=300 if name == "poisson" else 0, msg=name)

    def test_random_arrivals_differ_by_client_and_seed_and_are_computed_only_when_they_are_few(self):
        first, other = (shapes.planned("poisson", RATE, SECONDS, 4, seed) for seed in (1, 2))
        self.assertEqual(len({*first, *other}), 8)
        self.assertIsNone(shapes.planned("poisson", 100_000, 60, CLIENTS, seed=1))

    def test_the_flags_have_the_batch_where_the_shape_allows_one(self):
        self.assertEqual(shapes.flags("constant", 10, 4, 5), ["--rate", "10", "--batch", "5"])
        self.assertEqual(shapes.flags("steps", 10, 4, 1), ["--rate", "10:1000ms,20:1000ms,0:1000ms,10", "--batch", "1"])
        self.assertNotIn("--batch", shapes.flags("poisson", 10, 4, 5))


if __name__ == "__main__":
    unittest.main()

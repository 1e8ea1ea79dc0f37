"""What follows the law passes, and each way in which it may not is found."""

import functools
import random
import unittest

from loads import judging, reference, shapes
from loads.reference import S

MS = S // 1000
SHAPES = {shape.name: shape for shape in shapes.ALL}


@functools.cache
def due_times(name, client):
    return tuple(reference.due_times(SHAPES[name].load(), client))


def seen(shape, late=lambda random_: random_.randrange(20_000, 80_000)):
    """Stamps and due times of every client, as an agent and a reader make them that are late by this."""
    dice = random.Random(7)
    clients = []
    for client in range(shape.clients):
        due = list(due_times(shape.name, client))
        clients.append((sorted(12_345 * S + one + late(dice) for one in due), due))
    return clients


class Places(unittest.TestCase):
    expected = [5, 7, 7, 20, 30]

    def test_due_times_are_compared_whatever_the_start_and_what_was_skipped(self):
        for due in ([5, 7, 7, 20, 30], [7, 20, 30], [5, 7, 20], [30]):
            self.assertEqual(judging.misplaced([1_000 + one for one in due], self.expected), 0, due)

    def test_a_due_time_that_is_1_ns_off_or_comes_once_too_often_is_found(self):
        for due in ([5, 7, 7, 21, 30], [5, 7, 7, 7, 20, 30], [5, 7, 7, 20, 20]):
            self.assertEqual(judging.misplaced([1_000 + one for one in due], self.expected), 1, due)

    def test_a_client_without_packets_lacks_them_all(self):
        self.assertEqual(judging.misplaced([], self.expected), 5)


class Shapes(unittest.TestCase):
    def faults(self, shape, clients):
        _, faults = judging.judge(shape.load(), clients)
        return faults

    def test_what_is_a_little_late_passes(self):
        for shape in shapes.ALL:
            self.assertEqual(self.faults(shape, seen(shape)), [], shape.name)

    def test_one_shape_is_not_taken_for_another_of_the_same_mean(self):
        even = {"shape": "constant", "rate_millihertz": 200_000}
        for shape in shapes.ALL[1:]:
            clients = []
            for stamps, due in seen(shape):
                load = {"profile": {**even, "rate_millihertz": len(due) * 10**12 // shape.duration_ns}, "duration_ns": shape.duration_ns}
                stamps = reference.due_times(load)[: len(due)]
                clients.append((stamps, due[: len(stamps)]))
            self.assertNotEqual(self.faults(shape, clients), [], shape.name)

    def test_a_rate_that_is_off_by_5_percent_is_found(self):
        for name in ("poisson", "ramp", "steps"):
            shape = SHAPES[name]
            clients = [([stamp * 105 // 100 for stamp in stamps], due) for stamps, due in seen(shape)]
            self.assertNotEqual(self.faults(shape, clients), [], name)

    def test_packets_that_wait_for_a_tick_of_2_ms_are_no_exponential_gaps(self):
        shape = SHAPES["poisson"]
        clients = [([-(-stamp // (2 * MS)) * 2 * MS for stamp in stamps], due) for stamps, due in seen(shape)]
        self.assertNotEqual(self.faults(shape, clients), [])

    def test_a_packet_that_is_missing_in_a_burst_is_found(self):
        shape = SHAPES["burst"]
        clients = seen(shape)
        for of in clients[0]:
            del of[60]
        self.assertEqual(self.faults(shape, clients), ["a burst of 49 packets"])

    def test_a_silence_that_is_not_silent_is_found(self):
        shape = SHAPES["on-off"]
        clients = [([stamp + (300 * MS if number % 10 == 0 else 0) for number, stamp in enumerate(stamps)], due) for stamps, due in seen(shape)]
        self.assertNotEqual(self.faults(shape, [(sorted(stamps), due) for stamps, due in clients]), [])

    def test_few_gaps_are_compared_with_their_due_times_alone(self):
        shape = shapes.shorter(SHAPES["poisson"])
        figures, faults = judging.judge(shape.load(), seen(shape))
        self.assertEqual((len(figures), faults), (2, []))


if __name__ == "__main__":
    unittest.main()

"""The reference: its cipher has the published key stream, its due times follow the law, and vectors.json is what it writes."""

import itertools
import json
import math
import unittest
from fractions import Fraction

from loads import reference
from loads.reference import S


class Arrivals(unittest.TestCase):
    def test_chacha8_has_the_published_key_stream_of_the_zero_key(self):
        block = reference.chacha8_block(bytes(32), 0)
        stream = b"".join(word.to_bytes(4, "little") for word in block)
        published = (
            "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e"
            "984ce172b9216f419f445367456d5619314a42a3da86b001387bfdb80e0cfe42"
        )
        self.assertEqual(stream.hex(), published)

    def test_a_draw_is_the_next_64_bits_of_the_key_stream(self):
        key = (42).to_bytes(8, "little") + (7).to_bytes(4, "little") + bytes(20)
        words = [word for counter in range(2) for word in reference.chacha8_block(key, counter)]
        drawn = list(itertools.islice(reference.draws(42, 7), 16))
        self.assertEqual(drawn, [words[at] | words[at + 1] << 32 for at in range(0, 32, 2)])

    def test_the_mean_gap_is_the_period_of_the_rate(self):
        gaps = list(itertools.islice(reference.gaps_ns(10_000_000, 1, 1), 10_000))
        self.assertLess(abs(sum(gaps) / len(gaps) / 100_000 - 1), 2.6 / math.sqrt(len(gaps)))


class Areas(unittest.TestCase):
    def amount(self, load, ns):
        """Packets up to an instant, as an exact fraction."""
        total = Fraction(0)
        for begins, rate, change, ends in reference.pieces(load["profile"], load["duration_ns"]):
            if begins >= ns:
                return total
            total += reference.area(rate, change, min(ends, ns) - begins)
            if ends == reference.FOREVER:
                return total
        return total

    def test_a_packet_is_due_at_the_last_ns_up_to_which_no_more_than_those_before_it_are(self):
        for load in reference.loads():
            if load["profile"]["shape"] in ("poisson", "burst") or load["duration_ns"] > 100 * S:
                continue
            places = range(0, reference.packets(load), 97)
            for place, due_ns in zip(places, reference.due_at(load, places), strict=True):
                first = place - place % load["batch"]
                self.assertLessEqual(self.amount(load, due_ns), first, (load, place))
                self.assertGreater(self.amount(load, due_ns + 1), first, (load, place))

    def test_bursts_are_whole_and_at_their_distance(self):
        load = {"profile": {"shape": "burst", "packets": 3, "every_ns": 400}, "duration_ns": 1_000}
        self.assertEqual(reference.due_times(load), [0, 0, 0, 400, 400, 400])

    def test_silences_delay_what_is_due_in_them(self):
        load = {"profile": {"shape": "on_off", "rate_millihertz": 2_000, "on_ns": S, "off_ns": 3 * S}, "duration_ns": 9 * S}
        self.assertEqual(reference.due_times(load), [0, S // 2, 4 * S, 9 * S // 2, 8 * S, 17 * S // 2])


class Vectors(unittest.TestCase):
    def test_the_file_is_what_the_reference_writes(self):
        self.assertEqual(reference.VECTORS.read_text(), reference.written())

    def test_every_shape_is_in_it_and_due_times_rise(self):
        vectors = json.loads(reference.VECTORS.read_text())
        shapes = {vector["profile"]["shape"] for vector in vectors}
        self.assertEqual(shapes, {"constant", "poisson", "burst", "ramp", "steps", "on_off"})
        for vector in vectors:
            due = [due_ns for _, due_ns in vector["due_ns"]]
            self.assertEqual(due, sorted(due))
            self.assertLess(due[-1], vector["duration_ns"])


if __name__ == "__main__":
    unittest.main()

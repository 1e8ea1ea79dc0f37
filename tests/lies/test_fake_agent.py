"""The schedule and the courses of the fake agent, without a server. Run by `python3 -m unittest`; needs grpcio."""

import unittest

from lies import agent_lies
from lies.fake_agent import Course, Schedule, bucket, buckets

SCHEDULE = Schedule(start_ns=1_000, rate_millihertz=3_000_000, batch=7, packets=300, duration_ns=100_000_000)


class Courses(unittest.TestCase):
    def test_a_due_time_is_that_of_the_first_packet_of_its_write_rounded_down(self):
        self.assertEqual([SCHEDULE.due_ns(n) for n in (0, 6, 7, 13, 14)], [1_000, 1_000, 2_334_333, 2_334_333, 4_667_666])
        self.assertEqual(SCHEDULE.period_ns, 2_333_333)

    def test_the_honest_course_is_the_schedule_and_every_lie_is_another_one_or_claims_something_else(self):
        honest = Course().packets(SCHEDULE)
        self.assertEqual([packet.sequence for packet in honest], list(range(300)))
        claims = ("seed", "profiles", "start_frames", "start_ns", "record", "records", "finished", "progress", "in_mid_run", "is_foreign", "clock_ahead_ns",
                  "answers_probes", "readings_ahead_ns", "round_trips", "packet_bytes", "end_frame")
        for name, lie in agent_lies.LIES.items():
            course = lie()
            is_other = course.packets(SCHEDULE) != honest
            claims_other = any(getattr(lie, claim) != getattr(Course, claim) for claim in claims)
            is_late = lie.lateness_ns not in (Course.lateness_ns, agent_lies.Lie.lateness_ns)
            self.assertTrue(is_other or claims_other or is_late or name.startswith("honest"), name)

    def test_a_distribution_has_its_times_in_the_buckets_of_the_api(self):
        times = [0, 7, 8, 2047, 2048, 4095, 10_000, (1 << 36) - 1, 1 << 60]
        self.assertEqual([bucket(ns) for ns in times], [0, 0, 1, 255, 256, 383, 540, 3455, 3455])
        self.assertEqual(buckets([10_000, 3, 10_001]), {"indices": [0, 540], "counts": [1, 2]})

    def test_packets_of_a_course_are_written_in_the_order_of_their_instants_and_numbered_without_a_gap(self):
        for name, lie in agent_lies.LIES.items():
            packets = lie().packets(SCHEDULE)
            self.assertEqual([packet.sequence for packet in packets], list(range(len(packets))), name)
            self.assertEqual([packet.at_ns for packet in packets], sorted(packet.at_ns for packet in packets), name)


if __name__ == "__main__":
    unittest.main()

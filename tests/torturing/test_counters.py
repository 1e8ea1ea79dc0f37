"""A correct report has no faults, and every deviation is reported in a sentence."""

import copy
import types
import unittest

from torturing import counters, footprint, peers

CLIENTS, RATE_HZ, SECONDS = 2, 100, 5
EACH = RATE_HZ * SECONDS


def run():
    counts = {"scheduled": EACH, "sent": EACH, "skipped": 0, "received": EACH, "lost": 0, "duplicated": 0}
    counts |= {"reordered": 0, "gaps": 0, "corrupt": 0, "read_before_written": 0}
    client = {"counts": counts, "attempts": 1, "failure": None}
    reason = {"code": "LATENESS", "sentence": "The agents sent late."}
    law = {"law": "a = b", "status": "holds", "sentence": "1 = 1"}
    return {
        "failure": None,
        "counts": {name: count * CLIENTS for name, count in counts.items()},
        "clients": [{**copy.deepcopy(client), "client": index} for index in range(CLIENTS)],
        "agents": [{"counts": {"sent": EACH * CLIENTS}}],
        **{name: {"count": EACH * CLIENTS} for name in ("lateness_us", "transit_us", "latency_us")},
        "verdict": {"reasons": [reason], "laws": [law]},
    }


def server():
    connections = {"accepted": 20, "pending": 0, "admitted": 0, "refused_full": 0, "refused_late": 0, "refused_raw": 0}
    return {
        "connections": connections,
        "workers": [{"packets": 900}, {"packets": 90}],
        "recoveries": {"packets": 10, "connections_lost": 0},
        "raw": {"connections": 5, "bytes": 333, "packets": 9},
    }


def peer_counts():
    mine = peers.PeerCounts()
    mine.opened, mine.reset, mine.counted, mine.bytes, mine.packets = 18, 1, 5, 333, 9
    return mine


def leaves(value, path=()):
    """Yields the paths of all numbers and flags in a report."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))
    if isinstance(value, (int, bool)):
        yield path


def changed(report, path, change):
    """Returns a copy in which the value at a path is what `change` makes of it."""
    report = copy.deepcopy(report)
    *way, last = path
    inner = report
    for key in way:
        inner = inner[key]
    inner[last] = change(inner[last])
    return report


def with_one_off(report, path):
    """Returns a copy in which the number at a path is one more, or the flag is inverted."""
    return changed(report, path, lambda value: not value if isinstance(value, bool) else value + 1)


def with_replies(asked):
    """A run of which each client has asked for so many replies and lost two of them to a full queue."""
    report = run()
    for client in report["clients"]:
        client["counts"] |= {"replies_requested": asked, "replies_wanted": asked, "replies_unexpected": 0}
        client["counts"] |= {"replies_dropped": min(asked, 2), "replies_read": asked - min(asked, 2)}
    return report


class Counters(unittest.TestCase):
    def test_each_reply_that_was_asked_for_is_read_or_dropped(self):
        # Packets 0, 7, 14 … of 500.
        self.assertEqual(counters.check_replies(with_replies(72), 7), [])
        self.assertEqual(counters.check_replies(with_replies(0), None), [])
        self.assertEqual(len(counters.check_replies(with_replies(72), None)), CLIENTS)
        for name in ("replies_requested", "replies_wanted", "replies_dropped", "replies_read", "replies_unexpected"):
            path = ("clients", 1, "counts", name)
            self.assertTrue(counters.check_replies(with_one_off(with_replies(72), path), 7), name)
            self.assertTrue(counters.check_replies(changed(with_replies(72), path, lambda _: None), 7), name)

    def check_run(self, report):
        return counters.check_run(report, [EACH] * CLIENTS, CLIENTS)

    def test_a_good_run_has_no_faults_and_sending_late_is_not_one(self):
        self.assertEqual(self.check_run(run()), [])

    def test_a_run_with_any_one_number_off_has_a_fault(self):
        ignored = {"client"}
        # A client's own counts of what must be 0 are in the sums and the laws that the server checks.
        ignored |= {"skipped", "lost", "duplicated", "reordered", "gaps", "corrupt", "read_before_written"}
        paths = [path for path in leaves(run()) if path[0] != "clients" or path[-1] not in ignored]
        self.assertGreater(len(paths), 15)
        for path in paths:
            with self.subTest(path=path):
                self.assertNotEqual(self.check_run(with_one_off(run(), path)), [])

    def test_a_figure_that_is_not_known_is_a_fault_and_never_a_0(self):
        for path in leaves(run()):
            if path[-1] != "client":
                with self.subTest(path=path):
                    self.assertNotEqual(self.check_run(changed(run(), path, lambda _: None)), [])
        for name in ("lateness_us", "transit_us", "latency_us"):
            self.assertEqual(len(self.check_run({**run(), name: None})), 1)
        agents = [{"counts": None}]
        self.assertEqual(len(self.check_run({**run(), "agents": agents})), 1)

    def test_a_broken_law_a_client_with_an_error_and_a_lost_agent_are_faults(self):
        report = run()
        report["clients"][1]["failure"] = {"code": "CONNECTION_BROKEN", "sentence": "the connection broke"}
        report["verdict"]["reasons"].append({"code": "AGENT_LOST", "sentence": "An agent left."})
        for status in ("broken", "not_checkable"):
            report["verdict"]["laws"][0]["status"] = status
            self.assertEqual(len(self.check_run(report)), 3)

    def test_a_run_that_failed_has_its_failure_as_the_one_fault(self):
        failure = {"code": "CONNECTION_REFUSED", "sentence": "nothing listens there"}
        report = {"failure": failure, "counts": None, "verdict": None}
        self.assertEqual(self.check_run(report), ["the run failed: nothing listens there"])

    def test_the_script_s_own_counts_must_equal_the_server_s(self):
        self.assertEqual(counters.check_peers(peer_counts(), server(), 2), [])
        for name in ("connections", "bytes", "packets"):
            self.assertEqual(len(counters.check_peers(peer_counts(), with_one_off(server(), ("raw", name)), 2)), 1)
        for name in ("accepted", "refused_late"):
            self.assertEqual(len(counters.check_peers(peer_counts(), with_one_off(server(), ("connections", name)), 2)), 1)
        late = peer_counts()
        late.late = 1
        self.assertEqual(counters.check_peers(late, with_one_off(server(), ("connections", "refused_late")), 2), [])
        failed = peer_counts()
        failed.faults = ["a short connection failed"] * 7
        self.assertEqual(len(counters.check_peers(failed, server(), 2)), 6)

    def test_a_packet_counted_never_or_twice_is_a_fault(self):
        self.assertEqual(counters.check_server(server(), 1000), [])
        self.assertEqual(len(counters.check_server(server(), 1001)), 1)
        for path in (("workers", 0, "packets"), ("recoveries", "packets"), ("recoveries", "connections_lost")):
            self.assertEqual(len(counters.check_server(with_one_off(server(), path), 1000)), 1)
        for name in set(server()["connections"]) - {"accepted", "refused_late"}:
            self.assertEqual(len(counters.check_server(with_one_off(server(), ("connections", name)), 1000)), 1)

    def test_a_refusal_that_no_client_has_seen_and_one_that_was_not_made_are_faults(self):
        self.assertEqual(counters.check_server(with_one_off(server(), ("connections", "refused_full")), 1000, 1), [])
        self.assertEqual(len(counters.check_server(server(), 1000, 1)), 1)

    def test_a_server_without_descriptors_logs_it_every_five_seconds_and_uses_little_cpu(self):
        self.assertEqual(counters.check_exhaustion(3, 10, 0.1), [])
        for lines, cpu_share in ((0, 0.1), (4, 0.1), (3, 0.9)):
            self.assertEqual(len(counters.check_exhaustion(lines, 10, cpu_share)), 1)

    def test_counts_of_peers_add_up(self):
        both = peer_counts()
        both.add(peer_counts())
        self.assertEqual((both.opened, both.bytes, both.faults), (36, 666, []))

    def test_fewer_disruptions_than_were_requested_are_a_fault(self):
        made = types.SimpleNamespace(kills=3, kills_of_spares=2, stop_seconds=[1.6], restart_seconds=[0.1], upgrade_seconds=[0.2], faults=[])
        self.assertEqual(counters.check_disruptions(made, 3, 1, 1, 1, 2), [])
        self.assertEqual(len(counters.check_disruptions(made, 4, 2, 2, 2, 3)), 5)
        made.stop_seconds = [9]
        self.assertEqual(len(counters.check_disruptions(made, 3, 1, 1, 1)), 1)

    def test_resources_held_longer_than_the_run_are_a_fault(self):
        before = footprint.Footprint(40, 0, 8, 0.1, 3.0, 5.0, 1.0)
        self.assertEqual(counters.check_footprint(before, before), [])
        off = {"descriptors": 41, "zombies": 1, "workers": 7, "ledger_mib": 1.2, "agent_private_mib": 20.0}
        for name, value in off.items():
            self.assertEqual(len(counters.check_footprint(before, before._replace(**{name: value}))), 1, name)
        self.assertEqual(len(counters.check_slopes({"master_private_mib": 1.5, "ledger_mib": 0.0})), 1)

    def test_a_panic_is_a_fault(self):
        self.assertEqual(counters.check_log("INFO all is well"), [])
        self.assertEqual(len(counters.check_log("thread 'master' panicked at x")), 1)


class Slope(unittest.TestCase):
    def test_a_line_is_found_in_its_noise(self):
        noise = [0.1, -0.1] * 50
        self.assertAlmostEqual(footprint.slope([(x, 7 + 3 * x + noise[x]) for x in range(100)]), 3, places=2)
        self.assertEqual(footprint.slope([]), 0)
        self.assertEqual(footprint.slope([(1, 5)]), 0)


if __name__ == "__main__":
    unittest.main()

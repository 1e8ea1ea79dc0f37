"""A true run has no faults, and every figure that is shown although it is not known is one. Run by `python3 -m unittest`."""

import copy
import unittest

from lies import judging
from lies.judging import HELD_ELSEWHERE, HELD_OUT, Out, VALID, invalid, not_held, partial

TIMES = {"count": 10_000, "min": 5.0, "max": 90.0, "mean": 20.0, "saturated": 0,
         "percentiles": {"p50": 10.0, "p90": 20.0, "p99": 30.0, "p99_9": 40.0, "p99_99": None}}


def run():
    counts = {"scheduled": 10_000, "sent": 10_000, "received": 10_000, "in_time": 9_995, "lost": 0}
    client = {"client": 0, "agent": "a", "counts": {**counts}, "lateness_p99_us": 1.0, "transit_p99_us": 2.0,
              "latency_p99_us": 3.0, "latency_max_us": 9.0, "spread_p99_us": 3.0, "failure": None}
    agent = {"agent": "a", "clock": {"relation": "same", "bound_us": 50.0}, "cpu_s": 0.1, "writes": 10_000,
             "oversleep_max_us": 60.0, "failure": None}
    objectives = [{"metric": metric, "quantile": quantile, "observed": observed, "status": "held"} for metric, quantile, observed
                  in (("lost", None, 0.0), ("kept_up", None, 99.95), ("spread", "p99.9", 40.0))]
    times = {name: copy.deepcopy(TIMES) for name in judging.TIMES}
    return {
        "state": "ended", "plan": {"threads": 1, "groups": [{"profile": {"shape": "constant"}}]}, "failure": None, "counts": counts, "elapsed_s": 1.0, **times,
        "verdict": {"status": "valid", "reasons": [], "laws": [{"status": "holds"}], "valid_to": None, "notes": []},
        "generator_tcp": {"retransmitted": 0}, "receiver_tcp": {"retransmitted": 0},
        "outcome": {"status": "held", "objectives": objectives}, "clients": [client], "agents": [agent],
        "groups": [{"group": "default", **copy.deepcopy(times)}], "rate": {"offered_hz": 10_000.0, "achieved_hz": 10_000.0},
        "cpu": {"generator_s": 0.1, "packets_per_write": 1.0},
    }


def changed(change):
    changed_run = run()
    change(changed_run)
    return changed_run


class Figures(unittest.TestCase):
    def faults(self, change, code=0, **more):
        return judging.false_figures(changed(change), code, **more)

    def test_a_true_run_has_no_faults(self):
        self.assertEqual(self.faults(lambda _: None), [])

    def test_a_quantile_needs_ten_values_beyond_it(self):
        self.assertEqual(len(self.faults(lambda r: r["spread_us"].update(count=9_999))), 1)
        self.assertEqual(len(self.faults(lambda r: r["spread_us"]["percentiles"].update(p99_99=50.0))), 1)
        self.assertEqual(len(self.faults(lambda r: r["groups"][0]["spread_us"].update(count=0))), 1)

    def test_a_quantile_lies_between_the_least_and_the_greatest(self):
        self.assertEqual(len(self.faults(lambda r: r["latency_us"]["percentiles"].update(p99=95.0))), 1)
        self.assertEqual(len(self.faults(lambda r: r["latency_us"].update(max=0.0))), 1)

    def test_what_a_late_generator_could_have_spoiled_is_not_known(self):
        faults = self.faults(lambda r: r["verdict"].update(valid_to="p99"))
        self.assertEqual(len(faults), 3, "those of two times and an objective: " + str(faults))

    def test_without_a_common_clock_there_are_no_one_way_times(self):
        faults = self.faults(lambda r: r["agents"][0]["clock"].update(relation="unknown"))
        self.assertEqual(len(faults), 2 + len(judging.ONE_WAY_OF_CLIENTS), faults)

    def test_a_clock_outside_of_its_bound_is_a_fault(self):
        self.assertEqual(self.faults(lambda _: None, clock_ahead_us=-40), [])
        self.assertEqual(len(self.faults(lambda _: None, clock_ahead_us=-60)), 1)

    def test_a_p99_of_a_client_needs_a_thousand_packets(self):
        self.assertEqual(len(self.faults(lambda r: r["clients"][0]["counts"].update(received=999))), 4)

    def test_what_is_lost_is_not_known_without_both_ends(self):
        self.assertEqual(len(self.faults(lambda r: r["counts"].update(sent=None))), 1)

    def test_figures_of_an_agent_that_failed_or_that_no_host_can_have_are_faults(self):
        self.assertEqual(len(self.faults(lambda r: r["agents"][0].update(failure={"code": "AGENT_LOST"}))), 1)
        for name, value in (("cpu_s", -1.0), ("cpu_s", 1e9), ("writes", 1 << 60), ("oversleep_max_us", 1e12)):
            self.assertEqual(len(self.faults(lambda r: r["agents"][0].update({name: value}))), 1, name)
        self.assertEqual(len(self.faults(lambda r: r["rate"].update(achieved_hz=10_010.0))), 1)

    def test_the_exit_code_is_that_of_verdict_and_outcome(self):
        self.assertEqual(len(self.faults(lambda _: None, code=99)), 1)
        missed = lambda r: r["outcome"].update(status="not_held")  # noqa: E731
        self.assertEqual(self.faults(missed, code=99), [])
        self.assertEqual(len(self.faults(missed, code=0)), 1)

    def test_an_invalid_run_is_not_judged_and_a_valid_one_breaks_no_law(self):
        faults = self.faults(lambda r: r["verdict"].update(status="invalid"), code=4)
        self.assertEqual(len(faults), 1 + len(run()["outcome"]["objectives"]), faults)
        self.assertEqual(len(self.faults(lambda r: r["verdict"].update(laws=[{"status": "broken"}]))), 1)
        self.assertEqual(len(self.faults(lambda r: r["outcome"]["objectives"][0].update(status="not_held"))), 1)

    def test_what_an_objective_observed_is_a_figure_of_the_run(self):
        for number, change in ((0, {"observed": 1.0}), (0, {"metric": "skipped"}), (1, {"observed": 99.9}), (2, {"observed": 95.0}),
                               (2, {"quantile": "p99.99"}), (2, {"metric": "lateness", "observed": 4.0})):
            self.assertEqual(len(self.faults(lambda r: r["outcome"]["objectives"][number].update(change))), 1, change)
            unknown = {**change, "observed": None}
            self.assertEqual(self.faults(lambda r: r["outcome"]["objectives"][number].update(unknown)), [], unknown)
        self.assertEqual(len(self.faults(lambda r: r["counts"].update(in_time=None))), 1)
        self.assertEqual(len(self.faults(lambda r: r.update(spread_us=None))), 1)

    def test_a_run_without_a_report_has_no_figures(self):
        self.assertEqual(judging.false_figures({"state": "failed", "counts": None}, 1), [])
        self.assertEqual(len(judging.false_figures({"state": "failed", "counts": {"sent": 0}}, 1)), 1)


class Held(unittest.TestCase):
    def test_a_run_that_has_held_was_written_by_the_schedule(self):
        held = run()
        self.assertEqual(judging.wrongly_held(held, [5_000_000] * 1000, 1000), [])
        for off_ns, planned in (([0] * 999, 1000), ([0] * 980 + [101_000_000] * 20, 1000), ([-2_000_000] * 1000, 1000)):
            self.assertEqual(len(judging.wrongly_held(held, off_ns, planned)), 1)
        held["agents"][0]["clock"]["relation"] = "unknown"
        self.assertEqual(judging.wrongly_held(held, [900_000_000] * 1000, 1000), [])
        self.assertEqual(len(judging.wrongly_held(held, [0] * 980 + [101_000_000] * 20, 1000)), 1)


class Outs(unittest.TestCase):
    def test_a_run_is_what_its_verdict_outcome_and_cause_say(self):
        good = run()
        self.assertTrue(HELD_OUT.matches(good) and Out(VALID).matches(good))
        self.assertFalse(HELD_ELSEWHERE.matches(good) or invalid().matches(good) or not_held("latency").matches(good))

    def test_a_run_may_have_to_be_valid_to_a_quantile(self):
        out, late = Out(VALID, valid_to=frozenset({"p99", "p90"})), run()
        self.assertFalse(out.matches(late))
        late["verdict"]["valid_to"] = "p90"
        self.assertTrue(out.matches(late))

    def test_a_missed_metric_is_the_cause_of_not_held(self):
        late = run()
        late["outcome"] = {"status": "not_held", "objectives": [{"metric": "kept_up", "status": "not_held"}]}
        self.assertTrue(not_held("kept_up").matches(late) and not_held().matches(late))
        self.assertFalse(not_held("latency").matches(late) or HELD_OUT.matches(late))
        self.assertEqual(judging.cause(late), "kept_up")

    def test_a_reason_must_be_named_and_where_it_matters_first(self):
        bad = run()
        reasons = [{"code": code, "failure": None} for code in ("END_MISCOUNTED", "CORRUPT")]
        bad["verdict"].update(status="invalid", reasons=reasons)
        self.assertTrue(invalid("CORRUPT").matches(bad) and invalid("END_MISCOUNTED", is_first=True).matches(bad))
        self.assertFalse(invalid("CORRUPT", is_first=True).matches(bad) or partial("CORRUPT").matches(bad))
        self.assertEqual(judging.cause(bad), "END_MISCOUNTED +1")

    def test_what_a_busy_host_can_do_is_its_fault_only_when_nothing_else_is_named(self):
        bad, lost = run(), frozenset({"AGENT_LOST"})
        for codes, expected, is_of_the_host in ((["LATENESS"], frozenset(), True), (["LATENESS", "CORRUPT"], frozenset(), False),
                                                (["LATENESS", "AGENT_LOST"], lost, True), (["AGENT_LOST"], lost, False), ([], lost, False)):
            bad["verdict"]["reasons"] = [{"code": code} for code in codes]
            self.assertEqual(judging.is_of_the_host(bad, expected), is_of_the_host, codes)

    def test_codes_are_those_of_reasons_and_of_every_failure(self):
        bad = run()
        bad["agents"][0]["failure"] = {"code": "AGENT_SILENT"}
        bad["verdict"]["reasons"] = [{"code": "AGENT_LOST", "failure": {"code": "AGENT_LOST"}}]
        self.assertEqual(judging.codes(bad), {"AGENT_LOST", "AGENT_SILENT"})


if __name__ == "__main__":
    unittest.main()

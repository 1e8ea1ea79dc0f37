"""A cell in which all is as it must be has no faults, and each thing that is not is one. Run by `python3 -m unittest`."""

import types
import unittest

from lies.test_judging import run as true_run
from partitioning import cells, course, judging
from partitioning.router import Flow

DROP = cells.Cell((cells.CONTROL, cells.DATA), cells.DROP, cells.RUNNING)
BENCHCTL = cells.Cell((cells.BENCHCTL,), cells.DROP, cells.RUNNING)
PACKETS = 10_000


def run(**more):
    made = {**true_run(), "run_id": "a", **more}
    made["verdict"]["notes"] = []
    made["counts"].update(skipped=0, blocked=0, lost_unread=0)
    return made


def lost_run(code="AGENT_SILENT"):
    """A run whose only agent was lost: what it alone has is null."""
    made = run()
    reason = {"code": "AGENT_LOST", "status": "partial", "failure": {"code": code}}
    made["verdict"].update(status="partial", reasons=[reason], laws=[])
    made["outcome"] = {"status": "not_judged", "objectives": []}
    made["agents"][0].update(failure={"code": code}, cpu_s=None, writes=None, oversleep_max_us=None)
    for counts in (made["counts"], made["clients"][0]["counts"]):
        counts.update({name: None for name in counts if name in judging.OF_AGENT or name.startswith("lost_")})
    return made


def answer(code, answered, is_hung=False):
    return types.SimpleNamespace(code=code, object=answered, failure=(answered.get("error") or {}).get("code"), is_hung=is_hung)


def flow(packets=PACKETS, last_s=9.0, first_s=1.0):
    made = Flow(0)
    # Hello, start and end beside the packets.
    made.emitted = made.passed = 32 * (packets + 3)
    made.fresh = [(first_s, 32), (last_s, made.emitted - 32)]
    return made


def observed(made=None, code=0, **more):
    made = run() if made is None else made
    fields = {
        "start": answer(code, made), "stop": None, "run": made, "text": "", "cut_s": 10.0, "mended_s": 16.0, "stalled_s": 0.02,
        "flows": [flow()], "passed_again_s": 16.5, "agreed_s": 17.0, "disagreed": [], "next": answer(0, run()),
        "ends": {"metronome-agent": 0, "metronome-server": 0}, **more}
    return course.Observed(**fields)


class FaultsTest(unittest.TestCase):
    def one_fault(self, cell, seen, words):
        found = list(judging.faults(cell, seen))
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_what_is_as_it_must_be_has_none(self):
        self.assertEqual(judging.faults(BENCHCTL, observed()), [])
        self.assertEqual(judging.faults(DROP, observed(lost_run(), 3)), [])

    def test_load_that_goes_on_without_control(self):
        # Up to the end of a lease it may go on.
        self.assertEqual(judging.faults(DROP, observed(lost_run(), 3, flows=[flow(last_s=13.1)])), [])
        self.one_fault(DROP, observed(lost_run(), 3, flows=[flow(last_s=13.3)]), "load went on after control was lost")
        # A run that begins when the cut is mended is no load without control.
        self.assertEqual(judging.faults(DROP, observed(lost_run(), 3, flows=[flow(first_s=17.0, last_s=19.0)])), [])
        self.assertEqual(judging.faults(BENCHCTL, observed(flows=[flow(last_s=20.0)])), [])

    def test_states_that_agree_late_or_never(self):
        self.one_fault(BENCHCTL, observed(agreed_s=21.6), "agreed 5.1 s after")
        self.one_fault(BENCHCTL, observed(agreed_s=None, disagreed=["why"]), "why")

    def test_a_command_that_hangs_or_ends_in_a_way_that_is_not_documented(self):
        self.one_fault(BENCHCTL, observed(stop=answer(-9, {"error": {"code": "A"}}, is_hung=True)), "stop did not end")
        self.one_fault(BENCHCTL, observed(stop=answer(101, {"error": {"code": "A"}})), "not documented")
        self.one_fault(BENCHCTL, observed(stop=answer(1, {})), "printed no object")
        self.one_fault(BENCHCTL, observed(ends={"metronome-server": 0}), "ended when asked to")

    def test_a_figure_that_only_a_lost_agent_has(self):
        for name in ("sent", "lost_unread"):
            made = lost_run()
            made["counts"][name] = PACKETS + 1
            self.one_fault(DROP, observed(made, 3), f"['{name}'] are shown")
        made = lost_run()
        made["clients"][0]["counts"]["sent"] = 7
        self.one_fault(DROP, observed(made, 3), "what clients [0] have sent")
        self.one_fault(DROP, observed(lost_run(), 3, text="lost 0"), "the text has")

    def test_an_agent_that_ended_by_its_lease_has_reported(self):
        made = lost_run("LEASE_OVER")
        made["counts"]["sent"] = PACKETS
        self.assertEqual(judging.faults(DROP, observed(made, 3)), [])

    def test_a_run_that_held_although_its_path_was_cut(self):
        found = judging.faults(cells.Cell((cells.DATA,), cells.DROP, cells.RUNNING), observed())
        self.assertEqual(found, ["the run held, although the path of its packets was cut"])

    def test_counts_that_the_router_has_not_seen(self):
        made = lost_run()
        made["counts"]["received"] = PACKETS + 2
        self.one_fault(DROP, observed(made, 3), "10002 packets were received, and 10001 passed")
        found = judging.faults(BENCHCTL, observed(flows=[flow(PACKETS + 1)]))
        self.assertEqual(len(found), 2, "fewer were sent than seen, and it is valid all the same")

    def test_a_connection_that_came_to_nothing_is_no_packet(self):
        nothing = Flow(0)
        nothing.emit(types.SimpleNamespace(sequence=1, payload_bytes=32), 1.0)
        self.assertEqual(judging.faults(BENCHCTL, observed(flows=[flow(), nothing])), [])

    def test_what_start_printed_is_what_is_stored(self):
        self.one_fault(DROP, observed(run=lost_run(), flows=[flow()]), "is stored")

    def test_a_next_run_that_is_not_valid(self):
        self.one_fault(BENCHCTL, observed(next=answer(1, {"error": {"code": "NO_AGENT"}})), "NO_AGENT")


class BusyHostTest(unittest.TestCase):
    def test_a_late_generator_a_paused_server_and_a_stalled_router_are_of_the_host(self):
        self.assertFalse(judging.is_of_the_host(DROP, observed()))
        self.assertTrue(judging.is_of_the_host(DROP, observed(stalled_s=0.2)))
        late, paused = run(), run()
        late["verdict"]["reasons"] = [{"code": "LATENESS", "failure": None}]
        paused["verdict"]["notes"] = [{"code": "SERVER_PAUSED"}]
        for made in (late, paused):
            self.assertTrue(judging.is_of_the_host(DROP, observed(made)))
            self.assertTrue(judging.is_of_the_host(DROP, observed(next=answer(4, made))))

    def test_a_server_that_the_cell_has_stopped_is_not_of_the_host(self):
        cell, paused = cells.Cell((cells.DATA,), cells.SLOW, cells.RUNNING), run()
        paused["verdict"]["notes"] = [{"code": "SERVER_PAUSED"}]
        self.assertFalse(judging.is_of_the_host(cell, observed(paused)))
        self.assertTrue(judging.is_of_the_host(cell, observed(paused, next=answer(0, paused))))


class SeenTest(unittest.TestCase):
    def test_it_is_stable_words(self):
        end = ("–", "3", "ended, partial, not_judged: AGENT_LOST (AGENT_SILENT)")
        self.assertEqual(judging.seen(observed(lost_run(), 3)), end)
        stop, failed = answer(1, {"error": {"code": "SERVER_LOST"}}), {"error": {"code": "NO_AGENT"}}
        seen = judging.seen(observed(run=None, start=answer(1, failed), stop=stop))
        self.assertEqual(seen, ("1 SERVER_LOST", "1 NO_AGENT", "none"))
        made = {"state": "failed", "verdict": None, "failure": {"code": "AGENT_LOST"}}
        self.assertEqual(judging.run_words(made), "failed: AGENT_LOST")


class DisagreementTest(unittest.TestCase):
    def server(self, state="running", runs_of_agent=("a",), connections=4, names=("far",)):
        agents = [{"name": name, "state": "available", "run_ids": list(runs_of_agent)} for name in names]
        return [{"runs": [{"run_id": "a", "state": state}]}, {"agents": agents}, {"workers": [{"connections": connections}]}]

    def found(self, server, elsewhere="running", connections=4, is_waiting=True):
        return judging.disagreement(server, [{"runs": [{"run_id": "a", "state": elsewhere}]}], connections, is_waiting)

    def test_one_state_everywhere_is_none(self):
        self.assertEqual(self.found(self.server()), [])
        self.assertEqual(self.found(self.server("ended", (), 0), "ended", 0, False), [])
        # A benchctl that has given up has its failure.
        self.assertEqual(self.found(self.server(), is_waiting=False), [])

    def test_each_other_one_is_named(self):
        for found, words in (
            (judging.disagreement(None, [{}], 0, False), "no answer"),
            (self.found(self.server(), "draining"), "at benchctl"),
            (self.found(self.server(names=())), "lists the agents"),
            (self.found(self.server(runs_of_agent=())), "the agent is in"),
            (self.found(self.server(connections=3)), "the server has 3 connections and the agent 4"),
            (self.found(self.server("ended", (), 4), "ended", 4, False), "left without a run"),
            (self.found(self.server("failed", (), 0), "failed", 0, True), "waits for a run that is over"),
        ):
            self.assertEqual(len(found), 1, found)
            self.assertIn(words, found[0])


if __name__ == "__main__":
    unittest.main()

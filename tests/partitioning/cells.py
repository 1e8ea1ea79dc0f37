"""The cells of the matrix: what is cut, how, and when. Pure."""

import dataclasses
import itertools

# benchctl and the server; an agent and the server, orders and reports; the same two, the packets of the load.
BENCHCTL, CONTROL, DATA = LINKS = ("benchctl", "control", "data")

DROP, ONE_WAY, DELAY, RESET = KINDS = ("drop", "one way", "delay", "reset")
BEFORE, RUNNING, STOP = MOMENTS = ("before", "running", "stop")
# In the middle of a run, and mended before a lease is over.
BRIEF = "running, 1 s"

# Beside the matrix: what goes to the server passes slowly, and its master process stands still, so that no lease is renewed.
SLOW = "slow, server stopped"

DELAY_S = 2.0
# Of the slow link, headers included; what would wait for longer is lost.
SLOW_BYTES_PER_S, SLOW_WAIT_S_MAX = 16_000, 1.0
CUT_S, BRIEF_S = 6.0, 1.0

# What a router does with a packet.
PASS, LOSE, HOLD, ANSWER, QUEUE = "pass", "lose", "hold", "answer", "queue"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cut of some links."""

    links: tuple
    kind: str
    moment: str

    def __str__(self):
        return f"{' + '.join(self.links)}, {self.kind}, {self.moment}"

    @property
    def lasts_s(self):
        return BRIEF_S if self.moment == BRIEF else CUT_S

    @property
    def loses_control(self):
        """Whether no renewal of a lease passes for longer than it lasts."""
        return self.stops_server or CONTROL in self.links and self.kind != DELAY and self.moment != BRIEF

    @property
    def stops_server(self):
        return self.kind == SLOW


CUTS = [links for size in (1, 2, 3) for links in itertools.combinations(LINKS, size)]
MATRIX = [Cell(*cell) for cell in itertools.product(CUTS, KINDS, MOMENTS)]
# Beside the matrix: all that an agent has is cut, for so short that nothing may be lost; and what an agent's kernel holds
# for a slow link is load as well.
ALL = [*MATRIX, Cell((CONTROL, DATA), DROP, BRIEF), Cell((DATA,), SLOW, RUNNING)]

# Of the matrix each cut, and each kind at each moment.
SHORT = [
    *ALL[len(MATRIX):],
    Cell((BENCHCTL,), DROP, RUNNING),
    Cell((BENCHCTL,), RESET, STOP),
    Cell((CONTROL,), DROP, BEFORE),
    Cell((CONTROL,), ONE_WAY, RUNNING),
    Cell((DATA,), DELAY, RUNNING),
    Cell((DATA,), DROP, STOP),
    Cell((BENCHCTL, CONTROL), RESET, RUNNING),
    Cell((BENCHCTL, DATA), DELAY, STOP),
    Cell((BENCHCTL, DATA), ONE_WAY, BEFORE),
    Cell((CONTROL, DATA), ONE_WAY, STOP),
    Cell((CONTROL, DATA), RESET, BEFORE),
    Cell((BENCHCTL, CONTROL, DATA), DELAY, BEFORE),
]


def treatment(kind, is_to_server):
    """What happens to a packet on a link that is cut so. One way: what the server sends is lost."""
    if kind == ONE_WAY:
        return PASS if is_to_server else LOSE
    if kind == SLOW:
        return QUEUE if is_to_server else PASS
    return {DROP: LOSE, DELAY: HOLD, RESET: ANSWER}[kind]

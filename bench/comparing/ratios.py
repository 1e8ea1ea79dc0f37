"""Statistics of pairs: the median of their ratios or differences, its spread, and whether it meets a goal. Pure."""

import dataclasses
import statistics
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Way:
    """How the two figures of a pair become the one that is judged, and its unit in the table."""

    of_pair: Callable
    sign: str
    # A ratio to 0 has no meaning; a difference from 0 has one.
    needs_theirs: bool = False


RATIO = Way(lambda ours, theirs: ours / theirs, "×", needs_theirs=True)
MORE = Way(lambda ours, theirs: ours - theirs, "more")


def more_each(count, unit):
    """The difference divided by `count`: the cost of each item that only one side has."""
    return Way(lambda ours, theirs: (ours - theirs) / count, f"{unit} more each")


@dataclasses.dataclass(frozen=True)
class Goal:
    """Ours against theirs of `figure` must be at most, or at least, `bound`. `bound` None: only reported."""

    figure: str
    unit: str
    bound: float | None = None
    at_least: bool = False
    # The name of the figure on the other side, where it differs.
    theirs: str | None = None
    way: Way = RATIO

    def is_met_by(self, ratio):
        if self.bound is None:
            return None
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def words(self):
        if self.bound is None:
            return "none" if self.way is RATIO else f"none, {self.way.sign}"
        return f"{'≥' if self.at_least else '≤'} {self.bound:g} {self.way.sign}"


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table: one figure of one comparison."""

    comparison: str
    figure: str
    unit: str
    goal: str
    ours: float
    theirs: float
    # Or the difference, depending on the goal.
    ratio: float
    ratio_min: float
    ratio_max: float
    pairs: int
    # Whether the median meets the goal. None: there is no goal.
    met: bool | None
    # Whether all pairs agree on the goal.
    agreed: bool


def row(comparison, goal, pairs):
    """The row for pairs (figures of ours, figures of theirs); a pair that lacks either figure is left out."""
    both = [(ours.get(goal.figure), theirs.get(goal.theirs or goal.figure)) for ours, theirs in pairs]
    both = [(mine, other) for mine, other in both if None not in (mine, other) and (other or not goal.way.needs_theirs)]
    if not both:
        return None
    ratios = [goal.way.of_pair(mine, other) for mine, other in both]
    ratio = statistics.median(ratios)
    met = goal.is_met_by(ratio)
    agreed = all(goal.is_met_by(one) == met for one in ratios)
    mine, other = (statistics.median(values) for values in zip(*both))
    return Row(comparison, goal.figure, goal.unit, goal.words(), mine, other, ratio, min(ratios), max(ratios), len(both), met, agreed)

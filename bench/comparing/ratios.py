"""What is said of pairs: the median of their ratios, its spread, and whether a goal is met by it. Pure."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Goal:
    """Ours / theirs of `figure` is to be at most, or at least, `bound`. `bound` None: only told."""

    figure: str
    unit: str
    bound: float | None = None
    at_least: bool = False
    # Of the other side, when it calls the figure by another name.
    theirs: str | None = None

    def words(self):
        if self.bound is None:
            return "told"
        return f"{'≥' if self.at_least else '≤'} {self.bound:g} ×"


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table: one figure of one comparison."""

    comparison: str
    figure: str
    unit: str
    goal: str
    ours: float
    theirs: float
    ratio: float
    ratio_min: float
    ratio_max: float
    pairs: int
    # None: there is no goal.
    met: bool | None


def row(comparison, goal, pairs):
    """Of pairs (figures of ours, figures of theirs); a pair in which either is nothing says nothing."""
    both = [(ours.get(goal.figure), theirs.get(goal.theirs or goal.figure)) for ours, theirs in pairs]
    both = [(mine, other) for mine, other in both if mine is not None and other]
    if not both:
        return None
    ratios = [mine / other for mine, other in both]
    ratio = statistics.median(ratios)
    met = None if goal.bound is None else ratio >= goal.bound if goal.at_least else ratio <= goal.bound
    mine, other = (statistics.median(values) for values in zip(*both))
    return Row(comparison, goal.figure, goal.unit, goal.words(), mine, other, ratio, min(ratios), max(ratios), len(both), met)

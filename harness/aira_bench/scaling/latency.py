"""Latency of a model as the sum of its parts, beside what the whole model was measured to take.

The paper counts the layers of each kind, times a block's latency (section 6.1, figure 7). Here that sum is `blocks_s`,
and with the embedding and the head it is `total_s`, which is what a whole model does. The standard library alone, so
that a measurement on a machine with nothing else can compose, too.

Not covered: measuring (`aira_evaluator.latency`), files and pictures (`latency_file`, `figures.pareto`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aira_contract.latency import EMBEDDING, HEAD, MODEL, Case, LatencyRow, Machine, NotMeasured
from aira_contract.model_sizes import ModelSize, model_size, space_of
from aira_contract.primitives import BY_SYMBOL


class MissingLatency(ValueError):
    """A part of a model was not measured; the message says which and in which case."""


@dataclass(frozen=True)
class Composed:
    """A model's latency, put together from its parts'."""

    name: str
    scale: str
    pattern: Sequence[str]
    case: Case
    blocks_s: float
    """Layers alone, as the paper counts."""
    total_s: float
    """With embedding and head."""
    low_s: float
    """The sum of the parts' lower quartiles."""
    high_s: float
    """The sum of the parts' upper quartiles."""
    rounds: int
    """Fewest rounds of a part."""
    cold: bool
    """Whether every block was measured with its weights out of the caches."""
    measured: LatencyRow | None
    """The whole model, where it was measured."""

    @property
    def difference(self) -> float | None:
        """How much the sum is above the whole, as a share of the whole; None where that was not measured."""
        return None if self.measured is None else self.total_s / self.measured.median_s - 1


@dataclass(frozen=True)
class LatencyTable:
    """What was measured on one machine in one go."""

    facts: Mapping[str, str]
    """Of the machine, by name."""
    rows: tuple[LatencyRow, ...]
    not_measured: tuple[NotMeasured, ...]

    @classmethod
    def of(cls, lines: Iterable[LatencyRow | NotMeasured | Machine]) -> "LatencyTable":
        """Return the table of some lines of an answer, of all of them or of those that were written in time."""
        found = list(lines)
        facts: dict[str, str] = {}
        for line in found:
            facts |= line.facts if isinstance(line, Machine) else {}
        rows = tuple(line for line in found if isinstance(line, LatencyRow))
        return cls(facts, rows, tuple(line for line in found if isinstance(line, NotMeasured)))

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases there are rows of, in the order of measurement."""
        return tuple(dict.fromkeys(row.case for row in self.rows))

    @property
    def scales(self) -> tuple[str, ...]:
        """The scales there are rows of, in the order of measurement."""
        return tuple(dict.fromkeys(row.scale for row in self.rows))

    def part(self, part: str, sizes: ModelSize, case: Case) -> LatencyRow:
        """Return the row of a part at these sizes: the cold one, or else that of the longest chain.

        Raises:
            MissingLatency: there is none.
        """
        fits = [row for row in self.rows if row.part == part and row.case == case and _as_large(row, part, sizes)]
        if not fits:
            what = BY_SYMBOL[part].title if part in BY_SYMBOL else part
            raise MissingLatency(
                f"{what} at {sizes.scale} was not measured in {case.phase} of {case.batch} x {case.length} tokens"
            )
        return max(fits, key=lambda row: (row.cache == "cold", row.copies))

    def whole(self, pattern: Sequence[str], scale: str, case: Case) -> LatencyRow | None:
        """Return the row of a whole model of these layers, None where there is none."""
        letters = "".join(BY_SYMBOL[symbol].letter for symbol in pattern)
        for row in self.rows:
            if (row.part, row.pattern, row.scale, row.case) == (MODEL, letters, scale, case):
                return row
        return None

    def compose(self, name: str, pattern: Sequence[str], scale: str, case: Case) -> Composed:
        """Return the sum of a model's parts.

        Raises:
            MissingLatency: one of them was not measured.
        """
        sizes = model_size(scale, space_of(pattern))
        blocks = [(self.part(symbol, sizes, case), count) for symbol, count in Counter(pattern).items()]
        ends = [(self.part(part, sizes, case), 1) for part in (EMBEDDING, HEAD)]
        every = blocks + ends
        return Composed(
            name=name,
            scale=scale,
            pattern=pattern,
            case=case,
            blocks_s=sum(row.median_s * count for row, count in blocks),
            total_s=sum(row.median_s * count for row, count in every),
            low_s=sum(row.low_s * count for row, count in every),
            high_s=sum(row.high_s * count for row, count in every),
            rounds=min(row.rounds for row, _ in every),
            cold=all(row.cache == "cold" for row, _ in blocks),
            measured=self.whole(pattern, scale, case),
        )


def _as_large(row: LatencyRow, part: str, sizes: ModelSize) -> bool:
    """Whether a row's part is the same at these sizes; the two search spaces differ in the MLP alone."""
    if row.scale != sizes.scale:
        return False
    other = model_size(row.scale, row.space)
    return other.mlp_hidden == sizes.mlp_hidden or part not in BY_SYMBOL or BY_SYMBOL[part].mixes_positions


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return of each point, less being better in both numbers, whether no other is at least as good and once better."""
    return [
        not any(other[0] <= each[0] and other[1] <= each[1] and other != each for other in points) for each in points
    ]

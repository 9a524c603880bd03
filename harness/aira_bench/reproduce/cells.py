"""What a reproduction says: one verdict a published number, with both values and the reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from fractions import Fraction


class Status(StrEnum):
    """How one published number came out."""

    REPRODUCED = "reproduced"
    ROUNDING = "rounding"
    """Off by no more than rounding, of the number itself or of what it was computed from, explains."""
    ERRATUM = "erratum"
    """The published numbers contradict each other; no formula of ours is needed to see it."""
    DIFFERENCE = "difference"
    """The product does otherwise than published, on purpose; `differences.csv` says why."""
    MISMATCH = "mismatch"
    """Published and computed differ and nothing published explains it."""


@dataclass(frozen=True)
class Cell:
    """One published number beside the computed one."""

    table: str
    row: str
    column: str
    published: str
    computed: str
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A published number that nothing published lets anyone recompute."""

    table: str
    row: str
    published: str
    reason: str


@dataclass(frozen=True)
class Reproduction:
    """All cells of the tables asked for, in the tables' order."""

    cells: tuple[Cell, ...]
    left_out: tuple[LeftOut, ...] = ()

    def counts(self, table: str | None = None) -> dict[Status, int]:
        """Cells by status, of one table or of all."""
        counted = Counter(cell.status for cell in self.cells if table in (None, cell.table))
        return {status: counted[status] for status in Status}

    @property
    def tables(self) -> Sequence[str]:
        """Tables in the order of their cells."""
        return tuple(dict.fromkeys(cell.table for cell in self.cells))

    @property
    def holds(self) -> bool:
        """Whether no cell is a mismatch."""
        return not any(cell.status is Status.MISMATCH for cell in self.cells)


def decimal_text(value: Fraction, places: int) -> str:
    """Return an exact value at a number of decimals, halves away from zero."""
    quantum = Decimal(1).scaleb(-places)
    precise = Decimal(value.numerator) / Decimal(value.denominator)
    return str(precise.quantize(quantum, ROUND_HALF_UP))


def places_of(published: str) -> int:
    """Decimals a published number is printed with."""
    return len(published.partition(".")[2])


def compare_decimal(published: str, value: Fraction, slack: Fraction) -> tuple[Status, str]:
    """Compare a printed decimal with an exact value.

    Args:
        published: as printed.
        value: exact.
        slack: how far apart they may be for `rounding`, exclusive.

    Returns:
        `reproduced`, `rounding` or `mismatch`, and the value as it would have been printed.
    """
    text = decimal_text(value, places_of(published))
    if Decimal(text) == Decimal(published):
        return Status.REPRODUCED, text
    return (Status.ROUNDING if abs(Fraction(published) - value) < slack else Status.MISMATCH), text


def compare_text(table: str, row: str, column: str, published: str, computed: str, why: str) -> Cell:
    """Return a cell that is reproduced if both are the same text, and an erratum with a reason otherwise.

    For numbers that published numbers alone decide: where those contradict each other no formula of ours is at fault.

    Args:
        table: the table's name.
        row: the row's.
        column: the column's.
        published: as printed.
        computed: what the other published numbers give.
        why: of an erratum, what contradicts what.
    """
    if published == computed:
        return Cell(table, row, column, published, computed, Status.REPRODUCED)
    return Cell(table, row, column, published, computed, Status.ERRATUM, why)

"""Numbered objects 1, 2, 3, ..., each made once: who makes number n + 1 has seen number n, and exactly one makes it.

This is compare-and-swap: a state is what the highest number holds, and who would change it makes the next number or
hears that another did. The highest is found by asking for numbers in growing steps: none is missing, and to list
folders of many thousand names takes long.

Not covered: removing old numbers. They are small, and a gap would look like an end.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from aira_bench.shared_store.store import SharedStore

_DIGITS = 8


@dataclass(frozen=True)
class Numbered:
    """One object of a succession."""

    number: int
    data: bytes


class Succession:
    """The succession in one folder of a store, as one client sees it: it remembers how far it has read.

    Not for several threads at once.
    """

    def __init__(self, store: SharedStore, folder: str) -> None:
        self._store = store
        self._folder = folder
        self._last: Numbered | None = None

    def last(self) -> Numbered | None:
        """Return the highest number that can be seen, None before the first. Another may have made a higher one.

        Where many were made since the last look, about twice the logarithm of their number is read.

        Raises:
            MachineError: the storage failed.
        """
        for found in self.ahead(self._last.number if self._last else 0, 10**_DIGITS):
            self._last = found
        return self._last

    def ahead(self, number: int, most: int) -> Iterator[Numbered]:
        """Go from one number to the highest that can be seen, which is yielded last, in steps that grow and shrink.

        Args:
            number: one that is there, or 0; it is not yielded.
            most: what no step is longer than, a power of two.

        Raises:
            MachineError: the storage failed.
        """
        step, grows = 1, True
        while step:
            data = self.read(number + step) if number + step < 10**_DIGITS else None
            if data is not None:
                number += step
                yield Numbered(number, data)
            grows = grows and data is not None
            step = min(2 * step, most) if grows else step // 2

    def read(self, number: int) -> bytes | None:
        """Return what a number holds, None where it is not to be seen.

        Raises:
            MachineError: the storage failed.
        """
        return self._store.get(self.name(number))

    def claim(self, number: int, data: bytes) -> Numbered:
        """Make a number unless it is made, and return it: whoever finds its own bytes in it has won.

        Args:
            number: 1, or one more than a number that is there.
            data: unlike anybody else's, so that an answer that was lost can be asked for again.

        Raises:
            MachineError: the storage failed; who has won is not known, and asking again with the same bytes tells.
        """
        made = Numbered(number, self._store.create(self.name(number), data))
        if self._last is None or number > self._last.number:
            self._last = made
        return made

    def name(self, number: int) -> str:
        """The name of the object that a number is."""
        if not 1 <= number < 10**_DIGITS:
            raise ValueError(f"no number of a succession: {number}")
        return f"{self._folder}/{number:0{_DIGITS}d}"

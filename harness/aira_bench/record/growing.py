"""Lists that only grow, and what is counted along them, so that a step costs no more because of the steps before it.

Policies and agents are functions of all finished steps. What they need of them, such as the best so far, is a tally:
it takes each step once, and is kept with the list. For any other sequence it is counted anew, so a tally is a faster
way to the same answer and nothing else.

Not covered: several threads; the steps of a seed are one thread's.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, cast, overload

Item = TypeVar("Item")
Taken = TypeVar("Taken", contravariant=True)


class Tally(Protocol[Taken]):
    """What is counted along a list; only `add` changes it."""

    def add(self, item: Taken, /) -> None:
        """Take the next item of the list."""
        ...


class Growing(Generic[Item]):
    """A list that is only appended to."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._items = list(items)
        self._tallies: dict[Hashable, tuple[int, Tally[Item]]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def append(self, item: Item) -> None:
        """Add an item at the end."""
        self._items.append(item)

    def so_far(self) -> "SoFar[Item]":
        """Return the list as it stands, which never changes; nothing is copied."""
        return SoFar(self._items, len(self._items), self._tallies)


class SoFar(Sequence[Item]):
    """A growing list as it stood at one moment."""

    def __init__(self, items: list[Item], length: int, tallies: dict[Hashable, tuple[int, Tally[Item]]]) -> None:
        self._items, self._length, self._tallies = items, length, tallies

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        return islice(self._items, self._length)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, index: int | slice) -> Item | tuple[Item, ...]:
        at = range(self._length)[index]
        return self._items[at] if isinstance(at, int) else tuple(self._items[each] for each in at)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, SoFar | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def kept(self, key: Hashable, make: Callable[[], Tally[Item]]) -> Tally[Item]:
        """Return the tally `key` of these items, which takes those alone that it has not had yet."""
        taken, tally = self._tallies.get(key, (0, None))
        if tally is None or taken > self._length:  # the list has grown since this moment
            taken, tally = 0, make()
        try:
            for item in islice(self._items, taken, self._length):
                tally.add(item)
        except BaseException:
            self._tallies.pop(key, None)  # it may have taken half an item
            raise
        self._tallies[key] = self._length, tally
        return tally


Counted = TypeVar("Counted", bound=Tally[Any])


def tallied(items: Sequence[Item], make: Callable[..., Counted], *settings: Hashable) -> Counted:
    """Return `make(*settings)` after it has taken each of the items in order; it is not to be changed."""
    if isinstance(items, SoFar):
        return cast(Counted, items.kept((make, *settings), lambda: make(*settings)))
    tally = make(*settings)
    for item in items:
        tally.add(item)
    return tally

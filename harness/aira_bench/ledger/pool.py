"""What all units have taken of a run's caps, as a succession of entries that each carry the sum.

An entry is made by whoever knows the one before it, so the sum in the last entry is right, and an entry that would pass
a cap is not made. Each change has a key and is in the pool at most once, whoever asks for it and however often: before
an entry is made, every entry since the change was asked for has been read.

Not covered: which unit spent what for what (`account`), and removing old entries.
"""

import json
import threading
from dataclasses import dataclass
from typing import Any, Literal

from aira_bench.errors import MachineError, RunStateError
from aira_bench.files import parse_json
from aira_bench.ledger.amount import NOTHING, Amount, Caps
from aira_bench.shared_store.store import SharedStore
from aira_bench.shared_store.succession import Succession

SCHEMA = 1
Kind = Literal["grant", "settle", "void"]
"""`grant` sets the most that a call can cost aside, `settle` replaces it by what it cost, `void` says that a grant that
was asked for will never be."""
Outcome = Literal["made", "void", "held", "exhausted"]
"""`made`: the change is in the pool. `void`: it never will be. `held`: what is set aside for calls under way leaves too
little for now. `exhausted`: what calls have cost leaves too little for good."""


@dataclass(frozen=True)
class Totals:
    """What is spent or set aside, and what of it is spent."""

    committed: Amount = NOTHING
    settled: Amount = NOTHING


@dataclass(frozen=True)
class PoolChange:
    """One change of the totals."""

    key: str
    """Unlike that of any other change of this pool."""
    kind: Kind
    committed: Amount = NOTHING
    settled: Amount = NOTHING


@dataclass(frozen=True)
class _Entry:
    key: str
    kind: str
    totals: Totals


class Pool:
    """The pool of one run, as one process sees it. Safe between threads."""

    def __init__(self, store: SharedStore, caps: Caps, folder: str = "pool") -> None:
        self.caps = caps
        self._chain = Succession(store, folder)
        self._lock = threading.Lock()

    def position(self) -> int:
        """Return the number of entries that can be seen.

        Raises:
            MachineError: the storage failed.
        """
        with self._lock:
            last = self._chain.last()
            return last.number if last else 0

    def totals(self) -> Totals:
        """Return what is spent and set aside, as far as it can be seen.

        Raises:
            MachineError: the storage failed.
        """
        with self._lock:
            last = self._chain.last()
            return _read(last.data).totals if last else Totals()

    def post(self, change: PoolChange, owner: str, since: int) -> Outcome:
        """Make a change unless it is made, or say why it cannot be made now. May be asked again at any time.

        Args:
            change: what to add to the totals.
            owner: who asks, unlike any other process.
            since: a number of entries that were there before anybody asked for this change.

        Raises:
            MachineError: the storage failed; whether the change was made is not known.
        """
        with self._lock:
            number, totals = since, self._totals_at(since)
            while True:
                data = self._chain.read(number + 1)
                if data is None:
                    if (refused := self._refusal(change, totals)) is not None:
                        return refused
                    mine = _written(change, owner, totals)
                    data = self._chain.claim(number + 1, mine).data
                    if data == mine:
                        return "void" if change.kind == "void" else "made"
                entry = _read(data)
                if entry.key == change.key:
                    return "void" if entry.kind == "void" else "made"
                number, totals = number + 1, entry.totals

    def passed_over(self, key: str, since: int, most: int) -> tuple[int, bool]:
        """Read on for a change, and return up to which entry it is not, and whether that is all there is to read.

        Args:
            key: of the change.
            since: an entry up to which it is not.
            most: how many entries to read.

        Raises:
            MachineError: the storage failed.
        """
        with self._lock:
            for number in range(since + 1, since + most + 1):
                data = self._chain.read(number)
                if data is None or _read(data).key == key:
                    return number - 1, True
        return since + most, False

    def _totals_at(self, number: int) -> Totals:
        if number == 0:
            return Totals()
        if (data := self._chain.read(number)) is None:  # another machine saw it, and this one does not yet
            raise MachineError(f"The machine failed: entry {number} of the ledger's pool cannot be seen.")
        return _read(data).totals

    def _refusal(self, change: PoolChange, totals: Totals) -> Outcome | None:
        """Why a grant does not fit; what has been spent is added whatever the caps say, since it is true."""
        if change.kind != "grant" or self.caps.hold(totals.committed + change.committed):
            return None
        return "held" if self.caps.hold(totals.settled + change.committed) else "exhausted"


def _written(change: PoolChange, owner: str, before: Totals) -> bytes:
    committed, settled = before.committed + change.committed, before.settled + change.settled
    entry = {
        "schema": SCHEMA, "key": change.key, "kind": change.kind, "owner": owner,
        "committed": [committed.nanousd, committed.tokens], "settled": [settled.nanousd, settled.tokens],
    }  # fmt: skip
    return json.dumps(entry, separators=(",", ":")).encode()


def _read(data: bytes) -> _Entry:
    try:
        found: Any = parse_json(data)
        if found["schema"] != SCHEMA:
            raise ValueError(f"schema {found['schema']!r}")
        return _Entry(found["key"], found["kind"], Totals(Amount(*found["committed"]), Amount(*found["settled"])))
    except (ValueError, KeyError, TypeError) as error:
        raise RunStateError(f"An entry of the ledger's pool cannot be read: {error}.") from error

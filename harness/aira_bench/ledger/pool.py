"""What all units have taken of a run's caps, as a succession of entries that each carry the sum.

An entry is made by whoever knows the one before it, so the sum in the last entry is right, and an entry that would pass
a cap is not made. Each change has a key and is in the pool at most once, whoever asks for it and however often: before
an entry is made, the keys of all since the change was asked for have been read. An entry names the keys of those before
it, so that whoever takes over from a dead worker reads one entry of many thousand workers' in 64.

Not covered: which unit spent what for what (`account`), and removing old entries.
"""

import itertools
import json
import threading
from dataclasses import dataclass
from typing import Any, Literal

from aira_bench.errors import MachineError, RunStateError
from aira_bench.files import parse_json
from aira_bench.ledger.amount import NOTHING, Amount, Caps
from aira_bench.shared_store.store import SharedStore
from aira_bench.shared_store.succession import Succession

SCHEMA = 2
_NAMED = 64
"""Keys in an entry: its own, and those of the entries before it, newest first."""
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
    keys: tuple[str, ...]
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
        return self.look(NOTHING)[0]

    def look(self, most: Amount) -> tuple[int, Outcome | None]:
        """Return the number of entries that can be seen, and why a grant of so much would not fit after them, if so.

        Raises:
            MachineError: the storage failed.
        """
        with self._lock:
            last = self._chain.last()
            if last is None:
                return 0, self._refusal(most, Totals())
            return last.number, self._refusal(most, _read(last.data).totals)

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
            entry, number = self._entry(since), since
            while True:
                for found in self._chain.ahead(number, _NAMED):
                    entry, number = _read(found.data), found.number
                    if change.key in entry.keys:
                        made = self._entry(number - entry.keys.index(change.key))
                        return "void" if made.kind == "void" else "made"
                refused = self._refusal(change.committed, entry.totals) if change.kind == "grant" else None
                if refused is not None:
                    return refused
                mine = _written(change, owner, entry)
                if self._chain.claim(number + 1, mine).data == mine:
                    return "void" if change.kind == "void" else "made"

    def passed_over(self, key: str, since: int, most: int) -> tuple[int, bool]:
        """Read on for a change, and return up to which entry it is not, and whether that is all there is to read.

        Args:
            key: of the change.
            since: an entry up to which it is not.
            most: how many entries to read; each names the keys of those that are passed over.

        Raises:
            MachineError: the storage failed before anything was read; what was read is not given up.
        """
        with self._lock:
            number = since
            try:
                for found in itertools.islice(self._chain.ahead(since, _NAMED), most):
                    if key in (keys := _read(found.data).keys):
                        return found.number - keys.index(key) - 1, True
                    number = found.number
                    most -= 1
            except MachineError:
                if number == since:
                    raise
                return number, False
        return number, most > 0

    def _entry(self, number: int) -> _Entry:
        """One that is known to be there; nothing, before the first."""
        if number == 0:
            return _Entry((), "", Totals())
        if (data := self._chain.read(number)) is None:  # another machine saw it, and this one does not yet
            raise MachineError(f"The machine failed: entry {number} of the ledger's pool cannot be seen.")
        return _read(data)

    def _refusal(self, most: Amount, totals: Totals) -> Outcome | None:
        """Why a grant does not fit; what has been spent is added whatever the caps say, since it is true."""
        if self.caps.hold(totals.committed + most):
            return None
        return "held" if self.caps.hold(totals.settled + most) else "exhausted"


def _written(change: PoolChange, owner: str, before: _Entry) -> bytes:
    committed, settled = before.totals.committed + change.committed, before.totals.settled + change.settled
    entry = {
        "schema": SCHEMA, "keys": [change.key, *before.keys[: _NAMED - 1]], "kind": change.kind, "owner": owner,
        "committed": [committed.nanousd, committed.tokens], "settled": [settled.nanousd, settled.tokens],
    }  # fmt: skip
    return json.dumps(entry, separators=(",", ":")).encode()


def _read(data: bytes) -> _Entry:
    try:
        found: Any = parse_json(data)
        if found["schema"] != SCHEMA:
            raise ValueError(f"schema {found['schema']!r}")
        totals = Totals(Amount(*found["committed"]), Amount(*found["settled"]))
        return _Entry(tuple(found["keys"]), found["kind"], totals)
    except (ValueError, KeyError, TypeError) as error:
        raise RunStateError(f"An entry of the ledger's pool cannot be read: {error}.") from error

"""What one unit (a seed of a run) has spent and set aside, written before each call of a model and after it.

An account is a succession of entries, each the whole state. Before a call the most it can cost is asked of the pool
(`pool`), and the entry that says so comes first: so whoever takes the unit over sees every call that may have been
made. It cannot stop a call that a worker sends which slept before sending it; therefore such a call counts as the most
it can cost, unless the unit's records show what it did cost. Nothing is ever freed because time passed.

A worker whose unit was taken over learns so at its next entry, which somebody else has made, before it asks for more.

Not covered: who may take a unit over, which is the lease's business; and calls that cost more than the most they can
cost, which are counted as they were and shown.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from aira_bench.errors import BudgetExceeded, RunStateError
from aira_bench.files import parse_json
from aira_bench.ledger.amount import NOTHING, Amount, Caps
from aira_bench.ledger.pool import SCHEMA, Outcome, Pool, PoolChange
from aira_bench.shared_store.store import SharedStore, Stubborn
from aira_bench.shared_store.succession import Succession

_AT_ONCE = 50
"""Entries of the pool that are read between two entries of an account."""


class AccountTaken(RunStateError):
    """Another attempt has the unit: this one may not spend for it any more."""


@dataclass(frozen=True)
class Reservation:
    """What is set aside for one call."""

    call: str
    most: Amount


@dataclass(frozen=True)
class _Asked:
    """A change of the pool that was asked for in one entry, and may have been made."""

    key: str
    kind: Literal["grant", "settle"]
    call: str
    most: Amount
    cost: Amount
    since: int

    @property
    def change(self) -> PoolChange:
        if self.kind == "grant":
            return PoolChange(self.key, "grant", committed=self.most)
        return PoolChange(self.key, "settle", committed=self.cost - self.most, settled=self.cost)


@dataclass(frozen=True)
class AccountState:
    """What an account's last entry says."""

    attempt: int = 0
    owner: str = ""
    settled: Amount = NOTHING
    under_way: Mapping[str, Amount] = field(default_factory=dict)
    """Calls that may have been made, with the most each can cost."""
    asked: _Asked | None = None

    @property
    def committed(self) -> Amount:
        """What is spent or set aside."""
        return sum(self.under_way.values(), self.settled)


class Account:
    """The account of one unit in the hands of one attempt. Safe between threads. `open_account` makes one."""

    def __init__(
        self, unit: str, chain: Succession, pool: Pool, caps: Caps, state: AccountState, number: int,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.unit = unit
        self._chain = chain
        self._pool = pool
        self._caps = caps
        self._state = state
        self._number = number
        self._stubborn = Stubborn(pause)
        self._lock = threading.Lock()
        self._doubt: AccountState | None = None
        """An entry that the storage did not answer for: it is the next one, or will be."""

    @property
    def state(self) -> AccountState:
        """What is spent and set aside, as far as this attempt knows."""
        with self._lock:
            return self._state

    def reserve(self, call: str, most: Amount) -> Reservation | None:
        """Set aside the most that a call can cost. None where calls under way leave too little for now.

        Args:
            call: the name of the call's record, below the unit's folder of calls.
            most: no less than the call can cost.

        Raises:
            BudgetExceeded: what has been spent leaves too little for good; nothing was set aside.
            AccountTaken: another attempt has the unit.
            MachineError: the storage failed; nothing may be sent.
        """
        with self._lock:
            self._go_on()
            if not self._caps.hold(self._state.settled + most):
                raise _exceeded(most, self._state.settled, self._caps, self.unit)
            if not self._caps.hold(self._state.committed + most):
                return None
            since, refused = self._stubborn(partial(self._pool.look, most))
            # What does not fit is not asked for: whoever takes over would look for it in all of the pool.
            outcome, key = (refused, "") if refused else self._ask("grant", call, most, NOTHING, self._state, since)
            self._state = replace(self._state, asked=None)
            if outcome == "exhausted":
                raise _exceeded(most, self._pool.totals().settled, self._pool.caps, "the run")
            if outcome == "void":
                raise _taken(self.unit)
            if outcome == "held":
                return None
            self._state = replace(self._state, under_way={**self._state.under_way, key: most})
            return Reservation(key, most)

    def settle(self, reserved: Reservation, cost: Amount) -> None:
        """Replace what was set aside for a call by what it cost. Done twice it does nothing.

        Raises:
            AccountTaken: another attempt has the unit, and has counted the call as it saw fit.
            MachineError: the storage failed; the call stays under way until the unit's next attempt.
        """
        with self._lock:
            self._go_on()
            self._settle(reserved.call, cost)

    def recover(self, cost_of: Callable[[str], Amount | None]) -> None:
        """Settle the calls that earlier attempts left under way, by their records, or as the most they can have cost.

        Args:
            cost_of: what a call cost, by the name of its record; None where there is none.

        Raises:
            AccountTaken: a later attempt has the unit.
            MachineError: the storage failed; the next attempt goes on.
        """
        with self._lock:
            self._finish_asked()
            for key, most in sorted(self._state.under_way.items()):
                cost = cost_of(key.rpartition("#")[0])
                self._settle(key, most if cost is None else cost)

    def _go_on(self) -> None:
        """Finish what this attempt could not, as the storage failed. A call whose reservation failed was not sent."""
        if self._doubt is not None:
            self._write(self._doubt)
        asked = self._state.asked
        self._finish_asked()
        if asked is not None and asked.kind == "grant":
            self._settle(asked.call, NOTHING)

    def _settle(self, key: str, cost: Amount) -> None:
        most = self._state.under_way.get(key)
        if most is None:
            return
        rest = {call: held for call, held in self._state.under_way.items() if call != key}
        state = replace(self._state, settled=self._state.settled + cost, under_way=rest)
        self._ask("settle", key, most, cost, state, self._stubborn(self._pool.position))
        self._state = replace(self._state, asked=None)

    def _ask(
        self, kind: Literal["grant", "settle"], call: str, most: Amount, cost: Amount, state: AccountState, since: int
    ) -> tuple[Outcome, str]:
        """Write into the account that a change of the pool is asked for, with the state after it, and ask for it.
        `since` is a number of the pool's entries that can be seen before."""
        number = self._number + 1
        key = f"{call}#{number}" if kind == "grant" else call
        asked = _Asked(f"{self.unit}/{number}", kind, key, most, cost, since)
        self._write(replace(state, asked=asked))
        return self._stubborn(lambda: self._pool.post(asked.change, self._state.owner, asked.since)), key

    def _finish_asked(self) -> None:
        """Find out what became of a change that an earlier attempt asked for; one that was not made is made, or voided
        where it would set something aside."""
        asked = self._state.asked
        if asked is None:
            return
        asked = self._looked_for(asked)
        change = asked.change if asked.kind == "settle" else PoolChange(asked.key, "void")
        outcome = self._stubborn(lambda: self._pool.post(change, self._state.owner, asked.since))
        under_way = dict(self._state.under_way)
        if asked.kind == "grant" and outcome == "made":
            under_way[asked.call] = asked.most
        self._state = replace(self._state, under_way=under_way, asked=None)

    def _looked_for(self, asked: _Asked) -> _Asked:
        """Read the pool until a change is found or all is read. How far is written down: who began anew after each
        failure of the storage might never come to the end.
        """
        is_all = False
        while not is_all:
            found, is_all = self._stubborn(partial(self._pool.passed_over, asked.key, asked.since, _AT_ONCE))
            asked = replace(asked, since=found)
            if not is_all:
                self._write(replace(self._state, asked=asked))
        return asked

    def _write(self, state: AccountState) -> None:
        mine, self._doubt = _written(state), state
        held = self._stubborn(lambda: self._chain.claim(self._number + 1, mine)).data
        self._doubt = None
        if held != mine:
            raise _taken(self.unit)
        self._number += 1
        self._state = state


def open_account(
    store: SharedStore, pool: Pool, unit: str, *, owner: str, attempt: int | None = None, caps: Caps | None = None,
    carried: Callable[[], Amount] = lambda: NOTHING, pause: Callable[[float], None] = time.sleep,
) -> Account:  # fmt: skip
    """Take the account of a unit over. `Account.recover` has to follow, for what earlier attempts left under way.

    Args:
        store: the ledger's.
        pool: of the run.
        unit: its name, such as `seed-3`.
        owner: this process's identifier, unlike any other's.
        attempt: of the unit's lease; None where whoever calls knows that nobody else has the unit.
        caps: of this unit alone.
        carried: what it had spent before it had an account, which counts whatever the caps say.
        pause: waits so many seconds between tries while the storage fails.

    Raises:
        AccountTaken: a later attempt has the unit.
        MachineError: the storage failed.
    """
    chain = Succession(store, f"accounts/{unit}")
    while True:
        last = chain.last()
        found = _read(last.data) if last else _first(unit, pool, carried())
        number = last.number if last else 0
        mine = found.attempt + 1 if attempt is None else attempt
        if mine < found.attempt or (mine == found.attempt and found.owner != owner):
            raise _taken(unit)
        account = Account(unit, chain, pool, caps or Caps(), found, number, pause)
        try:
            account._write(replace(found, attempt=mine, owner=owner))
        except AccountTaken:
            continue  # an earlier attempt made one more entry meanwhile: look again
        return account


def _first(unit: str, pool: Pool, carried: Amount) -> AccountState:
    """What an account begins with. The pool hears of what it carries when it is recovered."""
    if carried == NOTHING:
        return AccountState()
    return AccountState(settled=carried, asked=_Asked(f"{unit}/1", "settle", "", NOTHING, carried, pool.position()))


def _taken(unit: str) -> AccountTaken:
    return AccountTaken(f"Another attempt has taken over {unit}; this one spends nothing more for it.")


def _exceeded(most: Amount, settled: Amount, caps: Caps, what: str) -> BudgetExceeded:
    if caps.passed_by(settled + most) == "usd":
        return BudgetExceeded(
            f"The next call could cost {most.usd:.4f} USD; {settled.usd:.4f} of {what}'s {caps.usd:.2f} USD are spent."
        )
    return BudgetExceeded(
        f"The next call could use {most.tokens} tokens; {settled.tokens} of {what}'s {caps.tokens} are spent."
    )


def _written(state: AccountState) -> bytes:
    asked = state.asked
    entry = {
        "schema": SCHEMA, "attempt": state.attempt, "owner": state.owner, "settled": _pair(state.settled),
        "under_way": {call: _pair(most) for call, most in state.under_way.items()},
        "asked": None if asked is None else {
            "key": asked.key, "kind": asked.kind, "call": asked.call, "most": _pair(asked.most),
            "cost": _pair(asked.cost), "since": asked.since,
        },
    }  # fmt: skip
    return json.dumps(entry, separators=(",", ":")).encode()


def _read(data: bytes) -> AccountState:
    try:
        found: Any = parse_json(data)
        if found["schema"] != SCHEMA:
            raise ValueError(f"schema {found['schema']!r}")
        asked = found["asked"]
        return AccountState(
            found["attempt"], found["owner"], Amount(*found["settled"]),
            {call: Amount(*most) for call, most in found["under_way"].items()},
            None if asked is None else _Asked(
                asked["key"], asked["kind"], asked["call"], Amount(*asked["most"]), Amount(*asked["cost"]),
                asked["since"],
            ),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunStateError(f"An entry of the ledger's account cannot be read: {error}.") from error


def _pair(amount: Amount) -> list[int]:
    return [amount.nanousd, amount.tokens]

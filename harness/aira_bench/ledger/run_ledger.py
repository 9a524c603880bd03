"""The ledger of one run as one process uses it: the pool of the run's caps, and accounts of the units it works on."""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aira_bench.ledger.account import Account, AccountTaken, open_account
from aira_bench.ledger.amount import NOTHING, Amount, Caps
from aira_bench.ledger.pool import Pool, Totals
from aira_bench.shared_store.places import store_of
from aira_bench.shared_store.store import SharedStore

_PASSING = "passing"
"""Of a ledger: a hint for each account that is open for one call."""
FOLDER = "ledger"
"""Of a run: what its workers have spent. A run without caps has none."""


def counted(run: Path) -> Totals:
    """Return what caps count of a run: what is spent and set aside, calls that were cut short at their most.

    Args:
        run: its folder; one without caps has nothing counted.

    Raises:
        MachineError: the storage failed.
        RunStateError: the last entry cannot be read.
    """
    return Pool(store_of(run, FOLDER), Caps()).totals()


@dataclass
class RunLedger:
    """Accounts that this process has opened; each unit's is opened once. Safe between threads."""

    store: SharedStore
    caps: Caps
    """Of the whole run."""
    owner: str
    """Of this process, unlike any other's."""
    pause: Callable[[float], None] = time.sleep
    pool: Pool = field(init=False)
    _accounts: dict[str, Account] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Look at the pool; nothing is written until an account is opened."""
        self.pool = Pool(self.store, self.caps)

    def account(
        self, unit: str, *, attempt: int | None = None, caps: Caps | None = None,
        carried: Callable[[], Amount] = lambda: NOTHING, cost_of: Callable[[str], Amount | None] = lambda call: None,
    ) -> Account:  # fmt: skip
        """Return the account of a unit, which is taken over from earlier attempts where this process first asks.

        Args:
            unit: its name.
            attempt: the number of the lease that this process has on it; None where it alone has the run.
            caps: of this unit alone.
            carried: what it had spent before it had an account.
            cost_of: what a call cost that was under way, by the name of its record; None counts it at its most.

        Raises:
            AccountTaken: a later attempt has the unit.
            MachineError: the storage failed.
        """
        with self._lock:
            if unit not in self._accounts:
                account = open_account(
                    self.store, self.pool, unit, owner=self.owner, attempt=attempt, caps=caps,
                    carried=carried, pause=self.pause,
                )  # fmt: skip
                account.recover(cost_of)
                self._accounts[unit] = account
            return self._accounts[unit]

    @contextlib.contextmanager
    def passing(self, unit: str) -> Iterator[Account]:
        """An account for one call that belongs to no leased unit, so that nobody takes it over with a lease.

        What a process holds there that dies meanwhile is counted by `count_passing`, of whoever waits for it.
        """
        account, hint = self.account(unit), f"{_PASSING}/{unit}"
        self.store.put(hint, b"")
        try:
            yield account
        finally:
            if not account.state.under_way:
                self.store.remove(hint)

    def names_passing(self) -> frozenset[str]:
        """Return the accounts that are open for one call, or were when their process died."""
        return frozenset(self.store.names(_PASSING))

    def count_passing(self, units: Collection[str]) -> None:
        """Count calls on such accounts as the most they can have cost. A process that is alive after all loses its
        account with that, and nothing else: a cap is never passed.
        """
        for unit in units:
            with contextlib.suppress(AccountTaken):  # by another who waited, and counts it
                open_account(self.store, self.pool, unit, owner=self.owner, pause=self.pause).recover(lambda call: None)
                self.store.remove(f"{_PASSING}/{unit}")

"""Hard budgets in tokens and dollars: a call that could break one is not made.

The most a call can cost is known before it is made (card prices, prompt bytes, the answer's limit). It is reserved in
the run's ledger (`aira_bench.ledger`) until the true cost is known, so seeds that ask at the same time cannot break a
budget together, in one process or in many. A call that was cut short counts as the most it can have cost, unless its
record is there.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aira_bench.cards.card import Card
from aira_bench.errors import ModelError, RunStateError
from aira_bench.ledger.account import Account, Reservation
from aira_bench.ledger.amount import NOTHING, Amount, Caps
from aira_bench.ledger.run_ledger import RunLedger
from aira_bench.llm.model import Completion, CompletionRequest, Model
from aira_bench.llm.pricing import tokens_upper_bound, upper_bound_usd
from aira_bench.record.growing import tallied
from aira_bench.record.node import Journal, ModelUse, Node
from aira_bench.waiting import Waits

_LONGEST_PAUSE_S = 30.0
_PASSING_S = 300.0
"""After that long a call on an account that is open for one call alone was cut short: trials have a minute."""
_PATIENCE_S = 3600.0
"""How long a call waits for money that others have set aside; those of live workers take minutes."""


@dataclass(frozen=True)
class Budgets:
    """Hard caps of a run and of each of its seeds."""

    run: Caps = field(default_factory=Caps)
    seed: Caps = field(default_factory=Caps)

    @property
    def any(self) -> bool:
        """Whether anything is capped anywhere."""
        return self.run.any or self.seed.any

    @property
    def any_usd(self) -> bool:
        """Whether dollars are capped anywhere."""
        return self.run.usd is not None or self.seed.usd is not None


def spoken_rest(budgets: Budgets, journal: Journal) -> list[str]:
    """Return what is left of each cap, in words, by the journal alone, so that a resumed run asks the same.

    What other searches of the run use meanwhile is in no journal of this one, and is said to be so.
    """
    use = tallied(journal, _Use).sum
    counts = (use.input_tokens, use.output_tokens)
    used = None if None in counts else sum(count or 0 for count in counts)
    said = []
    for caps, less in ((budgets.seed, ""), (budgets.run, ", less what other searches use of them")):
        if caps.tokens is not None:
            said.append(_rest(caps.tokens, used, "{:.0f} tokens") + less)
        if caps.usd is not None:
            said.append(_rest(caps.usd, use.cost_usd, "{:.2f} US dollars") + less)
    return said


class _Use:
    """What finished steps have used."""

    def __init__(self) -> None:
        self.sum = ModelUse()

    def add(self, node: Node) -> None:
        self.sum = self.sum + node.model_use


def _rest(cap: float, used: float | None, form: str) -> str:
    return form.format(max(cap - used, 0)) if used is not None else f"part of {form.format(cap)}"


def most_spent(card: Card, request: CompletionRequest) -> Amount:
    """Return the most a call can cost; without prices on the card, no dollars, which then cannot be capped."""
    return Amount.of(upper_bound_usd(card, request) or 0.0, tokens_upper_bound(card, request))


def spent_on(card: Card, request: CompletionRequest, completion: Completion) -> Amount:
    """Return what an answered call cost; what the provider did not count is taken for the most it could be.

    A resumed run reads the same from the record as the process that asked, so that no budget grows by a restart.
    """
    most, counted, usd = most_spent(card, request), tokens_of(completion), completion.cost_usd
    return Amount(
        most.nanousd if usd is None else Amount.of(usd, 0).nanousd, most.tokens if counted is None else counted
    )


def tokens_of(completion: Completion) -> int | None:
    """Prompt and answer together, None where the provider did not count."""
    usage = completion.usage
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens + usage.output_tokens


@dataclass(frozen=True)
class BudgetedModel:
    """A model behind the account of a unit, which is held to the unit's caps and the run's."""

    model: Model
    card: Card
    account: Account
    ledger: RunLedger
    """Whose the account is."""
    next_record: Callable[[], Path | None] = lambda: None
    """Where the model records its next call, in a folder of the operator in one of the step, by which a later attempt
    finds what it cost. One that is there is not made again.
    """
    waits: Waits = field(default_factory=Waits)
    jitter: random.Random = field(default_factory=random.Random)
    """Spreads the looks of those who wait; no result depends on it."""

    @property
    def name(self) -> str:
        """Return the name of the model behind the account."""
        return self.model.name

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Return the model's answer, if even the dearest answer it can give fits into what is left.

        Raises:
            BudgetExceeded: it does not; nothing was sent.
            ModelError: the provider refused.
            RunStateError: others hold what is left and do not let go, or another worker has the unit.
            Stopped: the run was stopped; the call counts as the most it can cost, since nobody knows.
        """
        record = self.next_record()
        if record is not None and record.exists():
            return self.model.complete(request, deadline_s=deadline_s)
        call = "" if record is None else "/".join((*record.parts[-3:-1], record.stem))
        reserved = self._reserved(call, most_spent(self.card, request))
        try:
            completion = self.model.complete(request, deadline_s=deadline_s)
        except ModelError:
            self.account.settle(reserved, NOTHING)
            raise
        self.account.settle(reserved, spent_on(self.card, request, completion))
        return completion

    def _reserved(self, call: str, most: Amount) -> Reservation:
        """Set the most aside, after calls of others where those hold what is left."""
        waited_s, pause_s = 0.0, 1.0
        passing: frozenset[str] | None = None
        while (found := self.account.reserve(call, most)) is None:
            if waited_s >= _PATIENCE_S:
                raise RunStateError(
                    f"Calls that were cut short hold the rest of the budget, and {self.account.unit} waits for them.",
                    hint="aira-bench status; then resume the seeds that nobody works on",
                )
            if passing is None:
                passing = self.ledger.names_passing()
            elif passing and waited_s >= _PASSING_S:
                self.ledger.count_passing(passing & self.ledger.names_passing())
                passing = frozenset()
            jittered_s = self.jitter.uniform(0.5, 1.0) * pause_s
            self.waits.pause(jittered_s, "provider", "waiting: calls under way hold the rest of the budget")
            waited_s, pause_s = waited_s + jittered_s, min(2 * pause_s, _LONGEST_PAUSE_S)
        return found

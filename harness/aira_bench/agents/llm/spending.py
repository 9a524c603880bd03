"""Hard budgets in tokens and dollars: a call that could break one is not made.

The most a call can cost is known before it is made (card prices, prompt bytes, the answer's limit). It is reserved
until the true cost is known, so seeds that ask at the same time cannot break a budget together. A resumed run starts
from what its recorded calls cost.
"""

import threading
from dataclasses import dataclass, field

from aira_bench.cards.card import Card
from aira_bench.errors import BudgetExceeded
from aira_bench.llm.model import Completion, CompletionRequest, Model
from aira_bench.llm.pricing import tokens_upper_bound, upper_bound_usd
from aira_bench.record.growing import tallied
from aira_bench.record.node import Journal, ModelUse, Node


@dataclass(frozen=True)
class Caps:
    """The most that may be spent, in dollars and in tokens; None is no limit."""

    usd: float | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Budgets:
    """Hard caps of a run and of each of its seeds."""

    run: Caps = field(default_factory=Caps)
    seed: Caps = field(default_factory=Caps)

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


@dataclass
class Ledger:
    """What was spent and reserved under some caps; thread-safe."""

    caps: Caps
    what: str
    usd: float = 0.0
    tokens: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, usd: float, tokens: int) -> None:
        """Set aside the most a call can cost.

        Raises:
            BudgetExceeded: it could break a cap; nothing was set aside.
        """
        with self._lock:
            if self.caps.usd is not None and self.usd + usd > self.caps.usd:
                raise BudgetExceeded(
                    f"The next call could cost {usd:.4f} USD; {self.usd:.4f} of the {self.what}'s "
                    f"{self.caps.usd:.2f} USD are spent or reserved."
                )
            if self.caps.tokens is not None and self.tokens + tokens > self.caps.tokens:
                raise BudgetExceeded(
                    f"The next call could use {tokens} tokens; {self.tokens} of the {self.what}'s "
                    f"{self.caps.tokens} are spent or reserved."
                )
            self.usd += usd
            self.tokens += tokens

    def settle(self, reserved: "Spent", spent: "Spent") -> None:
        """Replace a reservation by what the call cost."""
        with self._lock:
            self.usd += spent.usd - reserved.usd
            self.tokens += spent.tokens - reserved.tokens

    def add(self, spent: "Spent") -> None:
        """Count a call that was made before this process began."""
        self.settle(NOTHING, spent)


@dataclass(frozen=True)
class Spent:
    """Dollars and tokens of one call."""

    usd: float
    tokens: int


NOTHING = Spent(0.0, 0)


def most_spent(card: Card, request: CompletionRequest) -> Spent:
    """Return the most a call can cost; without prices on the card, no dollars, which then cannot be capped."""
    return Spent(upper_bound_usd(card, request) or 0.0, tokens_upper_bound(card, request))


def spent_on(card: Card, request: CompletionRequest, completion: Completion) -> Spent:
    """Return what an answered call cost; what the provider did not count is taken for the most it could be.

    A resumed run reads the same from the record as the process that asked, so that no budget grows by a restart.
    """
    most, counted = most_spent(card, request), tokens_of(completion)
    return Spent(
        most.usd if completion.cost_usd is None else completion.cost_usd, most.tokens if counted is None else counted
    )


def tokens_of(completion: Completion) -> int | None:
    """Prompt and answer together, None where the provider did not count."""
    usage = completion.usage
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens + usage.output_tokens


@dataclass(frozen=True)
class BudgetedModel:
    """A model behind ledgers: the run's and the seed's."""

    model: Model
    card: Card
    ledgers: tuple[Ledger, ...]

    @property
    def name(self) -> str:
        """Return the name of the model behind the ledgers."""
        return self.model.name

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Return the model's answer, if even the dearest answer it can give fits into what is left.

        Raises:
            BudgetExceeded: it does not; nothing was sent.
            ModelError: the provider refused.
        """
        most, spent = most_spent(self.card, request), NOTHING
        held: list[Ledger] = []
        try:
            for ledger in self.ledgers:
                ledger.reserve(most.usd, most.tokens)
                held.append(ledger)
            completion = self.model.complete(request, deadline_s=deadline_s)
            spent = spent_on(self.card, request, completion)
        finally:
            for ledger in held:
                ledger.settle(most, spent)
        return completion

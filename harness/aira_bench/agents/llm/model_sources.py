"""Where an LLM agent's answers come from: a provider, a Python function, or the record of an earlier run.

A provider's and a function's calls are recorded beside their step, and a call that is recorded is not made again. A
replay answers from the recorded run by step and position, needs no key, and stops where the run takes another path.
"""

import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aira_bench.agents.agent import Situation
from aira_bench.agents.llm.spending import BudgetedModel, Budgets, Ledger, spent_on
from aira_bench.cards.card import Card
from aira_bench.errors import BudgetExceeded, RunStateError, UsageError
from aira_bench.files import Unacceptable, read_recorded
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.llm.model import Completion, CompletionRequest, Model
from aira_bench.llm.model_of_card import connect
from aira_bench.llm.provider_model import WaitingModel
from aira_bench.llm.recording import MOST_BYTES, Exchange, RecordingModel, ScriptedModel, read_exchange, read_exchanges
from aira_bench.llm.trial import TRIAL_POLICY, try_model
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.journal import StepEnded
from aira_bench.waiting import Waits


@dataclass
class ProviderSource:
    """A card's model behind the run's limiter and budgets."""

    card: Card
    provider: WaitingModel
    budgets: Budgets
    _run: Ledger = field(init=False)
    _seeds: dict[int, Ledger] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open the ledger of the whole run; those of seeds open when a seed first asks."""
        self._run = Ledger(self.budgets.run, "run")

    @classmethod
    def open(cls, card: Card, environ: Mapping[str, str], budgets: Budgets) -> "ProviderSource":
        """Connect a card; nothing is sent yet.

        Raises:
            PrerequisiteError: its key or URL is missing.
            UsageError: dollars are capped, but the card has no prices.
        """
        if budgets.any_usd and card.prices is None:
            raise UsageError(
                f"The card of {card.name} has no prices, so dollars cannot be capped.", hint="--max-tokens N instead"
            )
        jitter = random.Random()  # spreads retries of unrelated processes; no result depends on it
        return cls(card, connect(card, environ, limiter=AdaptiveLimiter(), rng=jitter), budgets)

    def model(self, situation: Situation, operator: str) -> Model:
        """Return the card's model, held to both budgets, recording its calls in the situation's folder."""
        provider = self.provider.within(situation.waits)
        budgeted = BudgetedModel(provider, self.card, (self._run, self._ledger(situation.seed)))
        return RecordingModel(budgeted, situation.calls / operator)

    def try_out(self, waits: Waits) -> str:
        """Make one tiny call, counted against the run's budget, and return in words what came of it.

        Raises:
            ModelError: key, address or model are wrong.
        """
        model = BudgetedModel(self.provider.within(waits, TRIAL_POLICY), self.card, (self._run,))
        try:
            return try_model(model, self.card).said
        except BudgetExceeded:
            return f"{self.card.name} was not tried: its budget holds no call at all"

    def resume(self, calls: Mapping[int, Path]) -> None:
        """Count the calls that earlier processes recorded, for the run and for each seed."""
        for seed, folder in calls.items():
            for exchange in recorded_exchanges(folder):
                spent = spent_on(self.card, exchange.request, exchange.completion)
                self._run.add(spent)
                self._ledger(seed).add(spent)

    def card_values(self) -> Mapping[str, object]:
        """Return the card as JSON values, for the manifest."""
        return self.card.model_dump(mode="json")

    def _ledger(self, seed: int) -> Ledger:
        return self._seeds.setdefault(seed, Ledger(self.budgets.seed, f"seed {seed}"))


@dataclass(frozen=True)
class FunctionSource:
    """A Python function in place of a model."""

    function: ScriptedModel
    budgets: Budgets = field(default_factory=Budgets)

    def model(self, situation: Situation, operator: str) -> Model:
        """Return the function as a model whose calls are recorded in the situation's folder."""
        return RecordingModel(self.function, situation.calls / operator)

    def resume(self, calls: Mapping[int, Path]) -> None:
        """Count nothing: calls of a function cost no tokens or dollars."""

    def card_values(self) -> None:
        """Return None: no card stands behind a function."""

    def try_out(self, waits: Waits) -> None:
        """Return None: no provider is asked."""


@dataclass(frozen=True)
class _Replay:
    """Answers of one operator of one step, by position."""

    name: str
    answers: list[Completion]

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Return the next recorded answer, whatever the request says.

        Raises:
            RunStateError: the recorded run asked less often.
        """
        if not self.answers:
            raise RunStateError("The replay asked more often than the recorded run: another version wrote its prompts.")
        return self.answers.pop(0)


@dataclass(frozen=True)
class ReplaySource:
    """The recorded calls of a run; requests may differ in times, the path may not."""

    run: RunFolder
    budgets: Budgets = field(default_factory=Budgets)
    _seeds: dict[int, Mapping[int, StepEnded]] = field(default_factory=dict)
    """Finished steps of the seeds that have asked; each seed asks from one thread."""

    def model(self, situation: Situation, operator: str) -> Model:
        """Return the recorded answers of this step, recorded again.

        Raises:
            RunStateError: the recorded run did something else at this step.
            BudgetExceeded: the record ends before this step, which ends the seed.
        """
        ended, action = self._recorded(situation.seed).get(situation.step), situation.action
        if ended is None:
            raise BudgetExceeded(f"The record of seed {situation.seed} ends before step {situation.step}.")
        recorded = ended.node
        if (recorded.operator, recorded.parents) != (action.operator, action.parents):
            raise RunStateError(
                f"The replay took another path at seed {situation.seed} step {situation.step}: {action.operator} of "
                f"{action.parents}, recorded was {recorded.operator} of {recorded.parents}. Scores or flags differ "
                "from the recorded run's."
            )
        place = self.run.seed(situation.seed)
        _require_calls(place, ended, operator)
        folder = place.calls(situation.step) / operator
        answers = [exchange.completion for exchange in read_exchanges(folder)]
        return RecordingModel(_Replay(f"replay of {self.run.path.name}", answers), situation.calls / operator)

    def resume(self, calls: Mapping[int, Path]) -> None:
        """Count nothing: answers that were recorded before cost nothing again."""

    def card_values(self) -> None:
        """Return None: a replay asks no provider, so no card is used."""

    def try_out(self, waits: Waits) -> None:
        """Return None: no provider is asked."""

    def _recorded(self, seed: int) -> Mapping[int, StepEnded]:
        """The seed's finished steps by number, read once: a journal of a thousand steps takes a fifth of a second."""
        if seed not in self._seeds:
            events = self.run.seed(seed).events
            self._seeds[seed] = {event.node.step: event for event in events if isinstance(event, StepEnded)}
        return self._seeds[seed]


def _require_calls(place: SeedFolder, ended: StepEnded, operator: str) -> None:
    """Raises RunStateError unless the calls of an operator of a step are those it was recorded with."""
    for name, digest in ended.files.items():
        if name.startswith(f"calls/{ended.node.step:04d}/{operator}/"):
            try:
                read_recorded(place.path, name, MOST_BYTES, digest)
            except Unacceptable as error:
                raise RunStateError(f"{place.path / name}: {error}.") from error


def recorded_exchanges(folder: Path) -> list[Exchange]:
    """Return every call recorded below a seed's folder of calls, by folder and then by number.

    One that was torn in flight says nothing, not even what it cost, and is left out; those of finished steps are known
    by their hashes.
    """
    found = []
    for path in sorted(folder.rglob("call_*.json")):
        with contextlib.suppress(RunStateError):
            found.append(read_exchange(path))
    return found

"""Where an LLM agent's answers come from: a provider, a Python function, or the record of an earlier run.

A provider's and a function's calls are recorded beside their step, and a call that is recorded is not made again. A
replay answers from the recorded run by step and position, needs no key, and stops where the run takes another path.
"""

import importlib.util
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aira_bench.agents.agent import Situation
from aira_bench.agents.llm.spending import BudgetedModel, Budgets, Ledger, spent_on
from aira_bench.cards.card import Card
from aira_bench.errors import BudgetExceeded, RunStateError, UsageError
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.llm.model import Completion, CompletionRequest, Model
from aira_bench.llm.model_of_card import connect
from aira_bench.llm.provider_model import WaitingModel
from aira_bench.llm.recording import Exchange, RecordingModel, ScriptedModel, read_exchanges
from aira_bench.llm.trial import TRIAL_POLICY, try_model
from aira_bench.record.folder import RunFolder
from aira_bench.record.node import Node
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

    def model(self, situation: Situation, operator: str) -> Model:
        """Return the recorded answers of this step, recorded again.

        Raises:
            RunStateError: the recorded run did something else at this step.
            BudgetExceeded: the record ends before this step, which ends the seed.
        """
        recorded = self._node(situation)
        action = situation.action
        if recorded is None:
            raise BudgetExceeded(f"The record of seed {situation.seed} ends before step {situation.step}.")
        if (recorded.operator, recorded.parents) != (action.operator, action.parents):
            raise RunStateError(
                f"The replay took another path at seed {situation.seed} step {situation.step}: {action.operator} of "
                f"{action.parents}, recorded was {recorded.operator} of {recorded.parents}. Scores or flags differ "
                "from the recorded run's."
            )
        folder = self.run.seed(situation.seed).calls(situation.step) / operator
        answers = [exchange.completion for exchange in read_exchanges(folder)]
        return RecordingModel(_Replay(f"replay of {self.run.path.name}", answers), situation.calls / operator)

    def resume(self, calls: Mapping[int, Path]) -> None:
        """Count nothing: answers that were recorded before cost nothing again."""

    def card_values(self) -> None:
        """Return None: a replay asks no provider, so no card is used."""

    def try_out(self, waits: Waits) -> None:
        """Return None: no provider is asked."""

    def _node(self, situation: Situation) -> Node | None:
        nodes = self.run.seed(situation.seed).nodes
        return next((node for node in nodes if node.step == situation.step), None)


def recorded_exchanges(folder: Path) -> list[Exchange]:
    """Return every call recorded below a seed's folder of calls, by folder and then by number."""
    folders = sorted({path.parent for path in folder.rglob("call_*.json")})
    return [exchange for path in folders for exchange in read_exchanges(path)]


def load_function(path: Path) -> Callable[[CompletionRequest], Completion | str]:
    """Return the function `answer(request)` of a user's file.

    Raises:
        UsageError: the file does not import.
    """
    spec = importlib.util.spec_from_file_location("aira_bench_user_agent", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"The agent file {path} does not run: {type(error).__name__}: {error}") from error
    function: Callable[[CompletionRequest], Completion | str] = module.answer
    return function

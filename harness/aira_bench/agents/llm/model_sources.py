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
from aira_bench.agents.llm.spending import BudgetedModel, Budgets, spent_on
from aira_bench.cards.card import Card, resolve_base_url
from aira_bench.errors import BudgetExceeded, RunStateError, UsageError
from aira_bench.files import Unacceptable, read_recorded
from aira_bench.ledger.account import Account, AccountTaken
from aira_bench.ledger.amount import NOTHING, Amount
from aira_bench.ledger.run_ledger import RunLedger
from aira_bench.llm.host_gate import HOST_SETTINGS, HostGate, gate_folder
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.llm.model import Completion, CompletionRequest, Model
from aira_bench.llm.model_of_card import connect
from aira_bench.llm.provider_model import WaitingModel
from aira_bench.llm.recording import (
    MOST_BYTES,
    Exchange,
    RecordingModel,
    ScriptedModel,
    read_exchange,
    read_exchanges,
)
from aira_bench.llm.trial import TRIAL_POLICY, try_model
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.journal import StepEnded
from aira_bench.shared_store.in_memory import MemoryStore
from aira_bench.shared_store.store import SharedStore
from aira_bench.waiting import Waits

_TRIAL = "trial"
"""The account of what finding out whether the model answers has cost."""


@dataclass
class ProviderSource:
    """A card's model behind the run's limiter and budgets."""

    card: Card
    provider: WaitingModel
    budgets: Budgets
    jitter: random.Random = field(default_factory=random.Random)
    """Spreads retries of unrelated processes; no result depends on it."""
    limiter: AdaptiveLimiter = field(default_factory=AdaptiveLimiter)
    """The provider's."""
    address: str = ""
    """Of the provider, by which processes know that they share its limit."""
    _ledger: RunLedger = field(init=False)
    _attempts: Mapping[int, int] = field(default_factory=dict)
    """Of the leases on seeds, where they are leased."""
    _trial: str = _TRIAL
    """The account that a trial of the model is counted in."""

    def __post_init__(self) -> None:
        """Begin with a ledger of this process's own."""
        self._ledger = RunLedger(MemoryStore(), self.budgets.run, "")

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
        jitter, limiter = random.Random(), AdaptiveLimiter()
        provider = connect(card, environ, limiter=limiter, rng=jitter)
        return cls(card, provider, budgets, jitter, limiter, resolve_base_url(card, environ) or "")

    def model(self, situation: Situation, operator: str) -> Model:
        """Return the card's model, held to both budgets, recording its calls in the situation's folder."""
        recording = RecordingModel(self.provider.within(situation.waits), situation.calls / operator)
        if not self.budgets.any:
            return recording
        account = self._account(situation.seed, None)
        return BudgetedModel(
            recording, self.card, account, self._ledger, lambda: recording.next_record, situation.waits, self.jitter
        )  # fmt: skip

    def try_out(self, waits: Waits) -> str:
        """Make one tiny call, counted against the run's budget, and return in words what came of it.

        Raises:
            ModelError: key, address or model are wrong.
        """
        tried = self.provider.within(waits, TRIAL_POLICY)
        try:
            with self._ledger.passing(self._trial) as account:
                return try_model(BudgetedModel(tried, self.card, account, self._ledger, waits=waits), self.card).said
        except BudgetExceeded:
            return f"{self.card.name} was not tried: its budget holds no call at all"
        except AccountTaken:
            return f"{self.card.name} was tried, so late that others have counted it as the most it can cost"

    def resume(self, calls: Mapping[int, Path]) -> None:
        """Take over the accounts of seeds: calls that were under way count by their records, and so do all that were
        made before there were accounts.
        """
        for seed, folder in calls.items() if self.budgets.any else ():
            self._account(seed, folder)

    def share(self, store: SharedStore, owner: str, attempts: Mapping[int, int], machine: Path) -> None:
        """Hold the caps together with all who use this store; what a trial of the model cost counts there too. The
        provider's limit is held with all processes of this machine.
        """
        gate = HostGate(gate_folder(machine, self.card.provider, self.address, self.card.model), rng=self.jitter)
        self.limiter.share(gate, HOST_SETTINGS, self.jitter)
        if not self.budgets.any:
            return
        tried = self._ledger.account(_TRIAL).state.settled
        self._ledger, self._attempts = RunLedger(store, self.budgets.run, owner), attempts
        self._trial = f"{_TRIAL}-{owner}"
        if tried != NOTHING:
            self._ledger.account(self._trial, carried=lambda: tried)

    def card_values(self) -> Mapping[str, object]:
        """Return the card as JSON values, for the manifest."""
        return self.card.model_dump(mode="json")

    def _account(self, seed: int, calls: Path | None) -> Account:
        """The account of a seed, which is opened with what its folder of recorded calls says."""

        def carried() -> Amount:
            found = [] if calls is None else recorded_exchanges(calls)
            return sum((self._cost(exchange) for exchange in found), NOTHING)

        def cost_of(call: str) -> Amount | None:
            if calls is not None:
                with contextlib.suppress(RunStateError):
                    return self._cost(read_exchange(calls / f"{call}.json"))
            return None

        return self._ledger.account(
            f"seed-{seed}", attempt=self._attempts.get(seed), caps=self.budgets.seed, carried=carried, cost_of=cost_of
        )

    def _cost(self, exchange: Exchange) -> Amount:
        return spent_on(self.card, exchange.request, exchange.completion)


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

    def share(self, store: SharedStore, owner: str, attempts: Mapping[int, int], machine: Path) -> None:
        """Share nothing: nothing is spent."""

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

    def share(self, store: SharedStore, owner: str, attempts: Mapping[int, int], machine: Path) -> None:
        """Share nothing: nothing is spent."""

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

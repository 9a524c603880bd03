"""Workers of one run, each with a source of its own: one cap in the run's folder, and calls that were cut short."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_budgets_and_prompts import ASK, BOUND_TOKENS, BOUND_USD, CARD, Model, answered

from aira_bench.agents.agent import Situation
from aira_bench.agents.llm.model_sources import ProviderSource
from aira_bench.agents.llm.spending import Budgets
from aira_bench.errors import BudgetExceeded, RunStateError
from aira_bench.ledger.amount import Amount, Caps
from aira_bench.ledger.pool import Pool
from aira_bench.ledger.run_ledger import RunLedger
from aira_bench.llm.model import Completion, CompletionRequest
from aira_bench.record.folder import StepFiles
from aira_bench.scaffolds.policy import Draft
from aira_bench.shared_store.posix import PosixStore
from aira_bench.waiting import Stopped, Waits

TEN = Caps(tokens=10 * BOUND_TOKENS)


class Cut(Model):
    """A model whose run is stopped while it thinks."""

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        raise Stopped


def situation(run: Path, seed: int, waits: Waits | None = None) -> Situation:
    calls = run / f"seeds/{seed}/calls/0001"
    return Situation(
        Draft(), (), lambda step: StepFiles("", "", ""), random.Random(0), 1, 9.0, seed, 1, calls, waits or Waits()
    )


def worker(
    run: Path, seed: int, attempt: int, model: Model | None = None, budgets: Budgets | None = None
) -> ProviderSource:
    """One that takes a seed as `runs.launch` has it."""
    source = ProviderSource(CARD, model or Model([answered(BOUND_TOKENS // 2, 0, 0.0)]), budgets or Budgets(run=TEN))
    source.share(PosixStore(run / "ledger"), f"worker-{seed}-{attempt}", {seed: attempt}, run / "machine")
    source.resume({seed: run / f"seeds/{seed}/calls"})
    return source


def ask(source: ProviderSource, run: Path, seed: int, operator: str = "propose") -> None:
    source.model(situation(run, seed), operator).complete(ASK, deadline_s=1.0)


def settled(run: Path) -> Amount:
    return Pool(PosixStore(run / "ledger"), TEN).totals().settled


def test_workers_keep_a_runs_cap_together(tmp_path: Path) -> None:
    sources = {seed: worker(tmp_path, seed, 1) for seed in (1, 2, 3)}
    for turn in range(19):
        ask(sources[1 + turn % 3], tmp_path, 1 + turn % 3, f"operator-{turn}")
    for seed, source in sources.items():
        with pytest.raises(BudgetExceeded, match="of the run's"):
            ask(source, tmp_path, seed, "one more")
    assert settled(tmp_path).tokens == 19 * (BOUND_TOKENS // 2), (
        "each costs half of the most it can cost, and the last needs room for the most"
    )


def test_a_call_that_was_cut_short_counts_until_its_record_says_otherwise(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        ask(worker(tmp_path, 1, 1, Cut([])), tmp_path, 1)
    totals = Pool(PosixStore(tmp_path / "ledger"), TEN).totals()
    assert (totals.settled.tokens, totals.committed.tokens) == (0, BOUND_TOKENS)
    with pytest.raises(Stopped):
        ask(worker(tmp_path, 1, 2, Cut([])), tmp_path, 1)
    assert settled(tmp_path).tokens == BOUND_TOKENS


class DyingAccountant(PosixStore):
    """A worker's view of the ledger: it is killed when it would say what its call cost."""

    def create(self, name: str, data: bytes) -> bytes:
        if b'"kind":"settle"' in data:
            raise KeyboardInterrupt
        return super().create(name, data)


def test_a_call_that_was_recorded_and_not_settled_counts_as_it_cost_and_is_not_made_again(tmp_path: Path) -> None:
    model = Model([answered(7, 3, 0.0)])
    source = ProviderSource(CARD, model, Budgets(run=TEN))
    source.share(DyingAccountant(tmp_path / "ledger"), "a", {1: 1}, tmp_path / "machine")
    with pytest.raises(KeyboardInterrupt):
        ask(source, tmp_path, 1)
    later = worker(tmp_path, 1, 2, model)
    assert settled(tmp_path).tokens == 10
    ask(later, tmp_path, 1)
    assert (model.asked, settled(tmp_path).tokens) == (1, 10)


def test_a_run_of_before_the_ledger_goes_on_with_what_its_records_cost(tmp_path: Path) -> None:
    ask(ProviderSource(CARD, Model([answered(40, 2, 0.0)]), Budgets()), tmp_path, 1)
    worker(tmp_path, 1, 1)
    worker(tmp_path, 1, 2)
    assert settled(tmp_path).tokens == 42


def test_a_sleeping_worker_asks_nothing_more(tmp_path: Path) -> None:
    sleeper = worker(tmp_path, 1, 1)
    worker(tmp_path, 1, 2)
    with pytest.raises(RunStateError, match="taken over seed-1"):
        ask(sleeper, tmp_path, 1)
    assert settled(tmp_path).tokens == 0


def test_a_seeds_cap_holds_over_its_attempts(tmp_path: Path) -> None:
    budgets = Budgets(seed=Caps(usd=1.5 * BOUND_USD))
    with pytest.raises(Stopped):
        ask(worker(tmp_path, 1, 1, Cut([]), budgets), tmp_path, 1)
    with pytest.raises(BudgetExceeded, match="of seed-1's"):
        ask(worker(tmp_path, 1, 2, budgets=budgets), tmp_path, 1)
    ask(worker(tmp_path, 2, 1, budgets=budgets), tmp_path, 2)


def test_who_waits_for_others_halts_and_does_not_end_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cap = Budgets(run=Caps(tokens=int(1.5 * BOUND_TOKENS)))
    with pytest.raises(Stopped):
        ask(worker(tmp_path, 1, 1, Cut([]), cap), tmp_path, 1)
    said: list[str] = []
    waits = Waits(tell=lambda reason, text: said.append(text))
    monkeypatch.setattr(waits._stop, "wait", lambda seconds: None)
    with pytest.raises(RunStateError, match="cut short hold the rest of the budget"):
        worker(tmp_path, 2, 1, budgets=cap).model(situation(tmp_path, 2, waits), "propose").complete(
            ASK, deadline_s=1.0
        )
    assert "calls under way hold the rest" in said[0]
    worker(tmp_path, 1, 2, budgets=cap)
    with pytest.raises(BudgetExceeded):
        ask(worker(tmp_path, 2, 2, budgets=cap), tmp_path, 2)


def test_a_trial_whose_worker_died_is_counted_by_whoever_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes a trial over with a lease: what it holds would keep the run's other seeds waiting for ever."""
    sleeper = worker(tmp_path, 1, 1, Cut([]))
    with pytest.raises(Stopped):
        sleeper.try_out(Waits())
    alive = worker(tmp_path, 3, 1, Model([answered(5, 4, 0.0)]))
    alive.try_out(Waits())
    waited = Waits()
    monkeypatch.setattr(waited._stop, "wait", lambda seconds: None)
    ledger = sleeper._ledger
    held = ledger.pool.totals()
    assert held.committed.tokens > held.settled.tokens == 9, "held by the dead trial"
    assert ledger.names_passing() == {"trial-worker-1-1"}, "the other has settled"
    big = worker(
        tmp_path, 2, 1, Model([answered(5, 4, 0.0)]), Budgets(run=Caps(tokens=held.committed.tokens + BOUND_TOKENS - 1))
    )
    with pytest.raises(BudgetExceeded, match="of the run's"):
        big.model(situation(tmp_path, 2, waited), "propose").complete(ASK, deadline_s=1.0)
    after = ledger.pool.totals()
    assert after.settled == after.committed == held.committed, "as the most it can have cost"
    assert not ledger.names_passing()


def test_seeds_that_have_waited_as_long_count_a_dead_trial_together_and_once(tmp_path: Path) -> None:
    """All began to wait for the same money: of two that count it at a moment, one halted its seed."""
    for attempt in range(1, 7):
        with pytest.raises(Stopped):
            worker(tmp_path, 1, attempt, Cut([])).try_out(Waits())
    waiting = [worker(tmp_path, seed, 1)._ledger for seed in range(2, 10)]
    held, ready = waiting[0].pool.totals().committed, threading.Barrier(len(waiting))

    def count(ledger: RunLedger) -> None:
        dead = ledger.names_passing()
        ready.wait()
        ledger.count_passing(dead)

    with ThreadPoolExecutor(len(waiting)) as together:
        list(together.map(count, waiting))
    assert waiting[0].pool.totals().settled == waiting[0].pool.totals().committed == held
    assert not waiting[0].names_passing()


def test_a_trial_that_ends_after_it_was_counted_counts_once(tmp_path: Path) -> None:
    class Slow(Model):
        """One whose call is counted by somebody else meanwhile."""

        def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
            other = worker(tmp_path, 2, 1)._ledger
            other.count_passing(other.names_passing())
            return super().complete(request, deadline_s=deadline_s)

    late = worker(tmp_path, 1, 1, Slow([answered(5, 4, 0.0)]))
    assert "others have counted it" in late.try_out(Waits())
    counted = settled(tmp_path)
    assert counted.tokens > 9
    ask(late, tmp_path, 1)
    assert settled(tmp_path).tokens > counted.tokens, "its seed goes on"


def test_a_trial_of_the_model_counts_and_what_is_not_capped_leaves_no_files(tmp_path: Path) -> None:
    source = ProviderSource(CARD, Model([answered(5, 4, 0.0)]), Budgets(run=TEN))
    source.try_out(Waits())
    source.share(PosixStore(tmp_path / "ledger"), "a", {}, tmp_path / "machine")
    assert settled(tmp_path).tokens == 9
    other = worker(tmp_path, 1, 1, Model([answered(5, 4, 0.0)]))
    other.try_out(Waits())
    assert settled(tmp_path).tokens == 18, "of each worker, on an account of its own"
    free = worker(tmp_path / "free", 1, 1, budgets=Budgets())
    ask(free, tmp_path / "free", 1)
    assert not (tmp_path / "free/ledger").exists()

"""Where an agent's answers come from without a provider: a user's function, and the record of an earlier run."""

import random
from pathlib import Path
from unittest.mock import Mock

import pytest

from aira_bench.agents.agent import Situation
from aira_bench.agents.answer_file import load_function
from aira_bench.agents.llm.model_sources import (
    FunctionSource,
    ReplaySource,
    recorded_exchanges,
)
from aira_bench.agents.llm.spending import Budgets
from aira_bench.errors import BudgetExceeded, RunStateError, UsageError
from aira_bench.ledger.amount import Caps
from aira_bench.llm.model import Completion, CompletionRequest, Message, Usage
from aira_bench.llm.recording import ScriptedModel
from aira_bench.record.folder import RunFolder, SeedFolder, StepFiles
from aira_bench.record.journal import JournalFile, StepEnded
from aira_bench.record.node import Node
from aira_bench.scaffolds.policy import Crossover, Draft, Improve, Proposing

ACTIONS: dict[int, Proposing] = {1: Draft(), 2: Improve((1,)), 3: Crossover((1, 2))}


def situation(calls: Path, step: int, action: Proposing | None = None, seed: int = 0) -> Situation:
    return Situation(
        action or ACTIONS[step], (), lambda step: StepFiles("", "", ""), random.Random(0), 5, 100.0, seed, step, calls
    )


def request(text: str) -> CompletionRequest:
    return CompletionRequest(system="system", messages=(Message("user", text),))


def answer(asked: CompletionRequest) -> Completion:
    return Completion(f"to {asked.messages[0].text}", "stop", "model", usage=Usage(3, 2), cost_usd=0.5)


@pytest.fixture
def recorded(tmp_path: Path) -> RunFolder:
    """A run of three steps, each of which asked twice."""
    run = RunFolder(tmp_path / "recorded")
    seed = run.seed(0)
    seed.path.mkdir(parents=True)
    journal = JournalFile(seed.journal)
    source = FunctionSource(ScriptedModel("function", answer))
    for step, action in ACTIONS.items():
        model = source.model(situation(seed.calls(step), step), "propose")
        for text in ("first", "second"):
            model.complete(request(f"{step} {text}"), deadline_s=1.0)
        node = Node(step, action.operator, action.parents, "valid", "", 0.5, None, "c" * 64, None)
        journal.append(StepEnded(node, "t"))
    journal.close()
    return run


def test_a_replay_answers_by_step_and_position_and_is_recorded_again(recorded: RunFolder, tmp_path: Path) -> None:
    source = ReplaySource(recorded)
    for step in ACTIONS:
        calls = tmp_path / "again" / f"{step:04d}"
        model = source.model(situation(calls, step), "propose")
        said = [model.complete(request("other words, later"), deadline_s=1.0).text for _ in range(2)]
        assert said == [f"to {step} first", f"to {step} second"]
        assert [each.completion.text for each in recorded_exchanges(calls)] == said
    assert "recorded" in model.name


def test_a_replay_reads_a_seeds_journal_once(
    recorded: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SeedFolder.events.fget
    assert whole is not None
    reads = Mock(side_effect=whole)
    monkeypatch.setattr(SeedFolder, "events", property(lambda place: reads(place)))
    source = ReplaySource(recorded)
    for step in ACTIONS:
        source.model(situation(tmp_path / "again" / f"{step:04d}", step), "propose")
    assert reads.call_count == 1


def test_a_replay_that_asks_more_often_stops(recorded: RunFolder, tmp_path: Path) -> None:
    model = ReplaySource(recorded).model(situation(tmp_path / "again", 1), "propose")
    for _ in range(2):
        model.complete(request("x"), deadline_s=1.0)
    with pytest.raises(RunStateError, match="asked more often than the recorded run"):
        model.complete(request("x"), deadline_s=1.0)


@pytest.mark.parametrize("action", [Draft(), Improve((2,)), Crossover((2, 1))])
def test_a_replay_that_takes_another_path_says_where(recorded: RunFolder, tmp_path: Path, action: Proposing) -> None:
    with pytest.raises(RunStateError, match=r"another path at seed 0 step 3: .* recorded was crossover of \(1, 2\)"):
        ReplaySource(recorded).model(situation(tmp_path, 3, action), "propose")


@pytest.mark.parametrize(("seed", "step"), [(0, 4), (1, 1)])
def test_where_the_record_ends_the_seed_ends(recorded: RunFolder, tmp_path: Path, seed: int, step: int) -> None:
    with pytest.raises(BudgetExceeded, match=f"The record of seed {seed} ends before step {step}"):
        ReplaySource(recorded).model(situation(tmp_path, step, Draft(), seed), "propose")


def test_what_is_recorded_is_not_asked_for_again(tmp_path: Path) -> None:
    asked: list[str] = []

    def once(sent: CompletionRequest) -> Completion:
        asked.append(sent.messages[0].text)
        return answer(sent)

    for _ in range(2):
        model = FunctionSource(ScriptedModel("f", once)).model(situation(tmp_path, 1), "propose")
        assert model.complete(request("hello"), deadline_s=1.0).text == "to hello"
    assert asked == ["hello"]
    other = FunctionSource(ScriptedModel("f", once)).model(situation(tmp_path, 1), "propose")
    with pytest.raises(RunStateError):
        other.complete(request("something else"), deadline_s=1.0)


def test_everything_recorded_of_a_seed_is_counted(recorded: RunFolder, tmp_path: Path) -> None:
    found = list(recorded_exchanges(recorded.seed(0).path / "calls"))
    assert sum(each.completion.cost_usd or 0 for each in found) == 3.0
    assert list(recorded_exchanges(tmp_path / "nothing")) == []


def test_a_users_function_is_loaded_and_one_that_breaks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def answer(request):\n    return request.messages[0].text.upper()\n")
    assert load_function(path)(request("hello")) == "HELLO"
    path.write_text("import nothing_of_this_name\n")
    with pytest.raises(UsageError, match=r"mine.py, line 1, does not run: ModuleNotFoundError"):
        load_function(path)


@pytest.mark.parametrize(
    ("run", "seed", "capped"),
    [(Caps(), Caps(), False), (Caps(usd=1.0), Caps(), True), (Caps(), Caps(usd=1.0), True), (Caps(tokens=9), Caps(), False)],
)  # fmt: skip
def test_dollars_are_capped_anywhere_or_nowhere(run: Caps, seed: Caps, capped: bool) -> None:
    assert Budgets(run, seed).any_usd is capped

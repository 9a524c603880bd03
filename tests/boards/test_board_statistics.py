"""What `leaderboard --statistics` says, from generated run folders: values by hand."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from scipy.optimize import brentq

from aira_bench.boards.board import build_tables
from aira_bench.boards.over_tasks import OverTasks
from aira_bench.boards.published_rows import published_rows
from aira_bench.boards.statistics import BoardStatistics, board_statistics, statistics_lines, statistics_record
from aira_bench.cli.main import run_command_line
from aira_bench.gpus.use import GpuUse
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.folder import list_runs
from aira_bench.record.manifest import Manifest
from aira_bench.record.node import ModelUse
from aira_bench.record.normalized import Anchors
from aira_bench.record.run_record import read_run
from aira_bench.statistics.resampling import Aggregate
from aira_bench.statistics.runs import Worst
from aira_bench.statistics.suite import StatisticsSettings
from generated_runs import manifest, write_run

Steps = Sequence[tuple[float, float] | None]
KEY = MachineKey(b"k" * 32)
ANCHORS = Anchors(worst=0.0, optimum=1.0, sota={"published": 0.9})
HALF = 1 - 10**-0.5
"""Its normalized score is 1/2: half of the way from 1 to 0.1, by the logarithm of what is left."""


def made(name: str, agent: str, steps: int, seeds: int, **changes: object) -> Manifest:
    """A manifest of profile `paper` and a task of that title, if `changes` name one."""
    title = str(changes.pop("task", "mad-2p"))
    record = manifest(name, agent=agent, steps=steps, seeds=tuple(range(seeds)), trainings=0)
    plan = record.plan.model_copy(update={"task": title, **changes})
    return record.model_copy(
        update={"plan": plan, "task_title": title, "task_name": title,
                "anchors": ANCHORS if plan.profile == "paper" else None}
    )  # fmt: skip


def write(
    runs: Path, name: str, agent: str, scores: Mapping[int, Steps],
    of_nodes: Mapping[str, object] | None = None, **changes: object,
) -> None:  # fmt: skip
    record = made(name, agent, len(scores[0]), len(scores), **changes)
    write_run(runs, record, scores=scores, key=KEY, of_nodes=of_nodes)


def statistics(runs: Path, settings: StatisticsSettings | None = None) -> BoardStatistics:
    folders, ring = list_runs(runs), KeyRing(KEY.public)
    return board_statistics(build_tables(folders, ring), [read_run(folder, ring) for folder in folders], settings)


A = {0: [None, (0.5, 0.3), (0.4, 0.9)], 1: [(0.2, 0.2), None, (0.6, 0.5)]}


def test_curves_by_hand(tmp_path: Path) -> None:
    """Before, 0.2 is the worst test score seen. Seed 0 would submit 0.3 from step 2 on: (2 * 0.2 + 0.3) / 3. Seed 1
    submits 0.2, and 0.5 when all is over: 0.2.
    """
    write(tmp_path, "a", "random", A)
    found = statistics(tmp_path).tables[0].curves
    assert found is not None
    assert [each.cost for each in found.costs] == ["steps", "seconds of processors"]
    assert found.before == 0.2
    by_steps, by_seconds = (each.rows["random, greedy"] for each in found.costs)
    assert by_steps.area.value == by_seconds.area.value == pytest.approx((0.7 / 3 + 0.2) / 2)
    assert (by_steps.area.low, by_steps.area.high) == pytest.approx((0.2, 0.7 / 3))
    assert by_steps.points[-1].value == pytest.approx(0.4)
    assert (found.costs[0].horizon, found.costs[1].horizon) == (3, pytest.approx(3 * 0.9))


def test_what_steps_cost_by_hand(tmp_path: Path) -> None:
    """Three steps of half a dollar each on a GPU; the horizon is what the dearest row spent on average."""
    used = {"model_use": ModelUse(1, 10, 10, 0.5), "gpu_use": {"step": GpuUse(1)}}
    write(tmp_path, "a", "gpt5", A, used)
    write(tmp_path, "b", "opus45", {0: [(0.1, 0.1)]}, {"model_use": ModelUse(1, 10, 10, 2.0)})
    write(tmp_path, "c", "gpt4o", {0: [(0.2, 0.2)]}, {"model_use": ModelUse(1, None, None, None)})
    found = statistics(tmp_path).tables[0].curves
    assert found is not None
    dollars = next(each for each in found.costs if each.cost == "dollars")
    assert [each.cost for each in found.costs] == ["steps", "GPU-seconds", "dollars"]
    assert (dollars.horizon, dollars.unknown) == (2.0, ("gpt4o, greedy",))
    # Before: 0.1, the worst seen. Of 2 dollars, seed 0 has 0.1 for 1 and 0.3 for the last, seed 1 0.1, 0.2 and 0.5.
    assert dollars.rows["gpt5, greedy"].area.value == pytest.approx(
        ((1 * 0.1 + 1 * 0.3) / 2 + (0.5 * 0.1 + 1 * 0.2 + 0.5 * 0.5) / 2) / 2
    )
    assert dollars.rows["opus45, greedy"].points[-1].value == 0.1


def test_endings_by_hand(tmp_path: Path) -> None:
    """Two of two seeds submitted: the exact interval begins where two of two are seen one time in forty."""
    write(tmp_path, "a", "random", A)
    write(tmp_path, "b", "noop", {0: [None, None, None], 1: [None, None, (0.1, 0.1)]})
    found = {row.name: row for row in statistics(tmp_path).tables[0].endings.rows}
    ours, other = found["random, greedy"], found["noop, greedy"]
    assert (ours.classes, other.classes) == ((2, 4), (5, 1))  # buggy, valid
    assert ours.rate_interval == pytest.approx((math.sqrt(0.025), 1))
    assert ours.missed is not None
    assert ours.missed.value == pytest.approx((0.6 + 0) / 2)
    assert (other.submissions.rate, other.submissions.published_rate) == (0.5, 0.5)


def over_two_tasks(tmp_path: Path, settings: StatisticsSettings | None = None) -> OverTasks:
    for task in ("lra-listops", "lra-text"):
        good = {seed: [(0.5, HALF if seed else 0.9)] for seed in range(2)}
        write(tmp_path, f"good-{task}", "good", good, task=task, profile="paper")
        bad: dict[int, Steps] = {seed: [None] for seed in range(2)}
        write(tmp_path, f"bad-{task}", "bad", bad, task=task, profile="paper", scaffold="one-shot")
    (found,) = statistics(tmp_path, settings).over_tasks
    return found


def test_means_over_tasks_and_agents_by_hand(tmp_path: Path) -> None:
    """Seeds of `good` come to 1 and 1/2 on both tasks, `bad` to 0: Table 4's halves are 3/4 and 3/8."""
    found = over_two_tasks(tmp_path).statistics
    assert found is not None
    assert found.over_tasks[Aggregate.MEAN]["good, greedy"].value == pytest.approx(0.75)
    assert {name: each.value for name, each in found.over_chosen_agents.items()} == {
        "lra-listops": pytest.approx(0.75), "lra-text": pytest.approx(0.75),
    }  # fmt: skip
    assert found.over_agents["lra-text"].value == pytest.approx(0.375)
    assert {str(band) for band in found.bands.values()} == {"easy"}


def test_the_published_state_of_the_art_is_a_player(tmp_path: Path) -> None:
    """On each of two tasks `good` reaches it once of two runs, which ties two of four battles, and both beat `bad`.

    With one tied battle a pair added: of 9 each, published beats good 6.5, and both beat bad 8.5.
    """
    found = over_two_tasks(tmp_path).ratings
    assert found is not None
    rated = dict(zip(found.players, (each.value for each in found.ratings), strict=True))
    best, good, bad = (rated[name] for name in ("published best", "good, greedy", "bad, one-shot"))

    def beats(points: float) -> float:
        return float(1 / (1 + 10 ** (-points / 400)))

    assert 9 * (beats(best - good) + beats(best - bad)) == pytest.approx(6.5 + 8.5, abs=1e-6)
    assert 9 * (beats(good - best) + beats(good - bad)) == pytest.approx(2.5 + 8.5, abs=1e-6)
    assert best + good + bad == pytest.approx(3000)
    assert found.ratings[0].low is not None


def test_ratings_of_two_by_scipy(tmp_path: Path) -> None:
    """Nothing is normalized at profile cpu, but who beat whom is known: 3 of 4 battles, and one tied."""
    write(tmp_path, "a", "random", {0: [(0.5, 0.5)], 1: [(0.3, 0.3)]})
    write(tmp_path, "b", "noop", {0: [(0.4, 0.4)], 1: [(0.2, 0.2)]})
    (found,) = statistics(tmp_path).over_tasks
    assert (found.statistics, found.not_normalized) == (None, ("mad-2p",))
    assert found.ratings is not None
    apart = brentq(lambda gap: 5 / (1 + 10 ** (-gap / 400)) - 3.5, 0, 4000)
    assert dict(zip(found.ratings.players, (each.value for each in found.ratings.ratings), strict=True)) == {
        "noop, greedy": pytest.approx(1000 - apart / 2), "random, greedy": pytest.approx(1000 + apart / 2),
    }  # fmt: skip


def test_the_worst_score_observed_is_a_switch(tmp_path: Path) -> None:
    """The worst valid score of all is `HALF`, so it comes to 0, and 0.9 stays 1."""
    found = over_two_tasks(tmp_path, StatisticsSettings(worst=Worst.OBSERVED)).statistics
    assert found is not None
    assert found.over_tasks[Aggregate.MEAN]["good, greedy"].value == pytest.approx(0.5)


def test_runs_above_the_state_of_the_art_have_no_worst_score_to_begin_at(tmp_path: Path) -> None:
    """With the worst observed at or above the published best a scale would point down; ratings go on."""
    for name, score in (("a", 0.95), ("b", 0.9)):
        write(tmp_path, name, name, {0: [(0.5, score)]}, task="lra-text", profile="paper")
    (found,) = statistics(tmp_path, StatisticsSettings(worst=Worst.OBSERVED)).over_tasks
    assert (found.statistics, found.not_normalized) == (None, ("lra-text",))
    assert found.ratings is not None
    assert "published best" in found.ratings.players
    (found,) = statistics(tmp_path).over_tasks
    assert found.statistics is not None


@pytest.mark.parametrize(("more", "value"), [([[None]], 0.0), ([[(0.1, 0.0)], [(0.1, 0.9)]], 0.5)])
def test_running_a_seed_again_buys_nothing(tmp_path: Path, more: list[Steps], value: float) -> None:
    """Of two runs of a seed the worse counts, of three the median."""
    write(tmp_path, "first", "good", {0: [(0.5, HALF)]}, task="lra-text", profile="paper")
    for index, steps in enumerate(more):
        write(tmp_path, f"again-{index}", "good", {0: steps}, task="lra-text", profile="paper")
    (found,) = statistics(tmp_path).over_tasks
    assert found.statistics is not None
    assert found.statistics.over_tasks[Aggregate.MEAN]["good, greedy"].value == pytest.approx(value)


def test_published_rows_are_those_of_the_tables() -> None:
    text = {row.name: (row.table, row.value, row.spread) for row in published_rows("lra-text-conf")}
    assert text["state of the art"] == ("14", "0.9053", None)
    assert text["best of the paper's runs: greedy Gemini 3 Pro, Bi-SSM"] == ("14", "0.8792", None)
    assert text["mean of 12 greedy agents"] == ("4", "0.178", "0.064")
    assert text["mean of all 20 agents"] == ("4", "0.107", "0.043")
    assert text["LR tried"] == ("13", "1e-05 – 0.01 (21 values)", None)  # noqa: RUF001, as printed
    with_texts = {row.name: row.value for row in published_rows("autoresearch-lit")}
    assert with_texts == {
        "baseline script": "1.0121", "best seed of greedy Opus 4.5 (10)": "0.968",
        "best seed of greedy Opus 4.6 (4)": "0.985",
    }  # fmt: skip
    assert not list(published_rows("mad-2p"))


def test_published_rows_are_marked_and_never_matched_with_small_runs(tmp_path: Path) -> None:
    write(tmp_path, "a", "random", {0: [(0.5, 0.5)]}, task="lra-text")
    found = statistics(tmp_path)
    assert "Published (profile paper, NOT COMPARABLE: profile cpu):" in list(statistics_lines(found))
    record = json.loads(json.dumps(statistics_record(found)))
    assert record["published"][0]["not_comparable"] == "profile cpu"
    assert all(row["published"] is True for row in record["published"][0]["rows"])
    assert record["over_tasks"][0]["normalized"] is None


def test_the_command_prints_all_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    over_two_tasks(runs)
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(runs))
    assert run_command_line(["leaderboard", "--statistics", "--worst", "observed"]) == 0
    shown = capsys.readouterr().out
    for said in (
        "Order by test scores", "How steps and seeds ended", "What would have been submitted over steps",
        "Published (profile paper, measured on one H200):", "Over 2 tasks (lra-listops, lra-text), profile paper",
        "published best: ", "lra-text, easy: 0.500", "rank 1-2: bad, one-shot",
    ):  # fmt: skip
        assert said in shown, said
    assert run_command_line(["leaderboard", "--worst", "observed"]) == 2
    assert "changes nothing else" in capsys.readouterr().err
    assert run_command_line(["leaderboard", "--statistics", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {
        "rows", "worst", "orders", "endings", "curves", "published", "over_tasks",
    }  # fmt: skip


def test_a_lucky_seed_that_is_run_again_moves_no_curve_and_no_rate(tmp_path: Path) -> None:
    """Seed 0 has 0.9 in each of 20 runs, seed 1 0.1 in its only one: the mean of the two is 0.5, in a curve as in the
    table. Of a rate by seeds there is no exact interval of runs."""
    for number in range(20):
        record = manifest(f"again{number}", seeds=(0,), steps=1, trainings=0)
        write_run(tmp_path, record, scores={0: [(0.9, 0.9)]}, key=KEY)
    write_run(tmp_path, manifest("once", seeds=(1,), steps=1, trainings=0), scores={1: [(0.1, 0.1)]}, key=KEY)
    write_run(tmp_path, manifest("none", seeds=(2,), steps=1, trainings=0), scores={2: [None]}, key=KEY)
    found = statistics(tmp_path)
    (curve,) = found.tables[0].curves.costs[0].rows.values()  # type: ignore[union-attr]
    assert curve.points[-1].value == pytest.approx((0.9 + 0.1 + 0.1) / 3), "a seed without a step has the worst score"
    assert curve.area.count == 3
    (ending,) = found.tables[0].endings.rows
    assert ending.rate == pytest.approx(2 / 3)
    assert ending.rate_interval is None
    assert ending.submissions.published_rate == pytest.approx(21 / 22)
    assert "VSR 0.67, the paper's 0.95" in "\n".join(statistics_lines(found))


def test_a_curve_has_what_the_row_has_where_nobody_claimed_anything(tmp_path: Path) -> None:
    """With claimed fitness, and no claim, a seed submits its first valid step, and the curve ends at its score."""
    record = made("a", "random", 3, 1, fitness="claimed")
    write_run(tmp_path, record, scores={0: [None, (0.5, 0.3), (0.4, 0.2)]}, key=KEY, of_nodes={"fitness": None})
    (table,) = build_tables(list_runs(tmp_path), KeyRing(KEY.public))
    found = statistics(tmp_path).tables[0].curves
    assert found is not None
    (curve,) = found.costs[0].rows.values()
    assert table.rows[0].test is not None
    assert curve.points[-1].value == table.rows[0].test.mean == 0.3


def test_a_seed_that_is_run_again_moves_no_horizon(tmp_path: Path) -> None:
    """Seed 0 costs 1 dollar in each of 3 runs, seed 1 costs 5: 3 on average, and not 2."""
    for name, seed, dollars in (("a", 0, 1.0), ("b", 0, 1.0), ("c", 0, 1.0), ("d", 1, 5.0)):
        record = manifest(name, seeds=(seed,), steps=1, trainings=0)
        used = {"model_use": ModelUse(1, 10, 10, dollars)}
        write_run(tmp_path, record, scores={seed: [(0.9, 0.9)]}, key=KEY, of_nodes=used)
    found = statistics(tmp_path).tables[0].curves
    assert found is not None
    assert {each.cost: each.horizon for each in found.costs}["dollars"] == 3

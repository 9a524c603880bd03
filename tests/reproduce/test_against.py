"""Measured values beside published ones: verdicts by hand, and what is never compared."""

import json
import shlex
from collections.abc import Iterable
from fractions import Fraction
from math import comb, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.cards.card_files import find_card
from aira_bench.cli.main import build_parser, run_command_line
from aira_bench.keys import KeyRing
from aira_bench.record.folder import RunFolder, list_runs
from aira_bench.record.manifest import Compatibility, Manifest
from aira_bench.record.normalized import Anchors
from aira_bench.record.run_record import read_run
from aira_bench.reproduce.against.agreement import Agreement, ComparedCell, judge_best, judge_mean
from aira_bench.reproduce.against.comparison import MEASURED, AgainstRuns, against_runs
from aira_bench.reproduce.against.compose import judge_unique
from aira_bench.reproduce.against.paper_runs import AGENTS, ONE_SHOT_AGENTS
from aira_bench.statistics.arrays import IntervalEstimate
from aira_bench.tasks.task import find_task
from generated_runs import manifest, write_run

SHIPPED = Compatibility(evaluator="module", version=3, flavour="cuda", libraries=1, search=1, shipped=True)
ANCHORS = Anchors(worst=0.5, optimum=1.0, sota={"published": 0.9053})


def measured(low: float, value: float, high: float, count: int = 10) -> IntervalEstimate:
    return IntervalEstimate(value, low, high, count)


@pytest.mark.parametrize(
    ("estimate", "half", "said"),
    [
        (measured(0.15, 0.2, 0.25), None, "agrees"),
        (measured(0.15, 0.16, 0.17), None, "differs"),
        (measured(0.15, 0.16, 0.17), 0.05, "agrees"),  # 0.04 apart, of sqrt(0.01 ** 2 + 0.05 ** 2) = 0.051
        (measured(0.15, 0.16, 0.17), 0.038, "differs"),  # of 0.0393
        (measured(-0.1, 0.2, 0.5), None, "cannot tell"),  # as likely nothing at all
        (measured(0.15, 0.2, 0.25, 4), None, "cannot tell"),
        (IntervalEstimate(0.2, None, None, 1), None, "cannot tell"),
    ],
)
def test_verdicts_respect_both_spreads(estimate: IntervalEstimate, half: float | None, said: str) -> None:
    assert judge_mean(0.2, half, estimate, 0.0).agreement == said


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([0.9], "differs"),  # 1 of 121 beats 120: 0.008
        ([0.1], "cannot tell"),
        ([0.1] * 60 + [0.9], "cannot tell"),  # one of 61 beats 120 with probability 61 / 181
        ([0.9] * 4 + [0.1] * 57, "differs"),  # four do with (61 60 59 58) / (181 180 179 178): 0.012
        ([0.1] * 120, "agrees"),
        ([0.1] * 4700, "differs"),  # none of 4700 does with 120 / 4820: 0.0249
        ([0.5] * 4700, "agrees"),  # the same score was reached
    ],
)
def test_a_best_is_compared_by_whether_runs_could_have_changed_places(scores: list[float], said: str) -> None:
    assert judge_best(0.5, 120, scores, lower_is_better=False).agreement == said
    assert judge_best(-0.5, 120, [-score for score in scores], lower_is_better=True).agreement == said


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 40))
def test_the_chance_of_a_best_is_that_of_drawing_the_top_places(n: int, published: int, better: int) -> None:
    """The k best of all are measured ones in C(n, k) of C(n + N, k) draws of the top k places."""
    better = min(better, n)
    chance = Fraction(comb(n, better), comb(n + published, better))
    found = judge_best(0.5, published, [1.0] * better + [0.0] * (n - better), lower_is_better=False)
    if better:
        assert (found.agreement is Agreement.DIFFERS) == (chance <= Fraction(25, 1000))


def made(name: str, agent: str, task: str, seeds: int, **changes: object) -> Manifest:
    """A run with the paper's budget, if `changes` say nothing else; those of the manifest are `hardware_class` and `data`."""
    record = manifest(name, agent=agent, steps=1, seeds=tuple(range(seeds)))
    outside = {
        key: changes.pop(key)
        for key in ("hardware_class", "data", "lower_is_better", "compatibility")
        if key in changes
    }
    plan = record.plan.model_copy(
        update={"task": task, "profile": "paper", "hours": 24.0, "scaffold": "greedy", "steps": 500, **changes}
    )
    anchors = ANCHORS if task.startswith("lra-text") else None
    update = {
        "plan": plan,
        "task_title": task,
        "task_name": task,
        "anchors": anchors,
        "hardware_class": "NVIDIA H200",
        "compatibility": SHIPPED,
    }
    return record.model_copy(update={**update, **outside})


def write(runs: Path, record: Manifest, scores: dict[int, list[tuple[float, float] | None]], **more: object) -> None:
    """Runs that stopped long before their budget, so that they are quickly written."""
    short = record.model_copy(update={"plan": record.plan.model_copy(update={"steps": len(scores[0])})})
    folder = write_run(runs, short, scores=scores, **more)  # type: ignore[arg-type]
    (folder.path / "manifest.json").write_text(json.dumps(record.model_dump(mode="json")))


def compared(runs: Path, *tables: str) -> AgainstRuns:
    return against_runs([read_run(folder, KeyRing()) for folder in list_runs(runs)], KeyRing(), tables)


def cell(found: AgainstRuns | Iterable[ComparedCell], row: str, column: str) -> ComparedCell:
    cells = found.cells if isinstance(found, AgainstRuns) else found
    return next(each for each in cells if (each.row, each.column) == (row, column))


def test_without_runs_every_cell_has_a_command_that_would_fill_it(tmp_path: Path) -> None:
    found = compared(tmp_path)
    assert {each.table for each in found.cells} == set(MEASURED)
    assert {each.agreement for each in found.cells} == {Agreement.NOT_MEASURED}
    for command in {each.command for each in found.cells}:
        arguments = build_parser().parse_args(shlex.split(command)[1:])
        assert find_card(arguments.agent, {}).name == arguments.agent
        assert find_task(arguments.task).title == arguments.task


def text_runs(runs: Path, accuracy: float, agents: Iterable[str] = AGENTS, seeds: int = 5, **changes: object) -> None:
    """Of each greedy agent some seeds around an accuracy, and one at 0.5, the worst, which comes to 0."""
    draws = np.random.default_rng(4)
    for agent in agents:
        tests = [0.5, *(accuracy + draws.normal(0, 0.02, seeds - 1))]
        scores: dict[int, list[tuple[float, float] | None]] = {
            seed: [(0.5, float(test))] for seed, test in enumerate(tests)
        }
        write(runs, made(f"greedy-{agent}", agent, "lra-text", seeds, **changes), scores)


GREEDY_ACCURACY = 1 - 0.5 * 10 ** (0.249 * -(np.log10(0.5) - np.log10(1 - 0.9053)))
"""Four of five seeds there and one at the worst make the published mean: 0.199 = 4 / 5 * 0.249 of the way in nines."""


def test_a_mean_of_all_agents_agrees_or_differs(tmp_path: Path) -> None:
    text_runs(tmp_path / "same", float(GREEDY_ACCURACY))
    same = compared(tmp_path / "same", "4")
    assert cell(same, "Text", "greedy nonconfig").agreement is Agreement.AGREES
    assert cell(same, "Text", "greedy nonconfig").estimate.value == pytest.approx(0.199, abs=0.01)  # type: ignore[union-attr]
    assert same.costs["4"].seeds == 60
    whole = cell(same, "Text", "all nonconfig")
    assert (whole.agreement, whole.reason) == (Agreement.CANNOT_TELL, "12 of the mean's 20 agents")
    assert whole.command.endswith(f"--agent {ONE_SHOT_AGENTS[0]} --task lra-text --protocol paper --scaffold one-shot")
    text_runs(tmp_path / "better", 0.8)
    assert cell(compared(tmp_path / "better", "4"), "Text", "greedy nonconfig").agreement is Agreement.DIFFERS


def test_the_right_half_is_twelve_twentieths_of_the_left(tmp_path: Path) -> None:
    text_runs(tmp_path, float(GREEDY_ACCURACY))
    for agent in ONE_SHOT_AGENTS:
        record = made(f"one-shot-{agent}", agent, "lra-text", 2, scaffold="one-shot", steps=1)
        write(tmp_path, record, {0: [None], 1: [None]})
    found = compared(tmp_path, "4")
    left, right = (cell(found, "Text", f"{half} nonconfig").estimate for half in ("greedy", "all"))
    assert left is not None
    assert right is not None
    assert right.value == pytest.approx(left.value * 12 / 20)
    assert cell(found, "Text", "all nonconfig").agreement is Agreement.AGREES


def test_some_of_the_agents_have_another_mean(tmp_path: Path) -> None:
    text_runs(tmp_path, float(GREEDY_ACCURACY), ["cwm", "gpt5"])
    found = cell(compared(tmp_path, "4"), "Text", "greedy nonconfig")
    assert (found.agreement, found.reason) == (Agreement.CANNOT_TELL, "2 of the mean's 12 agents")
    assert "--agent devstral " in found.command


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"profile": "cpu"}, "profile cpu"),
        ({"data": {"hidden": {"sha256": "b" * 64, "bytes": 1}, "synthetic": True}}, "synthetic data"),
        ({"compatibility": None}, "not declared as a shipped task with its own evaluator"),
        ({"compatibility": SHIPPED.model_copy(update={"shipped": False})}, "not declared as a shipped task"),
        ({"steps": 10}, "10 steps in 24 h of 500 in 24"),
        ({"hours": 1.0}, "500 steps in 1 h of 500 in 24"),
        ({"hours": 240.0}, "500 steps in 240 h of 500 in 24"),
        ({"steps": 5000}, "5000 steps in 24 h of 500 in 24"),
        ({"seed_set": "final"}, "seed set final"),
        ({"scaffold": "mcts"}, "the paper did not run gpt5 with mcts here"),
    ],
)
def test_what_is_of_another_size_is_shown_and_never_compared(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    text_runs(tmp_path, float(GREEDY_ACCURACY), ["gpt5"], **changes)
    found = compared(tmp_path, "4", "14")
    best = cell(found, "Text", "best nonconfig")
    assert best.agreement is Agreement.NOT_COMPARABLE
    assert why in best.reason
    assert best.measured != "-"
    assert {each.agreement for each in found.cells} == {Agreement.NOT_COMPARABLE, Agreement.NOT_MEASURED}
    assert all(each.estimate is None for each in found.cells)


def test_searchers_are_none_of_the_papers_agents(tmp_path: Path) -> None:
    text_runs(tmp_path, 0.8, ["random"])
    assert cell(compared(tmp_path, "14"), "Text", "best nonconfig").reason == "random is none of the paper's agents"
    text_runs(tmp_path, 0.8, ["gpt5"])
    assert cell(compared(tmp_path, "14"), "Text", "best nonconfig").runs == ("greedy-gpt5",)


def test_the_clock_of_another_card_is_another_task(tmp_path: Path) -> None:
    write(
        tmp_path,
        made("a", "opus45", "autoresearch", 1, hardware_class="NVIDIA A100", lower_is_better=True),
        {0: [(0.9, 0.9)]},
    )
    assert cell(compared(tmp_path, "5"), "Opus 4.5", "best bits per byte").reason == "not on an H200"


def test_best_bits_per_byte_are_an_agents_own(tmp_path: Path) -> None:
    """Ten seeds of Opus 4.5, none below its 0.986, and one of Opus 4.6 far below its 0.987."""
    write(
        tmp_path,
        made("a", "opus45", "autoresearch", 10, lower_is_better=True),
        {seed: [(0.99, 1.0)] for seed in range(10)},
    )
    write(tmp_path, made("b", "opus46", "autoresearch", 1, lower_is_better=True), {0: [(1.0, 1.0), (0.9, 2.0)]})
    found = compared(tmp_path, "5")
    assert cell(found, "Opus 4.5", "best bits per byte").agreement is Agreement.AGREES
    assert cell(found, "Opus 4.5", "best bits per byte").measured == "0.9900 of 10 seeds"
    other = cell(found, "Opus 4.6", "best bits per byte")
    assert (other.measured, other.agreement) == ("0.9000 of 1 seed", Agreement.CANNOT_TELL)  # 1 of 11
    assert cell(found, "Opus 4.5 with literature", "best bits per byte").agreement is Agreement.NOT_MEASURED


def test_a_seed_that_is_run_again_is_one_seed_and_leaves_nine_to_run(tmp_path: Path) -> None:
    for number in range(10):
        record = made(f"again{number}", "opus45", "autoresearch", 1, lower_is_better=True)
        write(tmp_path, record, {0: [(0.99, 1.0)]})
    best = cell(compared(tmp_path, "5"), "Opus 4.5", "best bits per byte")
    assert best.measured == "0.9900 of 1 seed in 10 runs"
    assert "--agent opus45 --task autoresearch" in best.command


def test_no_command_runs_again_what_is_there(tmp_path: Path) -> None:
    """The same seeds of the same agent were asked for however often they had been run."""
    seeds: dict[int, list[tuple[float, float] | None]] = {seed: [(0.99, 0.99)] for seed in range(10)}
    for agent in ("gemini3pro", "cwm"):
        write(tmp_path, made(f"text-{agent}", agent, "lra-text", 10), seeds)
        write(
            tmp_path,
            made(f"conf-{agent}", agent, "lra-text-conf", 10),
            seeds,
            codes=[b"LR = 1.0\n"],
            code_file="model.py",
        )
    write(
        tmp_path,
        made("three", "opus46", "autoresearch", 3, lower_is_better=True),
        {0: seeds[0], 1: seeds[0], 2: seeds[0]},
        codes=SCRIPTS,
    )
    found = compared(tmp_path)
    asked = {(row, column): cell(found, row, column).command.split()[3:6] for row, column in (
        ("Text", "best nonconfig"), ("Text", "best config"), ("Text", "LR"), ("Text", "valid steps a run"),
        ("depth", "share of steps"))}  # fmt: skip
    assert asked["Text", "best nonconfig"] == ["devstral", "--task", "lra-text"]
    assert asked["Text", "best config"] == ["devstral", "--task", "lra-text-conf"]
    assert asked["Text", "LR"] == asked["Text", "valid steps a run"] == ["devstral", "--task", "lra-text-conf"]
    assert asked["depth", "share of steps"] == ["opus46", "--task", "autoresearch"], "three of ten seeds"
    write(tmp_path, made("ten", "opus46", "autoresearch", 10, lower_is_better=True), seeds, codes=SCRIPTS)
    assert cell(compared(tmp_path, "19"), "depth", "share of steps").command.split()[3] == "opus45"


def test_runs_of_one_name_in_two_suites_are_two(tmp_path: Path) -> None:
    """Cells of suites are named alike: the verdict on one stood for the other, and a rehearsal became a result."""
    record = made("a", "opus45", "autoresearch", 10, lower_is_better=True)
    write(tmp_path / "whole", record, {seed: [(0.99, 1.0)] for seed in range(10)})
    cpu = record.plan.model_copy(update={"profile": "cpu"})
    rehearsal = record.model_copy(update={"plan": cpu, "run_id": "abc"})
    write(tmp_path / "rehearsed", rehearsal, {seed: [(0.5, 1.0)] for seed in range(10)})
    whole, rehearsed = (read_run(RunFolder(tmp_path / name / "a"), KeyRing()) for name in ("whole", "rehearsed"))
    for runs in ([whole, rehearsed], [rehearsed, whole]):
        found = against_runs(runs, KeyRing(), ["5"])
        best = cell(found, "Opus 4.5", "best bits per byte")
        assert (best.measured, best.agreement) == ("0.9900 of 10 seeds", Agreement.AGREES)
        assert (found.unused, found.steered_otherwise) == (("a",), ("a",))


def test_a_row_is_of_its_own_agent_where_nothing_compares_too(tmp_path: Path) -> None:
    write(tmp_path, made("a", "opus45", "autoresearch", 1, profile="cpu", lower_is_better=True), {0: [(0.7, 1.0)]})
    write(tmp_path, made("b", "random", "autoresearch", 1, profile="cpu", lower_is_better=True), {0: [(0.1, 1.0)]})
    write(tmp_path, made("c", "opus46", "autoresearch", 1, lower_is_better=True), {0: [(0.98, 1.0)]})
    found = compared(tmp_path, "5")
    measured = {each.row: (each.measured, each.agreement) for each in found.cells if each.measured != "-"}
    assert measured == {
        "Opus 4.5": ("0.7000 of 1 seed", Agreement.NOT_COMPARABLE),
        "Opus 4.6": ("0.9800 of 1 seed", Agreement.CANNOT_TELL),
    }
    assert found.unused == ("b",)


def test_steps_of_seeds_that_have_not_ended_are_nobodys(tmp_path: Path) -> None:
    """They were counted as those of the first seed of all."""
    scores: list[tuple[float, float] | None] = [(1.1, 1.1), (1.0, 1.0), (0.98, 0.98)]
    for name, more in (("alone", 0), ("with", 1)):
        record = made("a", "opus46", "autoresearch", 6 + more, lower_is_better=True)
        write(tmp_path / name, record, dict.fromkeys(range(6), scores) | {6: [*scores[:2], None]}, codes=SCRIPTS)
    journal = RunFolder(tmp_path / "with" / "a").seed(6).journal
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    assert compared(tmp_path / "with", "19").cells == compared(tmp_path / "alone", "19").cells


def test_ranges_tried_are_read_from_modules(tmp_path: Path) -> None:
    codes = [b"LR = 1e-5\nBATCH_SIZE = 64\n", b"LEARNING_RATE = 0.01\nBATCH_SIZE = 1\n", b"LR = 0.01\nnot python ("]
    write(tmp_path, made("a", "gpt5", "lra-text-conf", 1), {0: [(0.5, 0.5)] * 3}, codes=codes, code_file="model.py")
    found = compared(tmp_path, "13")
    rate = cell(found, "Text", "LR")
    assert (rate.measured, rate.agreement) == ("1e-05 to 0.01 (2 values)", Agreement.AGREES)
    assert cell(found, "Text", "BATCH_SIZE").measured == "1 to 64 (2 values)"
    assert cell(found, "Text", "NUM_HEADS").agreement is Agreement.NOT_MEASURED
    steps = cell(found, "Text", "valid steps a run")
    assert (steps.published, steps.measured) == ("22.0 (2642 in 120 runs)", "3.0")


SCRIPTS = [b"DEPTH = 8\nMATRIX_LR = 0.1\n", b"DEPTH = 9\nMATRIX_LR = 0.1\n", b"DEPTH = 9\nMATRIX_LR = 0.2\n"]
"""Step i leaves number i % 3: step 1 the second, step 2 the third, step 3 the first."""


def test_shares_and_gains_of_improvement_steps_by_hand(tmp_path: Path) -> None:
    """Step 2 changes the rate and gains 0.1; step 3 both and gains 0.02: rate 2 of 2 and median 0.06, depth 1 of 2."""
    scores: list[tuple[float, float] | None] = [(1.1, 1.1), (1.0, 1.0), (0.98, 0.98)]
    record = made("a", "opus46", "autoresearch", 6, lower_is_better=True)
    write(tmp_path, record, dict.fromkeys(range(6), scores), codes=SCRIPTS)
    found = compared(tmp_path, "19", "20", "21")
    rate, depth = cell(found, "matrix_lr", "share of steps"), cell(found, "depth", "share of steps")
    assert rate.estimate == IntervalEstimate(1, 1, 1, 6)
    assert depth.estimate == IntervalEstimate(0.5, 0.5, 0.5, 6)
    half = 1.96 * sqrt(58 / 160 * 102 / 160 / 160)
    assert rate.published == f"{58 / 160:.3f} +- {half:.3f} (58 of 160)"
    assert rate.agreement is depth.agreement is Agreement.DIFFERS
    assert cell(found, "matrix_lr", "median gain").estimate.value == pytest.approx(0.06)  # type: ignore[union-attr]
    assert cell(found, "depth", "median gain").estimate.value == pytest.approx(0.02)  # type: ignore[union-attr]
    assert cell(found, "Learning rates", "share of steps").estimate == IntervalEstimate(1, 1, 1, 6)
    assert cell(found, "z_loss", "median gain").reason == "no improvement step of it"


def test_a_seed_that_is_run_again_narrows_no_interval(tmp_path: Path) -> None:
    """Five seeds, of which two differ from the rest; then each three times over: it counted as fifteen."""
    gains: dict[int, list[tuple[float, float] | None]] = {
        key: [(1.1, 1.1), (1.0, 1.0), (0.98, 0.98)] for key in range(5)
    }
    gains |= {key: [(1.1, 1.1), (1.0, 1.0), (1.05, 1.05)] for key in (3, 4)}
    tried: dict[int, list[tuple[float, float] | None]] = {
        seed: [(0.5, 0.5)] * (5 - seed) + [None] * seed for seed in range(5)
    }
    for folder, times in (("once", 1), ("thrice", 3)):
        for number in range(times):
            runs, again = tmp_path / folder, f"again{number}"
            write(runs, made(f"bpb-{again}", "opus46", "autoresearch", 5, lower_is_better=True), gains, codes=SCRIPTS)
            write(
                runs,
                made(f"lra-{again}", "gpt5", "lra-text-conf", 5),
                tried,
                codes=[b"LR = 1.0\n"],
                code_file="model.py",
            )
    once, thrice = (compared(tmp_path / folder, "13", "19", "20", "21") for folder in ("once", "thrice"))
    for row, column in (("depth", "share of steps"), ("matrix_lr", "median gain"), ("Text", "valid steps a run")):
        alone, again = cell(once, row, column).estimate, cell(thrice, row, column).estimate
        assert alone is not None
        assert alone.low != alone.high, "the seeds differ, so this test could fail"
        assert (alone, alone.count) == (again, 5)
    assert [each.estimate for each in once.cells] == [each.estimate for each in thrice.cells]


def layers(number: int) -> str:
    return "-".join("A" if number >> place & 1 else "M" for place in range(16))


def test_unique_architectures_of_few_runs(tmp_path: Path) -> None:
    record = made("few", "gpt5", "mad-3p", 2)
    write(tmp_path, record, {0: [(0.5, 0.5)] * 3, 1: [(0.5, 0.5)] * 3}, canonical=lambda seed, step: layers(step))
    found = compared(tmp_path, "ranking")
    unique = cell(found, "3-primitive", "unique architectures")
    assert (unique.measured, unique.agreement) == ("3 in 2 runs", Agreement.CANNOT_TELL)
    assert (unique.published, unique.reason) == ("2248 in 170 runs", "2 of 170 runs, and more find more")
    coverage = cell(found, "3-primitive", "coverage")
    assert (coverage.published, coverage.measured) == ("0.00522 % of 43046721", "6.97e-06 % of 43046721")


def test_unique_architectures_of_as_many_runs_by_hand() -> None:
    """Of runs that each have their own three, four have 12 whichever are drawn; of runs that share theirs, 3."""
    own = [{f"{run}-{place}" for place in range(3)} for run in range(9)]
    for published, said in ((12, "agrees"), (13, "differs"), (3, "differs")):
        estimate, judged = judge_unique(own, published, 4, "any")
        assert estimate == IntervalEstimate(12, 12, 12, 9)
        assert judged.agreement == said
    assert judge_unique(own[:5], 13, 4, "any")[1].agreement == "cannot tell"
    assert judge_unique(own[:2], 5, 4, "any")[1].reason == "more, and in fewer runs"
    assert judge_unique([{"a"}] * 9, 1, 4, "any")[1].agreement == "agrees"


def test_the_vote_of_the_best_is_compared_layer_by_layer(tmp_path: Path) -> None:
    for task in ("mad-2p", "babistories-2p", "dclm-2p"):
        record = made(task, "gpt5", task, 1, hours=24.0 if task == "mad-2p" else 60.0)
        write(tmp_path, record, {0: [(0.5, 0.5)]}, canonical=lambda seed, step: "A-M-2A-2M-4(A-M)-2M")
    found = cell(compared(tmp_path, "ranking"), "2-primitive", "vote of the best 20")
    assert (found.agreement, found.reason) == (Agreement.AGREES, "the same pattern")


def test_the_ranking_asks_for_searches_of_the_paper_by_the_agent_that_searched_already(tmp_path: Path) -> None:
    """It asked for GPT-5 whoever had searched, on data sets too on which the paper's did not."""
    asked = [each.command for each in compared(tmp_path, "ranking").cells]
    more = "aira-bench run --agent gpt5 --task mad-{}p --protocol paper --scaffold greedy --seeds 20"
    assert asked == [more.format(2)] * 2 + [more.format(3)] * 2 + [more.format(2)]
    write(tmp_path, made("a", "cwm", "mad-2p", 10), {seed: [(0.5, 0.5)] for seed in range(10)},
          canonical=lambda seed, step: layers(step))  # fmt: skip
    found = compared(tmp_path, "ranking")
    unique, vote = (cell(found, "2-primitive", name) for name in ("unique architectures", "vote of the best 20"))
    assert unique.command == "aira-bench run --agent cwm --task mad-2p --protocol paper --scaffold one-shot"
    assert vote.command == "aira-bench run --agent cwm --task babistories-2p --protocol paper --scaffold greedy"


def test_what_is_no_architecture_has_no_vote(tmp_path: Path) -> None:
    write(
        tmp_path,
        made("a", "gpt5", "mad-2p", 1),
        {0: [(0.5, 0.5)] * 2},
        canonical=lambda seed, step: ("x" * 9, "9A")[step - 1],
    )
    assert cell(compared(tmp_path, "ranking"), "2-primitive", "vote of the best 20").reason == "no scored architecture"


def test_the_command_takes_runs_and_folders_of_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    text_runs(tmp_path / "runs" / "suite", 0.8, ["gpt5"], seeds=2, profile="cpu")
    write(tmp_path / "runs", made("other", "gpt5", "mad-2p", 1), {0: [(0.5, 0.5)]})
    assert run_command_line(["reproduce", "4", "14", "--against", "suite", "other"]) == 0
    shown = capsys.readouterr().out
    assert "not comparable" in shown
    assert "profile cpu" in shown
    assert "says nothing of these tables: other" in shown
    assert "signed by nobody you trust, so taken at their word: greedy-gpt5" in shown
    assert "the paper's by claims (docs/protocols.md): greedy-gpt5" in shown
    assert "would fill more: aira-bench run --agent gemini3pro --task lra-text " in shown
    assert "1 run, 2 seeds: 0.0005 hours of processors, no model was asked." in shown
    assert run_command_line(["reproduce", "14", "--against", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["14"]["not measured"] == 6
    for arguments in (["8", "--against"], ["--against", "nowhere"], ["--against", "suite", "--statuses", "x"]):
        assert run_command_line(["reproduce", *arguments]) == 2
        assert "Try: aira-bench" in capsys.readouterr().err

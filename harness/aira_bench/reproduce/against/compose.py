"""The small-scale ranking (the paper's appendix B) beside measured values: unique architectures, coverage, top k.

How many architectures are unique grows with the runs. So of more runs than the paper's as many are drawn without
replacement, again and again; fewer can only say that they already found more.

Not covered: the figures of appendix B, whose numbers are not printed, and patterns from clusters, which hang on what is
clustered (docs/scaling.md).
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from aira_bench.boards.endings import entropy
from aira_bench.published_tables import read_counts, read_table
from aira_bench.record.run_record import RunRecord
from aira_bench.reproduce.against.agreement import Agreement, ComparedCell, JudgedAgreement, interval_text
from aira_bench.reproduce.against.paper_runs import (
    GREEDY,
    ONE_SHOT,
    SEEDS,
    ChosenRuns,
    SeedRun,
    choose,
    run_command,
)
from aira_bench.scaling.aggregate import DEFAULT_TOP, ScoredArchitecture, select_by_rank, vote
from aira_bench.scaling.notation import NotationError, read_pattern, write_pattern
from aira_bench.statistics.arrays import IntervalEstimate, percentile_estimate
from aira_contract.patterns import Pattern

TABLE = "ranking"
AGENTS = ("cwm", "gpt-oss-120b", "gpt-oss-20b", "gpt4o", "gpt5", "o3-mini")
LAYERS = 16
TOP_PATTERN = "A-M-2A-2M-4(A-M)-2M"
"""AIRAformer-A: the vote of the best 20 of each of the three data sets (appendix D.1)."""
_SPACES = {"2-primitive": (2, ("mad-2p", "babistories-2p", "dclm-2p")), "3-primitive": (3, ("mad-3p",))}
_RUNS = (*((agent, GREEDY, 10) for agent in AGENTS if agent != "gpt5"),
         *((agent, ONE_SHOT, 20) for agent in AGENTS if agent != "gpt5"))  # fmt: skip
_RUNS_ON_MAD = (("gpt5", GREEDY, 20), *_RUNS)
"""Agent, scaffold and seeds of the paper's searches of a task (section 6.1): GPT-5 searched on MAD alone."""
_RESAMPLES = 1000
Found = tuple[list[ComparedCell], list[SeedRun]]


def ranking_cells(runs: Sequence[RunRecord]) -> Found:
    """Return the numbers of appendix B and section 6.1 on what the searches of both spaces visited."""
    counts, cells, used = read_counts(), list[ComparedCell](), list[SeedRun]()
    unique = {
        row["claim"]: int(row["value"])
        for row in read_table("headline", ("claim", "value"))
        if "unique" in row["claim"]
    }
    published_runs = {
        "2-primitive": 3 * int(counts["compose 2-primitive runs a dataset"])
        + int(counts["compose 2-primitive GPT-5 runs"]),
        "3-primitive": int(counts["compose 3-primitive runs"]),
    }
    for space, (primitives, tasks) in _SPACES.items():
        chosen = choose(runs, tasks, (GREEDY, ONE_SHOT), AGENTS)
        used += chosen.seeds
        published = unique[f"Search runs: {space} unique architectures"]
        cells += _unique_cells(space, primitives**LAYERS, published, published_runs[space], chosen, tasks)
    cells.append(_top_cell(runs))
    return cells, used


def _unique_cells(
    space: str, size: int, published: int, published_runs: int, chosen: ChosenRuns, tasks: Sequence[str]
) -> list[ComparedCell]:
    visited = [{node.canonical for node in each.seed.nodes if node.canonical} for each in chosen.seeds]
    number = len(set().union(*visited))
    enough = len(visited) >= published_runs and not chosen.why_not
    command = "" if enough else _command_for_more(chosen, tasks)
    estimate, judged = judge_unique(visited, published, published_runs, space)
    if chosen.why_not and visited:
        judged = JudgedAgreement(Agreement.NOT_COMPARABLE, ", ".join(chosen.why_not))
    measured = f"{number} in {len(visited)} runs"
    if estimate is not None:
        measured += f", {interval_text(estimate, 0)} in {published_runs} of them"
    share = f"{100 * number / size:.3g} % of {size}"
    return [
        ComparedCell(
            TABLE, space, column, said, shown if visited else "-", judged.agreement, judged.reason, chosen.runs,
            command, estimate,
        )
        for column, said, shown in (
            ("unique architectures", f"{published} in {published_runs} runs", measured),
            ("coverage", f"{100 * published / size:.3g} % of {size}", share),
        )
    ]  # fmt: skip


def _command_for_more(chosen: ChosenRuns, tasks: Sequence[str]) -> str:
    """The command of the first searches of the paper that are not all there, those of agents that searched already
    before others; empty where none is missing.
    """
    had = set() if chosen.why_not else {
        (each.run.manifest.task_title, each.agent, each.scaffold, each.seed.seed) for each in chosen.seeds
    }  # fmt: skip
    counts = Counter(key[:3] for key in had)
    searched = Counter(each.agent for each in chosen.seeds)
    lacking = [
        (task, agent, scaffold, seeds)
        for task in tasks
        for agent, scaffold, seeds in (_RUNS_ON_MAD if task.startswith("mad-") else _RUNS)
        if counts[task, agent, scaffold] < seeds
    ]
    if not lacking:
        return ""
    task, agent, scaffold, seeds = max(lacking, key=lambda each: searched[each[1]])
    return run_command(agent, task, scaffold, None if seeds == SEEDS[scaffold] else seeds)


def judge_unique(
    visited: Sequence[set[str]], published: int, published_runs: int, space: str
) -> tuple[IntervalEstimate | None, JudgedAgreement]:
    """Compare how many different architectures runs visited with how many the paper's did.

    Args:
        visited: of each run the architectures.
        published: how many different ones.
        published_runs: in how many runs.
        space: its name, which seeds the draws.

    Returns:
        how many as many runs as the paper's visit, if there are as many, and the verdict.
    """
    number = len(set().union(*visited))
    if not visited:
        return None, JudgedAgreement(Agreement.NOT_MEASURED, "no run")
    if len(visited) < published_runs:
        if number > published:
            return None, JudgedAgreement(Agreement.DIFFERS, "more, and in fewer runs")
        return None, JudgedAgreement(
            Agreement.CANNOT_TELL, f"{len(visited)} of {published_runs} runs, and more find more"
        )
    draws = np.random.default_rng(entropy(TABLE, space))
    drawn = np.array(
        [
            len(set().union(*(visited[place] for place in draws.choice(len(visited), published_runs, replace=False))))
            for _ in range(_RESAMPLES if len(visited) > published_runs else 1)
        ],
        np.float64,
    )
    estimate = percentile_estimate(float(drawn.mean()), drawn, len(visited))
    if estimate.holds(published):
        return estimate, JudgedAgreement(Agreement.AGREES, "within what as many runs find")
    if len(visited) < 2 * published_runs:
        return estimate, JudgedAgreement(
            Agreement.CANNOT_TELL, f"draws of {published_runs} of {len(visited)} runs are too alike for an interval"
        )
    return estimate, JudgedAgreement(Agreement.DIFFERS, "outside of what as many runs find")


def _top_cell(runs: Sequence[RunRecord]) -> ComparedCell:
    """What the best 20 of each data set vote, of test scores as the paper takes them."""
    chosen = choose(runs, _SPACES["2-primitive"][1], (GREEDY, ONE_SHOT), AGENTS)
    wanted = _SPACES["2-primitive"][1]
    missing = [task for task in wanted if task not in {each.run.manifest.task_title for each in chosen.seeds}]
    command = _command_for_more(chosen, missing or wanted)
    scored = [each for of in chosen.seeds for each in _scored(of)]
    row, column, published = "2-primitive", f"vote of the best {DEFAULT_TOP}", f"{TOP_PATTERN} (AIRAformer-A)"
    if not scored:
        return ComparedCell(
            TABLE, row, column, published, "-", Agreement.NOT_MEASURED, "no scored architecture", (), command
        )
    pattern = vote(select_by_rank(scored)).pattern
    judged = JudgedAgreement(
        Agreement.CANNOT_TELL, f"{_alike(pattern)} of {LAYERS} layers alike; a vote has no interval"
    )
    if chosen.why_not:
        judged = JudgedAgreement(Agreement.NOT_COMPARABLE, ", ".join(chosen.why_not))
    elif missing:
        judged = JudgedAgreement(Agreement.CANNOT_TELL, f"without {', '.join(missing)}")
    elif pattern == read_pattern(TOP_PATTERN):
        judged = JudgedAgreement(Agreement.AGREES, "the same pattern")
    return ComparedCell(
        TABLE, row, column, published, write_pattern(pattern), judged.agreement, judged.reason, chosen.runs, command
    )


def _alike(pattern: Pattern) -> int:
    return sum(a == b for a, b in zip(pattern, read_pattern(TOP_PATTERN), strict=False))


def _scored(of: SeedRun) -> list[ScoredArchitecture]:
    """The scored architectures of a seed; what a stranger's record calls one and is none is left out."""
    manifest, found = of.run.manifest, []
    for node in of.seed.nodes:
        score = of.seed.scores.get(node.step)
        if node.canonical is None or score is None or score.unranked:
            continue
        with contextlib.suppress(NotationError):
            pattern = read_pattern(node.canonical)
            if len(pattern) == LAYERS:
                found.append(ScoredArchitecture(manifest.task_title, pattern, score.test, manifest.lower_is_better))
    return found


CELLS: dict[str, Callable[[Sequence[RunRecord]], Found]] = {TABLE: ranking_cells}
"""By table."""

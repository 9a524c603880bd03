"""Tables 4, 13 and 14 beside measured values: mean normalized scores, constants tried, and best scores.

Normalized scores are the paper's: of a task's runs the worst valid one comes to 0 (section 5). A mean is over agents of
their means over seeds; of other agents than the paper's twelve or twenty it is another mean, and tells nothing.

Not covered: configurable less fixed and Figure 11, whose numbers are not printed.
"""

from collections.abc import Callable, Iterator, Sequence
from math import isfinite, isnan

import numpy as np

from aira_bench.agent_code.reading import NotRead, read_in_process
from aira_bench.agent_code.syntax import LONGEST_CODE_BYTES
from aira_bench.boards.endings import entropy
from aira_bench.boards.over_tasks import median_run
from aira_bench.boards.published_rows import CONFIGURABLE, LRA
from aira_bench.boards.replicates import SeedResult, by_seed
from aira_bench.files import Unacceptable, read_recorded
from aira_bench.published_tables import read_counts, read_table
from aira_bench.record.node import Node
from aira_bench.record.normalized import PUBLISHED
from aira_bench.record.run_record import RunRecord
from aira_bench.reproduce.against.agreement import (
    Agreement,
    ComparedCell,
    JudgedAgreement,
    interval_text,
    judge_best,
    judge_mean,
)
from aira_bench.reproduce.against.paper_runs import (
    AGENTS,
    GREEDY,
    GREEDY_AGENTS,
    ONE_SHOT,
    ONE_SHOT_AGENTS,
    SEEDS,
    ChosenRuns,
    SeedRun,
    choose,
    command_for_more,
    run_command,
)
from aira_bench.statistics.arrays import IntervalEstimate
from aira_bench.statistics.normalized import Scale, Spacing
from aira_bench.statistics.resampling import Aggregate, stratified_estimate
from aira_bench.statistics.runs import Run, Runs, Worst, mean_over_agents
from aira_contract.files import MODULE_FILE

_SETUPS = {"nonconfig": "", "config": CONFIGURABLE}
Found = tuple[list[ComparedCell], list[SeedRun]]


def _tasks() -> Iterator[tuple[str, str, str]]:
    """Data set, setup and task, in the tables' order."""
    for task, dataset in LRA.items():
        for setup, suffix in _SETUPS.items():
            yield dataset, setup, task + suffix


def mean_cells(runs: Sequence[RunRecord]) -> Found:
    """Return Table 4: mean normalized scores over greedy agents, and over all."""
    columns = [f"{who}_{setup}{end}" for who in ("greedy", "all") for setup in _SETUPS for end in ("", "_ci")]
    printed = {row["task"]: row for row in read_table("4", ("task", *columns))}
    cells, used = list[ComparedCell](), list[SeedRun]()
    for dataset, setup, task in _tasks():
        chosen = choose(runs, [task], (GREEDY, ONE_SHOT), GREEDY_AGENTS)
        used += chosen.seeds
        for column, scaffolds in (("greedy", (GREEDY,)), ("all", (GREEDY, ONE_SHOT))):
            value, half = printed[dataset][f"{column}_{setup}"], printed[dataset][f"{column}_{setup}_ci"]
            cells.append(_mean_cell(dataset, f"{column} {setup}", task, (value, half), chosen, scaffolds))
    return cells, used


def _mean_cell(
    row: str, column: str, task: str, printed: tuple[str, str], chosen: ChosenRuns, scaffolds: Sequence[str]
) -> ComparedCell:
    wanted = [(agent, GREEDY) for agent in GREEDY_AGENTS]
    wanted += [(agent, ONE_SHOT) for agent in ONE_SHOT_AGENTS if ONE_SHOT in scaffolds]
    there = {(each.agent, each.scaffold) for each in chosen.seeds}
    missing = [each for each in wanted if each not in there] if not chosen.why_not else wanted
    command = run_command(missing[0][0], task, missing[0][1]) if missing else ""
    published = f"{printed[0]} +- {printed[1]}"
    mine = [each for each in chosen.seeds if each.scaffold in scaffolds]

    def cell(measured: str, judged: JudgedAgreement, estimate: IntervalEstimate | None = None) -> ComparedCell:
        names = tuple(dict.fromkeys(each.run.name for each in mine))
        return ComparedCell(
            "4", row, column, published, measured, judged.agreement, judged.reason, names, command, estimate
        )

    if not mine:
        return cell("-", JudgedAgreement(Agreement.NOT_MEASURED, "no run"))
    if chosen.why_not:
        raw = [each.result.test for each in mine if each.result.test is not None]
        shown = f"accuracy {np.mean(raw):.4f}" if raw else "no valid submission"
        return cell(shown, JudgedAgreement(Agreement.NOT_COMPARABLE, ", ".join(chosen.why_not)))
    estimate = _normalized_mean(task, chosen.seeds, scaffolds)
    if estimate is None:
        return cell("-", JudgedAgreement(Agreement.NOT_MEASURED, "no valid submission sets the worst score"))
    judged = judge_mean(float(printed[0]), float(printed[1]), estimate, 0.0)
    if missing:
        judged = JudgedAgreement(
            Agreement.CANNOT_TELL, f"{len(wanted) - len(missing)} of the mean's {len(wanted)} agents"
        )
    return cell(interval_text(estimate, 3), judged, estimate)


def _normalized_mean(task: str, seeds: Sequence[SeedRun], scaffolds: Sequence[str]) -> IntervalEstimate | None:
    """The mean over agents; the worst score is of all runs of the task, whatever their scaffold."""
    manifest = seeds[0].run.manifest
    anchors, lower = manifest.anchors, manifest.lower_is_better
    if anchors is None or PUBLISHED not in anchors.sota or all(each.result.test is None for each in seeds):
        return None
    of_seed: dict[tuple[str, int], list[float | None]] = {}
    for each in seeds:
        score = None if each.result.unranked else each.result.test
        of_seed.setdefault((f"{each.agent} {each.scaffold}", each.seed.seed), []).append(score)
    made = [
        Run(agent, task, seed, median_run(found, lower_is_better=lower)) for (agent, seed), found in of_seed.items()
    ]
    scale = Scale(anchors.worst, anchors.sota[PUBLISHED], anchors.optimum, lower_is_better=lower)
    try:
        scores = Runs.of(made).normalized({task: scale}, Worst.OBSERVED, Spacing.MARCH_OF_NINES)
    except ValueError:
        return None  # the worst score is as good as the state of the art
    among = {name for name in scores.agents if name.rpartition(" ")[2] in scaffolds}
    found = mean_over_agents(scores, np.random.default_rng(entropy("against", task, *scaffolds)), among=among)
    return found.get(task)


def best_cells(runs: Sequence[RunRecord]) -> Found:
    """Return Table 14: the best test score of any step, of the paper's 120 greedy runs a task and of those at hand."""
    published_runs = SEEDS[GREEDY] * len(GREEDY_AGENTS)
    printed = {(row["task"], row["setup"]): row for row in read_table("14", ("task", "setup", "score", "agent"))}
    cells, used = list[ComparedCell](), list[SeedRun]()
    for dataset, setup, task in _tasks():
        chosen = choose(runs, [task], (GREEDY,), GREEDY_AGENTS)
        used += chosen.seeds
        row = printed[dataset, setup]
        card = next(card for card, name in AGENTS.items() if name == row["agent"])
        scores = [(each.result.best_test, each.agent) for each in chosen.seeds if each.result.best_test is not None]
        measured, judged = "-", JudgedAgreement(Agreement.NOT_MEASURED, "no run with a score")
        if scores:
            best, agent = max(scores)
            measured = f"{best:.4f} ({AGENTS.get(agent, agent)})"
            judged = judge_best(
                float(row["score"]), published_runs, [score for score, _ in scores], lower_is_better=False
            )
            if chosen.why_not:
                judged = JudgedAgreement(Agreement.NOT_COMPARABLE, ", ".join(chosen.why_not))
        cells.append(
            ComparedCell(
                "14", dataset, f"best {setup}", f"{row['score']} ({row['agent']})", measured, judged.agreement,
                judged.reason, chosen.runs, command_for_more(chosen, (card, *GREEDY_AGENTS), task),
            )
        )  # fmt: skip
    return cells, used


def tried_cells(runs: Sequence[RunRecord]) -> Found:
    """Return Table 13: valid steps a run, and for each constant the range and the number of values tried."""
    counts, cells, used = read_counts(), list[ComparedCell](), list[SeedRun]()
    columns = ("parameter", *(f"{each.lower()}_{what}" for each in LRA.values() for what in ("range", "unique")))
    printed = read_table("13", columns)
    names = parameter_names()
    for dataset, setup, task in _tasks():
        if setup != "config":
            continue
        chosen = choose(runs, [task], (GREEDY,), GREEDY_AGENTS)
        used += chosen.seeds
        cells.append(_steps_cell(dataset, task, int(counts[f"lra configurable valid steps {dataset}"]), chosen))
        tried = constants_tried(chosen.seeds) if chosen.seeds else []
        for row in printed:
            said, unique = row[f"{dataset.lower()}_range"], row[f"{dataset.lower()}_unique"]
            values = values_tried(tried, names[row["parameter"]])
            cells.append(_range_cell(dataset, task, row["parameter"], f"{said} ({unique} values)", values, chosen))
    return cells, used


def parameter_names() -> dict[str, list[str]]:
    """Return the names under which modules set each parameter of the paper's Tables 12 and 13, by the first of them.

    Raises:
        PrerequisiteError: the published table is missing or damaged.
    """
    return {(names := row["variable"].split(" / "))[0]: names for row in read_table("12", ("variable",))}


def _steps_cell(dataset: str, task: str, steps: int, chosen: ChosenRuns) -> ComparedCell:
    runs = SEEDS[GREEDY] * len(GREEDY_AGENTS)
    published = f"{steps / runs:.1f} ({steps} in {runs} runs)"
    command = command_for_more(chosen, GREEDY_AGENTS, task)
    if not chosen.seeds:
        judged = JudgedAgreement(Agreement.NOT_MEASURED, "no run")
        return ComparedCell(
            "13", dataset, "valid steps a run", published, "-", judged.agreement, judged.reason, (), command
        )
    by_agent: dict[str, list[SeedResult]] = {}
    for each in chosen.seeds:
        by_agent.setdefault(each.agent, []).append(each.result)
    valid = [by_seed(results, lambda result: float(result.valid_steps)) for results in by_agent.values()]
    means = [np.array([np.mean(steps_of) for steps_of in seeds.values()]) for seeds in valid]
    estimate = stratified_estimate(means, Aggregate.MEAN, np.random.default_rng(entropy("steps", task)))
    judged = judge_mean(steps / runs, None, estimate, 0.0)
    if chosen.why_not:
        judged = JudgedAgreement(Agreement.NOT_COMPARABLE, ", ".join(chosen.why_not))
    elif len(by_agent) < len(GREEDY_AGENTS):
        judged = JudgedAgreement(Agreement.CANNOT_TELL, f"{len(by_agent)} of the mean's {len(GREEDY_AGENTS)} agents")
    return ComparedCell(
        "13", dataset, "valid steps a run", published, interval_text(estimate, 1), judged.agreement, judged.reason,
        chosen.runs, command, estimate,
    )  # fmt: skip


def _range_cell(
    dataset: str, task: str, parameter: str, published: str, values: Sequence[float], chosen: ChosenRuns
) -> ComparedCell:
    command = command_for_more(chosen, GREEDY_AGENTS, task)
    if not values:
        judged = JudgedAgreement(Agreement.NOT_MEASURED, "no valid step that sets it")
        return ComparedCell(
            "13", dataset, parameter, published, "-", judged.agreement, judged.reason, chosen.runs, command
        )
    measured = f"{min(values):g} to {max(values):g} ({len(set(values))} values)"
    low, high = (float(end) for end in published.partition(" (")[0].replace(" – ", "|").split("|"))  # noqa: RUF001
    inside = low <= min(values) and max(values) <= high
    judged = JudgedAgreement(
        Agreement.CANNOT_TELL, ("within" if inside else "beyond") + " the published range; ranges have no interval"
    )
    if chosen.why_not:
        judged = JudgedAgreement(Agreement.NOT_COMPARABLE, ", ".join(chosen.why_not))
    elif (min(values), max(values)) == (low, high):
        judged = JudgedAgreement(Agreement.AGREES, "the same range")
    return ComparedCell(
        "13", dataset, parameter, published, measured, judged.agreement, judged.reason, chosen.runs, command
    )


def values_tried(tried: Sequence[dict[str, float]], names: Sequence[str]) -> list[float]:
    """Return what each script sets under the first of these names that it has.

    Args:
        tried: constants of scripts by name, as `constants_tried` returns them.
        names: of one parameter, the likeliest first.
    """
    found = (next((each[name] for name in names if name in each), None) for each in tried)
    return [value for value in found if value is not None]


def constants_tried(seeds: Sequence[SeedRun]) -> list[dict[str, float]]:
    """Return the numbers that the scripts of valid steps give to names; scripts that cannot be read in time give none.

    Args:
        seeds: whose steps.
    """
    texts = [scored_module(each, node) for each in seeds for node in each.seed.nodes if node.is_valid]
    return [
        {name: float(value) for name, value in answer["constants"].items() if _is_number(value)}
        for answer in read_in_process("constants", [text for text in texts if text is not None])
        if not isinstance(answer, NotRead)
    ]


def scored_module(of: SeedRun, node: Node) -> str | None:
    """Return the module that was scored; None where its file is gone, is another, or is too large.

    Args:
        of: the seed.
        node: a valid step of it.
    """
    path = f"nodes/{node.step:04d}/{MODULE_FILE}"
    try:
        data = read_recorded(of.seed.folder.path, path, LONGEST_CODE_BYTES, node.artifact_sha256 or "none")
    except (FileNotFoundError, Unacceptable):
        return None
    return data.decode("utf-8", "replace")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not isnan(value) and isfinite(value)


CELLS: dict[str, Callable[[Sequence[RunRecord]], Found]] = {"4": mean_cells, "13": tried_cells, "14": best_cells}
"""By table."""

"""Compares searchers on a stored table of scores: which finds a better architecture in as many evaluations?

    python bench/searchers.py --table bench/tables/mad_2p_cpu
    python bench/searchers.py --table bench/tables/mad_2p_cpu --summarize

Every searcher is the shipped agent under its default scaffold, asked step by step as a run asks it. What it proposes is
mapped to the nearest row that it has not had yet, by Hamming distance; a generator of the seed and step breaks ties.
The rule is the same for all; one searcher more, `bayes` told the rows, shows what the rule costs. A searcher sees the
row's validation score; the test score is only looked up. Written beside the table: searchers.csv (best so far of each
seed) and searchers.svg (means); printed: means and paired differences to `random`. --summarize makes the picture and
the text again from searchers.csv.

Not covered: architectures that are not in the table, noise between trainings of one architecture.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon  # type: ignore[import-untyped]

from aira_bench.agents.agent import Agent, Brief, Situation
from aira_bench.agents.catalog import SEARCHERS
from aira_bench.agents.searchers.architectures import canonical, written_architecture
from aira_bench.agents.searchers.bayes import BayesAgent, IncrementalBayesAgent
from aira_bench.agents.searchers.bayes_problem import Evaluation, Search, Space
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Node
from aira_bench.runs.session import stream
from aira_bench.scaffolds.catalog import make_scaffold
from aira_bench.scaffolds.policy import Stop
from aira_bench.tasks.metadata import ArtifactSpec

BASELINE = "random"
SEEDS, EVALUATIONS, COMPARED = 30, 80, (20, 40, 80)
RECORDED = tuple(range(5, EVALUATIONS + 1, 5))
RESAMPLES, BOOTSTRAP_SEED = 10_000, 1505
FITNESS_DECIMALS = 4
"""As many as the task shows a search."""
_COLORS = {"random": "#888888", "evolution": "#1b7837", "bayes": "#2166ac", "bayes:incremental": "#b2182b",
           "bayes, told the rows": "#67a9cf"}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One trained architecture."""

    architecture: tuple[str, ...]
    validation: float
    test: float


@dataclass(frozen=True)
class Table:
    """Every row, and what its architectures are made of."""

    rows: tuple[Row, ...]
    task: str
    primitives: tuple[str, ...]

    @classmethod
    def load(cls, folder: Path) -> "Table":
        """Read a folder of `bench/architecture_table.py`."""
        manifest = json.loads((folder / "manifest.json").read_text(encoding="ascii"))
        with (folder / "scores.csv").open(encoding="ascii", newline="") as file:
            rows = tuple(
                Row(tuple(row["architecture"].split("-")), float(row["validation"]), float(row["test"]))
                for row in csv.DictReader(file)
            )
        return cls(rows, manifest["task"], tuple(manifest["primitives"]))

    @property
    def brief(self) -> Brief:
        """What a searcher is told."""
        layers = len(self.rows[0].architecture)
        spec = ArtifactSpec.model_validate({"kind": "architecture", "layers": layers, "primitives": self.primitives})
        return Brief(self.task, "", spec, "Accuracy", False, "cpu", "hidden", 300.0, 3072)


class Best(NamedTuple):
    """The row of best validation score after so many evaluations of one seed."""

    searcher: str
    seed: int
    evaluations: int
    validation: float
    test: float


class Difference(NamedTuple):
    """A searcher minus the baseline over paired seeds."""

    searcher: str
    score: str
    evaluations: int
    mean: float
    low: float
    high: float
    wins: int
    losses: int
    p: float
    """Wilcoxon's signed-rank test, two-sided, Holm-adjusted within the score."""


@dataclass(frozen=True)
class RowsBayesAgent(BayesAgent):
    """One-shot `bayes` told which rows there are: shows what mapping its proposals to rows costs it."""

    name: str = "bayes, told the rows"
    table: Table | None = None

    def search(self, space: Space, steps: int, history: Sequence[Evaluation]) -> Search:
        """All rows of the table."""
        assert self.table is not None, "given where it is made"
        codes = {symbol: str(index) for index, symbol in enumerate(self.table.primitives)}
        rows = tuple("".join(codes[symbol] for symbol in row.architecture) for row in self.table.rows)
        return Search("the rows", rows, super().search(space, steps, history).design)


def searchers(table: Table) -> dict[str, Agent]:
    """Everything that is compared; BoTorch is imported here rather than in a process a proposal."""
    from aira_bench.agents.searchers.bayes_process import propose

    agents: list[Agent] = [
        SEARCHERS["random"], SEARCHERS["evolution"], BayesAgent(ask=propose), IncrementalBayesAgent(ask=propose),
        RowsBayesAgent(ask=propose, table=table),
    ]  # fmt: skip
    return {agent.name: agent for agent in agents}


def search(table: Table, agent: Agent, seed: int, evaluations: int) -> list[Row]:
    """The rows one seed of one searcher evaluates, in order."""
    policy = make_scaffold(agent.default_scaffold, steps=evaluations, lower_is_better=False)
    journal: list[Node] = []
    taken: list[Row] = []
    left = dict.fromkeys(table.rows)
    for step in range(1, evaluations + 1):
        action = policy.next(journal, stream(seed, step, "policy"))
        assert not isinstance(action, Stop), "these scaffolds use up their budget"
        situation = Situation(
            action, journal, _no_files, stream(seed, step, "agent"), evaluations - step + 1, 1e9, seed, step
        )
        wish = written_architecture(agent.propose(table.brief, situation).code)
        assert wish is not None, "the searchers here write their solutions with `write_solution`"
        row = nearest(list(left), wish, seed, step)
        del left[row]
        taken.append(row)
        fitness, name = round(row.validation, FITNESS_DECIMALS), canonical(row.architecture)
        journal.append(
            Node(step, action.operator, action.parents, "valid", "", fitness, None, "", None, canonical=name)
        )
    return taken


def nearest(rows: Sequence[Row], wish: Sequence[str], seed: int, step: int) -> Row:
    """The row of least Hamming distance to the wish; ties by the step's own generator."""
    distances = [sum(a != b for a, b in zip(row.architecture, wish, strict=True)) for row in rows]
    least = min(distances)
    tied = [row for row, distance in zip(rows, distances, strict=True) if distance == least]
    return stream(seed, step, "table").choice(tied)


def best_so_far(searcher: str, seed: int, rows: Sequence[Row], recorded: Sequence[int]) -> list[Best]:
    """After each recorded number of evaluations, the best row by rounded validation; ties keep the earliest."""
    found = []
    for count in recorded:
        best = max(rows[:count], key=lambda row: round(row.validation, FITNESS_DECIMALS))
        found.append(Best(searcher, seed, count, best.validation, best.test))
    return found


def differences(bests: Sequence[Best], compared: Sequence[int] = COMPARED) -> list[Difference]:
    """Every searcher against the baseline, paired by seed; intervals by bootstrap over seeds."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    names = [name for name in dict.fromkeys(best.searcher for best in bests) if name != BASELINE]
    found = []
    for score in ("validation", "test"):
        family = [
            _difference(name, score, count, _paired(bests, name, score, count), rng)
            for name in names
            for count in compared
        ]
        adjusted = holm([one.p for one in family])
        found += [one._replace(p=p) for one, p in zip(family, adjusted, strict=True)]
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: smallest p times n, next times n - 1, ..., never decreasing."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted


def _paired(bests: Sequence[Best], searcher: str, score: str, count: int) -> NDArray[np.float64]:
    values: dict[str, dict[int, float]] = {searcher: {}, BASELINE: {}}
    for best in bests:
        if best.searcher in values and best.evaluations == count:
            values[best.searcher][best.seed] = getattr(best, score)
    assert values[searcher].keys() == values[BASELINE].keys(), "seeds are paired"
    return np.array([values[searcher][seed] - values[BASELINE][seed] for seed in sorted(values[BASELINE])])


def _difference(name: str, score: str, count: int, paired: NDArray[np.float64], rng: np.random.Generator) -> Difference:
    means = rng.choice(paired, (RESAMPLES, len(paired))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    p = float(wilcoxon(paired, zero_method="zsplit").pvalue) if paired.any() else 1.0
    wins, losses = int((paired > 0).sum()), int((paired < 0).sum())
    return Difference(name, score, count, float(paired.mean()), float(low), float(high), wins, losses, p)


def chart(bests: Sequence[Best], top: float) -> str:
    """An SVG of mean best validation by evaluations; the dashed line is the table's best row."""
    width, height, left, base = 640, 360, 60, 320
    means = _means(bests)
    low = min(value for curve in means.values() for value in curve.values())
    last = max(count for curve in means.values() for count in curve)

    def point(count: int, value: float) -> str:
        return f"{left + (width - left - 20) * count / last:.1f},{base - (base - 20) * (value - low) / (top - low):.1f}"

    start, end = point(0, top).split(","), point(last, top).split(",")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        "<style>text {font-size: 12px}</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<path d="M{left},20 V{base} H{width - 20}" fill="none" stroke="black"/>',
        f'<path d="M{start[0]},{start[1]} L{end[0]},{end[1]}" stroke="black" stroke-dasharray="4"/>',
        f'<text x="4" y="24">{top:.4f}</text><text x="4" y="{base}">{low:.4f}</text>',
        f'<text x="{(width + left) // 2}" y="{height - 6}" text-anchor="middle">evaluations</text>',
    ]
    parts += [
        f'<text x="{point(count, low).split(",")[0]}" y="{base + 16}" text-anchor="middle">{count}</text>'
        for count in COMPARED
    ]
    for index, (name, curve) in enumerate(means.items()):
        path = " L".join(point(count, value) for count, value in curve.items())
        color = _COLORS.get(name, "black")
        parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="{width - 150}" y="{220 + 18 * index}" fill="{color}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _means(bests: Sequence[Best]) -> Mapping[str, dict[int, float]]:
    values: dict[str, dict[int, list[float]]] = {}
    for best in bests:
        values.setdefault(best.searcher, {}).setdefault(best.evaluations, []).append(best.validation)
    return {name: {count: float(np.mean(seen)) for count, seen in curve.items()} for name, curve in values.items()}


def write(path: Path, bests: Sequence[Best]) -> None:
    with path.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Best._fields)
        writer.writerows(bests)


def read(path: Path) -> list[Best]:
    with path.open(encoding="ascii", newline="") as file:
        return [
            Best(
                row["searcher"], int(row["seed"]), int(row["evaluations"]), float(row["validation"]), float(row["test"])
            )
            for row in csv.DictReader(file)
        ]


def report(table: Table, bests: Sequence[Best], tell: Callable[[str], None] = print) -> None:
    """Means and how many seeds met one of the two best rows, then paired differences, as Markdown."""
    second = sorted(row.validation for row in table.rows)[-2]
    columns = [f"validation at {n} | test | seeds with a best row" for n in COMPARED]
    tell("| searcher | " + " | ".join(columns) + " |")
    tell("|---" * (1 + 3 * len(COMPARED)) + "|")
    for name in dict.fromkeys(best.searcher for best in bests):
        cells = []
        for count in COMPARED:
            of = [best for best in bests if best.searcher == name and best.evaluations == count]
            found = sum(b.validation >= second for b in of)
            cells += [f"{np.mean([b.validation for b in of]):.4f} | {np.mean([b.test for b in of]):.4f} | {found}"]
        tell(f"| {name} | " + " | ".join(cells) + " |")
    tell(f"\n| minus {BASELINE} | score | evaluations | difference, 95 % | better / worse seeds | p (Holm) |")
    tell("|---" * 6 + "|")
    for one in differences(bests):
        interval = f"{one.mean:+.4f} ({one.low:+.4f} to {one.high:+.4f})"
        counts = f"{one.wins} / {one.losses}"
        tell(f"| {one.searcher} | {one.score} | {one.evaluations} | {interval} | {counts} | {one.p:.2g} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="folder of manifest.json and scores.csv")
    parser.add_argument("--only", default=None, help="run this searcher and keep the stored results of the others")
    parser.add_argument("--summarize", action="store_true", help="run nothing; read searchers.csv")
    options = parser.parse_args()
    table, results = Table.load(options.table), options.table / "searchers.csv"
    agents = {} if options.summarize else searchers(table)
    if options.only and options.only not in agents:
        parser.error(f"no searcher {options.only!r}; there are: {', '.join(agents)}")
    stored = read(results) if options.summarize or options.only else []
    for name in [options.only] if options.only else list(agents):
        started_s = time.process_time()
        stored = [best for best in stored if best.searcher != name]
        for seed in range(1, SEEDS + 1):
            stored += best_so_far(name, seed, search(table, agents[name], seed, EVALUATIONS), RECORDED)
        print(f"{name}: {time.process_time() - started_s:.0f} s of CPU", flush=True)
        write(results, stored)
    bests = read(results)
    top = max(row.validation for row in table.rows)
    (options.table / "searchers.svg").write_text(chart(bests, top), encoding="ascii")
    report(table, bests)


def _no_files(step: int) -> StepFiles:
    raise LookupError(f"no step of a table has files, step {step} neither")


if __name__ == "__main__":
    main()

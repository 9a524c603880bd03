"""Compares searchers on a stored table of scores: which finds a better architecture in as many evaluations?

    python bench/searchers.py --table bench/tables/mad_2p_cpu
    python bench/searchers.py --table bench/tables/mad_2p_cpu --summarize

Every searcher is the shipped agent under its default scaffold, asked step by step as a run asks it. What it proposes is
mapped to the nearest row that it has not had yet, by Hamming distance; a generator of the seed and step breaks ties.
The rule is the same for all; one searcher more, `bayes` told the rows, shows what the rule costs.

Rows may have been trained several times. A search of one seed sees the validation score of one training, drawn for the
seed and the row; what it found counts by `confirmed`, the mean test score of the row's other trainings, so that the
luck of the training that won is in no figure. A table with one training a row has its test score alone, which shares
that luck; the report says so. Searchers are compared with `random` on `confirmed` alone, at all counts as one family:
a paired permutation test over seeds of the mean difference, Holm's correction, and no order unless the difference
exceeds what the noise of training makes of equals (`aira_bench.statistics`).

Written beside the table: searchers.csv (best so far of each seed) and searchers.svg (means); printed: the noise of one
training, means, and paired differences. --summarize makes the picture and the text again from searchers.csv.

Not covered: architectures that are not in the table.
"""

import argparse
import csv
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr  # type: ignore[import-untyped]

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
from aira_bench.statistics.noise import NoiseFloor, least_difference, noise_floor
from aira_bench.statistics.paired import Verdict, compare
from aira_bench.tasks.artifact_spec import ArtifactSpec

BASELINE = "random"
SEEDS, EVALUATIONS, COMPARED = 30, 30, (10, 20, 30)
RECORDED = tuple(range(5, EVALUATIONS + 1, 5))
LEVEL = 0.05
RESAMPLES, BOOTSTRAP_SEED = 10_000, 1505
FITNESS_DECIMALS = 4
"""As many as the task shows a search."""
_COLORS = {"random": "#888888", "evolution": "#1b7837", "bayes": "#2166ac", "bayes:incremental": "#b2182b",
           "bayes, told the rows": "#67a9cf"}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One architecture, trained several times."""

    architecture: tuple[str, ...]
    validation: tuple[float, ...]
    """By training."""
    test: tuple[float, ...]

    def shown(self, seed: int) -> int:
        """Which training a search of this seed sees."""
        return stream(seed, 0, "-".join(self.architecture)).randrange(len(self.validation))

    def seen(self, seed: int) -> float:
        """The validation score that a search of this seed gets."""
        return self.validation[self.shown(seed)]

    def confirmed(self, seed: int) -> float:
        """Mean test score of the trainings that a search of this seed does not see; of the only one if there is one."""
        if len(self.test) == 1:
            return self.test[0]
        return fmean(score for training, score in enumerate(self.test) if training != self.shown(seed))


@dataclass(frozen=True)
class Table:
    """Every row, and what its architectures are made of."""

    rows: tuple[Row, ...]
    task: str
    primitives: tuple[str, ...]
    noise: NoiseFloor
    """How far scores of one architecture lie apart; from the manifest where rows were trained once."""

    @property
    def confirming(self) -> int:
        """How many trainings a confirmed score is the mean of."""
        return max(len(self.rows[0].test) - 1, 1)

    def beginning_with(self, primitive: str) -> "Table":
        """The rows whose first layer is of one kind."""
        return replace(self, rows=tuple(row for row in self.rows if row.architecture[0] == primitive))

    @property
    def signal(self) -> float:
        """Standard deviation of test scores between architectures, without what the noise of training adds to it."""
        means = np.array([fmean(row.test) for row in self.rows])
        trainings = len(self.rows[0].test)
        return float(np.sqrt(max(0.0, means.var(ddof=1) - self.noise.deviation**2 / trainings)))

    @property
    def agreement(self) -> float:
        """Spearman's correlation of the test scores of one training with those of another, the mean over pairs."""
        scores = np.array([row.test for row in self.rows])
        pairs = itertools.combinations(range(scores.shape[1]), 2)
        return fmean(float(spearmanr(scores[:, first], scores[:, second])[0]) for first, second in pairs)

    @classmethod
    def load(cls, folder: Path) -> "Table":
        """Read a folder of `bench/architecture_table.py`."""
        manifest = json.loads((folder / "manifest.json").read_text(encoding="ascii"))
        trainings: dict[str, list[tuple[float, float]]] = {}
        with (folder / "scores.csv").open(encoding="ascii", newline="") as file:
            for line in csv.DictReader(file):
                scores = float(line["validation"]), float(line["test"])
                trainings.setdefault(line["architecture"], []).append(scores)
        # Where the script was stopped, the last architecture may lack trainings.
        trained = manifest["seeds"]["training"]
        whole = len(trained) if isinstance(trained, list) else 1
        rows = tuple(
            Row(tuple(name.split("-")), tuple(v for v, _ in scores), tuple(t for _, t in scores))
            for name, scores in trainings.items()
            if len(scores) == whole
        )
        noise = (
            NoiseFloor(**manifest["noise"]) if "noise" in manifest else noise_floor([np.array(r.test) for r in rows])
        )
        return cls(rows, manifest["task"], tuple(manifest["primitives"]), noise)

    @property
    def brief(self) -> Brief:
        """What a searcher is told."""
        layers = len(self.rows[0].architecture)
        spec = ArtifactSpec.model_validate({"kind": "architecture", "layers": layers, "primitives": self.primitives})
        return Brief(self.task, "", spec, "Accuracy", False, "cpu", "hidden", 300.0, 3072)


class Best(NamedTuple):
    """The row that looked best after so many evaluations of one seed."""

    searcher: str
    seed: int
    evaluations: int
    seen: float
    confirmed: float


class Difference(NamedTuple):
    """A searcher minus the baseline over paired seeds."""

    searcher: str
    evaluations: int
    mean: float
    low: float
    high: float
    wins: int
    losses: int
    p: float
    """Of the permutation test, two-sided, corrected by Holm over all comparisons."""
    verdict: str
    """`better`, `worse`, or `tied` and why."""


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
        fitness, name = round(row.seen(seed), FITNESS_DECIMALS), canonical(row.architecture)
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
    """After each recorded number of evaluations, the row of best score seen; ties keep the earliest."""
    found = []
    for count in recorded:
        best = max(rows[:count], key=lambda row: round(row.seen(seed), FITNESS_DECIMALS))
        found.append(Best(searcher, seed, count, best.seen(seed), round(best.confirmed(seed), 6)))
    return found


def differences(bests: Sequence[Best], noise: NoiseFloor, trainings: int) -> list[Difference]:
    """Every searcher against the baseline at every count, one family, paired by seed; intervals by bootstrap.

    Args:
        bests: of all searchers, at the counts compared and perhaps others.
        noise: of one training.
        trainings: how many a confirmed score is the mean of. Seeds may all have found one row, so their number does not
            lessen the noise.
    """
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    names = [name for name in dict.fromkeys(best.searcher for best in bests) if name != BASELINE]
    places = {place: index for index, place in enumerate(itertools.product([BASELINE, *names], COMPARED))}
    seeds = sorted({best.seed for best in bests})
    scores = np.full((len(places), len(seeds)), np.nan)
    for best in bests:
        if (best.searcher, best.evaluations) in places:
            scores[places[best.searcher, best.evaluations], seeds.index(best.seed)] = best.confirmed
    assert np.isfinite(scores).all(), "seeds are paired"
    family = list(itertools.product(names, COMPARED))
    pairs = [(places[name, count], places[BASELINE, count]) for name, count in family]
    least = least_difference(noise, trainings, trainings)
    found = []
    for (name, count), made in zip(family, compare(scores, rng, pairs=pairs, least_differences=least), strict=True):
        paired = scores[made.first] - scores[made.second]
        low, high = np.quantile(rng.choice(paired, (RESAMPLES, len(paired))).mean(axis=1), (0.025, 0.975))
        wins, losses = int((paired > 0).sum()), int((paired < 0).sum())
        verdict = {Verdict.FIRST: "better", Verdict.SECOND: "worse", Verdict.TIED: f"tied: {made.why}"}[made.verdict]
        if made.verdict is not Verdict.TIED and made.holm_p > LEVEL:
            verdict = "tied: not significant"
        found.append(
            Difference(name, count, made.difference, float(low), float(high), wins, losses, made.holm_p, verdict)
        )
    return found


def chart(bests: Sequence[Best], top: float) -> str:
    """An SVG of the mean confirmed score by evaluations; the dashed line is the best row's mean test score."""
    width, height, left, right, base = 800, 360, 60, 620, 320  # names of searchers stand beside the curves
    means = _means(bests)
    low = min(value for curve in means.values() for value in curve.values())
    last = max(count for curve in means.values() for count in curve)

    def point(count: int, value: float) -> str:
        return f"{left + (right - left) * count / last:.1f},{base - (base - 20) * (value - low) / (top - low):.1f}"

    start, end = point(0, top).split(","), point(last, top).split(",")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        "<style>text {font-size: 12px}</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<path d="M{left},20 V{base} H{right}" fill="none" stroke="black"/>',
        f'<path d="M{start[0]},{start[1]} L{end[0]},{end[1]}" stroke="black" stroke-dasharray="4"/>',
        f'<text x="4" y="24">{top:.4f}</text><text x="4" y="{base}">{low:.4f}</text>',
        f'<text x="{(right + left) // 2}" y="{height - 6}" text-anchor="middle">evaluations</text>',
    ]
    parts += [
        f'<text x="{point(count, low).split(",")[0]}" y="{base + 16}" text-anchor="middle">{count}</text>'
        for count in COMPARED
    ]
    for index, (name, curve) in enumerate(means.items()):
        path = " L".join(point(count, value) for count, value in curve.items())
        color = _COLORS.get(name, "black")
        parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="{right + 20}" y="{120 + 24 * index}" fill="{color}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _means(bests: Sequence[Best]) -> Mapping[str, dict[int, float]]:
    values: dict[str, dict[int, list[float]]] = {}
    for best in bests:
        values.setdefault(best.searcher, {}).setdefault(best.evaluations, []).append(best.confirmed)
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
                row["searcher"], int(row["seed"]), int(row["evaluations"]), float(row["seen"]), float(row["confirmed"])
            )
            for row in csv.DictReader(file)
        ]


def report(table: Table, bests: Sequence[Best], tell: Callable[[str], None] = print) -> None:
    """Noise, means and paired differences, as Markdown."""
    noise, trainings, trained = table.noise, table.confirming, len(table.rows[0].test)
    if trained == 1:
        tell("Rows were trained once: `confirmed` is the test score of the training that the search saw.\n")
    low, high = noise.interval()
    least = least_difference(noise, trainings, trainings)
    columns: tuple[str, ...] = ("architectures", "sd between them", "mean", "best mean", "Spearman of two trainings")
    columns = columns if trained > 1 else columns[:-1]
    tell("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    kinds = {f", begin with {kind}": table.beginning_with(kind) for kind in table.primitives}
    for name, part in {"": table, **kinds}.items():
        means = [fmean(row.test) for row in part.rows]
        cells = [f"{len(means)}{name}", f"{part.signal:.4f}", f"{fmean(means):.4f}", f"{max(means):.4f}"]
        tell("| " + " | ".join([*cells, f"{part.agreement:.2f}"] if trained > 1 else cells) + " |")
    tell("")
    tell("| noise of one training, sd | 95 % | least difference that is no noise |\n|---|---|---|")
    tell(f"| {noise.deviation:.4f} | {low:.4f} to {high:.4f} | {least:.4f} |\n")
    tell("| searcher | " + " | ".join(f"seen at {n} | confirmed" for n in COMPARED) + " |")
    tell("|---" * (1 + 2 * len(COMPARED)) + "|")
    for name in dict.fromkeys(best.searcher for best in bests):
        cells = []
        for count in COMPARED:
            of = [best for best in bests if best.searcher == name and best.evaluations == count]
            cells += [f"{fmean(best.seen for best in of):.4f} | {fmean(best.confirmed for best in of):.4f}"]
        tell(f"| {name} | " + " | ".join(cells) + " |")
    columns = ("evaluations", "difference, 95 %", "in sd of one training", "better / worse seeds", "p (Holm)", "")
    tell(f"\n| confirmed minus {BASELINE} | " + " | ".join(columns) + " |")
    tell("|---" * (1 + len(columns)) + "|")
    for one in differences(bests, noise, trainings):
        interval = f"{one.mean:+.4f} ({one.low:+.4f} to {one.high:+.4f})"
        cells = [one.searcher, str(one.evaluations), interval, f"{one.mean / noise.deviation:+.2f}"]
        tell("| " + " | ".join([*cells, f"{one.wins} / {one.losses}", f"{one.p:.2g}", one.verdict]) + " |")


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
    top = max(fmean(row.test) for row in table.rows)
    (options.table / "searchers.svg").write_text(chart(bests, top), encoding="ascii")
    report(table, bests)


def _no_files(step: int) -> StepFiles:
    raise LookupError(f"no step of a table has files, step {step} neither")


if __name__ == "__main__":
    main()

"""How often boards would order what is equal, and find what is not: names without a difference, and a planted one.

    python bench/placebo.py [--names 10] [--seeds 6 10 20] [--resamplings 2000]
    python bench/placebo.py --runs FOLDER [--agent random] [--resamplings 100]

Of made-up luck of several shapes, all names alike, it counts the families in which any pair is ordered at 5 %, by the
stepped-down largest statistic that boards use and by Holm; then, with one name planted two standard deviations above,
the draws in which at least half of its pairs are ordered.

With --runs an agent's own seeds stand under all names, drawn with replacement from each of a folder's tables, and are
ordered as boards order rows, noise floors included: no name is better, so no order is right. Planted are two noise
floors.

Not covered: of made-up luck noise floors, which refuse some of these orders too.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from aira_bench.boards.board import Table, build_tables
from aira_bench.boards.order import comparisons_of
from aira_bench.boards.replicates import SeedResult
from aira_bench.boards.rows import Row, row_of
from aira_bench.keys import KeyFolder
from aira_bench.paths import host_paths
from aira_bench.record.folder import list_runs
from aira_bench.statistics.arrays import Floats
from aira_bench.statistics.paired import Verdict, compare

Luck = Callable[[np.random.Generator, tuple[int, int]], Floats]
ALPHA, PLANTED = 0.05, 2.0
"""Level, and how many deviations of luck, or of a board's noise floors, a planted name is better."""
SHAPES: dict[str, Luck] = {
    "normal": lambda draws, shape: draws.normal(size=shape),
    "exponential": lambda draws, shape: draws.exponential(size=shape),
    "lognormal": lambda draws, shape: draws.lognormal(size=shape),
    "one in seven fails": lambda draws, shape: np.where(draws.random(shape) < 1 / 7, -8.0, draws.normal(size=shape)),
    "two values": lambda draws, shape: (draws.random(shape) < 0.5).astype(np.float64),
    "one in five succeeds": lambda draws, shape: (draws.random(shape) < 0.2).astype(np.float64),
}


def measured(luck: Luck, names: int, seeds: int, resamplings: int, draws: np.random.Generator) -> str:
    """Shares of families that order a placebo, and of draws that find the planted name."""
    wrong, wrong_by_holm, found, found_by_holm = 0, 0, 0, 0
    scale = float(luck(draws, (1, 10_000)).std())
    for _ in range(resamplings):
        scores = luck(draws, (names, seeds))
        pairs = compare(scores, draws, alpha=ALPHA)
        wrong += any(each.corrected_p <= ALPHA for each in pairs)
        wrong_by_holm += any(each.holm_p <= ALPHA for each in pairs)
        scores[0] += PLANTED * scale
        mine = [each for each in compare(scores, draws, alpha=ALPHA) if each.first == 0]
        found += 2 * sum(each.corrected_p <= ALPHA for each in mine) >= len(mine)
        found_by_holm += 2 * sum(each.holm_p <= ALPHA for each in mine) >= len(mine)
    shares = (f"{count / resamplings:.3f}" for count in (wrong, wrong_by_holm, found, found_by_holm))
    return " | ".join(shares)


def on_board(
    table: Table, agent: str, names: int, seeds: int, resamplings: int, draws: np.random.Generator
) -> tuple[int, int]:
    """How many of so many families of names order anything, and how many find one that has two noise floors more.

    Args:
        table: of a board, with a noise floor.
        agent: whose seeds stand under all names.
        names: how many of them.
        seeds: how many each name has.
        resamplings: how often.
        draws: says which seeds.

    Raises:
        ValueError: the agent has no confirmed seed there, or the noise was not measured.
    """
    pool = [each for row in table.ordered if row.entry.agent == agent for each in row.decided]
    if not pool or table.noise is None:
        raise ValueError(f"no confirmed seed of {agent} on {table.section.task}, or no noise floor")
    better = PLANTED * table.noise.deviation * (-1 if table.section.lower_is_better else 1)
    wrong, found = 0, 0
    for _ in range(resamplings):
        drawn = [[pool[place] for place in draws.integers(len(pool), size=seeds)] for _ in range(names)]
        rows = [_named(table.ordered[0], str(name), results) for name, results in enumerate(drawn)]
        pairs = comparisons_of(replace(table, rows=tuple(rows)), draws, ALPHA)
        wrong += any(each.verdict is not Verdict.TIED for each in pairs)
        planted = [replace(each, trainings=tuple(value + better for value in each.trainings)) for each in drawn[0]]
        pairs = comparisons_of(replace(table, rows=(_named(rows[0], "0", planted), *rows[1:])), draws, ALPHA)
        found += 2 * sum(each.verdict is Verdict.FIRST for each in pairs if each.first == 0) >= names - 1
    return wrong, found


def _named(like: Row, name: str, results: list[SeedResult]) -> Row:
    """A row of that name, whose seeds are numbered from 0."""
    numbered = {seed: [replace(each, seed=seed)] for seed, each in enumerate(results)}
    return row_of(replace(like.entry, agent=name), numbered, dict.fromkeys(numbered, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[6, 10, 16])
    parser.add_argument("--resamplings", type=int, default=2000)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--agent", default="random")
    args = parser.parse_args()
    print(f"{args.names} names, {args.resamplings} families each")
    if args.runs is not None:
        print("| task | seeds | placebo ordered | planted found |\n|---|---|---|---|")
        for table in build_tables(list_runs(args.runs), KeyFolder(host_paths().keys).ring()):
            for seeds in args.seeds:
                counts = on_board(table, args.agent, args.names, seeds, args.resamplings, np.random.default_rng(seeds))
                shares = " | ".join(f"{count / args.resamplings:.3f}" for count in counts)
                print(f"| {table.section.task} | {seeds} | {shares} |", flush=True)
        return
    print("| luck | seeds | placebo ordered | by Holm | planted found | by Holm |\n|---|---|---|---|---|---|")
    for name, luck in SHAPES.items():
        for seeds in args.seeds:
            shares = measured(luck, args.names, seeds, args.resamplings, np.random.default_rng(seeds))
            print(f"| {name} | {seeds} | {shares} |", flush=True)


if __name__ == "__main__":
    main()

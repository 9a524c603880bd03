"""How often boards would order what is equal, and find what is not: names without a difference, and a planted one.

    python bench/placebo.py [--names 10] [--seeds 6 10 20] [--resamplings 2000]
    python bench/placebo.py --runs FOLDER --agent random

Of made-up luck of several shapes, all names alike, it counts the families in which any pair is ordered at 5 %, by the
stepped-down largest statistic that boards use and by Holm; then, with one name planted two standard deviations above,
the draws in which at least half of its pairs are ordered. With --runs luck is that of an agent's scores on each of a
folder's tables, drawn with replacement under as many names: no name is better, so no order is right.

Not covered: noise floors, which refuse some of these orders too.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from aira_bench.boards.board import build_tables
from aira_bench.boards.order import basis_of, scores_by_seed
from aira_bench.keys import KeyFolder
from aira_bench.paths import host_paths
from aira_bench.record.folder import list_runs
from aira_bench.statistics.arrays import Floats
from aira_bench.statistics.paired import compare

Luck = Callable[[np.random.Generator, tuple[int, int]], Floats]
ALPHA, PLANTED = 0.05, 2.0
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


def lucks(runs: Path | None, agent: str) -> Iterator[tuple[str, Luck]]:
    """The shapes of luck that are asked for: made up, or an agent's on each table of a folder of runs."""
    if runs is None:
        yield from SHAPES.items()
        return
    for table in build_tables(list_runs(runs), KeyFolder(host_paths().keys).ring()):
        rows = [scores_by_seed(row, basis_of(table)) for row in table.rows if row.entry.agent == agent]
        known = [score for scores in rows for each in scores.values() for score in each if score is not None]
        if known:
            pool = np.array(known)
            yield (
                f"{table.section.task}, {pool.size} of {agent}",
                lambda draws, shape, pool=pool: draws.choice(pool, shape),  # type: ignore[misc]
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[6, 10, 16])
    parser.add_argument("--resamplings", type=int, default=2000)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--agent", default="random")
    args = parser.parse_args()
    print(f"{args.names} names, {args.resamplings} families each")
    print("| luck | seeds | placebo ordered | by Holm | planted found | by Holm |\n|---|---|---|---|---|---|")
    for name, luck in lucks(args.runs, args.agent):
        for seeds in args.seeds:
            shares = measured(luck, args.names, seeds, args.resamplings, np.random.default_rng(seeds))
            print(f"| {name} | {seeds} | {shares} |", flush=True)


if __name__ == "__main__":
    main()

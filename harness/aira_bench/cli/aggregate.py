"""`aira-bench aggregate`: one pattern from the best architectures of runs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder

if TYPE_CHECKING:
    from aira_bench.scaling.aggregate import ScoredArchitecture, Voter

_EPILOG = """examples:
  aira-bench aggregate my-run other-run
  aira-bench aggregate my-run --select clusters --condition 0 --picture votes.svg
  aira-bench aggregate my-run --select clusters --cluster architectures
  aira-bench aggregate --scores scores.json --top 20 --decay 0.8 --json

--split test ranks by test score, as the paper does; a test score that was selected on no longer estimates anything.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "aggregate", help="vote one pattern from many runs", epilog=_EPILOG,
        formatter_class=SUB_FORMAT,
        description="Collect scored architectures, select the best, and vote for a pattern layer by layer.",
    )  # fmt: skip
    parser.add_argument("runs_wanted", nargs="*", metavar="RUN", help="names or folders of runs")
    parser.add_argument("--scores", type=Path, action="append", default=[], metavar="FILE", help="scores as JSON")
    add_runs_folder(parser)
    add_selection(parser)
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="picture of the votes of the first condition")
    add_json(parser)
    parser.set_defaults(handle=handle)


def add_selection(parser: argparse.ArgumentParser, conditions: str = "all three") -> None:
    """Add what says which architectures vote, and how."""
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="default: validation")
    parser.add_argument(
        "--select", choices=("rank", "clusters"), default="rank",
        help="rank: top K with decaying weights; clusters: the best of K clusters (default: rank)",
    )  # fmt: skip
    parser.add_argument(
        "--top", type=int, default=20, metavar="K",
        help="architectures of each dataset, and whoever ties with the last of them (default: 20)",
    )  # fmt: skip
    parser.add_argument("--decay", default="0.8", metavar="X", help="weight of a rank over the one before (0.8)")
    parser.add_argument("--clusters", type=int, default=3, metavar="K", help="how many clusters (default: 3)")
    parser.add_argument(
        "--cluster", choices=("scores", "architectures"), default="scores",
        help="what is clustered: scores, or architectures by the layers in which they differ, which needs "
        "aira-bench[stats] (default: scores)",
    )  # fmt: skip
    parser.add_argument(
        "--condition", type=int, choices=(0, 1, 2), action="append", metavar="C",
        help=f"layers before that must agree: 0, 1 or 2; repeatable (default: {conditions})",
    )  # fmt: skip


def handle(args: argparse.Namespace) -> int:
    """Collect, select, vote and print."""
    from aira_bench.scaling.aggregate import CONDITIONS, vote
    from aira_bench.scaling.notation import write_pattern
    from aira_bench.scaling.pictures import votes_svg, write_picture
    from aira_bench.scaling.render import aggregation_record, print_aggregation
    from aira_bench.terminal import results_console, say_json

    voters = select(args, _collect(args))
    aggregations = [vote(voters, condition) for condition in args.condition or CONDITIONS]
    if args.picture:
        first = aggregations[0]
        caption = f"N{first.condition_layers} votes: {write_pattern(first.pattern)}"
        write_picture(args.picture, votes_svg(first.votes, caption))
    if args.json:
        say_json(aggregation_record(aggregations, voters, selection_words(args)), indent=1)
    else:
        print_aggregation(aggregations, voters, selection_words(args), results_console())
    return 0


def _collect(args: argparse.Namespace) -> "list[ScoredArchitecture]":
    from aira_bench.errors import UsageError
    from aira_bench.keys import KeyFolder
    from aira_bench.paths import host_paths
    from aira_bench.record.folder import find_run
    from aira_bench.record.run_record import read_run
    from aira_bench.scaling.run_scores import collect_scores
    from aira_bench.scaling.scores_file import read_scores
    from aira_bench.terminal import tell

    if not args.runs_wanted and not args.scores:
        raise UsageError("Nothing to aggregate: name runs, or files with --scores.", hint="aira-bench status")
    scored = [item for path in args.scores for item in read_scores(path)]
    if args.runs_wanted:
        paths = host_paths(args.runs)
        ring = KeyFolder(paths.keys).ring()
        runs = [read_run(find_run(paths.runs, name), ring) for name in args.runs_wanted]
        if any(run.manifest.synthetic for run in runs):
            tell("SYNTHETIC DATA: this pattern says nothing about the real data.")
        scored += collect_scores(runs, args.split)
    return scored


def select(args: argparse.Namespace, scored: "list[ScoredArchitecture]") -> "tuple[Voter, ...]":
    """Return who votes, and with which weight."""
    from fractions import Fraction

    from aira_bench.errors import UsageError
    from aira_bench.scaling.aggregate import select_by_clusters, select_by_rank

    if args.select == "clusters":
        return select_by_clusters(scored, clusters=args.clusters, of=args.cluster)
    try:
        decay = Fraction(args.decay if len(args.decay) <= 12 and "e" not in args.decay.lower() else "")
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(
            f"{args.decay!r} is no decay, expected a number above 0 up to 1.", hint="--decay 0.8"
        ) from error
    return select_by_rank(scored, top=args.top, decay=decay)


def selection_words(args: argparse.Namespace) -> str:
    """Return how voters were selected, in words."""
    if args.select == "clusters":
        return f"best of {args.clusters} clusters of {args.cluster}"
    return f"top {args.top} and whoever ties with the last, decay {args.decay}"

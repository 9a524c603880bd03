"""`aira-bench leaderboard`: the board of all runs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder, report_faults

if TYPE_CHECKING:
    from aira_bench.statistics.suite import StatisticsSettings

_EPILOG = """examples:
  aira-bench leaderboard
  aira-bench leaderboard my-run other-run --out results
  aira-bench leaderboard --exclude my-run --why "its card had the wrong temperature"
  aira-bench leaderboard --statistics --worst observed

With --out DIR: board.json (the record: runs, hashes, seeds), leaderboard.csv, .json, .md, .tex and .parquet (which
needs pyarrow, of aira-bench[stats]), and index.html with a page for each task, which need no network.

Every run of an experiment counts, and no run takes another's place. A run that is excluded is in no figure, and is
named with the reason on the board and in its files.

A run that cannot be read, or whose files disagree with its record, is left out: one line says which and why, and the
exit status is 6.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "leaderboard", help="build the board from runs", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Build the board from runs' journals; print it and write it as CSV, JSON and Markdown; with --out "
        "as LaTeX, Parquet and a static site too, with a record that aira-bench verify checks.",
    )  # fmt: skip
    parser.add_argument("runs_wanted", nargs="*", metavar="RUN", help="names or folders of runs (default: all)")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="RUN", help="leave a run out of every figure; needs --why"
    )
    parser.add_argument(
        "--why", action="append", default=[], metavar="TEXT", help="why, once for each --exclude, in the same order"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where all files go (default: CSV, JSON and Markdown in the folder of runs)",
    )
    parser.add_argument(
        "--statistics", action="store_true",
        help="say which rows can be told apart: ranks with ties, intervals, paired tests, ratings, curves, published "
        "figures (needs aira-bench[stats])",
    )  # fmt: skip
    parser.add_argument(
        "--worst", choices=("fixed", "observed"), default="fixed",
        help="with --statistics: where normalized scores are 0, at the task's worst score or, as in the paper, at the "
        "worst of all runs on the board (default: fixed)",
    )  # fmt: skip
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Build, write and print the board."""
    from aira_bench.boards.board import tables_of
    from aira_bench.boards.board_reading import read_for_board
    from aira_bench.boards.formats import print_tables, records, write_board
    from aira_bench.boards.order import with_ranks
    from aira_bench.boards.statistics import (
        board_statistics,
        require_statistics,
        statistics_are_possible,
        statistics_lines,
        statistics_record,
    )
    from aira_bench.errors import UsageError
    from aira_bench.keys import KeyFolder
    from aira_bench.parquet import parquet_is_possible
    from aira_bench.paths import host_paths, require_new_folders
    from aira_bench.publication.document import BOARD_FILE
    from aira_bench.publication.files import write_published
    from aira_bench.publication.pages import INDEX
    from aira_bench.terminal import say, say_json, tell

    if args.worst != "fixed" and not args.statistics:
        raise UsageError(
            "--worst says where normalized scores of --statistics are 0, and changes nothing else.",
            hint="aira-bench leaderboard --statistics --worst observed",
        )
    if args.statistics or args.out is not None:
        require_statistics()
    paths = host_paths(args.runs)
    folder, ring = paths.runs, KeyFolder(paths.keys).ring()
    require_new_folders((args.out or folder).absolute(), "--out DIR")
    excluded = dict(zip(args.exclude, args.why, strict=False))
    if len(args.exclude) != len(args.why) or not all(why.strip() for why in args.why) or len(excluded) < len(args.why):
        raise UsageError(
            "Each --exclude names another run and needs a --why TEXT of its own, which boards print.",
            hint="aira-bench leaderboard --help",
        )
    read = read_for_board(folder, args.runs_wanted, excluded, ring)
    found, why_not = read.records, read.left_out
    if not found:
        return report_faults(read.faults)
    tables = tables_of(found, ring, why_not)
    if statistics_are_possible():
        tables = with_ranks(tables)
    if args.out is None:
        written = write_board(tables, folder)
    else:
        write_published(tables, found, ring, why_not, args.out)
        written = [args.out / BOARD_FILE, args.out / INDEX]
        if not parquet_is_possible():
            tell("leaderboard.parquet is not among the files: pyarrow is missing. Try: pip install 'aira-bench[stats]'")
    found_out = board_statistics(tables, found, _settings(args.worst)) if args.statistics else None
    if args.json:
        say_json({"rows": records(tables), **statistics_record(found_out)} if found_out else records(tables))
    else:
        print_tables(tables)
        for each in statistics_lines(found_out) if found_out else ():
            say(each)
        others = "" if args.out is None else f", and the board in other formats in {args.out}"
        tell("written: " + ", ".join(map(str, written)) + others)
    return report_faults(read.faults)


def _settings(worst: str) -> "StatisticsSettings":
    from aira_bench.statistics.runs import Worst
    from aira_bench.statistics.suite import StatisticsSettings

    return StatisticsSettings(worst=Worst(worst))

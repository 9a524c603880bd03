"""`aira-bench leaderboard`: the board of all runs."""

import argparse
from pathlib import Path

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder, report_faults

_EPILOG = """examples:
  aira-bench leaderboard
  aira-bench leaderboard my-run other-run --out results
  aira-bench leaderboard --exclude my-run --why "its card had the wrong temperature"

Every run of an experiment counts, and no run takes another's place. A run that is excluded is in no figure, and is
named with the reason on the board and in its files.

A run that cannot be read, or whose files disagree with its record, is left out: one line says which and why, and the
exit status is 6.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "leaderboard", help="build the board from runs", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Build the board from runs' journals; print it and write it as CSV, JSON and Markdown.",
    )  # fmt: skip
    parser.add_argument("runs_wanted", nargs="*", metavar="RUN", help="names or folders of runs (default: all)")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="RUN", help="leave a run out of every figure; needs --why"
    )
    parser.add_argument(
        "--why", action="append", default=[], metavar="TEXT", help="why, once for each --exclude, in the same order"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the files go (default: the folder of runs)")
    parser.add_argument(
        "--statistics", action="store_true",
        help="say which rows can be told apart: ranks with ties, intervals, paired tests (needs aira-bench[stats])",
    )  # fmt: skip
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Build, write and print the board."""
    from aira_bench.boards.board import tables_of
    from aira_bench.boards.formats import print_tables, records, write_board
    from aira_bench.boards.order import order_lines, order_of, order_records, require_statistics, with_ranks
    from aira_bench.errors import UsageError
    from aira_bench.keys import KeyFolder
    from aira_bench.paths import host_paths, require_new_folders
    from aira_bench.record.folder import find_run, list_runs
    from aira_bench.record.run_record import read_runs
    from aira_bench.terminal import say, say_json, tell

    if args.statistics:
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
    runs = [find_run(folder, name) for name in args.runs_wanted] if args.runs_wanted else list_runs(folder)
    places = {name: find_run(folder, name) for name in args.exclude}
    runs += [place for place in places.values() if place not in runs]
    if not runs:
        raise UsageError(f"No runs in {folder}.", hint="aira-bench run --help")
    found, faults = read_runs(runs, ring)
    if not found:
        return report_faults(faults)
    by_place = {record.folder: record.manifest.run_id for record in found}
    why_not = {by_place[place]: excluded[name] for name, place in places.items() if place in by_place}
    tables = with_ranks(tables_of(found, ring, why_not))
    written = write_board(tables, args.out or folder)
    orders = [order_of(table) for table in tables] if args.statistics else []
    if args.json:
        say_json({"rows": records(tables), "orders": order_records(orders)} if args.statistics else records(tables))
    else:
        print_tables(tables)
        for order in orders:
            say()
            say(f"{order.section.task}, profile {order.section.profile}")
            for each in order_lines(order):
                say(each)
        tell("written: " + ", ".join(map(str, written)))
    return report_faults(faults)

"""`aira-bench reproduce`: the published tables against formulas, against each other, and against runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder, report_faults

if TYPE_CHECKING:
    from aira_bench.record.folder import RunFolder

_EPILOG = """tables: 1 to 21, layers (Tables 10 and 11 against 8 and 9), headline, text (numbers of the text alone)

examples:
  aira-bench reproduce
  aira-bench reproduce 10 11
  aira-bench reproduce 8 9 --json
  aira-bench reproduce --statuses results/statuses.csv
  aira-bench reproduce --against my-run other-run
  aira-bench reproduce 4 14 --against runs/my-suite

With --against runs, or folders with runs below them, stand beside the tables that no formula gives: 4, 5, 13, 14, 19 to
21, and ranking (the small-scale ranking of appendix B). It needs aira-bench[stats].

exit status 1 if any cell is a mismatch, or with --statuses has another status than the accepted one; 6 if a run cannot
be read
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "reproduce", help="recompute the published tables", epilog=_EPILOG,
        formatter_class=SUB_FORMAT,
        description="Recompute published tables from formulas and say cell by cell whether they hold.",
    )  # fmt: skip
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="tables to recompute (default: all)")
    statuses = parser.add_mutually_exclusive_group()
    statuses.add_argument(
        "--statuses", type=Path, metavar="FILE", help="fail if a cell's status is not the one accepted in FILE"
    )
    statuses.add_argument("--write-statuses", type=Path, metavar="FILE", help="accept all statuses: write them to FILE")
    parser.add_argument(
        "--against", nargs="*", metavar="RUN|SUITE",
        help="put measured values beside the published ones: names or folders of runs, or folders of many (none: which "
        "commands would fill the tables)",
    )  # fmt: skip
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Recompute and print; 1 if any cell is a mismatch or has not the accepted status."""
    from aira_bench.errors import UsageError
    from aira_bench.reproduce.render import print_report, report_record
    from aira_bench.reproduce.statuses import changed_statuses, write_statuses
    from aira_bench.reproduce.tables import reproduce
    from aira_bench.terminal import results_console, say_json, tell

    if args.against is not None:
        if args.statuses or args.write_statuses:
            raise UsageError("Measured values have no accepted statuses.", hint="aira-bench reproduce --against RUN")
        return _against(args)
    if args.write_statuses and args.tables:
        raise UsageError(
            "Statuses are accepted of all tables at once.", hint="aira-bench reproduce --write-statuses FILE"
        )
    report = reproduce(args.tables)
    changed = changed_statuses(report, args.statuses) if args.statuses else []
    if args.write_statuses:
        write_statuses(report, args.write_statuses)
        tell(f"written: {args.write_statuses}")
    if args.json:
        say_json(report_record(report), indent=1)
    else:
        print_report(report, results_console())
    for change in changed:
        tell(str(change))
    return 0 if report.holds and not changed else 1


def _against(args: argparse.Namespace) -> int:
    from aira_bench.boards.statistics import require_statistics
    from aira_bench.keys import KeyFolder
    from aira_bench.paths import host_paths
    from aira_bench.record.run_record import read_runs
    from aira_bench.terminal import results_console, say_json

    require_statistics()
    from aira_bench.reproduce.against.comparison import against_runs
    from aira_bench.reproduce.against.render import against_record, print_against

    paths = host_paths(args.runs)
    ring = KeyFolder(paths.keys).ring()
    found, faults = read_runs(_folders(paths.runs, args.against), ring)
    compared = against_runs(found, ring, args.tables)
    if args.json:
        say_json(against_record(compared), indent=1)
    else:
        print_against(compared, results_console())
    return report_faults(faults)


def _folders(runs: Path, names: Sequence[str]) -> "list[RunFolder]":
    """The runs of these names, and of a folder that is none the runs in it, or in its folders."""
    from aira_bench.errors import UsageError
    from aira_bench.record.folder import find_run, is_run, list_runs

    folders: list[RunFolder] = []
    for name in names:
        place = next((path for path in (runs / name, Path(name)) if path.is_dir() and not is_run(path)), None)
        if place is None or any(is_run(path) for path in (runs / name, Path(name))):
            folders.append(find_run(runs, name))
            continue
        inside = list_runs(place) + [run for inner in sorted(place.iterdir()) if inner.is_dir() and not is_run(inner)
                                     for run in list_runs(inner)]  # fmt: skip
        if not inside:
            raise UsageError(f"There is no run in {place}.", hint="aira-bench status")
        folders += inside
    return list({folder.path.resolve(): folder for folder in folders}.values())

"""`aira-bench reproduce`: the published tables against formulas and against each other."""

import argparse
from pathlib import Path

from aira_bench.cli.options import SUB_FORMAT, add_json

_EPILOG = """tables: 1 to 21, layers (Tables 10 and 11 against 8 and 9), headline, text (numbers of the text alone)

examples:
  aira-bench reproduce
  aira-bench reproduce 10 11
  aira-bench reproduce 8 9 --json
  aira-bench reproduce --statuses results/statuses.csv

exit status 1 if any cell is a mismatch, or with --statuses has another status than the accepted one
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
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Recompute and print; 1 if any cell is a mismatch or has not the accepted status."""
    from aira_bench.errors import UsageError
    from aira_bench.reproduce.render import print_report, report_record
    from aira_bench.reproduce.statuses import changed_statuses, write_statuses
    from aira_bench.reproduce.tables import reproduce
    from aira_bench.terminal import results_console, say_json, tell

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

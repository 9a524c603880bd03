"""`aira-bench reproduce`: the published tables against formulas and against each other."""

import argparse

from aira_bench.cli.options import SUB_FORMAT, add_json

_EPILOG = """tables: 2 3 7 8 9 10 11, layers (Tables 10 and 11 against 8 and 9), headline

examples:
  aira-bench reproduce
  aira-bench reproduce 10 11
  aira-bench reproduce 8 9 --json

exit status 1 if any cell is a mismatch
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "reproduce", help="recompute the published tables", epilog=_EPILOG,
        formatter_class=SUB_FORMAT,
        description="Recompute published tables from formulas and say cell by cell whether they hold.",
    )  # fmt: skip
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="tables to recompute (default: all)")
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Recompute and print; 1 if any cell is a mismatch."""
    from aira_bench.reproduce.render import print_report, report_record
    from aira_bench.reproduce.tables import reproduce
    from aira_bench.terminal import results_console, say_json

    report = reproduce(args.tables)
    if args.json:
        say_json(report_record(report), indent=1)
    else:
        print_report(report, results_console())
    return 0 if report.holds else 1

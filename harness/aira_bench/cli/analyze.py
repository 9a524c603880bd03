"""`aira-bench analyze`: which features of a training script the steps that improved it changed."""

import argparse

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder

_EPILOG = """examples:
  aira-bench analyze my-run
  aira-bench analyze run-1 run-2 --against best --json

The features and tables are those of the paper's Appendix G. Most steps change several features at once, and each is
credited with all of the improvement; only the solo columns are about one change alone.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "analyze", help="what improved training scripts", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Tell which of 27 features the improvement steps of script searches changed, and what it gained.",
    )  # fmt: skip
    parser.add_argument("names", nargs="+", metavar="RUN", help="name or folder of a run on an autoresearch task")
    parser.add_argument(
        "--against", choices=("parent", "best"), default="parent",
        help="compare a step with its parent, or with the best step before it as the paper does (default: parent)",
    )  # fmt: skip
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Analyze the runs and print tables."""
    from aira_bench.analysis.improvements import run_improvements
    from aira_bench.analysis.render import print_tables, tables_record
    from aira_bench.analysis.tables import make_tables
    from aira_bench.keys import KeyFolder
    from aira_bench.paths import host_paths
    from aira_bench.record.folder import find_run
    from aira_bench.record.run_record import read_run
    from aira_bench.terminal import results_console, say_json

    paths = host_paths(args.runs)
    ring = KeyFolder(paths.keys).ring()
    runs = [read_run(find_run(paths.runs, name), ring, "all") for name in args.names]
    improvements = [step for run in runs for step in run_improvements(run, args.against)]
    tables = make_tables(improvements)
    if args.json:
        say_json(tables_record(tables), indent=1)
    else:
        print_tables(tables, results_console())
    return 0

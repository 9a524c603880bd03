"""`aira-bench export`: runs in the formats that other programs read."""

import argparse
from pathlib import Path

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder

_FORMATS = ("inspect", "parquet", "tensorboard", "atif", "csv")
_EPILOG = """examples:
  aira-bench export my-run --format csv --out steps.csv
  aira-bench export my-run other-run --format parquet --out steps.parquet
  aira-bench export my-run --format inspect --out logs
  aira-bench export my-run --format atif --out trajectories
  aira-bench export my-run --format tensorboard --out events

inspect writes a folder of logs for inspect view --log-dir; atif a trajectory a seed; tensorboard a folder for
tensorboard --logdir; parquet and csv one file with a row a step. The search score of a step is in all of them: it is
the rounded number that the search was told. Scores on test data, confirmations and whatever else the judge keeps from
the search leave only with --with-hidden: what is public once can be trained on and tuned to.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export", help="write runs for Inspect, TensorBoard, pandas and others", epilog=_EPILOG,
        formatter_class=SUB_FORMAT, description="Write the steps of runs in a format that other programs read.",
    )  # fmt: skip
    parser.add_argument("runs_wanted", nargs="+", metavar="RUN", help="names or folders of runs")
    parser.add_argument("--format", required=True, choices=_FORMATS, help="what to write")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="a file (parquet, csv), else a folder; files are replaced",
    )
    parser.add_argument("--with-hidden", action="store_true", help="also what the judge keeps from the search")
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Read the runs, write them, and say where."""
    from aira_bench.export.formats import export, require_package, require_place
    from aira_bench.export.steps import read_for_export
    from aira_bench.keys import KeyFolder
    from aira_bench.paths import host_paths, require_new_folders
    from aira_bench.record.folder import find_run
    from aira_bench.terminal import say, say_json

    require_package(args.format)
    paths, out = host_paths(args.runs), args.out.absolute()
    require_new_folders(out.parent, "--out PATH")
    require_place(args.format, out)
    ring = KeyFolder(paths.keys).ring()
    folders = [find_run(paths.runs, name) for name in args.runs_wanted]
    runs = [read_for_export(folder, ring, with_hidden=args.with_hidden) for folder in folders]
    written = export(args.format, runs, out)
    steps = sum(len(seed.steps) for run in runs for seed in run.seeds)
    if args.json:
        files = [str(path) for path in written]
        say_json({"format": args.format, "files": files, "steps": steps, "with_hidden": args.with_hidden})
        return 0
    for path in written:
        say(path)
    kept = "hidden scores are among them" if args.with_hidden else "without hidden scores (--with-hidden adds them)"
    say(f"{_counted(steps, 'step')} of {_counted(len(runs), 'run')}, {kept}")
    return 0


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"

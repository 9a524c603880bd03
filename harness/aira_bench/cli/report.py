"""`aira-bench report`: the pages of runs as a folder that opens from disk."""

import argparse
from pathlib import Path

from aira_bench.cli.options import SUB_FORMAT, add_runs_folder

_EPILOG = """examples:
  aira-bench report demo --out demo-report
  aira-bench report runs/my-suite --out report --steps all

Open DIR/index.html; no network is needed, and nothing is loaded from elsewhere. Pages show what aira-bench view shows,
test scores included, so whoever gets the folder gets them.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "report", help="write pages of runs into a folder", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Write the pages of aira-bench view into a folder that opens from disk. Needs aira-bench[view].",
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN|SUITE", help="a run, or a folder of runs, such as a suite's")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pages go")
    parser.add_argument(
        "--steps", choices=("all", "submitted"), default=None,
        help="which steps have pages of their own (default: all of one run, the submitted ones of several)",
    )  # fmt: skip
    add_runs_folder(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Write pages of what was named, and say where."""
    from aira_bench.paths import require_new_folders
    from aira_bench.terminal import say
    from aira_bench.view.requirements import require_view

    require_view(server=False)
    from aira_bench.view.opening import open_site
    from aira_bench.view.report import write_report

    require_new_folders(args.out.absolute(), "--out DIR")
    site, first = open_site(args.runs, args.run, follows=False)
    named = first != "index.html"
    if named:
        site.source.only = frozenset({site.run_at(first).path.name})
    written = write_report(site, args.out, all_steps=args.steps == "all" or (named and args.steps is None), first=first)
    say(f"{written.pages} pages, {written.files} files: {written.first}")
    return 0

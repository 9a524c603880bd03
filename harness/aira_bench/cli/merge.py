"""`aira-bench merge`: add runs that other machines packed, once they hold."""

import argparse
from pathlib import Path

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder

_EPILOG = """examples:
  aira-bench merge pack.tar.gz --signed-by ed25519:KEY
  aira-bench merge packs/*.tar.gz

Each pack is checked as aira-bench verify checks a board, with every file of its runs, before anything of it is added.
Keys that signed it must be trusted (aira-bench key trust) or named. A run that is here already is left as it is.

Exit status: 0 merged; 2 usage; 6 a pack does not hold, and nothing of it was added.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "merge", help="add runs that other machines packed", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Check packs of runs, and add their runs to the folder of runs.",
    )  # fmt: skip
    parser.add_argument("packs", nargs="+", type=Path, metavar="PACK", help="files that aira-bench submit wrote")
    parser.add_argument(
        "--signed-by", action="append", default=[], metavar="KEY",
        help="a public key (aira-bench key export) that may have signed the packs' runs",
    )  # fmt: skip
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Check each pack, and add its runs."""
    from aira_bench.keys import KeyFolder, parse_public
    from aira_bench.packs.merging import merge
    from aira_bench.paths import host_paths, require_new_folders
    from aira_bench.terminal import say, say_json

    paths = host_paths(args.runs)
    require_new_folders(paths.runs, "--runs DIR")
    named = [parse_public(each) for each in args.signed_by]
    ring = KeyFolder(paths.keys).ring()
    merged = [(pack, run) for pack in args.packs for run in merge(pack.absolute(), paths.runs, ring, named)]
    if args.json:
        say_json([{"pack": str(pack), "run": run.run, "run_id": run.run_id, "new": run.is_new} for pack, run in merged])
    else:
        for pack, run in merged:
            say(f"{pack}: run {run.run}, {'added' if run.is_new else 'here already'}")
    return 0

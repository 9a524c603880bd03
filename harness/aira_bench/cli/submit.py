"""`aira-bench submit`: pack runs with their evidence, for another machine."""

import argparse
import os
from pathlib import Path

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder

_EPILOG = """examples:
  aira-bench submit my-run other-run --out pack.tar.gz

The pack has all that the runs' records vouch for: manifests, journals, scores, confirmations, and what each step left.
The same runs make the same pack. A run that has not ended or is unsigned is refused, and one in whose files a key or a
path of this machine stands: a signed record cannot be blacked out.

Exit status: 0 packed; 2 usage; 6 a run cannot be packed.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "submit", help="pack runs with their evidence", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Pack finished runs with all that vouches for them into one file, for aira-bench merge.",
    )  # fmt: skip
    parser.add_argument("runs_wanted", nargs="+", metavar="RUN", help="names or folders of runs")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PACK", help="the file to write, such as runs.tar.gz"
    )
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Read, look for what may not leave, and pack."""
    from aira_bench.errors import UsageError
    from aira_bench.files import hash_file
    from aira_bench.packs.pack_file import MOST_FILE_BYTES
    from aira_bench.packs.submitting import pack_runs
    from aira_bench.paths import host_paths, require_new_folders
    from aira_bench.record.folder import find_run
    from aira_bench.terminal import say, say_json

    paths = host_paths(args.runs)
    out = args.out.absolute()
    require_new_folders(out.parent, "--out PACK")
    if out.is_dir():
        raise UsageError(f"{args.out} is a folder, and a pack is a file.", hint="--out runs.tar.gz")
    folders = [find_run(paths.runs, name) for name in args.runs_wanted]
    out.parent.mkdir(parents=True, exist_ok=True)
    index = pack_runs(folders, paths, out, os.environ)
    digest, size = hash_file(out.parent, out.name, MOST_FILE_BYTES), out.stat().st_size
    if args.json:
        say_json({"pack": str(args.out), "sha256": digest, "bytes": size, "files": len(index.files)})
    else:
        say(f"{args.out}: {len(folders)} runs, {len(index.files)} files, {size / 2**20:.2f} MiB, SHA-256 {digest}")
    return 0

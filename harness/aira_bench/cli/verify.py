"""`aira-bench verify`: make a published board again from its runs, and say every difference."""

import argparse
from pathlib import Path

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder

_EPILOG = """examples:
  aira-bench verify board
  aira-bench verify board/board.json --runs their-runs --signed-by ed25519:KEY

BOARD is a folder that leaderboard --out wrote, of which every file is compared, or its board.json alone. All runs on it
are read again, with their chains, signatures, scores and files. Every key that signed one must be this machine's own,
trusted (aira-bench key trust), or named with --signed-by.

Exit status: 0 everything is as its runs give it; 1 something differs, and each difference is a line; 2 there is no such
board; 6 the file is no board.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "verify", help="make a published board again from its runs", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Make a board again from its runs' journals, and fail on any difference.",
    )  # fmt: skip
    parser.add_argument(
        "board", type=Path, metavar="BOARD", help="a folder that leaderboard --out wrote, or board.json"
    )
    parser.add_argument(
        "--signed-by", action="append", default=[], metavar="KEY",
        help="a public key (aira-bench key export) that may have signed the board's runs",
    )  # fmt: skip
    parser.add_argument(
        "--records-only", action="store_true",
        help="hash none of the files that steps left: where only journals and scores are at hand",
    )  # fmt: skip
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Compare, and print every difference."""
    from aira_bench.boards.statistics import require_statistics
    from aira_bench.keys import KeyFolder, parse_public
    from aira_bench.paths import host_paths
    from aira_bench.publication.verification import read_board, verify
    from aira_bench.terminal import say, say_json, tell

    require_statistics()
    paths = host_paths(args.runs)
    named = [parse_public(each) for each in args.signed_by]
    board = read_board(args.board)
    ring = KeyFolder(paths.keys).ring()
    found = verify(board, paths.runs, ring, named, "records" if args.records_only else "all")
    if args.json:
        say_json({"runs": found.runs, "files": found.files, "differences": list(found.differences)})
    else:
        for each in found.differences:
            say(each)
        if not found.differences:
            left = "journals and scores alone" if args.records_only else "with all their files"
            say(f"{args.board}: {found.files} files are what {found.runs} runs give, read {left}.")
    if found.differences:
        tell(f"aira-bench: {args.board} is not what its runs give: {len(found.differences)} differences.")
    return 1 if found.differences else 0

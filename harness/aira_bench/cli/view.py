"""`aira-bench view`: pages of runs in a browser, from a server of this machine."""

import argparse
import contextlib

from aira_bench.cli.options import SUB_FORMAT, add_runs_folder

_EPILOG = """examples:
  aira-bench view
  aira-bench view demo
  aira-bench view runs/my-suite --open

Prints the address of the first page, which has a random token in it and is served on this machine alone, to whoever has
that address. Pages follow runs while they go on. Ctrl-C ends it.

What pages need of runs is kept in RUNS/.aira-view, which may be removed at any time. They show hidden scores, as
aira-bench show does.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "view", help="show runs in a browser", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Serve pages of runs to a browser on this machine: board, curves, search trees, code, cost. "
        "Needs aira-bench[view].",
    )  # fmt: skip
    parser.add_argument(
        "runs_wanted", nargs="?", metavar="RUNS", help="a run, or a folder of runs, such as a suite's (default: all)"
    )
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="(default: one that is free)")
    parser.add_argument("--open", action="store_true", help="open the first page in a browser too")
    add_runs_folder(parser)
    parser.set_defaults(handle=handle)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= 65535):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a port from 0 to 65535")
    return int(text)


def handle(args: argparse.Namespace) -> int:
    """Serve pages until the command is stopped."""
    from aira_bench.terminal import say, tell
    from aira_bench.view.requirements import require_view

    require_view(server=True)
    import threading

    from aira_bench.view.opening import open_site
    from aira_bench.view.server import new_token, serving

    site, first = open_site(args.runs, args.runs_wanted, follows=True)
    with contextlib.closing(site), serving(site, new_token(), args.port) as address:
        say(f"{address}{first}", flush=True)
        tell("Ctrl-C ends it.")
        if args.open:
            import webbrowser

            webbrowser.open(f"{address}{first}")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0

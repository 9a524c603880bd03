"""`aira-bench judge`: be a judge node, for one connection."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_runtime

if TYPE_CHECKING:
    from aira_bench.runs.host import Host, Note

_EPILOG = """examples:
  aira-bench judge serve
  restrict,command="/opt/aira/bin/aira-bench judge serve" ssh-ed25519 AAAA...    (a line of ~/.ssh/authorized_keys)

`run --judge-on` and its like start this on other machines, by ssh or by Ray, and speak with it over its standard input
and output; by hand it is of no use. It makes hidden data here, under this machine's own hidden key (AIRA_HOME/keys),
judges submissions that are data, and keeps each verdict below AIRA_HOME/judged, so that the same request gets it again.

Exit status: 0 the other side hung up.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "judge", help="judge for runs of other machines", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Judge submissions of a run on another machine, which started this one (docs/cluster.md).",
    )  # fmt: skip
    parser.add_argument("action", choices=("serve",), help="serve one connection over standard input and output")
    add_runtime(parser, begins=True)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Serve until the other side hangs up."""
    import os
    import sys

    from aira_bench.runs.connect import connect_host
    from aira_bench.runs.judge_service import serve

    def connect(note: "Note") -> "Host":
        return connect_host(
            None, args.runtime, note, containers=args.containers, accepted_walls=args.accepted_walls
        )  # fmt: skip

    sink = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed is no message
    with os.fdopen(sink, "wb") as to, os.fdopen(os.dup(sys.stdin.fileno()), "rb") as source:
        serve(connect, lambda profile, note: _examined(args, profile, note), source, to)
    return 0


def _examined(args: argparse.Namespace, profile: str, note: "Note") -> bytes:
    from aira_bench.doctor.node import NodeRequest, judging_report
    from aira_bench.paths import host_paths

    return judging_report(NodeRequest(Path(), profile, args.runtime, args.containers), host_paths(), note)

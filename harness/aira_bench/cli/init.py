"""`aira-bench init`: a working template to start from."""

import argparse
from pathlib import Path

from aira_bench.cli.options import SUB_FORMAT, add_json

_KINDS = ("task", "agent", "scaffold", "card")
_EPILOG = """examples:
  aira-bench init task BalancedBracketsAccuracy
  aira-bench init agent my-search --into ~/work
  aira-bench init scaffold my-policy
  aira-bench init card my-model

What is written works as it stands and says in comments what each part is for (docs/extending.md). Nothing that is
there is overwritten.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "init", help="write a template of a task, agent, scaffold or card", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Write a working, commented template.",
    )  # fmt: skip
    parser.add_argument("kind", choices=_KINDS, help="what to begin")
    parser.add_argument("name", metavar="NAME", help="its name")
    parser.add_argument("--into", type=Path, default=Path(), metavar="DIR", help="an existing folder (default: here)")
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Write it and say what to type next."""
    from aira_bench.authoring.templates import write_template
    from aira_bench.terminal import say, say_json

    written = write_template(args.kind, args.name, args.into)
    if args.json:
        say_json({"path": str(written.path), "files": list(written.files), "next": list(written.commands)})
        return 0
    say(f"Wrote {written.path}" + (f": {', '.join(written.files)}" if written.path.is_dir() else ""))
    for number, command in enumerate(written.commands):
        say(f"{'Next:  ' if not number else '       '}{command}")
    return 0

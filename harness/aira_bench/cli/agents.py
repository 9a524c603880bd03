"""`aira-bench agents`: who can be sent into a search."""

import argparse

from aira_bench.cli.options import SUB_FORMAT, add_json

_EPILOG = """example:
  aira-bench agents

A card that cannot be read is left out: one line says which and why, and the exit status is 2.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "agents", help="list agents", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="List agents and what is missing to use each.",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """List the agents that can be named, with what is missing to use each."""
    from aira_bench.agents.catalog import agent_rows
    from aira_bench.cli.options import report_faults
    from aira_bench.cli.tables import print_rows
    from aira_bench.errors import UsageError
    from aira_bench.terminal import say_json

    faults: list[UsageError] = []
    rows = [
        {
            "agent": row.name,
            "kind": row.kind,
            "what it is": row.description,
            "USD per million tokens in / out": row.prices,
            "missing": list(row.missing),
        }
        for row in agent_rows(faults)
    ]
    if args.json:
        say_json(rows)
    else:
        print_rows(rows, empty="No agents are installed.")
    return report_faults(faults)

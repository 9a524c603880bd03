"""`aira-bench tasks`: the tasks that come with this installation."""

import argparse

from aira_bench.cli.options import SUB_FORMAT, add_json

_EPILOG = """example:
  aira-bench tasks --json

A task folder of your own needs no listing: aira-bench run --task path/to/folder
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "tasks", help="list tasks", epilog=_EPILOG, formatter_class=SUB_FORMAT, description="List the shipped tasks."
    )
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """List the tasks that can be named, with what each wants submitted."""
    from aira_bench.cli.tables import print_rows
    from aira_bench.tasks.task import shipped_tasks
    from aira_bench.terminal import say_json

    rows = [
        {
            "alias": task.title,
            "artifact": task.metadata.aira.artifact.name,
            "metric": task.metric,
            "better": "lower" if task.lower_is_better else "higher",
            "profiles": list(task.metadata.aira.profiles),
            "from": task.metadata.aira.origin or "the paper",
            "name": task.name,
        }
        for task in shipped_tasks()
    ]
    if args.json:
        say_json(rows)
    else:
        print_rows(rows, empty="No tasks are installed.")
    return 0

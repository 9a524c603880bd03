"""`aira-bench prepare`: build images and make a task's data ahead of a run."""

import argparse

from aira_bench.cli.options import (
    SUB_FORMAT,
    add_allow_cpu,
    add_hidden_key,
    add_json,
    add_profile,
    add_runtime,
    add_source,
)

_EPILOG = """examples:
  aira-bench prepare mad-2p --profile cpu
  aira-bench prepare path/to/TaskFolder --source path/to/raw
  aira-bench prepare babistories-2p --profile cpu --source synthetic

A run prepares what is missing by itself; this command does it ahead.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "prepare", help="make a task's data", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Run a task's preparation scripts in containers and store public and hidden data.",
    )  # fmt: skip
    parser.add_argument("task", metavar="TASK", help="a task's name or the path of a task folder")
    add_profile(parser)
    add_source(parser)
    add_allow_cpu(parser)
    add_hidden_key(parser, "this machine's, if it has one; else published seeds")
    add_runtime(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Prepare the task and say what there is."""
    from aira_bench.cli.display import RunDisplay
    from aira_bench.paths import host_paths
    from aira_bench.runs.connect import connect_host
    from aira_bench.runs.devices import on_devices
    from aira_bench.runs.host import prepare
    from aira_bench.runs.resolve import hidden_key_for
    from aira_bench.tasks.data_source import choose_source
    from aira_bench.tasks.task import find_task
    from aira_bench.terminal import say, say_json

    task = find_task(args.task)
    source = choose_source(task, args.source)
    key = hidden_key_for(task, args.hidden_key, host_paths())
    display = RunDisplay((), 0, quiet=args.json)
    host = connect_host(None, args.runtime, display.note, display.transfer, containers=args.containers)
    host = on_devices(host, args.profile, None, display.note, allow_cpu=args.allow_cpu)
    with display.live():
        prepared = prepare(host, task, args.profile, source, display.note, key)
    hashes = prepared.data.hashes()
    if args.json:
        say_json({"task": task.name, "profile": args.profile, "path": str(prepared.data.public)} | hashes, indent=None)
    else:
        sizes = ", ".join(f"{half} {hashes[half]['bytes'] / 2**20:.1f} MiB" for half in ("public", "hidden"))
        marked = ", SYNTHETIC data" if source.synthetic else ""
        say(f"{task.title} ({args.profile}{marked}) is ready: {sizes}. Agents see {prepared.data.public}")
    return 0

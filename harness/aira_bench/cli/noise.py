"""`aira-bench noise`: how far trainings of one artifact lie apart in a task."""

import argparse

from aira_bench.cli.options import (
    SUB_FORMAT,
    add_allow_cpu,
    add_json,
    add_profile,
    add_runs_folder,
    add_runtime,
    add_source,
    gpu_list,
    positive_int,
)

_EPILOG = """examples:
  aira-bench noise mad-2p --profile cpu
  aira-bench noise lra-listops --profile cpu --trainings 5

The task's baseline and two submissions of the agent random are trained so many times each by the trusted evaluator,
on the hidden data that confirms runs and from fresh seeds. The standard deviation within them is the noise floor of a
task: boards draw it, and order nothing that it explains. It is printed, and written beside the runs, in the form that
aira.noise of a task's metadata.yaml takes; on the generated stand-in aira.synthetic_noise, which runs on that have. A
measurement that was stopped goes on with the same command.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "noise", help="measure how far trainings of one artifact lie apart", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Measure the noise floor of a task: three artifacts, several trainings each.",
    )  # fmt: skip
    parser.add_argument("task", metavar="TASK", help="a task's name (aira-bench tasks) or the path of a task folder")
    add_profile(parser)
    parser.add_argument(
        "--trainings", type=positive_int, default=None, metavar="N", help="of each artifact, at least 2 (default: 10)"
    )
    add_source(parser)
    parser.add_argument("--gpus", type=gpu_list, metavar="N|A,B|all", help="as of aira-bench run")
    add_allow_cpu(parser)
    add_runs_folder(parser)
    add_runtime(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Measure, print and write."""
    from dataclasses import asdict
    from shlex import join

    from aira_bench.cli.display import RunDisplay
    from aira_bench.cli.stopping import current
    from aira_bench.errors import UsageError
    from aira_bench.files import write_atomically
    from aira_bench.hardware import this_machine
    from aira_bench.paths import host_paths, require_new_folders
    from aira_bench.record.confirmations import MOST_TRAININGS
    from aira_bench.runs.connect import connect_host
    from aira_bench.runs.noise import FOLDER, TRAININGS, measure_noise, place_name, summary
    from aira_bench.runs.request import RunRequest
    from aira_bench.tasks.task import find_task
    from aira_bench.terminal import say, say_json, tell
    from aira_contract.settings import ON_GPUS

    trainings = TRAININGS if args.trainings is None else args.trainings
    if not 2 <= trainings < MOST_TRAININGS:
        raise UsageError(
            f"--trainings {trainings}: noise is seen from 2 on, and counted to {MOST_TRAININGS - 1}.",
            hint="aira-bench noise --help",
        )
    find_task(args.task).profile(args.profile)
    paths = host_paths(args.runs)
    require_new_folders(paths.runs, "--runs DIR")
    request = RunRequest(
        agent="baseline", task=args.task, profile=args.profile, source=args.source, gpus=args.gpus,
        allow_cpu=args.allow_cpu,
    )  # fmt: skip
    display = RunDisplay((), 0, quiet=args.json)
    hardware = this_machine(gpus=args.profile in ON_GPUS)
    current().way_on = lambda: join(args.typed)
    host = connect_host(args.runs, args.runtime, display.note, display.transfer, hardware, containers=args.containers)
    with display.live():
        found = measure_noise(host, request, trainings, display.note, lambda progress: None)
    place = paths.runs / FOLDER / f"{place_name(found.task, found.profile, synthetic=found.synthetic)}.yaml"
    write_atomically(place, found.to_yaml().encode())
    if args.json:
        artifacts = [asdict(each) for each in found.artifacts]
        say_json({"task": found.task, "profile": found.profile, "metric": found.metric, "artifacts": artifacts,
                  "synthetic": found.synthetic, "noise": found.noise.model_dump(), "path": str(place)})  # fmt: skip
        return 0
    for artifact in found.artifacts:
        say(summary(artifact))
    say(f"Noise floor of {found.task} ({found.profile}): {found.metric} {found.noise.deviation:.4g} +- "
        f"{100 * found.uncertainty:.0f} %, {found.noise.freedom} degrees of freedom")  # fmt: skip
    say()
    for line in found.to_yaml().splitlines():
        say(line)
    tell(f"written: {place}")
    return 0

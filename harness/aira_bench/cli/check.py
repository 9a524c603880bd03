"""`aira-bench check`: whether a task, card, agent or scaffold works, before a run depends on it."""

import argparse
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runtime, add_source, seconds
from aira_contract.settings import PROFILES

if TYPE_CHECKING:
    from aira_bench.authoring.findings import Finding
    from aira_bench.tasks.task import Task
    from aira_contract.settings import ProfileName

_EPILOG = """examples:
  aira-bench check path/to/TaskFolder
  aira-bench check path/to/TaskFolder --source path/to/raw --solution solution.py
  aira-bench check mad-2p --files-only
  aira-bench check my-model.toml
  aira-bench check my_search.py:MySearch --task mad-2p

A task is looked over, its three scripts run in containers, and a baseline is scored: the file of --solution, else the
folder's baseline_solution.py, else the agent `baseline` where it knows the artifact; gold_<artifact> of the folder has
to score better. Without --source a task that can generate a stand-in for its data uses that. Agents and scaffolds
are tried by what holds for all of their kind, without containers; an agent is told of the task that --task names.
That runs their code, and a package's, on this machine: check what you would install.

exit status: 0 it works, 1 a card, agent or scaffold does not, 2 there is nothing to check or to score,
3 the machine lacks something, 4 the task folder is broken (the last line says where), 5 the container engine failed
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check", help="try a task folder, card, agent or scaffold", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Say whether something of your own works with aira-bench, or in one line what is wrong.",
    )  # fmt: skip
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a task, CARD.toml, an agent or scaffold (module:Class, FILE.py:Class), or a package's folder",
    )
    parser.add_argument("--profile", choices=PROFILES, help="whose sizes and limits (default: cpu where there is one)")
    add_source(parser)
    parser.add_argument("--solution", type=Path, metavar="FILE.py", help="a program that leaves the task's artifact")
    parser.add_argument("--task", default="mad-2p", help="what an agent is told of (default: mad-2p)")
    parser.add_argument("--files-only", action="store_true", help="look at files and run nothing")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="a cap on each script (default: the task's), or on each call of an agent or scaffold (default: 60)",
    )
    add_runtime(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Check what the path names, printing each finding as it comes."""
    from aira_bench.terminal import say, say_json

    findings: list[Finding] = []

    def tell(finding: "Finding") -> None:
        findings.append(finding)
        if not args.json:
            say(f"{'remark' if finding.is_remark else 'ok':>6}  {finding.check}: {finding.seen}", flush=True)

    name, score, following = _check(args, tell)
    if args.json:
        say_json({"checked": name, "score": score, "findings": [asdict(finding) for finding in findings]})
        return 0
    remarks = sum(finding.is_remark for finding in findings)
    result = (
        f"{name}: the files are in order; nothing was run" if args.files_only and score is None else f"{name} works"
    )
    say(result + (f", with {remarks} remark{'s' * (remarks > 1)}" if remarks else "") + ".")
    say(f"Next:  {following}")
    return 0


def _check(args: argparse.Namespace, tell: "Callable[[Finding], None]") -> tuple[str, float | None, str]:
    """What was checked, its score where it has one, and the next command."""
    from aira_bench.authoring.card_check import check_card
    from aira_bench.authoring.extension_check import check_extension, kind_of, offered_by
    from aira_bench.authoring.time_cap import CAP_S
    from aira_bench.errors import UsageError
    from aira_bench.tasks.task import names_folder

    trial = ["--task", args.task, "--profile", "cpu", "--steps", "2"]
    if args.path.endswith(".toml"):
        card = check_card(Path(args.path), tell)
        return card.name, None, shlex.join(["aira-bench", "run", "--agent", args.path, *trial])
    if args.path.endswith(".py") and Path(args.path).is_file():
        raise UsageError(f"{args.path} is a file; which class of it is to be checked?", hint=f"{args.path}:NAME")
    offered = offered_by(Path(args.path))
    if not offered:
        kind = None if names_folder(args.path) else kind_of(args.path)
        if kind is None:
            return _check_task(args, tell)
        offered = [(kind, args.path)]
    used = {"agent": "evolution"}
    for kind, name in offered:
        check_extension(name, kind, args.task, tell, args.timeout or CAP_S)
        used[kind] = name
    options = [part for kind, name in used.items() for part in (f"--{kind}", name)]
    return args.path, None, shlex.join(["aira-bench", "run", *options, *trial])


def _check_task(args: argparse.Namespace, tell: "Callable[[Finding], None]") -> tuple[str, float | None, str]:
    from aira_bench.authoring.task_folder import check_files
    from aira_bench.tasks.task import find_task, names_folder

    task = find_task(args.path)
    named = str(task.folder) if names_folder(args.path) else args.path
    check_files(task, tell)
    if args.files_only:
        return task.name, None, shlex.join(["aira-bench", "check", named])
    profile: ProfileName = args.profile or ("cpu" if "cpu" in task.metadata.aira.profiles else "paper")
    score = _run_task(args, task, profile, tell)
    source = ["--source", args.source] if args.source else []
    command = ["aira-bench", "run", "--task", named, "--profile", profile, *source, "--agent", "AGENT"]
    return task.name, score, shlex.join(command)


def _run_task(
    args: argparse.Namespace, task: "Task", profile: "ProfileName", tell: "Callable[[Finding], None]"
) -> float:
    from aira_bench.authoring.baseline import find_baselines
    from aira_bench.authoring.task_run import run_task, with_timeout
    from aira_bench.cli.display import RunDisplay
    from aira_bench.runs.connect import connect_host
    from aira_bench.runs.devices import on_devices
    from aira_bench.tasks.data_source import SYNTHETIC, choose_source

    task.profile(profile)
    synthetic = SYNTHETIC if task.metadata.aira.synthetic else None
    source = choose_source(task, args.source or synthetic)
    baselines = find_baselines(task, profile, args.solution)
    display = RunDisplay((), 0, quiet=args.json)
    host = connect_host(None, args.runtime, display.note, display.transfer, containers=args.containers)
    host = on_devices(host, profile, None, display.note, allow_cpu=True)  # one candidate, which may well do without
    if args.timeout is not None:
        task = with_timeout(task, args.timeout)
    with display.live():
        return run_task(host, task, profile, source, baselines, display.note, tell)

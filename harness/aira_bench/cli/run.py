"""`aira-bench run`: a new run, from plan to board."""

import argparse
from dataclasses import MISSING, fields

from aira_bench.cli.engine import add_engine
from aira_bench.cli.options import (
    SUB_FORMAT,
    add_allow_cpu,
    add_hidden_key,
    add_json,
    add_judge_on,
    add_profile,
    add_runs_folder,
    add_runtime,
    add_source,
    add_track,
    core_list,
    gpu_list,
    hours,
    positive_float,
    positive_int,
    seconds,
    seed_list,
    step_count,
)
from aira_bench.runs.request import RunRequest
from aira_bench.scaffolds.catalog import SCAFFOLDS

_EPILOG = """examples:
  aira-bench run --agent evolution --task mad-2p --profile cpu --seeds 2 --steps 6
  aira-bench run --agent random --task mad-3p --profile cpu --seeds 10 --concurrency 2 --name random-3p
  aira-bench run --agent gemini3pro --task mad-2p --seeds 10 --max-cost-usd 50
  aira-bench run --agent gemini3pro --task mad-2p --protocol paper --dry-run
  aira-bench run --agent random --task babistories-2p --profile cpu --source synthetic
  aira-bench run --agent replay:my-run
  aira-bench run --agent script:solution.py --task path/to/TaskFolder --source path/to/raw --fitness claimed

At its end a run trains each seed's submission again from fresh seeds, on hidden data of its own: the search picked by
hidden validation, so its scores owe something to luck, and boards order by the trainings that do not.

Ctrl-C stops cleanly within 5 s, a second one at once; `aira-bench resume NAME` goes on. A seed that fails halts, and
the others go on.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "run", help="run an agent on a task", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Run an agent on a task, score every submission in judge containers, show the board.",
    )  # fmt: skip
    parser.add_argument(
        "--agent", required=True,
        help="an agent's name (aira-bench agents), script:FILE.py, replay:RUN, module:Class or FILE.py:Class",
    )  # fmt: skip
    parser.add_argument("--task", help="a task's name (aira-bench tasks), the path of a task folder, or module:name")
    add_profile(parser)
    parser.add_argument(
        "--protocol", choices=("aira", "paper"),
        help="what is set where no option says otherwise: ours, or the paper's fitness, bugs, seeds, hours, steps and "
        "devices; --dry-run prints it (default: aira)",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=seed_list, metavar="N|A,B", help="how many, or which (default: 1, or the paper's)"
    )
    parser.add_argument(
        "--steps", type=step_count, help="step budget of a seed (default: the profile's, or the paper's)"
    )
    parser.add_argument(
        "--hours", type=hours,
        help="time budget of a seed's search, after which it is confirmed (default: the profile's, or the paper's)",
    )  # fmt: skip
    parser.add_argument(
        "--step-timeout", type=seconds, dest="step_timeout_s", metavar="SECONDS", help="cap on one solution"
    )
    parser.add_argument(
        "--scaffold",
        help=f"one of {', '.join(SCAFFOLDS.built_in)}, an installed one (aira-bench extensions), module:Class or "
        "FILE.py:Class (default: the agent's)",
    )
    parser.add_argument(
        "--fitness", choices=("hidden", "claimed"),
        help="what drives the search: the judge's hidden validation, or the agent's own number (default: hidden, or the"
        " paper's)",
    )  # fmt: skip
    parser.add_argument(
        "--bugs", choices=("judge", "analysis"),
        help="who says that a step is a bug: engine and judge alone, or also the agent's own analysis (default: judge, "
        "or the paper's)",
    )  # fmt: skip
    parser.add_argument("--concurrency", type=positive_int, help="steps at a time (default: one a core or GPU)")
    parser.add_argument(
        "--cores", type=core_list, metavar="N|A,B|A-B",
        help="how many cores to lease of this machine, or which (default: all that are usable)",
    )  # fmt: skip
    parser.add_argument(
        "--gpus", type=gpu_list, metavar="N|A,B|all",
        help="how many GPUs, or which, by number, UUID or MIG instance: 2 is any two, 0,3 and 0-3 those, 3, that one, "
        "1:0 an instance (default: all that CUDA_VISIBLE_DEVICES shows and nobody else uses)",
    )  # fmt: skip
    add_allow_cpu(parser)
    parser.add_argument(
        "--gpus-per-seed",
        type=positive_int,
        metavar="1",
        help="GPUs of a step, which are 1 (default: 1 where used)",
    )
    parser.add_argument(
        "--exclusive", action=argparse.BooleanOptionalAction,
        help="a seed keeps its GPU, or its cores, until it ends (default: seeds share them while models "
        "think, but under the paper's protocol)",
    )  # fmt: skip
    parser.add_argument("--name", help="name of the run (default: agent, task, profile and time)")
    add_source(parser)
    add_hidden_key(parser, "this machine's, if it has one; else published seeds")
    parser.add_argument(
        "--no-confirm", dest="confirm", action="store_false",
        help="end with the search: do not train what was submitted again, on hidden data that no search has seen "
        "(aira-bench confirm does it later; boards order nothing before)",
    )  # fmt: skip
    parser.add_argument("--max-cost-usd", type=positive_float, metavar="USD", help="hard cap on the run's model calls")
    parser.add_argument("--max-tokens", type=positive_int, metavar="N", help="hard cap on the run's model tokens")
    parser.add_argument("--seed-max-cost-usd", type=positive_float, metavar="USD", help="the same for each seed")
    parser.add_argument("--seed-max-tokens", type=positive_int, metavar="N", help="the same for each seed")
    parser.add_argument("--memory", choices=("paper", "none"), help="what prompts tell of other steps (default: paper)")
    parser.add_argument(
        "--evaluator", help="an installed evaluator, module:Class or FILE.py:Class (default: what fits the task)"
    )
    parser.add_argument(
        "--provider", help="an installed provider, module:Class or FILE.py:Class (default: the agent card's)"
    )
    parser.add_argument(
        "--no-score-cache", dest="score_cache", action="store_false", help="score again what was scored before"
    )
    parser.add_argument(
        "--dry-run", action="store_true",
        help="print what the run will do (devices, images, downloads, what it may cost), do nothing, and stop",
    )  # fmt: skip
    parser.add_argument(
        "-y", "--yes", action="store_true",
        help="begin a run of profile paper without the question that it ends its forecast with",
    )  # fmt: skip
    parser.add_argument("--print-config", action="store_true", help="print the plan as JSON and stop")
    add_track(parser)
    add_engine(parser)
    add_runs_folder(parser)
    add_runtime(parser, begins=True)
    add_judge_on(parser)
    add_json(parser)
    defaults = {each.name: each.default for each in fields(RunRequest) if each.default is not MISSING}
    parser.set_defaults(handle=handle, **defaults)


def handle(args: argparse.Namespace) -> int:
    """Resolve, run, and show what came of it."""
    import os

    from aira_bench.agents.catalog import told_of
    from aira_bench.cli.display import RunDisplay
    from aira_bench.cli.ending import RunEnding
    from aira_bench.cli.engine import carried_out
    from aira_bench.cli.forecast import require_consent, show_forecast
    from aira_bench.cli.launching import require_engine
    from aira_bench.export.tracking import mirrored, require_tracker
    from aira_bench.hardware import this_machine
    from aira_bench.leasing.terms import wanted_terms
    from aira_bench.looking.run_state import RunCaps
    from aira_bench.paths import host_paths
    from aira_bench.record.folder import RunFolder
    from aira_bench.runs.connect import connect_host
    from aira_bench.runs.launch import open_for_workers, start
    from aira_bench.runs.protocol import protocol_lines
    from aira_bench.runs.resolve import resolve
    from aira_bench.sandbox.engine_gpus import engine_gpus
    from aira_bench.terminal import say_json, tell
    from aira_bench.world import SystemWorld
    from aira_contract.settings import ON_GPUS

    require_tracker(args.track)
    require_engine(args)
    request = RunRequest(**{each.name: getattr(args, each.name) for each in fields(RunRequest)})
    hardware = this_machine(gpus=args.profile in ON_GPUS, otherwise=engine_gpus)
    run = resolve(request, host_paths(args.runs), SystemWorld(), hardware)
    plan = run.plan
    if args.print_config:
        say_json(plan.model_dump(mode="json"))
        return 0
    if args.dry_run:
        return show_forecast(run, hardware, host_paths(args.runs), as_json=args.json, containers=args.containers)
    caps = RunCaps.of(plan, lower_is_better=run.task.lower_is_better)
    display = RunDisplay(plan.seeds, plan.steps, quiet=args.json, caps=caps)
    if told := told_of(run.agent):
        display.note(told)
    if plan.protocol != RunRequest.protocol:
        for sentence in protocol_lines(plan, run.task.title):
            display.note(f"protocol {sentence}")
    if plan.profile in ON_GPUS:
        require_consent(run, hardware, host_paths(args.runs), yes=args.yes, containers=args.containers)
    ending = RunEnding(args, display, RunFolder(host_paths(args.runs).runs / plan.name), plan.name)
    host = connect_host(
        args.runs,
        args.runtime,
        display.note,
        display.transfer,
        hardware,
        containers=args.containers,
        accepted_walls=args.accepted_walls,
        judge_on=args.judge_on,
    )
    with mirrored(args.track, RunFolder(host_paths(args.runs).runs / plan.name).path, tell):
        if args.engine is None:
            return ending.of(lambda: start(host, run, display.note, display.watch))
        terms = wanted_terms(os.environ)
        return ending.of(lambda: carried_out(args, open_for_workers(host, run, terms, display.note), display))

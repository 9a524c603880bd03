"""`aira-bench scale plan`: what trainings take, before any begins."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, positive_float, positive_int

if TYPE_CHECKING:
    from aira_bench.scaling.plan.planned import Plan, PlanSettings

_EPILOG = """examples:
  aira-bench scale plan AIRAformer-D --scale 1B --recipe isotoken-1b
  aira-bench scale plan "5(2A-M)-A" llama-3.2 --scale 350M --recipe isoflop-2e19 --seeds 3 --gpu h100 --gpus 8
  aira-bench scale plan paper --dollars-per-gpu-hour 2.5
  aira-bench scale plan paper --scale 350M --every --json

paper is all that the paper pretrained; a file FILE.toml has experiments of one's own (docs/scaling.md). aira-bench
architectures lists the names. Steps of the paper's Tables 10 and 11 are as printed.

Throughput is as measured where this very model was measured on that GPU, else by --mfu. There is no price but the one
that is given.
"""


def register(within: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `scale`."""
    parser = within.add_parser(
        "plan", help="what trainings take", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Print steps, tokens, memory, GPU-hours, dollars and disk of trainings before any begins.",
    )  # fmt: skip
    add_trainings(parser)
    parser.add_argument(
        "--checkpoints", type=positive_int, default=2, metavar="N", help="kept of each run (default: 2)"
    )
    parser.add_argument("--every", action="store_true", help="a line for each training, however many there are")
    add_json(parser)
    parser.set_defaults(handle=handle)


def add_trainings(parser: argparse.ArgumentParser) -> None:
    """Add what says which trainings are meant, and on what they are to run."""
    parser.add_argument("what", nargs="+", metavar="SUITE|PATTERN", help="paper, FILE.toml, names or patterns")
    parser.add_argument(
        "--scale", type=_words, default=(), metavar="S,S", help="350M, 1B, 3B, toy (default: the suite's, the recipe's)"
    )
    parser.add_argument(
        "--recipe", type=_words, default=(), metavar="R,R", help="shipped or FILE.toml (default: the suite's)"
    )
    parser.add_argument("--seeds", type=positive_int, metavar="N", help="runs of each (default: the suite's, else 1)")
    add_machine(parser, gpus=16)


def add_machine(parser: argparse.ArgumentParser, gpus: int | None, said: str = "default: 16") -> None:
    """Add what says on what trainings are to run."""
    parser.add_argument("--gpu", default="h200", metavar="TYPE", help="a100-40gb a100-80gb h100 h200 l40s")
    parser.add_argument("--gpus", type=positive_int, default=gpus, metavar="N", help=f"GPUs of a run ({said})")
    parser.add_argument(
        "--mfu", type=share, default=0.4, metavar="X",
        help="share of the GPU's peak where nothing was measured (default: 0.4; measured are 0.45 to 0.60)",
    )  # fmt: skip
    parser.add_argument(
        "--throughput", type=Path, metavar="FILE.csv", help="measurements of one's own, before those that are shipped"
    )
    parser.add_argument(
        "--dollars-per-gpu-hour", type=positive_float, metavar="USD", help="price (default: none, and no dollars)"
    )
    parser.add_argument(
        "--sequences", type=positive_int, metavar="N", help="of a microbatch (default: 4, 2 or 1, as memory allows)"
    )
    parser.add_argument(
        "--recompute", choices=("none", "selective", "full"), help="of activations (default: as little as fits)"
    )


def _words(text: str) -> tuple[str, ...]:
    words = tuple(part.strip() for part in text.split(","))
    if not all(words):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no list such as 350M,1B")
    return words


def share(text: str) -> float:
    """Read a number above 0 and at most 1."""
    value = positive_float(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a share above 0, at most 1")
    return value


def handle(args: argparse.Namespace) -> int:
    """Plan a suite or architectures, and print what they take."""
    from aira_bench.scaling.plan.render import plan_record, print_plan
    from aira_bench.terminal import results_console, say_json

    plan = planned(args, args.checkpoints)
    if args.json:
        say_json(plan_record(plan), indent=1)
    else:
        print_plan(plan, results_console(), every=args.every)
    return 0


def planned(args: argparse.Namespace, checkpoints: int = 1) -> "Plan":
    """Return the plan of the trainings that `add_trainings` let the user name."""
    return _plan(args, plan_settings(args, checkpoints))


def plan_settings(args: argparse.Namespace, checkpoints: int) -> "PlanSettings":
    """Return what `add_machine` let the user say."""
    from aira_bench.scaling.plan.planned import PlanSettings
    from aira_bench.scaling.plan.throughput import gpu_type, read_measurements

    measured = read_measurements()
    if args.throughput is not None:
        measured += read_measurements(args.throughput)
    return PlanSettings(
        gpu_type(args.gpu), args.gpus, args.mfu, args.dollars_per_gpu_hour, checkpoints, args.sequences,
        args.recompute, measured,
    )  # fmt: skip


def _plan(args: argparse.Namespace, settings: "PlanSettings") -> "Plan":
    from dataclasses import replace

    from aira_bench.errors import UsageError
    from aira_bench.scaling.plan.experiments import (
        asked_experiment,
        is_suite,
        named_recipe,
        read_pretraining,
        trainings_of,
    )
    from aira_bench.scaling.plan.planned import plan_all
    from aira_contract.recipes import shipped_recipes

    if len(args.what) == 1 and is_suite(args.what[0]):
        suite = read_pretraining(args.what[0])
        experiments, title = suite.experiments, suite.title
    else:
        if not args.recipe:
            raise UsageError(
                "A pattern needs a recipe to be planned.", hint=f"--recipe {' | '.join(shipped_recipes())}"
            )
        scales = args.scale or tuple(dict.fromkeys(each for name in args.recipe for each in named_recipe(name).scales))
        title = ", ".join(args.what)
        experiments = (asked_experiment(args.what, scales, args.recipe),)
    trainings = [
        each if args.seeds is None else replace(each, seeds=args.seeds)
        for experiment in experiments
        for each in trainings_of(experiment)
        if (not args.scale or each.scale in args.scale) and (not args.recipe or each.named in args.recipe)
    ]
    return plan_all(title, trainings, settings, [f"{each.name}: {each.note}" for each in experiments if each.note])

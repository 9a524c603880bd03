"""`aira-bench scale`: pretraining of full-size models planned before it is paid for, and what it showed fitted."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli import scale_latency
from aira_bench.cli.options import SUB_FORMAT, add_json, positive_float, positive_int

if TYPE_CHECKING:
    from aira_bench.scaling.frontier.comparisons import Law
    from aira_bench.scaling.plan.planned import Plan, PlanSettings

_EPILOG = """examples:
  aira-bench scale plan AIRAformer-D --scale 1B --recipe isotoken-1b
  aira-bench scale plan paper --gpu h100 --gpus 64
  aira-bench scale fit runs.csv --reference "Llama 3.2"
  aira-bench scale latency --scale toy --device cpu
"""
_PLAN_EPILOG = """examples:
  aira-bench scale plan AIRAformer-D --scale 1B --recipe isotoken-1b
  aira-bench scale plan "5(2A-M)-A" llama-3.2 --scale 350M --recipe isoflop-2e19 --seeds 3 --gpu h100 --gpus 8
  aira-bench scale plan paper --dollars-per-gpu-hour 2.5
  aira-bench scale plan paper --scale 350M --every --json

paper is all that the paper pretrained; a file FILE.toml has experiments of one's own (docs/scaling.md). aira-bench
architectures lists the names. Steps of the paper's Tables 10 and 11 are as printed.

Throughput is as measured where this very model was measured on that GPU, else by --mfu. There is no price but the one
that is given.
"""
_FIT_EPILOG = """examples:
  aira-bench scale fit runs.csv --reference "Llama 3.2" --out figures
  aira-bench scale fit two.csv three.csv --noise 0.002 --json
  aira-bench scale fit runs.csv --reference-law 2.9@1e20,-0.05
  aira-bench scale fit --published

A CSV has a line for each run: architecture,parameters,budget_flops,loss and, if known, seed and loss_sd
(docs/scaling.md). Losses must compare: one data set, one tokenizer, one held-out text.

Every claim stands beside its interval, and what the runs cannot tell is said below. Needs aira-bench[stats]; --out
needs aira-bench[figures].
"""
_MOST_RESAMPLES = 100_000


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its own commands to the parser."""
    parser = commands.add_parser(
        "scale", help="plan, time, fit pretraining", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Plan pretraining of full-size models, time models, and fit frontiers to what trainings showed.",
    )  # fmt: skip
    within = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _register_plan(within)
    _register_fit(within)
    scale_latency.register(within)


def _register_plan(within: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = within.add_parser(
        "plan", help="what trainings take", epilog=_PLAN_EPILOG, formatter_class=SUB_FORMAT,
        description="Print steps, tokens, memory, GPU-hours, dollars and disk of trainings before any begins.",
    )  # fmt: skip
    parser.add_argument("what", nargs="+", metavar="SUITE|PATTERN", help="paper, FILE.toml, names or patterns")
    parser.add_argument(
        "--scale", type=_words, default=(), metavar="S,S", help="350M, 1B, 3B, toy (default: the suite's, the recipe's)"
    )
    parser.add_argument(
        "--recipe", type=_words, default=(), metavar="R,R", help="shipped or FILE.toml (default: the suite's)"
    )
    parser.add_argument("--seeds", type=positive_int, metavar="N", help="runs of each (default: the suite's, else 1)")
    parser.add_argument("--gpu", default="h200", metavar="TYPE", help="a100-40gb a100-80gb h100 h200 l40s")
    parser.add_argument("--gpus", type=positive_int, default=16, metavar="N", help="GPUs of a run (default: 16)")
    parser.add_argument(
        "--mfu", type=_share, default=0.4, metavar="X",
        help="share of the GPU's peak where nothing was measured (default: 0.4; measured are 0.30 to 0.43)",
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
    parser.add_argument(
        "--checkpoints", type=positive_int, default=2, metavar="N", help="kept of each run (default: 2)"
    )
    parser.add_argument("--every", action="store_true", help="a line for each training, however many there are")
    add_json(parser)
    parser.set_defaults(handle=handle_plan)


def _words(text: str) -> tuple[str, ...]:
    words = tuple(part.strip() for part in text.split(","))
    if not all(words):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no list such as 350M,1B")
    return words


def _share(text: str) -> float:
    value = positive_float(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a share above 0, at most 1")
    return value


def handle_plan(args: argparse.Namespace) -> int:
    """Plan a suite or architectures, and print what they take."""
    from aira_bench.scaling.plan.planned import PlanSettings
    from aira_bench.scaling.plan.render import plan_record, print_plan
    from aira_bench.scaling.plan.throughput import read_measurements
    from aira_bench.scaling.training_cost import gpu_type
    from aira_bench.terminal import results_console, say_json

    measured = read_measurements()
    if args.throughput is not None:
        measured += read_measurements(args.throughput)
    settings = PlanSettings(
        gpu_type(args.gpu), args.gpus, args.mfu, args.dollars_per_gpu_hour, args.checkpoints, args.sequences,
        args.recompute, measured,
    )  # fmt: skip
    plan = _plan(args, settings)
    if args.json:
        say_json(plan_record(plan), indent=1)
    else:
        print_plan(plan, results_console(), every=args.every)
    return 0


def _plan(args: argparse.Namespace, settings: "PlanSettings") -> "Plan":
    from dataclasses import replace

    from aira_bench.errors import UsageError
    from aira_bench.scaling.plan.experiments import (
        Experiment,
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
        experiments = (
            Experiment(name=title[:100], architectures=tuple(args.what), scales=scales, recipes=args.recipe),
        )
    trainings = [
        each if args.seeds is None else replace(each, seeds=args.seeds)
        for experiment in experiments
        for each in trainings_of(experiment)
        if (not args.scale or each.scale in args.scale) and (not args.recipe or each.recipe.name in args.recipe)
    ]
    return plan_all(title, trainings, settings, [f"{each.name}: {each.note}" for each in experiments if each.note])


def _register_fit(within: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = within.add_parser(
        "fit", help="isoFLOP parabolas and frontiers", epilog=_FIT_EPILOG, formatter_class=SUB_FORMAT,
        description="Fit a parabola to each budget and a power law to the minima, and compare architectures.",
    )  # fmt: skip
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.csv", help="tables of runs")
    parser.add_argument(
        "--published", action="store_true", help="say what of the paper's own claims can be checked, and fit nothing"
    )
    against = parser.add_mutually_exclusive_group()
    against.add_argument(
        "--reference", metavar="NAME", help="architecture that others are compared with (default: the first line's)"
    )
    against.add_argument(
        "--reference-law",
        type=_law,
        metavar="LOSS@FLOPS,SLOPE",
        help="a reported frontier in its place, taken as exact",
    )
    parser.add_argument(
        "--noise", type=positive_float, metavar="SD",
        help="standard deviation of the loss of two trainings that differ by seed (default: as the runs show)",
    )  # fmt: skip
    parser.add_argument(
        "--resamples", type=_resamples, default=4000, metavar="N", help="of the bootstrap (default: 4000)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where figures go, as SVG, PDF and CSV")
    add_json(parser)
    parser.set_defaults(handle=handle_fit)


def _resamples(text: str) -> int:
    count = positive_int(text)
    if not 100 <= count <= _MOST_RESAMPLES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of resamples from 100 to {_MOST_RESAMPLES}")
    return count


def _law(text: str) -> "Law":
    import math

    from aira_bench.scaling.frontier.comparisons import Law

    start, _, slope = text.partition(",")
    loss, _, flops = start.partition("@")
    try:
        law = Law(f"loss {loss} at {flops} FLOPs, slope {slope}", float(slope), float(flops), float(loss))
    except ValueError:
        law = None
    if law is None or not (law.slope < 0 < law.loss < math.inf and 0 < law.flops < math.inf and law.slope > -math.inf):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no law such as 2.9@1e20,-0.05 with a slope below 0")
    return law


def _require_estimators() -> None:
    import importlib.util

    from aira_bench.errors import PrerequisiteError

    if missing := [name for name in ("numpy", "scipy") if importlib.util.find_spec(name) is None]:
        raise PrerequisiteError(f"Fits need {' and '.join(missing)}.", hint="pip install 'aira-bench[stats]'")


def _say_published(*, as_json: bool) -> int:
    from dataclasses import asdict

    from aira_bench.scaling.frontier.published_claims import claim_lines, published_claims
    from aira_bench.terminal import say, say_json

    claims = published_claims()
    if as_json:
        say_json([{**asdict(claim), "composer_share": claim.composer_share} for claim in claims])
        return 0
    for line in claim_lines(claims):
        say(line)
    return 0


def handle_fit(args: argparse.Namespace) -> int:
    """Read tables of runs, fit them, print or draw what they show."""
    from aira_bench.errors import UsageError
    from aira_bench.scaling.frontier.observations import read_observations
    from aira_bench.terminal import results_console, say_json, tell

    if args.published:
        return _say_published(as_json=args.json)
    if not args.files:
        raise UsageError("There is no table of runs to fit.", hint="aira-bench scale fit runs.csv")
    _require_estimators()
    if args.out is not None:
        from aira_bench.figures.drawing import require_drawing
        from aira_bench.paths import require_new_folders

        require_drawing()
        require_new_folders(args.out.absolute(), "--out DIR")
    from aira_bench.scaling.frontier.comparisons import compare
    from aira_bench.scaling.frontier.fits import FitSettings, fit_programme
    from aira_bench.scaling.frontier.render import print_programme, programme_record

    observations = read_observations(args.files)
    programme = fit_programme(observations, FitSettings(args.noise, args.resamples, args.seed))
    comparisons = compare(programme, args.reference_law or args.reference or observations.first)
    if args.json:
        say_json(programme_record(programme, comparisons))
    else:
        print_programme(programme, comparisons, results_console())
    if args.out is not None:
        from aira_bench.figures.frontier_charts import write_charts

        paths = write_charts(programme, comparisons, args.out)
        tell(f"Drawn in {args.out}: {', '.join(path.stem for path in paths if path.suffix == '.svg')}")
    return 0

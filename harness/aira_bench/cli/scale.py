"""`aira-bench scale`: pretraining of full-size models planned before it is paid for, and what it showed fitted."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli import scale_data, scale_evaluate, scale_export, scale_latency, scale_plan, scale_run
from aira_bench.cli.options import SUB_FORMAT, add_json, positive_float, positive_int

if TYPE_CHECKING:
    from aira_bench.scaling.frontier.comparisons import Law

_EPILOG = """examples:
  aira-bench scale plan AIRAformer-D --scale 1B --recipe isotoken-1b
  aira-bench scale plan paper --gpu h100 --gpus 64
  aira-bench scale data --shards 2 --tokenizer tokenizer.model --out tokens
  aira-bench scale fit runs.csv --reference "Llama 3.2"
  aira-bench scale latency --scale toy --device cpu
"""
_FIT_EPILOG = """examples:
  aira-bench scale fit runs.csv --reference "Llama 3.2" --out figures
  aira-bench scale fit two.csv three.csv --noise 0.002 --json
  aira-bench scale fit runs.csv --reference-law 2.9@1e20,-0.05
  aira-bench scale fit trainings --reference "Llama 3.2"
  aira-bench scale fit --published

A CSV has a line for each run: architecture,parameters,budget_flops,loss and, if known, seed and loss_sd
(docs/scaling.md). A folder stands for the trainings below it. Losses must compare: one data set, one tokenizer, one
held-out text.

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
    scale_plan.register(within)
    scale_data.register(within)
    scale_run.register(within)
    _register_fit(within)
    scale_latency.register(within)
    scale_export.register(within)
    scale_evaluate.register(within)


def _register_fit(within: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = within.add_parser(
        "fit", help="isoFLOP parabolas and frontiers", epilog=_FIT_EPILOG, formatter_class=SUB_FORMAT,
        description="Fit a parabola to each budget and a power law to the minima, and compare architectures.",
    )  # fmt: skip
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.csv|DIR", help="tables, folders of trainings")
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

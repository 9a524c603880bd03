"""`aira-bench extrapolate`: grow a searched pattern to full size, with its arithmetic."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, positive_int
from aira_bench.cli.scale_plan import share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aira_bench.scaling.extrapolate import Extrapolation
    from aira_contract.patterns import Pattern
    from aira_contract.presets import Preset

_EPILOG = """examples:
  aira-bench extrapolate "5(2A-M)-A" --scale 1B
  aira-bench extrapolate 2A-4M --scale 3B --method stack --gpu h100 --gpus 64
  aira-bench extrapolate "5(2A-M)-A" --scale 1B --rounding ceil --picture strip.svg --json
  aira-bench extrapolate airahybrid-d-stretched --scale 1B
  aira-bench extrapolate "Llama 3.2" --scale 3B

aira-bench architectures lists the names. One that the paper grew is grown its way, and stands beside what the paper
prints; one that nobody searched is taken as printed.
"""


BASE_LAYERS = (16, 6)


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "extrapolate", help="grow a pattern to full size", epilog=_EPILOG,
        formatter_class=SUB_FORMAT,
        description="Grow a pattern to a number of parameters; print layers, FLOPs, steps, and estimates of training.",
    )  # fmt: skip
    parser.add_argument(
        "pattern", metavar="PATTERN", help='compact notation, such as "5(2A-M)-A", or a name such as airaformer-d'
    )
    parser.add_argument("--scale", required=True, metavar="N", help="parameters without embedding: 350M, 1B, 3B, 1.5B")
    parser.add_argument(
        "--method", choices=("stretch", "stack", "published"),
        help="stretch, stack, or the paper's own pattern of a named architecture (default: the name's, else stretch)",
    )  # fmt: skip
    parser.add_argument(
        "--rounding", choices=("fit", "ceil"),
        help="fit: trim to the target; ceil: every run rounded up, as published (default: fit)",
    )  # fmt: skip
    parser.add_argument(
        "--base-layers", type=int, metavar="N",
        help="layers the pattern must have (default: 16, a searched architecture, or 6, a Composer base)",
    )  # fmt: skip
    parser.add_argument(
        "--flops", action="append", metavar="FLOPS", help="training FLOPs to give steps for, such as 2e19; repeatable"
    )
    parser.add_argument("--gpu", default="h200", metavar="TYPE", help="a100-40gb a100-80gb h100 h200 l40s")
    parser.add_argument("--gpus", type=positive_int, default=16, metavar="N", help="GPUs that train it (default: 16)")
    parser.add_argument(
        "--mfu", type=share, default=0.4, metavar="X",
        help="share of the GPU's peak where nothing was measured (default: 0.4)",
    )  # fmt: skip
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="write a strip picture of the layers")
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Grow the pattern, or take a named one as published, and print it."""
    from aira_bench.scaling.pictures import strip_svg, write_picture
    from aira_bench.scaling.plan.planned import PlanSettings, plan_grown
    from aira_bench.scaling.plan.throughput import gpu_type, read_measurements
    from aira_bench.scaling.published import said_of
    from aira_bench.scaling.render import extrapolation_record, print_extrapolation
    from aira_bench.terminal import results_console, say_json
    from aira_contract.presets import find_preset
    from aira_contract.training_arithmetic import FLOP_BUDGETS, ISOTOKEN_STEPS

    preset = find_preset(args.pattern)
    model = _model(args, preset, [_flops(text) for text in args.flops] if args.flops else FLOP_BUDGETS)
    said = [] if preset is None else said_of(preset, model)
    steps = [budget.steps for budget in model.steps] + ([] if args.flops else [ISOTOKEN_STEPS])
    settings = PlanSettings(gpu_type(args.gpu), args.gpus, args.mfu, measurements=read_measurements())
    costs = plan_grown(model, steps, settings)
    if args.picture:
        write_picture(args.picture, strip_svg(model.pattern, f"{model.method} to {args.scale}"))
    if args.json:
        say_json(extrapolation_record(model, costs, said), indent=1)
    else:
        print_extrapolation(model, costs, said, results_console())
    return 0


def _model(args: argparse.Namespace, preset: "Preset | None", budgets_flops: "Sequence[int]") -> "Extrapolation":
    from aira_bench.errors import UsageError
    from aira_bench.scaling.extrapolate import extrapolate, parse_target
    from aira_bench.scaling.published import published_model

    target, method = parse_target(args.scale), args.method
    if preset is not None and (method == "published" or preset.base is None):
        if method not in (None, "published"):
            raise UsageError(
                f"Nobody searched {preset.title}, so there is nothing to {method}; the paper prints it full-size.",
                hint=f"aira-bench extrapolate {preset.name} --scale 1B",
            )
        if args.rounding or args.base_layers:
            raise UsageError(
                "A published pattern is not grown, so it takes neither --rounding nor --base-layers.",
                hint=f"aira-bench extrapolate {preset.name} --scale 1B --method published",
            )
        return published_model(preset, target, budgets_flops=budgets_flops)
    if method == "published":
        raise UsageError(f"The paper prints no architecture called {args.pattern!r}.", hint="aira-bench architectures")
    grown_by = method or (preset.growth if preset is not None else None) or "stretch"
    base = _base(args.pattern, args.base_layers)
    return extrapolate(base, target, grown_by, rounding=args.rounding or "fit", budgets_flops=budgets_flops)


def _base(text: str, layers: int | None) -> "Pattern":
    """The pattern, whose number of layers must be the expected one: a lost layer changes every figure."""
    from aira_bench.errors import UsageError
    from aira_bench.scaling.notation import read_architecture

    pattern = read_architecture(text)
    expected = BASE_LAYERS if layers is None else (layers,)
    if len(pattern) not in expected:
        wanted = " or ".join(map(str, expected))
        raise UsageError(
            f"The pattern {text!r} has {len(pattern)} layers, expected {wanted}.",
            hint=f"aira-bench extrapolate {text!r} --scale N --base-layers {len(pattern)}   (if that is meant)",
        )
    return pattern


def _flops(text: str) -> int:
    """Read a number of FLOPs such as `2e19` as an integer."""
    import math

    from aira_bench.errors import UsageError

    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value < math.inf:
        raise UsageError(f"{text!r} is no number of FLOPs.", hint="--flops 2e19")
    return int(value)

"""`aira-bench scale latency`: times of blocks and models on this device, and which are fast for their loss."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, positive_float, positive_int

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aira_bench.scaling.latency import Composed, LatencyTable
    from aira_bench.scaling.latency_pareto import ParetoPanel
    from aira_contract.latency import LatencyRequest

_EPILOG = """examples:
  aira-bench scale latency --scale toy --device cpu --length 128 --context 128
  aira-bench scale latency "Llama 3.2" airahybrid-d-stretched --scale 1B --out latency.jsonl
  aira-bench scale latency --from latency.jsonl --scale 1B --figure figures
  aira-bench scale latency --from latency.jsonl --scale 1B --losses runs.csv --figure figures

Blocks, embedding, head and the whole models named are timed in a process with torch, on random weights: forward,
prefill, and decoding behind a context. A model's latency is the sum of its parts; beside it stands what the whole took.
With --from nothing is timed: the table in a file is shown. --figure draws figure 7 of the paper, from losses of the
paper's Tables 2 and 3 or of a CSV that scale fit reads. Measuring needs aira-bench[evaluator], drawing
aira-bench[figures].
"""
DEFAULT_MODELS = ("Llama 3.2", "AIRAformer-D (Stretched)", "AIRAhybrid-D (Stretched)")


def register(within: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `scale`."""
    parser = within.add_parser(
        "latency", help="time blocks and models on this device", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Time blocks and whole models on this device, compose models of blocks, and compare.",
    )  # fmt: skip
    parser.add_argument(
        "architectures", nargs="*", metavar="ARCHITECTURE",
        help=f"names or patterns to time as wholes, too (default: {', '.join(DEFAULT_MODELS)})",
    )  # fmt: skip
    parser.add_argument("--scale", default="1B", metavar="SCALE", help="350M, 1B, 3B or toy (default: 1B)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where (default: cuda)")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float16", "float32"),
        help="type of weights and numbers (default: bfloat16 on cuda, float32 on cpu)",
    )  # fmt: skip
    parser.add_argument(
        "--phase", action="append", choices=("forward", "prefill", "decode"), help="repeatable (default: all)"
    )
    counts = {
        "--length": (8192, "tokens of a forward pass and of a prefill"),
        "--context": (8192, "tokens that stand before a decoded one"),
        "--batch": (1, "texts at once in a forward pass and in a prefill"),
        "--rounds": (20, "that medians and quartiles are of"),
        "--vocabulary": (128_256, "token ids"),
    }
    for name, (default, said) in counts.items():
        parser.add_argument(name, type=positive_int, default=default, metavar="N", help=f"{said} (default: {default})")
    parser.add_argument(
        "--decode-batch", type=positive_int, action="append", metavar="N",
        help="texts at once when decoding; repeatable (default: 1 and 16)",
    )  # fmt: skip
    parser.add_argument(
        "--limit-s", type=positive_float, default=600.0, metavar="S", help="begin no figure after that (default: 600)"
    )
    parser.add_argument("--python", metavar="PYTHON", help="the Python whose torch is used (default: this one)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.jsonl", help="where the figures go, each as soon as it is there"
    )
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE.jsonl", help="show those of a file instead")
    parser.add_argument(
        "--losses", type=Path, metavar="FILE.csv", help="losses for --figure (default: the paper's at 1B)"
    )
    parser.add_argument("--figure", type=Path, metavar="DIR", help="draw latency and loss: SVG, PDF and CSV")
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Measure or read latencies, compose models, and print or draw them."""
    from aira_bench.terminal import say_json, tell

    if args.figure:
        from aira_bench.figures.drawing import require_drawing

        require_drawing()
    table = _table(args)
    models = _composed(args, table)
    panels, left_out = _panels(args, table)
    paths: list[Path] = []
    if panels:
        from aira_bench.figures.latency_chart import write_chart

        paths = write_chart(panels, args.figure)
    if args.json:
        say_json(_record(table, models, panels))
    else:
        _print(table, models)
    for each in table.not_measured:
        tell(f"not measured: {each.what}: {each.why}")
    for line in left_out:
        tell(f"not drawn: {line}")
    unsure = {each.model.name: each for panel in panels for each in panel.points if each.layers_printed is not None}
    for name, point in unsure.items():
        tell(
            f"on no front: {name}: the printed pattern has {len(point.model.pattern)} layers, "
            f"and {point.layers_printed} are printed beside it"
        )
    for path in paths:
        tell(f"written: {path}")
    return 0


def _table(args: argparse.Namespace) -> "LatencyTable":
    from aira_bench.errors import UsageError
    from aira_bench.paths import require_new_folders
    from aira_bench.scaling.latency_process import measured, read_latencies

    if args.source is not None:
        if args.out is not None or args.architectures:
            raise UsageError("With --from nothing is measured, so it takes neither architectures nor --out.")
        return read_latencies(args.source)
    request = _request(args)
    if args.out is None:
        return measured(request, args.python, lambda line: None)
    require_new_folders(args.out.absolute().parent, "the folder of --out")
    try:
        with args.out.open("x", encoding="ascii", errors="backslashreplace", buffering=1) as stream:
            return measured(request, args.python, lambda line: stream.writelines((line, "\n")))
    except FileExistsError:
        raise UsageError(f"{args.out} exists.", hint=f"aira-bench scale latency --from {args.out}") from None


def _request(args: argparse.Namespace) -> "LatencyRequest":
    from aira_bench.errors import UsageError
    from aira_bench.scaling.latency_pareto import pattern_at
    from aira_bench.scaling.notation import write_pattern
    from aira_contract.latency import PHASES, AskedModel, LatencyError, LatencyRequest
    from aira_contract.model_sizes import SCALES, TOY_SCALE

    if args.scale not in (*SCALES, TOY_SCALE):
        raise UsageError(f"Unknown scale {args.scale!r}, expected one of {', '.join((*SCALES, TOY_SCALE))}.")
    models = tuple(
        AskedModel(text, args.scale, write_pattern(pattern_at(text, args.scale)))
        for text in args.architectures or DEFAULT_MODELS
    )
    try:
        return LatencyRequest(
            models, phases=tuple(dict.fromkeys(args.phase or PHASES)), length=args.length, context=args.context,
            batch=args.batch, decode_batches=tuple(dict.fromkeys(args.decode_batch or (1, 16))),
            vocabulary=args.vocabulary, dtype=args.dtype or ("bfloat16" if args.device == "cuda" else "float32"),
            device=args.device, rounds=args.rounds, budget_s=args.limit_s, row_s=max(60.0, args.limit_s / 10),
        )  # fmt: skip
    except LatencyError as error:
        raise UsageError(f"This cannot be measured: {error}.") from error


def _composed(args: argparse.Namespace, table: "LatencyTable") -> "list[Composed]":
    """What was measured whole, and of the paper's architectures all that the measured parts make."""
    from aira_bench.scaling.latency import MissingLatency
    from aira_bench.scaling.latency_pareto import names_at, pattern_at
    from aira_bench.scaling.notation import read_pattern

    found = []
    for scale in table.scales if args.source is not None else (args.scale,):
        named = {row.name: read_pattern(row.pattern) for row in table.rows if row.pattern and row.scale == scale}
        known = set(named.values())
        others = {name: pattern_at(name, scale) for name in names_at(scale)}
        every = named | {name: pattern for name, pattern in others.items() if pattern not in known}
        for case in table.cases:
            for name, pattern in every.items():
                try:
                    found.append(table.compose(name, pattern, scale, case))
                except MissingLatency:
                    continue
    return found


def _panels(args: argparse.Namespace, table: "LatencyTable") -> "tuple[list[ParetoPanel], list[str]]":
    from aira_bench.errors import UsageError
    from aira_bench.scaling.latency_pareto import PUBLISHED_SCALE, panels_of, published_losses, read_losses

    if args.figure is None:
        if args.losses is not None:
            raise UsageError("--losses are for the figure.", hint="aira-bench scale latency --losses FILE --figure DIR")
        return [], []
    if args.losses is None and args.scale != PUBLISHED_SCALE:
        raise UsageError(f"The paper prints losses at {PUBLISHED_SCALE} alone; others come by --losses.")
    losses = published_losses() if args.losses is None else read_losses(args.losses, args.scale)
    panels, left_out = panels_of(table, losses, args.scale)
    if not panels:
        raise UsageError(f"No architecture with a loss has latencies at {args.scale}: {'; '.join(left_out[:1])}.")
    return panels, left_out


def _print(table: "LatencyTable", models: "Sequence[Composed]") -> None:
    from aira_bench.cli.tables import print_rows
    from aira_bench.terminal import say
    from aira_contract.latency import MODEL

    say("; ".join(f"{name}: {value}" for name, value in table.facts.items()))
    parts = [row for row in table.rows if row.part != MODEL]
    shown = [
        {
            "part": row.part, "scale": row.scale, "case": _case(row.phase, row.batch, row.length, row.context),
            "ms": round(row.median_s * 1e3, 4), "quartiles": f"{row.low_s * 1e3:.4g}-{row.high_s * 1e3:.4g}",
            "n": row.rounds, "cache": row.cache,
        }
        for row in parts
    ]  # fmt: skip
    print_rows(shown, empty="No part was measured.")
    say("")
    print_rows([_shown(model) for model in models], empty="No model can be composed of what was measured.")


def _shown(model: "Composed") -> dict[str, object]:
    case, whole, difference = model.case, model.measured, model.difference
    return {
        "model": model.name, "scale": model.scale, "case": _case(case.phase, case.batch, case.length, case.context),
        "blocks ms": round(model.blocks_s * 1e3, 4), "sum ms": round(model.total_s * 1e3, 4),
        "quartiles": f"{model.low_s * 1e3:.4g}-{model.high_s * 1e3:.4g}",
        "whole ms": None if whole is None else round(whole.median_s * 1e3, 4),
        "sum against whole": None if difference is None else f"{difference:+.1%}",
    }  # fmt: skip


def _case(phase: str, batch: int, length: int, context: int) -> str:
    return f"{phase} {batch} x {length}" + (f" behind {context}" if context else "")


def _record(table: "LatencyTable", models: "Sequence[Composed]", panels: "Sequence[ParetoPanel]") -> dict[str, object]:
    from dataclasses import asdict

    from aira_bench.scaling.notation import write_pattern

    return {
        "machine": dict(table.facts),
        "rows": [asdict(row) for row in table.rows],
        "not_measured": [asdict(each) for each in table.not_measured],
        "models": [
            {
                "name": model.name, "scale": model.scale, "pattern": write_pattern(model.pattern), **asdict(model.case),
                "blocks_s": model.blocks_s, "total_s": model.total_s, "low_s": model.low_s, "high_s": model.high_s,
                "rounds": model.rounds, "cold": model.cold, "difference": model.difference,
                "measured_s": None if model.measured is None else model.measured.median_s,
            }
            for model in models
        ],
        "fronts": [
            {
                "protocol": panel.protocol, **asdict(panel.case),
                "architectures": [point.model.name for point in panel.points if point.on_front],
            }
            for panel in panels
        ],
    }  # fmt: skip

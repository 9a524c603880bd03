"""`aira-bench architectures`: the architectures of the paper that can be named instead of written out."""

import argparse
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json

if TYPE_CHECKING:
    from aira_contract.presets import FullSizePattern, Preset

_EPILOG = """examples:
  aira-bench architectures
  aira-bench architectures airaformer-d-stretched
  aira-bench extrapolate airahybrid-d-stretched --scale 1B

A name stands for what was searched, NAME:SCALE for the full-size pattern that the paper prints.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "architectures", help="list the paper's architectures", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="List the architectures of the paper by the names that commands take in place of a pattern.",
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="which, with their full-size patterns (default: all)")
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """List presets; of those that are named, their full-size patterns too."""
    from aira_bench.cli.tables import print_rows
    from aira_bench.terminal import say, say_json
    from aira_contract.presets import PRESETS

    chosen = [_named(text) for text in args.names] or list(PRESETS)
    if args.json:
        say_json([_record(preset) for preset in chosen], indent=1)
        return 0
    shown = ("architecture", "searched", "grown by", "source", "note")
    print_rows([{key: _record(preset)[key] for key in shown} for preset in chosen], empty="There are none.")
    for preset in chosen if args.names else ():
        if preset.full_size:
            say("")
            print_rows([_of_scale(preset, scale) for scale in preset.full_size], empty="")
    return 0


def _named(text: str) -> "Preset":
    from aira_bench.errors import UsageError
    from aira_contract.presets import find_preset

    preset = find_preset(text)
    if preset is None:
        raise UsageError(f"No architecture of the paper is called {text!r}.", hint="aira-bench architectures")
    return preset


def _record(preset: "Preset") -> dict[str, object]:
    from aira_bench.scaling.notation import read_pattern, write_pattern

    return {
        "architecture": preset.name,
        "title": preset.title,
        "searched": None if preset.base is None else write_pattern(read_pattern(preset.base)),
        "grown by": preset.growth,
        "source": preset.source,
        "note": preset.note or None,
        "full size": [_of_scale(preset, scale) for scale in preset.full_size],
    }


def _of_scale(preset: "Preset", scale: str) -> dict[str, object]:
    from aira_contract.model_sizes import model_size, space_of
    from aira_contract.training_arithmetic import count_layers, parameters

    printed: FullSizePattern = preset.full_size[scale]
    counts = count_layers(printed.pattern)
    return {
        "name": f"{preset.name}:{scale}",
        "pattern": printed.written,
        "layers": counts.layers,
        "layers printed": printed.layers,
        "parameters": parameters(counts, model_size(scale, space_of(printed.pattern))),
    }

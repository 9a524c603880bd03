"""`aira-bench scale export`: a training's checkpoint as a folder for transformers, and back."""

import argparse
from pathlib import Path

from aira_bench.cli.options import SUB_FORMAT, add_json, positive_int

_EPILOG = """examples:
  aira-bench scale export trainings/llama-3.2-1b-isotoken-1b-s0 --out model
  aira-bench scale export trained --step 60000 --dtype bfloat16 --out model
  aira-bench scale export --from model --out trained-again

The folder has config.json, model.safetensors, the model file modeling_aira.py, and the tokenizer where the training
kept one; AutoModelForCausalLM.from_pretrained(DIR, trust_remote_code=True) runs it. With --from such a folder becomes a
training's with a checkpoint of weights alone: it can be evaluated, and no training goes on from it. A checkpoint that
was cut off is refused. Its .metadata is a pickle: export trainings of your own alone. Needs aira-bench[evaluator].
"""


def register(within: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `scale`."""
    from aira_contract.exports import DTYPES

    parser = within.add_parser(
        "export", help="a checkpoint for transformers", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Write a training's checkpoint as a Hugging Face folder, or read one back.",
    )  # fmt: skip
    parser.add_argument("trained", nargs="?", type=Path, metavar="TRAINED", help="folder of a training")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help="a folder that was exported, to read back"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is new or empty")
    parser.add_argument("--step", type=positive_int, metavar="N", help="whose checkpoint (default: the newest)")
    parser.add_argument(
        "--data", type=Path, metavar="TOKENS", help="folder of tokens, where the training keeps no copy of its manifest"
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="of the weights (default: float32, as trained)"
    )
    parser.add_argument("--python", metavar="PYTHON", help="the Python whose torch is used (default: this one)")
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Export a checkpoint, or read a folder back."""
    from dataclasses import asdict

    from aira_bench.errors import UsageError
    from aira_bench.paths import require_new_folders
    from aira_bench.scaling.torch_process import answers
    from aira_bench.terminal import say, say_json, tell
    from aira_contract.exports import PROCESS, Exported, ExportRequest

    if (args.trained is None) == (args.source is None):
        raise UsageError("Expected the folder of a training, or --from DIR.", hint="aira-bench scale export --help")
    back = args.source is not None
    if back and (args.step is not None or args.data is not None or args.dtype != "float32"):
        raise UsageError("With --from there is nothing to choose: leave out --step, --data and --dtype.")
    require_new_folders(args.out.absolute(), "--out DIR")
    request = ExportRequest(
        str(args.source or args.trained), str(args.out), back, args.step, None if args.data is None else str(args.data),
        args.dtype,
    )  # fmt: skip
    (line,) = answers(PROCESS, request.to_json(), args.python, hint="aira-bench scale export --help")
    done = Exported.from_line(line)
    if args.json:
        say_json(asdict(done))
        return 0
    say(f"{args.out}: {done.pattern} at {done.scale}, step {done.step:,} of {done.steps:,}, "
        f"{done.parameters:,} parameters")  # fmt: skip
    say(f"weights {done.weights_sha256}, tokenizer {done.tokenizer or 'none'}")
    for note in done.notes:
        tell(f"note: {note}")
    return 0

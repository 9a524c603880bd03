"""`aira-bench scale data`: text downloaded and made into tokens, once for all trainings."""

import argparse
from pathlib import Path

from aira_bench.cli.options import SUB_FORMAT, add_json, positive_int

_EPILOG = """examples:
  aira-bench scale data --shards 279 --tokenizer tokenizer.model --out tokens --dry-run
  aira-bench scale data --shards 2 --vocabulary 32768 --out tokens
  aira-bench scale data --source shards.toml --tokenizer tokenizer.json --out tokens
  aira-bench scale data --source FOLDER --tokenizer tokenizer.model --held-out 500 --out tokens

Without --source, shards of DCLM, as the task dclm-2p has its own. --tokenizer is Llama 3's file, tokenizer.model or
tokenizer.json, which Meta gives out; without one, byte pairs are trained on the text, and losses compare with none
that is published.

Stopped or killed, the same command goes on; several beside each other share the work. --dry-run says what disk it
takes, and takes none. Needs aira-bench[tokens].
"""
_OWN_VOCABULARY = 32_768
_LEAST_VOCABULARY, _MOST_VOCABULARY = 257, 65_535


def register(within: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `scale`."""
    parser = within.add_parser(
        "data", help="make tokens of text", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Download text and make it into the tokens that trainings read, with a held-out part.",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the tokens")
    parser.add_argument("--source", type=Path, metavar="FILE.toml|DIR", help="a list of files, or a folder of them")
    parser.add_argument("--shards", type=positive_int, metavar="N", help="of DCLM (default: 1)")
    parser.add_argument("--synthetic", action="store_true", help="mark the text of --source as generated")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="tokenizer.model or tokenizer.json")
    parser.add_argument(
        "--vocabulary", type=_vocabulary, metavar="N", help=f"without --tokenizer (default: {_OWN_VOCABULARY})"
    )
    parser.add_argument(
        "--held-out", type=positive_int, default=1000, metavar="N", help="documents for validation (default: 1000)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw of those (default: 0)")
    parser.add_argument("--processes", type=positive_int, metavar="N", help="default: one for each core")
    parser.add_argument("--python", metavar="PYTHON", help="which has the libraries (default: this one)")
    parser.add_argument("--dry-run", action="store_true", help="say what it takes, and begin nothing")
    add_json(parser)
    parser.set_defaults(handle=handle)


def _vocabulary(text: str) -> int:
    count = positive_int(text)
    if not _LEAST_VOCABULARY <= count <= _MOST_VOCABULARY:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of ids from {_LEAST_VOCABULARY} to {_MOST_VOCABULARY}")
    return count


def handle(args: argparse.Namespace) -> int:
    """Say what it takes, download what is missing, and have tokens made."""
    from aira_bench.cli.display import RunDisplay
    from aira_bench.errors import UsageError
    from aira_bench.paths import host_paths, require_new_folders
    from aira_bench.scaling.corpus.making import cores, file_sha256, make, require_libraries, require_room
    from aira_bench.scaling.corpus.texts import dclm_texts, provide_texts, read_texts
    from aira_bench.terminal import tell
    from aira_contract.token_making import TokenRequest

    if args.source is not None and args.shards is not None:
        raise UsageError("--shards are of DCLM, and --source names other text.", hint="one of both")
    if args.source is None and args.synthetic:
        raise UsageError("DCLM's text is not synthetic.", hint="--source FOLDER --synthetic")
    if args.tokenizer is not None and args.vocabulary is not None:
        raise UsageError("A tokenizer's file has its own --vocabulary.", hint="one of both")
    tokenizer_sha256 = "" if args.tokenizer is None else file_sha256(args.tokenizer)
    out, paths = args.out.absolute(), host_paths()
    require_new_folders(out, "--out DIR")
    if args.python is None:
        require_libraries(args.tokenizer)
    texts = dclm_texts(args.shards or 1) if args.source is None else read_texts(args.source, synthetic=args.synthetic)
    tell(require_room(texts, out, paths))
    if args.tokenizer is None:
        tell("No --tokenizer is named: byte pairs of our own, with which losses compare with none that is published.")
    if args.dry_run:
        return 0
    display = RunDisplay((), 0, quiet=args.json)
    with display.live():
        files = provide_texts(texts, paths, display.note, display.transfer)
    request = TokenRequest(
        texts.name, texts.source, texts.synthetic, files,
        "" if args.tokenizer is None else str(args.tokenizer.absolute()), tokenizer_sha256,
        (args.vocabulary or _OWN_VOCABULARY) if args.tokenizer is None else 0, args.held_out, args.seed,
    )  # fmt: skip
    make(out, request, min(args.processes or cores(), len(files)), args.python)
    _say_made(out, as_json=args.json)
    return 0


def _say_made(out: Path, *, as_json: bool) -> None:
    from aira_bench.scaling.corpus.made import made_tokens
    from aira_bench.terminal import say, say_json

    made = made_tokens(out)
    if as_json:
        say_json(made.record())
        return
    for line in made.lines():
        say(line)

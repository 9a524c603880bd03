"""`aira-bench merge`: add runs that other machines packed, once they hold."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder, add_runtime, positive_int

if TYPE_CHECKING:
    from aira_bench.record.run_record import RunRecord
    from aira_bench.runs.rescore import Rescored

_EPILOG = """examples:
  aira-bench merge pack.tar.gz --signed-by ed25519:KEY
  aira-bench merge packs/*.tar.gz
  aira-bench merge pack.tar.gz --rescore 10

Each pack is checked as aira-bench verify checks a board, with every file of its runs, before anything of it is added.
Keys that signed it must be trusted (aira-bench key trust) or named. A run that is here already is left as it is.

With --rescore N the judge of this machine scores N artifacts of each pack again, drawn at random, half of them by a
training that confirms. On hardware of the same class a score of an architecture must come to the last digit; where
that is not promised, within the task's noise of training.

Exit status: 0 merged; 1 a score did not come again; 2 usage; 3 the machine lacks what scoring needs; 5 the engine
failed; 6 a pack does not hold, or nothing here can score it again. Nothing of a pack that failed is added.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "merge", help="add runs that other machines packed", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Check packs of runs, and add their runs to the folder of runs.",
    )  # fmt: skip
    parser.add_argument("packs", nargs="+", type=Path, metavar="PACK", help="files that aira-bench submit wrote")
    parser.add_argument(
        "--signed-by", action="append", default=[], metavar="KEY",
        help="a public key (aira-bench key export) that may have signed the packs' runs",
    )  # fmt: skip
    parser.add_argument(
        "--rescore", type=positive_int, metavar="N",
        help="add a pack only if N random scores of it are had again here (default: none are tried)",
    )  # fmt: skip
    add_runs_folder(parser)
    add_runtime(parser, begins=True)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Check each pack, and add its runs."""
    from aira_bench.keys import KeyFolder, parse_public
    from aira_bench.packs.merging import merge
    from aira_bench.paths import host_paths, require_new_folders
    from aira_bench.terminal import say, say_json

    paths = host_paths(args.runs)
    require_new_folders(paths.runs, "--runs DIR")
    named = [parse_public(each) for each in args.signed_by]
    ring = KeyFolder(paths.keys).ring()
    told = []
    for pack in args.packs:
        found: list[Rescored] = []
        check = (lambda records: None) if args.rescore is None else _Rescoring(args, found)
        merged = merge(pack.absolute(), paths.runs, ring, named, check)
        if found and not args.json:
            say(f"{pack}: {_agreement(found)}")
        for run in merged:
            again = [_record(each) for each in found if each.drawn.run.manifest.run_id == run.run_id]
            told.append({"pack": str(pack), "run": run.run, "run_id": run.run_id, "new": run.is_new, "rescored": again})
            if not args.json:
                say(f"{pack}: run {run.run}, {'added' if run.is_new else 'here already'}")
    if args.json:
        say_json(told)
    return 0


class _Rescoring:
    """Has scores of a pack again, and keeps what came of it."""

    def __init__(self, args: argparse.Namespace, found: "list[Rescored]") -> None:
        self._args, self._found = args, found

    def __call__(self, records: "Sequence[RunRecord]") -> None:
        import random

        from aira_bench.runs.connect import connect_host
        from aira_bench.runs.rescore import rescore
        from aira_bench.terminal import tell

        def note(text: str) -> None:
            if not self._args.json:
                tell(text)

        host = connect_host(
            self._args.runs,
            self._args.runtime,
            note,
            containers=self._args.containers,
            accepted_walls=self._args.accepted_walls,
        )
        self._found += rescore(host, records, self._args.rescore, random.SystemRandom(), note)


def _agreement(found: "Sequence[Rescored]") -> str:
    """What came of it, in words."""
    equal = sum(each.promise == "equal" for each in found)
    said = [f"{equal} scores came again to the last digit"] if equal else []
    if near := [each for each in found if each.promise == "noise"]:
        most = max(each.within for each in near)
        said.append(f"{len(near)} came again within {most:.4f}, which is what training alone may do")
    return "; ".join(said)


def _record(each: "Rescored") -> dict[str, object]:
    training = each.drawn.training
    return {
        "seed": training.seed, "step": training.step, "seed_set": each.drawn.seed_set, "training": training.number,
        "recorded": each.drawn.recorded.test, "again": getattr(each.again, "test", None), "promise": each.promise,
        "within": each.within,
    }  # fmt: skip

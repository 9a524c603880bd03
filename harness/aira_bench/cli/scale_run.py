"""`aira-bench scale run` and `scale status`: train what is missing of a plan on this machine, and how far it came."""

import argparse
import sys
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING

from aira_bench.cli.launching import ENGINES
from aira_bench.cli.options import SUB_FORMAT, add_json
from aira_bench.cli.scale_plan import add_trainings, planned

if TYPE_CHECKING:
    from aira_bench.scaling.plan.trainings import SeedTraining

_RUN_EPILOG = """examples:
  aira-bench scale run llama-3.2 airaformer-d --recipe toy --gpus 1 --data tokens --out trainings --device cpu --yes
  aira-bench scale run paper --scale 350M --gpus 8 --data tokens --out trainings --dry-run

Begins every training that is not done, one after the other on the GPUs of this machine, through torchrun; one that was
stopped goes on from its last checkpoint. --dry-run prints the command lines; --prepare also writes what they read, so
that they can be run elsewhere. What trainings take is told before the
first, and asked about. Where published steps are not those of the pattern's layers, a recipe with them is written into
the training's folder when it begins.

Exit status: 0 all are done; 1 one ended otherwise, which is named; 130 stopped.
"""
_STATUS_EPILOG = """examples:
  aira-bench scale status paper --scale 350M --out trainings
  aira-bench scale status llama-3.2 --recipe toy --gpus 1 --out trainings --json
"""


def register(within: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands to those of `scale`."""
    run = within.add_parser(
        "run", help="train what is missing", epilog=_RUN_EPILOG, formatter_class=SUB_FORMAT,
        description="Begin or go on with every training that is not done, on this machine.",
    )  # fmt: skip
    status = within.add_parser(
        "status", help="how far trainings came", epilog=_STATUS_EPILOG, formatter_class=SUB_FORMAT,
        description="Say of each training of a plan whether it is done, begun or missing.",
    )  # fmt: skip
    for parser, handle in ((run, handle_run), (status, handle_status)):
        add_trainings(parser)
        parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the trainings")
        parser.set_defaults(handle=handle)
    run.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of tokens")
    run.add_argument("--python", metavar="PYTHON", help="whose torch it is (default: this one)")
    run.add_argument("--device", choices=("cuda", "cpu"), help="passed to the trainer (default: its own)")
    run.add_argument("--engine", choices=ENGINES, default="local", help="local (the default) is all there is yet")
    looking = run.add_mutually_exclusive_group()
    looking.add_argument("--dry-run", action="store_true", help="print the command lines, write and begin nothing")
    looking.add_argument("--prepare", action="store_true", help="print them and write the folders they name, for a job")
    run.add_argument("-y", "--yes", action="store_true", help="begin without the question")
    add_json(status)


def handle_status(args: argparse.Namespace) -> int:
    """Print how far each training of the plan came."""
    from aira_bench.cli.tables import print_rows
    from aira_bench.scaling.plan.trainings import run_record, seed_trainings
    from aira_bench.terminal import say, say_json

    found = [run_record(run) for run in seed_trainings(planned(args), args.out)]
    if args.json:
        say_json(found)
        return 0
    print_rows(found, empty="There are none.", optional=("marks",))
    done = sum(run["state"] == "done" for run in found)
    say(f"{done} of {len(found)} trainings are done.")
    return 0


def handle_run(args: argparse.Namespace) -> int:
    """Print or carry out what is missing."""
    from aira_bench.scaling.corpus.made import made_tokens
    from aira_bench.scaling.plan.carrying_out import carry_out
    from aira_bench.scaling.plan.trainings import command, prepare, require_same_tokens, seed_trainings
    from aira_bench.terminal import say, tell

    _require_this_machine(args)
    plan = planned(args)
    runs = seed_trainings(plan, args.out)
    if not args.dry_run:
        tokens = made_tokens(args.data)
        require_same_tokens(runs, tokens)
        for line in tokens.lines():
            tell(line)
    options = ["--device", args.device] if args.device else []
    missing = [run for run in runs if run.state != "done"]
    commands = {run.folder: command(run, args.data, args.python or sys.executable, options) for run in missing}
    if args.dry_run or args.prepare:
        for run in missing if args.prepare else ():
            prepare(run)
        for words in commands.values():
            say(join(words))
        tell(f"{len(runs) - len(missing)} of {len(runs)} trainings are done; nothing was begun.")
        return 0
    if not missing:
        tell(f"All {len(runs)} trainings are done.")
        return 0
    require_consent(args, missing)
    carry_out([(run, commands[run.folder]) for run in missing], 1, tell)
    return 0


def _require_this_machine(args: argparse.Namespace) -> None:
    from aira_bench.errors import UsageError

    if args.engine != "local":
        raise UsageError(
            f"--engine {args.engine} starts workers of searches, not the ranks of a training, which scale run begins "
            "on this machine alone.",
            hint="--prepare, and its command lines in a job of the cluster's own, with torchrun's --nnodes",
        )


def require_consent(args: argparse.Namespace, missing: "list[SeedTraining]") -> None:
    """Ask whether trainings may begin, unless `--yes` said so.

    Raises:
        UsageError: they may not, or nobody is there to be asked.
    """
    from aira_bench.errors import UsageError
    from aira_bench.terminal import answer

    hours = sum(
        run.planned.hours * (1 - run.steps_done / run.planned.steps.steps) * run.planned.settings.gpus
        for run in missing
    )
    device = missing[0].planned.settings.gpu
    said = f"{len(missing)} trainings are missing, about {hours:,.2g} {device.unit}-hours of {device.name} by the plan."
    if args.yes:
        return
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise UsageError(f"{said} Nobody is at a terminal to be asked.", hint="the same command with --yes")
    if answer(f"{said} Begin? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("Not begun.", hint="aira-bench scale plan --help")

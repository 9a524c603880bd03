"""`aira-bench worker`: take seeds of runs in a folder that other workers, on any machine, take seeds of too."""

import argparse
import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import (
    SUB_FORMAT,
    add_hidden_key,
    add_judge_on,
    add_runtime,
    core_list,
    gpu_list,
    positive_int,
    seconds,
)

if TYPE_CHECKING:
    from aira_bench.runs.session import Progress
    from aira_bench.runs.units import Unit
    from aira_bench.runs.worker import WorkerEnd

_SAYING = threading.Lock()
_EPILOG = """examples:
  aira-bench worker runs/my-run
  aira-bench worker runs/my-suite --slots 4
  aira-bench worker runs/my-run --once --no-confirm

A worker takes a seed that nobody has, goes on with it to its end, confirms what it submitted, and takes the next, until
all are over, halted or in the hands of others. `aira-bench run --engine local` and its like start workers; one more may
be started at any time, on any machine that sees the folder under whatever path. Which one works on a seed changes no
result. SIGTERM, as a scheduler sends it, frees its seeds: finished steps stay, and others go on. A worker that is
killed, or whose machine is lost, is found out by its silence.

Exit status: 0 nothing is left to take; else of the first seed that halted (as of aira-bench run); 130 stopped.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "worker", help="take seeds of shared runs", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Take seeds of a run, or of the runs below a folder, which workers share.",
    )  # fmt: skip
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="folder of a run, or one with runs below; s3:// or gs://"
    )
    parser.add_argument("--slots", type=positive_int, help="seeds at a time (default: one a GPU, else one a core)")
    parser.add_argument("--cores", type=core_list, metavar="N|A,B|A-B", help="as of aira-bench run, for its slots")
    parser.add_argument("--gpus", type=gpu_list, metavar="N|A,B|all", help="as of aira-bench run, for its slots")
    parser.add_argument(
        "--grace-s", type=seconds, default=20.0, metavar="SECONDS",
        help="it is over so long after SIGTERM, with or without having tidied up (default: 20)",
    )  # fmt: skip
    parser.add_argument("--once", action="store_true", help="take one seed a slot, and end")
    parser.add_argument(
        "--no-confirm",
        dest="confirm",
        action="store_false",
        help="leave confirmations to others, or to aira-bench confirm",
    )
    parser.add_argument(
        "--only-confirm",
        action="store_true",
        help="train again what seeds submitted whose search is over, and nothing else (aira-bench confirm --engine)",
    )
    add_hidden_key(parser, "of --only-confirm: that of each run's search")
    add_runtime(parser)
    add_judge_on(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Work, and say what came of it."""
    import os
    from shlex import join

    from aira_bench.cli.stopping import current
    from aira_bench.copies.working import working_copies
    from aira_bench.errors import UsageError
    from aira_bench.hidden_keys import read_hidden_key
    from aira_bench.leasing.terms import wanted_terms
    from aira_bench.paths import host_paths
    from aira_bench.runs.connect import connect_host
    from aira_bench.runs.opened_runs import WorkerWishes
    from aira_bench.runs.units import runs_below
    from aira_bench.runs.worker import Worker
    from aira_bench.shared_store.objects import object_address
    from aira_bench.view.index import keep_index
    from aira_bench.world import SystemWorld

    stopping = current()
    stopping.grace_s, stopping.way_on = args.grace_s, lambda: join(args.typed)
    if args.judge_on is not None and args.only_confirm:
        raise UsageError("--only-confirm trains on this machine, --judge-on elsewhere: one of the two.")
    if args.hidden_key is not None and not args.only_confirm:
        raise UsageError("--hidden-key needs --only-confirm: a search has the key that it began with.")
    key = None if args.hidden_key is None else read_hidden_key(Path(args.hidden_key))
    wishes = WorkerWishes(args.slots, args.once, args.confirm, args.only_confirm, key, args.cores, args.gpus)
    terms, address = wanted_terms(os.environ), object_address(str(args.folder))
    with contextlib.ExitStack() as stack:
        copies, folder = None, args.folder
        if address is not None:
            copies = stack.enter_context(working_copies(address, host_paths(Path()).home, SystemWorld().new_id()))
            folder = copies.folder
        below = runs_below(folder)  # before an engine is looked for
        runs = below[0].path.parent if below else folder  # where a replay looks for the run that it repeats
        host = connect_host(runs, args.runtime, _say, containers=args.containers, judge_on=args.judge_on)
        worker = Worker(
            host, folder, wishes, _say, _watch, terms, lambda run: keep_index(run, host.paths.home, host.keys), copies
        )
        end = worker.work()
    return said_at_end(end)


def said_at_end(end: "WorkerEnd") -> int:
    """Say what a worker came to; return its exit status."""
    from aira_bench.cli.options import report
    from aira_bench.errors import AiraError
    from aira_bench.terminal import tell

    for what, error in end.failed:
        report(AiraError(f"{what}: {error.message}", hint=error.hint))
    tell(f"aira-bench: nothing is left to take; this worker brought {len(end.over)} seeds to their end.")
    return end.failed[0][1].exit_code if end.failed else 0


def _say(text: str) -> None:
    from datetime import UTC, datetime

    from aira_bench.escaping import one_line
    from aira_bench.terminal import tell

    with _SAYING:  # units tell from their threads
        tell(one_line(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}"))


def _watch(unit: "Unit", progress: "Progress") -> None:
    """A line for each step that is finished, and for what befalls a seed."""
    if progress.last:
        _say(f"{unit.name} step {progress.step}: {progress.last}")
    elif progress.phase == "begins" or progress.ended is not None or progress.confirming:
        _say(f"{unit.name} step {progress.step}: {progress.phase}")

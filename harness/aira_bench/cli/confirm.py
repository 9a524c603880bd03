"""`aira-bench confirm`: train what a run submitted again, on fresh hidden data."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.engine import add_engine
from aira_bench.cli.options import SUB_FORMAT, add_hidden_key, add_json, add_judge_on, add_runs_folder, add_runtime

if TYPE_CHECKING:
    from aira_bench.hidden_keys import HiddenKey
    from aira_bench.paths import HostPaths
    from aira_bench.record.run_record import RunRecord

_EPILOG = """example:
  aira-bench confirm evolution-mad-2p-cpu-20260101-120000

A search picks by hidden validation, so its winner owes something to luck. This trains the submission of every seed
again, as often as the task's profile asks for and each time from fresh seeds, on hidden data of which the search has
seen none; boards order by what comes of it. Runs do the same at their end (--no-confirm leaves it out), and what is
done is not done again. With --hidden-key that data is derived from another key, which the machine that searched need
never have had. A submission that is refused this time counts as none; the record and the board say so.
With --engine workers take the seeds, as of aira-bench run; they need no key of a model's provider.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "confirm", help="train submissions again, on fresh hidden data", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Train the submissions of a finished run again, on data no search has seen.",
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", help="name or folder of a run (aira-bench status)")
    add_hidden_key(parser, "that of the run's search")
    add_engine(parser)
    add_runs_folder(parser)
    add_runtime(parser)
    add_judge_on(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Confirm and show the board."""
    from aira_bench.cli.display import RunDisplay
    from aira_bench.cli.ending import RunEnding
    from aira_bench.cli.engine import carried_out
    from aira_bench.cli.launching import engine_options, require_engine
    from aira_bench.errors import UsageError
    from aira_bench.hidden_keys import read_hidden_key
    from aira_bench.keys import KeyFolder
    from aira_bench.paths import host_paths
    from aira_bench.record.folder import find_run
    from aira_bench.record.trust import read_confirmable
    from aira_bench.runs.confirm import confirm
    from aira_bench.runs.connect import connect_host

    require_engine(args)
    if args.engine is not None and args.judge_on is not None:
        raise UsageError("--engine confirms on the machines of workers, --judge-on elsewhere: one of the two.")
    paths = host_paths(args.runs)
    record = read_confirmable(find_run(paths.runs, args.run), KeyFolder(paths.keys).ring())
    plan = record.manifest.plan
    display = RunDisplay(plan.seeds, plan.steps, quiet=args.json)
    key = None if args.hidden_key is None else read_hidden_key(Path(args.hidden_key))
    display.confirming = True
    under = [] if args.hidden_key is None else ["--hidden-key", args.hidden_key]
    ending = RunEnding(args, display, record.folder, args.run, [*under, *engine_options(args)])
    if args.engine is not None:
        _leave_to_workers(record, paths, key)
        shared = [] if args.hidden_key is None else ["--hidden-key", str(Path(args.hidden_key).absolute())]
        return ending.of(lambda: carried_out(args, record.folder, display, shared))
    host = connect_host(
        args.runs, args.runtime, display.note, display.transfer, containers=args.containers, judge_on=args.judge_on
    )
    return ending.of(lambda: confirm(host, record, display.note, key, watch=display.watch))


def _leave_to_workers(record: "RunRecord", paths: "HostPaths", key: "HiddenKey | None") -> None:
    """Let workers take the seeds with trainings that are missing; what forbids a confirmation is said before any is
    started.
    """
    import os

    from aira_bench.leasing.terms import wanted_terms
    from aira_bench.runs.confirm import missing_trainings, reopen_to_confirm
    from aira_bench.runs.sharing import share_to_confirm
    from aira_bench.world import SystemWorld

    missing = missing_trainings(record, reopen_to_confirm(record, paths, key))
    share_to_confirm(record, {each.seed for each in missing}, SystemWorld(), wanted_terms(os.environ))

"""`aira-bench resume`: go on with a stopped or killed run."""

import argparse

from aira_bench.cli.engine import add_engine
from aira_bench.cli.options import SUB_FORMAT, add_json, add_judge_on, add_runs_folder, add_runtime, add_track

_EPILOG = """example:
  aira-bench resume evolution-mad-2p-cpu-20260101-120000

Finished steps are kept; a step that was in flight is taken again, with the same proposal. First the whole record is
checked, signatures and files; an agent's file that lies in the run folder runs only if a trusted key signed for it.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "resume", help="go on with a stopped run", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Go on with a run from its journals.",
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", help="name or folder of a run (aira-bench status)")
    parser.add_argument(
        "--trust-agent",
        action="store_true",
        help="go on with an unsigned run: its agent, card, task and extensions are known to me",
    )
    parser.add_argument(
        "--accept-changes",
        action="store_true",
        help="go on although card, prompts, packages or aira-bench changed since it began; boards will say so",
    )
    parser.add_argument(
        "--from-last-good",
        action="store_true",
        help="where the run was damaged, take each seed back to its last good step; what is cut off stays beside it",
    )
    add_track(parser)
    add_engine(parser)
    add_runs_folder(parser)
    add_runtime(parser)
    add_judge_on(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Resume and show the board."""

    import os

    from aira_bench.cli.display import RunDisplay
    from aira_bench.cli.ending import RunEnding
    from aira_bench.cli.engine import carried_out
    from aira_bench.cli.launching import require_engine
    from aira_bench.escaping import one_line
    from aira_bench.export.tracking import mirrored, require_tracker
    from aira_bench.keys import KeyFolder
    from aira_bench.leasing.terms import wanted_terms
    from aira_bench.looking.run_state import RunCaps
    from aira_bench.paths import host_paths
    from aira_bench.record.folder import find_run
    from aira_bench.record.trust import read_resumable
    from aira_bench.runs.changes import take_back
    from aira_bench.runs.connect import connect_host
    from aira_bench.runs.launch import resume
    from aira_bench.runs.sharing import share_again
    from aira_bench.terminal import tell
    from aira_bench.world import SystemWorld

    require_tracker(args.track)
    require_engine(args)
    paths = host_paths(args.runs)
    folder = find_run(paths.runs, args.run)
    if args.from_last_good:
        for each in take_back(folder, KeyFolder(paths.keys), SystemWorld()):
            tell(one_line(f"{each.what}: {each.then}; {each.now}"))
    record = read_resumable(folder, KeyFolder(paths.keys).ring(), trust_agent=args.trust_agent)
    plan = record.manifest.plan
    caps = RunCaps.of(plan, lower_is_better=record.manifest.lower_is_better)
    display = RunDisplay(plan.seeds, plan.steps, quiet=args.json, caps=caps)
    ending = RunEnding(args, display, record.folder, args.run)
    if args.engine is not None:
        share_again(record, KeyFolder(paths.keys), SystemWorld(), wanted_terms(os.environ), accept=args.accept_changes)
        with mirrored(args.track, record.folder.path, tell):
            return ending.of(lambda: carried_out(args, record.folder, display))
    host = connect_host(
        args.runs, args.runtime, display.note, display.transfer, containers=args.containers, judge_on=args.judge_on
    )
    with mirrored(args.track, record.folder.path, tell):
        return ending.of(lambda: resume(host, record, display.note, display.watch, accept_changes=args.accept_changes))

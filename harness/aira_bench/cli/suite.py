"""`aira-bench suite`: agents by tasks by seeds as one whole, from one estimate to one board."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING

from aira_bench.cli.engine import add_engine
from aira_bench.cli.options import (
    SUB_FORMAT,
    add_allow_cpu,
    add_hidden_key,
    add_json,
    add_judge_on,
    add_runs_folder,
    add_runtime,
    core_list,
    gpu_list,
    hours,
    positive_float,
    positive_int,
    report,
    seed_list,
    step_count,
)
from aira_contract.settings import PROFILES

_WIDTH = 10

if TYPE_CHECKING:
    from aira_bench.boards.columns import Scalar
    from aira_bench.cli.suite_display import SuiteDisplay
    from aira_bench.runs.host import Host
    from aira_bench.suites.estimate import SuiteCost
    from aira_bench.suites.progress import CellEnd
    from aira_bench.suites.suite_file import SuitePlan

_EPILOG = """examples:
  aira-bench suite lra --dry-run
  aira-bench suite compose --agents o3-mini,gpt4o --max-dollars 2000
  aira-bench suite mine.toml --name pilot --profile cpu --seeds 2 --steps 4

compose, lra and autoresearch are the paper's matrices; docs/suites.md has the form of a file. The runs lie in one
folder, RUNS/NAME, one a cell, and are like any other: --runs RUNS/NAME shows them to every command. The same command
again goes on where it was stopped, and two of them at a time share the cells. A cell that fails is named at the end;
the others run.

A cap for the whole is shared equally by the seeds, and is part of what their runs record: a pot would favour whoever is
first. Of its share of --max-hours a seed searches in what the time limits of its confirmation leave.

With --profile, --seeds, --steps and --hours a suite can be rehearsed.

Exit status: 0 all cells have ended; else that of the first that failed (as of aira-bench run); 130 stopped.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "suite", help="run a matrix of agents, tasks and seeds", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Run agents by tasks by seeds as one resumable whole, with one estimate before it begins.",
    )  # fmt: skip
    parser.add_argument("suite", metavar="SUITE|FILE.toml", help="compose, lra, autoresearch, or a file of your own")
    parser.add_argument("--name", help="name of the suite's folder in the folder of runs (default: the suite's)")
    parser.add_argument("--agents", type=_names, default=(), metavar="A,B", help="these agents alone (default: all)")
    parser.add_argument("--tasks", type=_names, default=(), metavar="A,B", help="these tasks alone (default: all)")
    parser.add_argument("--profile", choices=PROFILES, help="in place of what the file says")
    parser.add_argument(
        "--protocol", choices=("aira", "paper"), help="in place of what the file says (docs/protocols.md)"
    )
    parser.add_argument("--seeds", type=seed_list, metavar="N|A,B", help="in place of what the file says")
    parser.add_argument("--steps", type=step_count, help="in place of what the file says")
    parser.add_argument("--hours", type=hours, help="in place of what the file says")
    parser.add_argument(
        "--max-dollars", type=positive_float, metavar="USD", help="hard cap on all model calls together"
    )
    parser.add_argument("--max-tokens", type=positive_int, metavar="N", help="hard cap on all model tokens")
    parser.add_argument(
        "--max-hours", type=positive_float, metavar="HOURS",
        help="hard cap on the hours of all seeds together, what confirms them included; GPU-hours where the profile "
        "uses GPUs",
    )  # fmt: skip
    parser.add_argument("--cores", type=core_list, metavar="N|A,B|A-B", help="as of aira-bench run, for every cell")
    parser.add_argument("--gpus", type=gpu_list, metavar="N|A,B|all", help="as of aira-bench run, for every cell")
    add_allow_cpu(parser)
    add_hidden_key(parser, "this machine's, if it has one; else published seeds")
    parser.add_argument("--dry-run", action="store_true", help="print what the whole may take, do nothing, and stop")
    parser.add_argument("-y", "--yes", action="store_true", help="begin without the question behind the estimate")
    add_runs_folder(parser)
    add_runtime(parser, begins=True)
    add_judge_on(parser)
    add_json(parser)
    add_engine(parser)
    parser.set_defaults(handle=handle)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no list of names, such as random,evolution")
    return names


def handle(args: argparse.Namespace) -> int:
    """Estimate, ask, carry out, and show the board."""
    from aira_bench.cli.launching import require_engine
    from aira_bench.cli.stopping import current
    from aira_bench.cli.suite_display import SuiteDisplay, estimate_lines
    from aira_bench.hardware import this_machine
    from aira_bench.keys import KeyFolder
    from aira_bench.paths import host_paths
    from aira_bench.record.new_run import require_plain_name
    from aira_bench.runs.connect import connect_host
    from aira_bench.sandbox.engine_gpus import engine_gpus
    from aira_bench.suites.estimate import estimate
    from aira_bench.suites.past import past_paces
    from aira_bench.suites.progress import SuiteCaps, capped
    from aira_bench.suites.suite_file import read_suite, select

    require_engine(args)
    plan = _with_wishes(select(read_suite(args.suite), args.agents, args.tasks), args)
    above, name = host_paths(args.runs), plan.name if args.name is None else args.name
    require_plain_name(name, "a suite")
    paths = replace(above, runs=above.runs / name)
    hardware = this_machine(otherwise=engine_gpus)
    slots = len(hardware.gpus) or hardware.cores
    paces = past_paces((above.runs, paths.runs), KeyFolder(paths.keys).ring(), hardware.label)
    uncapped = estimate(plan, hardware, paces, paths)
    plan = capped(plan, uncapped, SuiteCaps(args.max_dollars, args.max_tokens, args.max_hours))
    cost = estimate(plan, hardware, paces, paths)
    lines = estimate_lines(plan, cost, paths, slots)
    if args.dry_run:
        _show(plan, cost, lines, as_json=args.json)
    _require_agents(cost, args)
    if args.dry_run:
        return 0
    _require_consent(cost, lines, yes=args.yes)
    current().way_on = lambda: join(args.typed)
    watch = SuiteDisplay(len(plan.cells), quiet=args.json)
    host = connect_host(
        paths.runs,
        args.runtime,
        watch.note,
        hardware=hardware,
        containers=args.containers,
        accepted_walls=args.accepted_walls,
        judge_on=args.judge_on,
    )
    return _carried_out(host, plan, cost, watch, args)


def _with_wishes(plan: "SuitePlan", args: argparse.Namespace) -> "SuitePlan":
    """The suite with what the command line asks of every cell."""
    wishes = {
        name: value
        for name in ("profile", "protocol", "seeds", "steps", "hours", "cores", "gpus", "hidden_key")
        if (value := getattr(args, name)) is not None
    } | {"allow_cpu": args.allow_cpu}
    return replace(
        plan, cells=tuple(replace(cell, request=replace(cell.request, **wishes)) for cell in plan.cells)
    )  # fmt: skip


def _require_agents(cost: "SuiteCost", args: argparse.Namespace) -> None:
    """Raises PrerequisiteError where some agents cannot be used, with the command that does without them."""
    from aira_bench.cli.suite_display import obstacle_lines
    from aira_bench.errors import PrerequisiteError
    from aira_bench.terminal import tell

    if not cost.obstacles:
        return
    usable = [agent.name for agent in cost.agents if agent.obstacle is None]
    if not args.dry_run or args.json:
        for _, text in obstacle_lines(cost):
            tell(text)
    raise PrerequisiteError(
        f"{len(cost.obstacles)} of the suite's {len(cost.agents)} agents cannot be used here, as told above.",
        hint=join([*args.typed, "--agents", ",".join(usable)]) if usable else "aira-bench agents",
    )


def _show(plan: "SuitePlan", cost: "SuiteCost", lines: Sequence[tuple[str, str]], *, as_json: bool) -> None:
    from aira_bench.cli.suite_display import cell_record
    from aira_bench.terminal import say, say_json

    if not as_json:
        for name, text in lines:
            say(f"{name:{_WIDTH}}  {text}")
        return
    say_json(
        {
            "suite": plan.name,
            "title": plan.title,
            "cells": [cell_record(cell) for cell in cost.cells],
            "unusable": {agent.name: agent.obstacle.message for agent in cost.obstacles if agent.obstacle},
            "downloads_mib": cost.downloads_mib,
        }
    )


def _require_consent(cost: "SuiteCost", lines: Sequence[tuple[str, str]], *, yes: bool) -> None:
    """Print the estimate on stderr; go on by `--yes`, by the answer to a question, or where nothing costs much.

    Raises:
        UsageError: the user said no, or nobody can be asked.
    """
    from aira_bench.errors import UsageError
    from aira_bench.terminal import answer, tell
    from aira_contract.settings import ON_GPUS

    for name, text in lines:
        tell(f"{name:{_WIDTH}}  {text}")
    costs = any(cell.plan.profile in ON_GPUS for cell in cost.cells) or any(agent.card for agent in cost.agents)
    if yes or not costs:
        return
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise UsageError(
            "A suite takes GPU-hours or dollars as told above, and nobody is at a terminal to be asked.",
            hint="the same command with --yes",
        )
    if answer("Begin? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("Not begun: nothing was built, downloaded or paid for.", hint="aira-bench suite --help")


def _carried_out(
    host: "Host", plan: "SuitePlan", cost: "SuiteCost", watch: "SuiteDisplay", args: argparse.Namespace
) -> int:
    """Run all cells, then show the board and what failed; the exit status of the first that did."""
    from aira_bench.errors import error_of_status
    from aira_bench.suites.progress import carry_out
    from aira_bench.terminal import say_json, tell
    from aira_bench.view.board_keeping import keep_board

    ends = list(
        carry_out(host, plan, cost, watch) if args.engine is None else _by_workers(host, plan, cost, watch, args)
    )
    failed = [end for end in ends if end.error is not None]
    rows = _board(host.paths.runs, show=not args.json)
    if args.json:
        say_json({"suite": plan.name, "cells": [_end_record(end) for end in ends], "board": rows})
    for end in failed:
        assert end.error is not None, "it failed with it"
        kind = error_of_status(end.error.exit_code)
        report(kind(f"{end.cell.name}: {end.error.message}", hint=end.error.hint))
    keep_board(host.paths.runs, host.paths.home, host.keys)
    over = sum(end.state == "ended" for end in ends)
    if over < len(ends):
        tell(f"aira-bench: {over} of {len(ends)} cells have ended. Go on with: {join(args.typed)}")
    return failed[0].error.exit_code if failed and failed[0].error else 0


def _by_workers(
    host: "Host", plan: "SuitePlan", cost: "SuiteCost", watch: "SuiteDisplay", args: argparse.Namespace
) -> "list[CellEnd]":
    """Leave all cells to workers, and have them work; what became of each cell."""
    import os

    from aira_bench.cli.engine import carried_out_together, halts
    from aira_bench.leasing.terms import wanted_terms
    from aira_bench.record.folder import RunFolder
    from aira_bench.suites.progress import CellEnd, carry_out, state_of

    left = list(carry_out(host, plan, cost, watch, wanted_terms(os.environ)))
    folders = {
        end.cell.name: RunFolder(host.paths.runs / end.cell.name)
        for end in left
        if end.error is None and end.state != "ended"
    }
    carried_out_together(args, list(folders.values()), host.paths.runs, watch.note)
    costs = {cell.cell.name: cell for cell in cost.cells}
    ends = []
    for end in left:
        if (folder := folders.get(end.cell.name)) is not None:
            error = next(iter(halts(folder).values()), None)
            end = CellEnd(end.cell, state_of(host.paths.runs, costs[end.cell.name]), error)
        ends.append(end)
    return ends


def _end_record(end: "CellEnd") -> dict[str, object]:
    return {"run": end.cell.name, "state": end.state, "error": None if end.error is None else end.error.message}


def _board(runs: Path, *, show: bool) -> list[dict[str, "Scalar"]]:
    from aira_bench.api import leaderboard
    from aira_bench.boards.formats import print_tables, records
    from aira_bench.record.folder import list_runs
    from aira_bench.shared_store.places import typed
    from aira_bench.terminal import say

    if not list_runs(runs):
        return []
    tables = leaderboard(runs=runs).tables
    if show:
        print_tables(tables)
        say()
        command = join(["aira-bench", "leaderboard", "--runs", typed(runs), "--out", "board"])
        say(f"Next:  {command}      all formats, and a site")
    return records(tables)

"""`aira-bench show`: what a run found, and everything that one of its steps left."""

import argparse
import re
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder, report

if TYPE_CHECKING:
    from aira_bench.looking.pages import Section
    from aira_bench.looking.step_view import StepView
    from aira_bench.record.journal import StepEnded
    from aira_bench.record.salvage import RunRemains, SeedRemains

_WHATS = ("code", "diff", "prompt", "answer", "output", "artifact")
_EPILOG = """examples:
  aira-bench show my-run
  aira-bench show my-run 0
  aira-bench show my-run 0:7 --open diff

Without a step: each seed's winner, and the whole of the one with the best search score; test scores have no say in
it. A run that is damaged is shown as far as it holds: what does not is named, and the exit status is 6.
"""
_PLACE = re.compile(r"(\d{1,10})(?::(\d{1,7}))?", re.ASCII)


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "show", help="show what a run found", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Show what the seeds of a run submitted, or one step: artifact, plan, scores, cost and files.",
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", help="name or folder of a run")
    parser.add_argument(
        "place", nargs="?", type=step_place, metavar="SEED[:STEP]",
        help="a seed, or one of its steps (default: the seed with the best search score, and the step it submitted)",
    )  # fmt: skip
    parser.add_argument("--open", choices=_WHATS, help="print this one thing of the step in full")
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def step_place(text: str) -> tuple[int, int | None]:
    """Read a seed, or a seed and one of its steps, from an argument."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is neither a seed such as 0 nor a step such as 0:7")
    return int(found[1]), None if found[2] is None else int(found[2])


def handle(args: argparse.Namespace) -> int:
    """Show a run and a step of it, or one thing of that step in full."""
    from aira_bench.errors import RunStateError
    from aira_bench.keys import KeyFolder
    from aira_bench.looking.opened import open_step
    from aira_bench.looking.pages import run_section, step_sections, winners_section
    from aira_bench.looking.step_view import step_view
    from aira_bench.paths import host_paths
    from aira_bench.record.folder import find_run
    from aira_bench.record.salvage import read_remains
    from aira_bench.terminal import is_ascii_only, results_console, say, say_json, say_text, tell

    paths = host_paths(args.runs)
    ring = KeyFolder(paths.keys).ring()
    run = read_remains(find_run(paths.runs, args.run), ring)
    seed, step = _chosen(run, args.place)
    view = step_view(run, seed, step) if seed is not None and step is not None else None
    faults = [*run.faults, *(view.faults if view else ())]
    signed = run.record.describe_signer(ring) if run.record else "does not hold"
    if args.open:
        opened = open_step(_required(run, view), args.open)
        if args.json:
            say_json({"what": opened.what, "text": opened.text, "paths": [str(path) for path in opened.paths]})
        else:
            for path in opened.paths:
                tell(path)
            say_text(opened.text)
    elif args.json:
        say_json(_record(run, signed, view, faults))
    else:
        sections = [run_section(run, signed)]
        sections += [winners_section(run)] if len(run.seeds) > 1 or view is None else []
        ascii_only = is_ascii_only(results_console())
        _print([*sections, *(step_sections(run, view, ascii_only=ascii_only) if view else [])])
        if view is not None:
            say()
            say(f"Next:  {run.folder.command('show', f'{view.seed.seed}:{view.node.step}', '--open', 'code')}")
    for fault in faults:
        report(RunStateError(fault, hint=run.hint if fault == faults[0] else None))
    return RunStateError.exit_code if faults else 0


def _chosen(run: "RunRemains", place: tuple[int, int | None] | None) -> "tuple[SeedRemains | None, StepEnded | None]":
    """The seed and the step that are asked for, or the best there are.

    Raises:
        UsageError: the run has no such seed or step.
    """
    from aira_bench.errors import UsageError
    from aira_bench.looking.winners import best_seed, chosen_node

    number, wanted = place or (None, None)
    if number is None:
        seed = best_seed(run)
        node = chosen_node(seed, lower_is_better=run.lower_is_better) if seed else None
        return seed, seed.step(node.step) if seed and node else None
    seed = run.seed(number)
    hint = run.folder.command("status")
    if seed is None:
        known = ", ".join(str(each.seed) for each in run.seeds[:20])
        raise UsageError(f"Run {run.folder.path.name} has no seed {number}; it has {known or 'none'}.", hint=hint)
    if wanted is None:
        node = chosen_node(seed, lower_is_better=run.lower_is_better)
        return seed, seed.step(node.step) if node else None
    step = seed.step(wanted)
    if step is None:
        flies = seed.begun is not None and seed.begun.step == wanted
        finished = f"it has {len(seed.steps)} finished steps"
        why = "is not finished yet" if flies else f"is none of seed {number}: {finished}"
        raise UsageError(f"Step {wanted} {why}.", hint=hint)
    return seed, step


def _required(run: "RunRemains", view: "StepView | None") -> "StepView":
    from aira_bench.errors import UsageError

    if view is None:
        raise UsageError("No step is valid, so there is none to choose.", hint=run.folder.command("show", "0:1"))
    return view


def _record(run: "RunRemains", signed: str, view: "StepView | None", faults: list[str]) -> dict[str, object]:
    from aira_bench.looking.pages import state_of, step_record, winner_record
    from aira_bench.looking.winners import winners

    manifest = run.manifest
    return {
        "run": run.folder.path.name,
        "path": str(run.folder.path),
        "state": state_of(run),
        "record": signed,
        "agent": manifest.plan.agent if manifest else None,
        "task": manifest.task_title if manifest else None,
        "profile": manifest.plan.profile if manifest else None,
        "metric": manifest.metric if manifest else None,
        "lower_is_better": manifest.lower_is_better if manifest else None,
        "synthetic": manifest.synthetic if manifest else None,
        "winners": [winner_record(each) for each in winners(run.seeds, lower_is_better=run.lower_is_better)],
        "step": None if view is None else step_record(view),
        "faults": faults,
    }


def _print(sections: "list[Section]") -> None:
    """Print sections: on a terminal within its width, elsewhere a line for each pair."""
    from rich.table import Table

    from aira_bench.terminal import line, pieces, results_console, say

    console = results_console()
    wide = max((len(name) for _, pairs in sections for name, _ in pairs), default=0)
    for number, (title, pairs) in enumerate(sections):
        if number:
            say()
        console.print(line(title, "bold"), soft_wrap=not console.is_terminal)
        if not console.is_terminal:
            for name, value in pairs:
                text = value if isinstance(value, str) else "".join(part for part, _ in value)
                say(f"  {name:<{wide}}  {text}" if name else f"  {text}")
            continue
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=min(wide + 2, max(console.width // 3, 8)), overflow="fold")
        grid.add_column(overflow="fold")
        named = any(name for name, _ in pairs)
        for name, value in pairs:
            shown = line(value) if isinstance(value, str) else pieces(value)
            if named:
                grid.add_row(line(f"  {name}"), shown)
            else:
                console.print(shown)
        console.print(grid)

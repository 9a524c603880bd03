"""`aira-bench status`: what runs there are, and how far each seed is."""

import argparse
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder

if TYPE_CHECKING:
    from aira_bench.runs.folder import RunFolder

_MAY_BE_EMPTY = ("standard error", "claimed", "claimed - trusted", "flags", "unranked", "reason")
_EPILOG = """examples:
  aira-bench status
  aira-bench status my-run
  aira-bench status my-run --changes
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "status", help="show runs and their progress", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="List runs, or show the seeds and steps of one.",
    )  # fmt: skip
    parser.add_argument("--changes", action="store_true", help="what each single named edit did to the fitness")
    parser.add_argument("run", nargs="?", metavar="RUN", help="name or folder of a run; without it, all runs")
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Show all runs or one."""
    from aira_bench.paths import host_paths
    from aira_bench.runs.folder import find_run, list_runs

    runs = host_paths(args.runs).runs
    if args.run is None:
        _show([_summary(folder) for folder in list_runs(runs)], args, empty=f"No runs in {runs}.")
    else:
        folder = find_run(runs, args.run)
        if args.changes:
            _show(_changes(folder), args, empty="No step is a valid edit of a valid step; greedy-edit makes them.")
        else:
            _show(_steps(folder), args, empty="No step is finished yet.", optional=_MAY_BE_EMPTY)
    return 0


def _summary(folder: "RunFolder") -> dict[str, Any]:
    from aira_bench.leaderboard.board import read_seed
    from aira_bench.leaderboard.formats import cost, tokens
    from aira_bench.runs.node import ModelUse

    manifest = folder.manifest
    plan = manifest.plan
    seeds = [read_seed(folder.seed(seed), seed, manifest) for seed in plan.seeds]
    ended = sum(seed.ended for seed in seeds)
    use = sum((seed.model_use for seed in seeds), ModelUse())
    state = "running" if folder.is_live else "finished" if ended == len(seeds) else "stopped"
    return {
        "run": folder.path.name,
        "state": state,
        "agent": plan.agent,
        "task": manifest.task_title,
        "profile": plan.profile,
        "synthetic": manifest.synthetic,
        "seeds": f"{ended}/{len(seeds)}",
        "steps": sum(seed.steps for seed in seeds),
        "valid": sum(seed.valid_steps for seed in seeds),
        "infra errors": sum(seed.infra_errors for seed in seeds),
        "tokens": tokens(use),
        "cost": cost(use),
    }


def _steps(folder: "RunFolder") -> list[dict[str, Any]]:
    from aira_bench.runs.journal import SeedEnded, StepEnded, read_events

    rows = []
    for seed in folder.manifest.plan.seeds:
        events = read_events(folder.seed(seed).journal)[0]
        scores = folder.seed(seed).scores.read()
        chosen = {event.submitted for event in events if isinstance(event, SeedEnded)}
        for node in (event.node for event in events if isinstance(event, StepEnded)):
            score = scores.get(node.step)
            trusted = score.validation if score else None
            rows.append(
                {
                    "seed": seed,
                    "step": node.step,
                    "operator": node.operator,
                    "parents": list(node.parents),
                    "class": node.step_class,
                    "fitness": node.fitness,
                    "standard error": node.fitness_standard_error,
                    "claimed": node.claimed,
                    "claimed - trusted": None if node.claimed is None or trusted is None else node.claimed - trusted,
                    "flags": list(score.flags) if score else [],
                    "unranked": list(score.unranked) if score else [],
                    "seconds": round(node.timings.total_s, 2),
                    "submitted": node.step in chosen,
                    "reason": node.reason,
                }
            )
    return rows


def _changes(folder: "RunFolder") -> list[dict[str, Any]]:
    from aira_bench.runs.attribution import attribute_changes
    from aira_bench.runs.journal import StepEnded, read_events

    return [
        {
            "seed": seed,
            "step": effect.step,
            "parent": effect.parent,
            "changes": list(effect.changes),
            "fitness before": effect.before,
            "fitness after": effect.after,
            "moved by": effect.after - effect.before,
            "single": effect.single,
        }
        for seed in folder.manifest.plan.seeds
        for effect in attribute_changes(
            [event.node for event in read_events(folder.seed(seed).journal)[0] if isinstance(event, StepEnded)]
        )
    ]


def _show(rows: list[dict[str, Any]], args: argparse.Namespace, *, empty: str, optional: Collection[str] = ()) -> None:
    from aira_bench.cli.tables import print_rows
    from aira_bench.terminal import say_json

    if args.json:
        say_json(rows)
        return

    print_rows(rows, empty=empty, optional=optional)

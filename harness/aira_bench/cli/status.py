"""`aira-bench status`: what runs there are, and how far each seed is."""

import argparse
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder, report_faults

if TYPE_CHECKING:
    from pathlib import Path

    from aira_bench.keys import KeyRing
    from aira_bench.record.run_record import RunRecord

_MAY_BE_EMPTY = (
    "standard error", "claimed", "overclaim", "trained again", "refused again", "flags", "unranked", "awaits confirm",
    "controls", "attempts", "waited", "cores", "throttled", "reason",
)  # fmt: skip
_IN_JSON = ("canonical", "plan")
_EPILOG = """examples:
  aira-bench status
  aira-bench status my-run
  aira-bench status my-run --changes
  aira-bench status --watch

A run that cannot be read, or whose files disagree with its record, is left out: one line says which and why, and the
exit status is 6. With a run's name the files of every step are compared with their recorded hashes too.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "status", help="show runs and their progress", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="List runs, or show the seeds and steps of one.",
    )  # fmt: skip
    parser.add_argument("--changes", action="store_true", help="what each single named edit did to the fitness")
    parser.add_argument(
        "--watch", action="store_true", help="follow runs while they go on, from this process, until Ctrl-C"
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="name or folder of a run; without it, all runs")
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Show all runs, or the steps of one."""
    from aira_bench.escaping import one_line
    from aira_bench.keys import KeyFolder
    from aira_bench.paths import host_paths
    from aira_bench.record.folder import find_run, list_runs
    from aira_bench.record.run_record import read_run, read_runs
    from aira_bench.shared_store.places import typed
    from aira_bench.terminal import tell

    paths = host_paths(args.runs)
    if args.watch:
        return _follow(args, paths.runs)
    ring = KeyFolder(paths.keys).ring()
    if args.run is None:
        records, faults = read_runs(list_runs(paths.runs), ring)
        rows = [_summary(record, ring) for record in records]
        _show(rows, args, empty=f"No runs in {typed(paths.runs)}.", optional={"changed"})
        return report_faults(faults)
    record = read_run(find_run(paths.runs, args.run), ring, "all")
    if args.changes:
        _show(_changes(record), args, empty="No step is a valid edit of a valid step; greedy-edit makes them.")
    else:
        rows = _steps(record)
        if not args.json:  # too long for a table: `show` has them
            rows = [{name: value for name, value in row.items() if name not in _IN_JSON} for row in rows]
        _show(rows, args, empty="No step is finished yet.", optional=_MAY_BE_EMPTY)
    if not args.json:
        tell(f"Record: {record.describe_signer(ring)}, {_state(record)}")
        for said in _of_caps(record):
            tell(said)
        for accepted in record.accepted:
            steps = ", ".join(f"{count} of seed {seed}" for seed, count in accepted.finished)
            for each in accepted.differences:
                tell(one_line(f"Changed after {steps} steps: {each.what}, {each.then} then, {each.now} now"))
    return 0


def _of_caps(record: "RunRecord") -> Iterator[str]:
    """What the caps of a run count, which is more than its steps cost where calls were cut short."""
    from aira_bench.ledger.amount import NOTHING
    from aira_bench.ledger.run_ledger import counted
    from aira_bench.shown_numbers import figure

    plan = record.manifest.plan
    names = [name for name in ("max_cost_usd", "max_tokens", "seed_max_cost_usd", "seed_max_tokens")
             if getattr(plan, name) is not None]  # fmt: skip
    if not names or (totals := counted(record.folder.path)).committed == NOTHING:
        return
    caps = ", ".join(f"{name.replace('_', ' ')} {getattr(plan, name):g}" for name in names)
    held = totals.committed - totals.settled
    aside = "" if held == NOTHING else f", ${figure(held.usd)} and {held.tokens:,} tokens of it set aside"
    yield (
        f"Counted by caps ({caps}): ${figure(totals.committed.usd)} and {totals.committed.tokens:,} tokens{aside}. "
        "Steps have what they cost; a call that was cut short counts as the most it can have cost"
    )


def _follow(args: argparse.Namespace, runs: "Path") -> int:
    """Show how the runs, or the one named, get on until the user stops it."""
    import time

    from aira_bench.cli.watch import PAUSE_S, follow
    from aira_bench.errors import UsageError
    from aira_bench.record.folder import find_run, list_runs
    from aira_bench.world import SystemWorld

    if args.json or args.changes:
        raise UsageError("--watch goes with neither --json nor --changes.", hint="aira-bench status --watch")
    named = [] if args.run is None else [find_run(runs, args.run)]
    world = SystemWorld()
    return follow(lambda: named or list_runs(runs), lambda: world.now().timestamp(), lambda: time.sleep(PAUSE_S))


def _state(record: "RunRecord") -> str:
    if record.folder.is_locked if record.closed else record.folder.is_live:  # once closed, every lease is over
        return "running"
    return "finished" if all(seed.ended for seed in record.seeds) else "stopped"


def _summary(record: "RunRecord", ring: "KeyRing") -> dict[str, Any]:
    from aira_bench.boards.board import changed_names
    from aira_bench.boards.columns import cost, tokens
    from aira_bench.boards.replicates import seed_result
    from aira_bench.record.node import ModelUse

    manifest = record.manifest
    plan = manifest.plan
    seeds = [seed_result(seed, manifest) for seed in record.seeds]
    use = sum((seed.model_use for seed in seeds), ModelUse())
    return {
        "run": record.name,
        "state": _state(record),
        "record": record.describe_signer(ring),
        "agent": plan.agent,
        "task": manifest.task_title,
        "profile": plan.profile,
        "synthetic": manifest.synthetic,
        "seeds": f"{sum(seed.ended for seed in seeds)}/{len(seeds)}",
        "steps": sum(seed.steps for seed in seeds),
        "valid": sum(seed.valid_steps for seed in seeds),
        "infra errors": sum(seed.infra_errors for seed in seeds),
        "tokens": tokens(use),
        "cost": cost(use),
        "changed": changed_names(record) or None,
    }


def _steps(record: "RunRecord") -> list[dict[str, Any]]:
    from aira_bench.boards.replicates import overclaim
    from aira_contract.flags import ABOVE_PUBLISHED_BEST

    rows = []
    for seed in record.seeds:
        for node in seed.nodes:
            score, trainings = seed.scores.get(node.step), seed.confirmations.scores.get(node.step, ())
            judged = [found for found in (score, *trainings) if found is not None]
            rows.append(
                {
                    "seed": seed.seed,
                    "step": node.step,
                    "operator": node.operator,
                    "parents": list(node.parents),
                    "class": node.step_class,
                    "fitness": node.fitness,
                    "standard error": node.fitness_standard_error,
                    "claimed": node.claimed,
                    "overclaim": overclaim(node.claimed, score, record.manifest),
                    "trained again": [found.test for found in trainings] or None,
                    "refused again": list(seed.confirmations.refused.get(node.step, ())) or None,
                    "flags": _once(flag for found in judged for flag in found.flags),
                    "unranked": _once(flag for found in judged for flag in found.unranked),
                    "awaits confirm": True if score and ABOVE_PUBLISHED_BEST in score.flags and not trainings else None,
                    "controls": _once(remark for found in judged for remark in found.remarks),
                    "attempts": node.attempts if node.attempts > 1 else None,
                    "seconds": round(node.timings.total_s, 2),
                    "waited": round(sum(node.timings.waited_s.values()), 2) or None,
                    "cores": node.cores,
                    "throttled": node.throttled or None,
                    "submitted": node is seed.submitted,
                    "reason": node.reason,
                    "canonical": node.canonical,
                    "plan": node.plan,
                }
            )
    return rows


def _once(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _changes(record: "RunRecord") -> list[dict[str, Any]]:
    from aira_bench.analysis.attribution import attribute_changes

    return [
        {
            "seed": seed.seed,
            "step": effect.step,
            "parent": effect.parent,
            "changes": list(effect.changes),
            "fitness before": effect.before,
            "fitness after": effect.after,
            "moved by": effect.after - effect.before,
            "single": effect.single,
        }
        for seed in record.seeds
        for effect in attribute_changes(seed.nodes)
    ]


def _show(rows: list[dict[str, Any]], args: argparse.Namespace, *, empty: str, optional: Collection[str] = ()) -> None:
    from aira_bench.cli.tables import print_rows
    from aira_bench.terminal import say_json

    if args.json:
        say_json(rows)
        return

    print_rows(rows, empty=empty, optional=optional)

"""`aira-bench cluster`: whether the machines of a cluster can work on the same runs."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.launching import add_engine_choice, container_options, launcher_of, program, shared_environment
from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder, add_runtime, positive_int, seconds
from aira_contract.settings import PROFILES

if TYPE_CHECKING:
    from aira_bench.doctor.cluster import ClusterNode
    from aira_bench.doctor.diagnosis import Diagnosis
    from aira_bench.launchers.launcher import WorkerOrder

_EPILOG = """examples:
  aira-bench cluster check --engine ray --runs /shared/runs
  aira-bench cluster check --engine slurm --slurm-partition gpu --worker-gpus 1 --runs /shared/runs
  aira-bench cluster check --judge-on ssh:judge1,judge2
  aira-bench cluster check --engine local --json

Every machine is examined as aira-bench doctor does, by a Ray task or a Slurm job on it, and leaves its report below the
folder of runs, which all of them must see under that path. `node` is what runs there. Judge nodes report by their own
way, and need no folder of runs.

Exit status: 0 workers can work on every machine; 1 a machine has a gap that keeps them from it, or did not answer.
"""
_GROUPS = {
    "engine": ("container engine",), "isolation": ("isolation of", "sandbox", "wall "), "disk": ("disk for",),
    "leases": ("leases of cores",),
}  # fmt: skip
"""Columns, and the findings that stand in them."""
_NAMED = 8
"""Machines that are named where all of them have the same gap."""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "cluster", help="check the machines of a cluster", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Examine every machine that workers would run on, and what must be alike on all of them.",
    )  # fmt: skip
    parser.add_argument(
        "action", choices=("check", "node"), help="check all machines of an engine; or be examined, on one of them"
    )
    add_engine_choice(parser)
    parser.add_argument("--judge-on", metavar="NODES", help="check the judge nodes, as of aira-bench run")
    parser.add_argument("--worker-gpus", type=positive_int, metavar="N", help="GPUs of the job that looks at a machine")
    parser.add_argument("--profile", choices=PROFILES, default="cpu", help="profile to check for (default: cpu)")
    parser.add_argument(
        "--within", type=seconds, default=600.0, metavar="SECONDS", help="wait so long for a machine (default: 600)"
    )
    parser.add_argument("--place", type=Path, metavar="DIR", help="of node: where its report goes")
    add_runs_folder(parser)
    add_runtime(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Check all machines, or report on this one."""
    from aira_bench.errors import UsageError

    asked = (args.place is not None, (args.engine is not None) + (args.judge_on is not None))
    if asked != ((True, 0) if args.action == "node" else (False, 1)):
        raise UsageError("check takes --engine or --judge-on, and node --place.", hint="aira-bench cluster --help")
    if args.action == "node":
        return _node(args)
    return _check(args) if args.engine is not None else _check_judges(args)


def _node(args: argparse.Namespace) -> int:
    from aira_bench.doctor.node import NodeRequest, report
    from aira_bench.paths import host_paths
    from aira_bench.terminal import tell

    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        del os.environ["CUDA_VISIBLE_DEVICES"]  # Ray hides devices from tasks that ask for none
    report(NodeRequest(args.place, args.profile, args.runtime, args.containers), host_paths(), tell)
    return 0


def _check(args: argparse.Namespace) -> int:
    import secrets
    import shutil

    from aira_bench.doctor.cluster import examine_cluster
    from aira_bench.keys import KeyFolder
    from aira_bench.launchers.launcher import WorkerOrder
    from aira_bench.paths import host_paths, require_new_folders
    from aira_bench.terminal import tell

    paths = host_paths(args.runs)
    require_new_folders(paths.runs, "--runs DIR")
    place = paths.runs / ".cluster" / secrets.token_hex(6)

    def order(name: str, at: Path) -> "WorkerOrder":
        command = (
            *program(),
            "cluster",
            "node",
            "--place",
            str(at),
            "--profile",
            args.profile,
            *container_options(args),
        )
        return WorkerOrder(
            command, 1, place / "logs", cores=0, gpus=args.worker_gpus or 0, environment=shared_environment(), on=name
        )

    nodes = examine_cluster(launcher_of(args), order, place, KeyFolder(paths.keys).ring(), args.within, tell)
    _show(nodes, as_json=args.json)
    fit = all(node.is_fit for node in nodes)
    if all(node.report is not None for node in nodes):
        shutil.rmtree(place, ignore_errors=True)
    else:
        tell(f"aira-bench: what was said on the machines: {place / 'logs'}")
    return int(not fit)


def _check_judges(args: argparse.Namespace) -> int:
    from aira_bench.doctor.cluster import examine_judges
    from aira_bench.remote_judging.nodes import JudgeNodes
    from aira_bench.terminal import tell

    nodes = examine_judges(JudgeNodes.of(args.judge_on), args.profile, tell)
    _show(nodes, as_json=args.json)
    return int(not all(node.is_fit for node in nodes))


def _show(nodes: "Sequence[ClusterNode]", *, as_json: bool) -> None:
    from aira_bench.cli.tables import print_rows
    from aira_bench.terminal import say, say_json

    rows = [_row(node) for node in nodes]
    if as_json:
        say_json(
            [
                row | {"gaps": [asdict(gap) for gap in node.gaps], "report": _plain(node)}
                for node, row in zip(nodes, rows, strict=True)
            ]
        )
        return
    print_rows(rows, empty="the engine has no machines")
    having: dict[Diagnosis, list[str]] = {}
    for node in nodes:
        for gap in node.gaps:
            having.setdefault(gap, []).append(node.name)
    for gap, names in sorted(having.items(), key=lambda each: each[0].state != "failed"):
        mark = "FAILED" if gap.state == "failed" else "--"
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        say(f"{mark:>6}  {', '.join(names[:_NAMED])}{more}: {gap.check}: {gap.seen}")
        if gap.mend:
            say(f"         mend: {gap.mend}")


def _plain(node: "ClusterNode") -> object:
    return None if node.report is None else asdict(replace(node.report, findings=()))


def _row(node: "ClusterNode") -> dict[str, object]:
    """One line of the table."""
    from aira_bench.doctor.cluster import skew_told

    found = node.report
    row: dict[str, object] = {"machine": node.name, "host": "-" if found is None else found.host}
    for column, checks in _GROUPS.items():
        its = [] if found is None else [each for each in found.findings if each.check.startswith(checks)]
        worst = next((each for each in its if each.state == "failed"), next(iter(its), None))
        row[column] = "-" if worst is None else "missing" if worst.state == "failed" else _short(column, worst.seen)
    if found is not None:
        row |= {
            "images": _there(found.images), "data": _there(found.data), "cores": found.cores,
            "GPUs": ", ".join(found.gpus) or "none", "clock": skew_told(node.skew_s),
        }  # fmt: skip
    else:
        row |= {"images": "-", "data": "-", "cores": None, "GPUs": "-", "clock": "-"}
    failed = sum(gap.state == "failed" for gap in node.gaps)
    return row | {
        "gaps": f"{failed} of {len(node.gaps)} keep workers away" if failed else str(len(node.gaps) or "none")
    }


def _short(column: str, seen: str) -> str:
    """What stands in a cell: of isolation its word, of a disk its room."""
    return seen.partition(":")[0] if column == "isolation" else seen.partition(" free")[0]


def _there(having: dict[str, str]) -> str:
    return f"{sum(map(bool, having.values()))} of {len(having)}"

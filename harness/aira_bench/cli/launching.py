"""Options that say where workers are started and with what, and the launcher and the order that they stand for.

Not covered: what is done while they work (`engine`), and how they are started (`aira_bench.launchers`).
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.objects import KEYS
from aira_bench.cli.options import judge_options, positive_int

if TYPE_CHECKING:
    from aira_bench.launchers.launcher import Launcher, WorkerOrder

ENGINES = ("local", "ray", "slurm")
_OPTIONS = {
    "workers": "--workers", "worker_cores": "--worker-cores", "worker_gpus": "--worker-gpus",
    "worker_memory_mib": "--worker-memory-mib", "ray_address": "--ray-address",
    "slurm_partition": "--slurm-partition", "slurm_args": "--slurm-args",
}  # fmt: skip
_TAKEN_BY = {"ray_address": "ray", "slurm_partition": "slurm", "slurm_args": "slurm"}


def add_engine_choice(parser: argparse.ArgumentParser) -> None:
    """Add `--engine`, and where to find it."""
    parser.add_argument(
        "--engine", choices=ENGINES,
        help="have workers take the seeds: local starts processes of this machine, ray tasks of a Ray cluster, slurm "
        "a job array (docs/cluster.md; default: this process does all)",
    )  # fmt: skip
    parser.add_argument(
        "--ray-address", metavar="HOST:PORT", help="of --engine ray (default: $RAY_ADDRESS, or this machine's cluster)"
    )
    parser.add_argument("--slurm-partition", metavar="NAME", help="of --engine slurm (default: the site's)")
    parser.add_argument(
        "--slurm-args", metavar="OPTIONS",
        help="further options of sbatch as one word with =, such as --slurm-args='--time=24:00:00 --account=lab'",
    )  # fmt: skip


def add_worker_size(parser: argparse.ArgumentParser) -> None:
    """Add how many workers are started, and what each has."""
    parser.add_argument(
        "--workers", type=positive_int, metavar="N",
        help="how many workers (default: of local one for each step at a time, else one for each seed, at most 64)",
    )  # fmt: skip
    parser.add_argument(
        "--worker-cores", type=positive_int, metavar="N", help="cores of a worker (default: 1 is asked for)"
    )
    parser.add_argument(
        "--worker-gpus", type=positive_int, metavar="N", help="GPUs of a worker, which has a seed on each"
    )
    parser.add_argument(
        "--worker-memory-mib", type=positive_int, metavar="MIB", help="memory of a worker (default: the engine's)"
    )


def require_engine(args: argparse.Namespace) -> None:
    """Whether options of an engine stand beside the one that takes them, and can be read: before a run is made.

    Raises:
        UsageError: they do not, or cannot.
    """
    from aira_bench.errors import UsageError

    for name, option in _OPTIONS.items():
        if getattr(args, name, None) is not None and args.engine not in (
            (_TAKEN_BY[name],) if name in _TAKEN_BY else ENGINES
        ):
            raise UsageError(f"{option} needs --engine {_TAKEN_BY.get(name, 'local, ray or slurm')}.")
    if args.engine is not None:
        launcher_of(args)


def launcher_of(args: argparse.Namespace) -> "Launcher":
    """Return the launcher that the command line asks for.

    Raises:
        UsageError: its options cannot be read.
    """
    if args.engine == "ray":
        from aira_bench.launchers.ray_cluster import RayLauncher

        return RayLauncher(args.ray_address)
    if args.engine == "slurm":
        from aira_bench.launchers.slurm import SlurmLauncher, read_slurm_arguments

        return SlurmLauncher(args.slurm_partition, read_slurm_arguments(args.slurm_args or ""))
    from aira_bench.launchers.local import LocalLauncher

    return LocalLauncher()


def engine_options(args: argparse.Namespace) -> list[str]:
    """Return the options that ask for the same engine and workers in another command."""
    if getattr(args, "engine", None) is None:
        return []
    given = [(option, getattr(args, name, None)) for name, option in _OPTIONS.items()]
    return ["--engine", args.engine, *(f"{option}={value}" for option, value in given if value is not None)]


def order_of(
    args: argparse.Namespace, arguments: Sequence[str], workers: int, logs: Path, agents: Iterable[str] = ()
) -> "WorkerOrder":
    """Return the order of one command for an engine.

    Args:
        args: the command line.
        arguments: words behind the name of the program.
        workers: how many.
        logs: where what they print is kept.
        agents: whose providers' keys the workers need.
    """
    from aira_bench.launchers.launcher import WorkerOrder

    return WorkerOrder(
        (*program(), *arguments),
        workers,
        logs.absolute(),
        cores=getattr(args, "worker_cores", None) or 1,
        gpus=args.worker_gpus or 0,
        memory_mib=getattr(args, "worker_memory_mib", None) or 0,
        environment=shared_environment(),
        secrets=tuple(sorted(_variables_of(agents) | set(() if args.mirror is None else KEYS))),
    )


def shared_environment() -> dict[str, str]:
    """Return the variables of this process that workers elsewhere have too: ours, but for keys."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("AIRA_") and not name.startswith("AIRA_API_KEY_")
    }


def share_options(args: argparse.Namespace) -> list[str]:
    """Return the options that keep a worker to what the engine was asked for: a seed on each GPU, else one."""
    words = ["--slots", str(args.worker_gpus), "--gpus", "all"] if args.worker_gpus else ["--slots", "1"]
    return words + (["--cores", str(args.worker_cores)] if args.worker_cores else [])


def container_options(args: argparse.Namespace) -> list[str]:
    """Return the options that have containers made as this command was asked to."""
    runtime = [] if args.runtime is None else ["--runtime", args.runtime]
    containers = [] if args.containers is None else ["--containers", args.containers]
    return runtime + containers + (judge_options(args) if hasattr(args, "judge_on") else [])


def program() -> tuple[str, ...]:
    """Return how this program is called: the installed command, or the script that it was started by."""
    started = Path(sys.argv[0])
    is_script = started.suffix == ".py" and started.name != "__main__.py"
    return (sys.executable, str(started.resolve())) if is_script else ("aira-bench",)


def _variables_of(agents: Iterable[str]) -> set[str]:
    """Names of variables that the models of agents with a card are asked with."""
    from aira_bench.cards.card_files import card_names, find_card

    known = set(card_names(os.environ))
    cards = [find_card(name, os.environ) for name in agents if name in known]
    named = [name for card in cards for name in (card.own_key_variable, card.base_url_variable)]
    return {name for name in named if name}

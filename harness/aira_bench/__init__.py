"""aira-bench: the host side of the benchmark.

Runs searches, drives containers, keeps journals and writes boards. It executes no agent code and
imports neither torch nor jax (docs/architecture.md, trust domains).

    import aira_bench

    done = aira_bench.run(aira_bench.RunRequest("evolution", "mad-2p", profile="cpu", seeds=(0, 1)))
    print(done.path, done.board.rows[0].test)

Public is what stands in `__all__` here, and the modules `aira_bench.errors`, `aira_bench.protocols` and
`aira_bench.testing`. Everything else is internal, which its folders say, and may change in any version
(docs/decisions/0021-front-door.md).
Names are imported when they are first used, so that `import aira_bench` costs nothing.
"""

from aira_bench.version import __version__

TYPE_CHECKING = False  # as of typing, whose import would take most of the time of this one
if TYPE_CHECKING:
    from aira_bench.api import FinishedRun, Leaderboard, leaderboard, read_run, resume, run
    from aira_bench.boards.board import Table
    from aira_bench.boards.rows import Row
    from aira_bench.errors import AiraError
    from aira_bench.protocols import Agent, Model, Policy, Sandbox, SubmissionEvaluator
    from aira_bench.record.manifest import Manifest
    from aira_bench.record.node import Node
    from aira_bench.record.run_record import RunRecord
    from aira_bench.record.scores import TrustedScore
    from aira_bench.record.seed_record import SeedRecord
    from aira_bench.runs.connect import connect_host
    from aira_bench.runs.host import Host
    from aira_bench.runs.request import RunRequest
    from aira_bench.runs.session import Progress

_HOMES = {
    "aira_bench.api": ("FinishedRun", "Leaderboard", "leaderboard", "read_run", "resume", "run"),
    "aira_bench.errors": ("AiraError",),
    "aira_bench.boards.board": ("Table",),
    "aira_bench.boards.rows": ("Row",),
    "aira_bench.protocols": ("Agent", "Model", "Policy", "Sandbox", "SubmissionEvaluator"),
    "aira_bench.record.manifest": ("Manifest",),
    "aira_bench.record.node": ("Node",),
    "aira_bench.record.run_record": ("RunRecord",),
    "aira_bench.record.scores": ("TrustedScore",),
    "aira_bench.record.seed_record": ("SeedRecord",),
    "aira_bench.runs.connect": ("connect_host",),
    "aira_bench.runs.host": ("Host",),
    "aira_bench.runs.request": ("RunRequest",),
    "aira_bench.runs.session": ("Progress",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Agent", "AiraError", "FinishedRun", "Host", "Leaderboard", "Manifest", "Model", "Node", "Policy", "Progress",
    "Row", "RunRecord", "RunRequest", "Sandbox", "SeedRecord", "SubmissionEvaluator", "Table", "TrustedScore",
    "__version__", "connect_host", "leaderboard", "read_run", "resume", "run",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import a public name's module when the name is first used."""
    import importlib

    if name not in _HOME_OF:
        raise AttributeError(f"module 'aira_bench' has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names, whether or not they have been imported."""
    return sorted(__all__)

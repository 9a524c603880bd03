"""How a run lies on object storage, below its address.

    content/run/<number>     commits of the run's own files: manifest, record, agent's file
    content/<seed>/<number>  commits of a seed's folder (`folder_copy`)
    packs/<name>             larger files that commits name
    leases/, ledger/         as in a run's folder (`aira_bench.record.folder`)

Not covered: what is in the files.
"""

import re
from pathlib import Path

from aira_bench.copies.folder_copy import FolderCopy
from aira_bench.leasing.entries import FOLDER as LEASES
from aira_bench.shared_store.objects import ObjectStore

RUN = "run"
_LOCAL = frozenset({"seeds", "leases", "ledger", "compiled", "lock"})
"""What of a run's folder is no file of its own, or concerns one machine alone."""
_SEED_LOCAL = frozenset({"compiled", "news.json"})
COMMIT = re.compile(rf"(?P<run>[^.].*?)/content/(?P<folder>{RUN}|[0-9]{{1,10}})/(?P<number>[0-9]{{8}})")
LEASE = re.compile(rf"(?P<run>[^.].*?)/{LEASES}/(?P<name>[^.].*)")


def folder_copy(store: ObjectStore, run: Path, folder: str, number: int = 0) -> FolderCopy:
    """Return the copy of one folder of a run.

    Args:
        store: the run's.
        run: the run's folder here.
        folder: `RUN`, or a seed.
        number: of the last commit that is in it.
    """
    path, local = (run, _LOCAL) if folder == RUN else (run / "seeds" / folder, _SEED_LOCAL)
    return FolderCopy(store, f"content/{folder}", path, local, number=number)


def is_run_at(store: ObjectStore) -> bool:
    """Whether a run lies there.

    Raises:
        MachineError: the storage failed.
        PrerequisiteError: it may not be used.
    """
    return bool(store.names(f"content/{RUN}"))


def runs_at(store: ObjectStore) -> list[str]:
    """Return the names of runs at an address, and in the folders there, as paths.

    Raises:
        MachineError: the storage failed.
        PrerequisiteError: it may not be used.
    """
    found = []
    for name in store.names(""):
        below = store.below(name)
        inner = [""] if is_run_at(below) else [f"/{each}" for each in below.names("") if is_run_at(below.below(each))]
        found += [f"{name}{each}" for each in inner]
    return found

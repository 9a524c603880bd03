"""The working copies of one worker: runs that lie on object storage, and the seeds that it has.

They are this process's own and gone with it: what counts is what was committed. So a worker that is killed leaves
nothing that anybody needs, and one that is late writes into a folder that nobody else looks at.

Not covered: which seeds it has (`aira_bench.leasing`).
"""

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from aira_bench.copies.folder_copy import FolderCopy
from aira_bench.copies.layout import RUN, folder_copy, is_run_at, runs_at
from aira_bench.errors import UsageError
from aira_bench.leasing.entries import FOLDER as LEASES
from aira_bench.leasing.lease import LeaseLost
from aira_bench.shared_store.objects import ObjectAddress, ObjectStore, open_objects
from aira_bench.shared_store.places import copies_of
from aira_bench.shared_store.store import SharedStore
from aira_bench.unfinished import staging_folder, sweep_staging


class WorkingCopies:
    """Copies below one folder. Methods may be called by several threads, for one seed by one at a time."""

    def __init__(self, store: ObjectStore, root: Path) -> None:
        """Copy what is at an address into an empty folder: the files of runs, and of no seed yet.

        Raises:
            UsageError: no run lies there.
            MachineError: storage or disk failed.
            RunStateError: what lies there cannot be read.
        """
        self.root = root.resolve()
        above, _, name = store.address.path.rpartition("/")
        is_run = bool(above) and is_run_at(store)
        self._store = store.above() if is_run else store
        names = [name] if is_run else runs_at(store)
        if not names:
            raise UsageError(f"No runs at {store.address}.", hint=f"aira-bench status --runs {store.address}")
        self.folder = self.root / name if is_run else self.root
        self._runs = {self.root / each: folder_copy(self._below(each), self.root / each, RUN) for each in names}
        self._held: set[tuple[Path, int]] = set()
        self._readers: dict[tuple[Path, int], FolderCopy] = {}
        self._lock = threading.Lock()
        for run, copy in self._runs.items():
            copy.pull()
            (run / LEASES).mkdir(exist_ok=True)

    def store(self, run: Path, folder: str) -> SharedStore:
        """Return the shared objects of a run's folder."""
        return self._below(self._name(run)).below(folder)

    def typed(self, path: Path) -> str:
        """Return the address of what a path is the copy of."""
        return str(self._below(self._name(path)).address)

    def taken(self, run: Path, seed: int, attempt: int) -> FolderCopy:
        """Have a seed as it is there, and be the only one who adds to it.

        Raises:
            LeaseLost: a later attempt has it.
            MachineError: storage or disk failed.
            RunStateError: what lies there cannot be read.
        """
        copy = folder_copy(self._below(self._name(run)), run, str(seed))
        with self._lock:
            self._held.add((run, seed))
            self._readers.pop((run, seed), None)
        copy.take_over(attempt)
        return copy

    def given_back(self, run: Path, seed: int) -> None:
        """Forget the copy of a seed, which somebody else may add to now."""
        with self._lock:
            shutil.rmtree(run / "seeds" / str(seed), ignore_errors=True)
            self._held.discard((run, seed))

    def has_journal(self, run: Path, seed: int) -> bool:
        """Have a seed's journal as it is there; False for a seed that is in work here.

        Raises:
            MachineError: storage or disk failed.
            RunStateError: what lies there cannot be read.
        """
        with self._lock:
            if (run, seed) in self._held:
                return False
            if (run, seed) not in self._readers:
                shutil.rmtree(run / "seeds" / str(seed), ignore_errors=True)
                self._readers[run, seed] = folder_copy(self._below(self._name(run)), run, str(seed))
            self._readers[run, seed].pull(chains_only=True)
            return True

    def pull_run(self, run: Path) -> None:
        """Have the run's own files as they are there.

        Raises:
            MachineError: storage or disk failed.
            RunStateError: what lies there cannot be read.
        """
        self._runs[run].pull()

    def push_run(self, run: Path) -> None:
        """Commit what is new of the run's own files. Where another did so first, take what that one wrote.

        Raises:
            MachineError: the storage failed.
        """
        try:
            self._runs[run].push()
        except LeaseLost:
            self._runs[run] = folder_copy(self._below(self._name(run)), run, RUN)
            self._runs[run].pull()

    def _name(self, path: Path) -> str:
        return path.resolve().relative_to(self.root).as_posix()

    def _below(self, name: str) -> ObjectStore:
        return self._store.below(*name.split("/")) if name != "." else self._store


@contextlib.contextmanager
def working_copies(address: ObjectAddress, home: Path, new_id: str) -> Iterator[WorkingCopies]:
    """Work on copies of what lies at an address while the block runs; those of dead workers are removed.

    Args:
        address: of a run, or of a folder with runs below.
        home: this machine's folder of aira-bench.
        new_id: unlike that of any other worker.

    Raises:
        PrerequisiteError: the storage may not be used, or keeps no conditions.
        UsageError, MachineError, RunStateError: as of `WorkingCopies`.
    """
    store, place = open_objects(address), home / "objects" / "work"
    store.require_conditions()
    place.parent.mkdir(parents=True, exist_ok=True)
    sweep_staging(place.parent)
    with staging_folder(place, new_id) as root:
        copies = WorkingCopies(store, root)
        with copies_of(copies, root):
            yield copies

"""A mirror of the runs at an address, in a folder of this machine: what commands read, and where runs are begun.

It is made up to date by one listing of what lies there, of which what is new is fetched: journals before the record
that speaks of how they end, and leases last. Commands that start workers write leases through to the storage, and
publish the runs that they made; nothing else that is written in a mirror gets there. A run that was removed there is
removed here, and one that was made anew under the same name is fetched anew.

Not covered: work on seeds (`working`).
"""

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from aira_bench.copies.layout import COMMIT, LEASE, RUN, folder_copy
from aira_bench.errors import AiraError, UsageError
from aira_bench.files import parse_json, write_atomically, write_json
from aira_bench.leasing.entries import FOLDER as LEASES
from aira_bench.leasing.lease import LeaseLost
from aira_bench.leasing.terms import TERMS
from aira_bench.ledger.run_ledger import FOLDER as LEDGER
from aira_bench.shared_store.objects import Listed, ObjectStore
from aira_bench.shared_store.places import copies_of
from aira_bench.shared_store.posix import PosixStore
from aira_bench.shared_store.store import SharedStore
from aira_bench.unfinished import only_one

_STATE = ".mirror.json"
_AT_ONCE = 8
_LEAST_PAUSE_S, _SHARE = 2.0, 5.0
"""Between two times that a mirror is renewed: so long, and so many times as long as the last one took."""


@dataclass(frozen=True)
class _State:
    """How far a mirror is."""

    commits: dict[str, int] = field(default_factory=dict)
    """Of each folder the last commit that was fetched."""
    leases: dict[str, str] = field(default_factory=dict)
    """Tags that tell leases from what they were."""
    begun: dict[str, str] = field(default_factory=dict)
    """Of each run the tag of its first commit, which tells it from another of its name."""

    def forget(self, run: str) -> None:
        """Know nothing of a run."""
        self.begun.pop(run, None)
        for key in [key for key in self.commits if key.rpartition("/")[0] == run]:
            del self.commits[key]
        for name in [name for name in self.leases if name.startswith(f"{run}/{LEASES}/")]:
            del self.leases[name]


@dataclass(frozen=True)
class _Through:
    """Shared objects that are read in the mirror and written to the storage."""

    here: PosixStore
    there: ObjectStore

    def create(self, name: str, data: bytes) -> bytes:
        held = self.there.create(name, data)
        self.here.put(name, held)
        return held

    def get(self, name: str) -> bytes | None:
        return self.here.get(name)

    def put(self, name: str, data: bytes) -> None:
        self.there.put(name, data)
        self.here.put(name, data)

    def names(self, folder: str) -> list[str]:
        return self.here.names(folder)

    def remove(self, name: str) -> None:
        self.there.remove(name)
        self.here.remove(name)


class RunsMirror:
    """The mirror of one address. Safe between threads and processes of this machine."""

    def __init__(self, store: ObjectStore, root: Path) -> None:
        """RunsMirror what is at an address in a folder; nothing is looked at yet."""
        self.root, self.address = root.resolve(), store.address
        self._store, self._lock = store, threading.Lock()

    def store(self, run: Path, folder: str) -> SharedStore:
        """Return the shared objects of a run's folder, which are the mirror's alone until the run is published."""
        here, name = PosixStore(run / folder), self._name(run)
        if not self._is_published(name):
            return here
        return _Through(here, self._store.below(*name.split("/"), folder))

    def typed(self, path: Path) -> str:
        """Return the address of what a path is the mirror of."""
        name = self._name(path)
        return str(self.address if name == "." else self.address.below(name))

    def publish(self, run: Path) -> None:
        """Put a run that was made in the mirror where it belongs, unless it is there.

        Raises:
            UsageError: another run of that name is there.
            MachineError: the storage failed.
        """
        name = self._name(run)
        if self._is_published(name):
            return
        there = self._store.below(*name.split("/"))
        if (terms := PosixStore(run / LEASES).get(TERMS)) is not None:
            there.below(LEASES).create(TERMS, terms)
        try:
            folder_copy(there, run, RUN).push()
        except LeaseLost:
            raise UsageError(f"A run named {run.name!r} exists at {self.address}.", hint="another --name") from None
        spent = run / LEDGER
        for path in sorted(each for each in spent.rglob("*") if each.is_file()):  # what trying the model cost
            there.below(LEDGER).create(path.relative_to(spent).as_posix(), path.read_bytes())
        with self._state() as state:
            state.commits[f"{name}/{RUN}"] = 1
            state.begun[name] = _first_tag(self._store.listing(f"{name}/content/{RUN}"), name)

    def refresh(self) -> None:
        """Fetch what is new, and remove what was removed.

        Raises:
            MachineError: storage or disk failed.
            PrerequisiteError: the storage may not be used.
            RunStateError: what lies there cannot be read.
        """
        with self._state() as state:
            listing = self._store.listing()
            there: dict[tuple[str, str], int] = {}
            for found in filter(None, map(COMMIT.fullmatch, listing)):
                place = (found["run"], found["folder"])
                there[place] = max(there.get(place, 0), int(found["number"]))
            for run in [run for run, tag in state.begun.items() if tag != _first_tag(listing, run)]:
                shutil.rmtree(self.root / run, ignore_errors=True)
                state.forget(run)
            # A folder that nothing is known of was made here, and is to be published or refused.
            runs = {
                run for run, folder in there
                if folder == RUN and _is_plain(run) and (run in state.begun or not (self.root / run).exists())
            }  # fmt: skip
            state.begun.update({run: _first_tag(listing, run) for run in runs})
            commits = state.commits
            new = {place for place, number in there.items() if number > commits.get("/".join(place), 0)}
            # The record says how journals end, so they are read to where they are now, not to where the list was.
            seeds = [place for place in there if place[1] != RUN and (place in new or (place[0], RUN) in new)]
            fetch = partial(self._fetch, commits)
            _at_once(fetch, [place for place in seeds if place[0] in runs])
            _at_once(fetch, [place for place in new if place[1] == RUN and place[0] in runs])
            self._fetch_leases(runs, listing, state.leases)

    def _fetch(self, commits: dict[str, int], place: tuple[str, str]) -> None:
        run, key = self.root / place[0], "/".join(place)
        path = run if place[1] == RUN else run / "seeds" / place[1]
        copy = folder_copy(self._store.below(*place[0].split("/")), run, place[1], commits.get(key, 0) * path.is_dir())
        try:
            copy.pull()
        finally:
            commits[key] = copy.number

    def _fetch_leases(self, runs: set[str], listing: Mapping[str, Listed], leases: dict[str, str]) -> None:
        there = {
            name: about for name, about in listing.items()
            if (found := LEASE.fullmatch(name)) is not None and found["run"] in runs and _is_plain(name)
        }  # fmt: skip
        for run in runs:
            (self.root / run / LEASES).mkdir(parents=True, exist_ok=True)

        def fetch(name: str) -> None:
            if (data := self._store.get(name)) is None:
                return
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data, lasting=False)
            os.utime(path, (there[name].made_at_s, there[name].made_at_s))
            leases[name] = there[name].tag

        _at_once(fetch, [name for name, about in there.items() if leases.get(name) != about.tag])
        for gone in leases.keys() - there.keys():
            (self.root / gone).unlink(missing_ok=True)
            del leases[gone]

    def _is_published(self, name: str) -> bool:
        state = self._read_state()
        return state is not None and name in state.begun

    @contextlib.contextmanager
    def _state(self) -> Iterator[_State]:
        """How far the mirror is. One thread at a time."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._lock, only_one(self.root / ".refreshing"):
            state = self._read_state()
            if state is None:  # nobody knows what lies here: it is made anew
                for path in self.root.iterdir():
                    if path.is_dir() and not path.name.startswith("."):
                        shutil.rmtree(path, ignore_errors=True)
                state = _State()
            try:
                yield state
            finally:
                write_json(self.root / _STATE, asdict(state))

    def _read_state(self) -> _State | None:
        try:
            found = parse_json((self.root / _STATE).read_bytes())
            return _State(dict(found["commits"]), dict(found["leases"]), dict(found["begun"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _name(self, path: Path) -> str:
        return path.resolve().relative_to(self.root).as_posix()


@contextlib.contextmanager
def mirrored_runs(store: ObjectStore, home: Path) -> Iterator[RunsMirror]:
    """Have the mirror of an address up to date while the block runs.

    Args:
        store: at the address.
        home: this machine's folder of aira-bench.

    Raises:
        MachineError, PrerequisiteError, RunStateError: as of `RunsMirror.refresh`.
    """
    digest = hashlib.sha256(str(store.address).encode()).hexdigest()[:16]
    (home / "objects").mkdir(parents=True, exist_ok=True, mode=0o700)
    mirror, over = RunsMirror(store, home / "objects" / f"mirror-{digest}"), threading.Event()
    mirror.refresh()

    def follow() -> None:
        pause_s = _LEAST_PAUSE_S
        while not over.wait(pause_s):
            began_s = time.monotonic()
            with contextlib.suppress(AiraError):  # storage that is away, keys that are over: the last look says so
                mirror.refresh()
            pause_s = max(_LEAST_PAUSE_S, _SHARE * (time.monotonic() - began_s))

    thread = threading.Thread(target=follow, name="mirror", daemon=True)
    thread.start()
    try:
        with copies_of(mirror, mirror.root):
            yield mirror
    finally:
        over.set()
        thread.join()


def _at_once(fetch: Callable[..., None], what: list[str] | list[tuple[str, str]]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(fetch, what))


def _first_tag(listing: Mapping[str, Listed], run: str) -> str:
    """What tells a run from another of its name; empty where there is none."""
    first = listing.get(f"{run}/content/{RUN}/{1:08d}")
    return "" if first is None else first.tag


def _is_plain(name: str) -> bool:
    return all(part and not part.startswith(".") for part in name.split("/"))

"""A local copy of one folder on object storage, which is a succession of commits there.

The commits have numbers, each made once, so there is one order of them, and who makes the next has applied all before
it. A worker begins with a commit of its own that carries its attempt (`take_over`). From then on no earlier attempt can
make any: whatever number it asks for is taken, and what stands there says by whom. An earlier attempt that comes late
with its own beginning sees the later one, and leaves. So nothing of a stale attempt is ever in the folder, and what was
there when a worker began stays: unlike on a shared disk no copy has to be made beside it (`aira_bench.record.forks`).

What was written to the local copy and refused by the storage is nobody's; the copy is made anew by whoever needs it.

Not covered: who may try (`aira_bench.leasing`), and removing objects that no commit names, which a worker leaves that
dies between a pack and its commit.
"""

import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from secrets import token_hex

from aira_bench.copies.commit import (
    CHAIN,
    INLINE_BYTES,
    PIECE_BYTES,
    Commit,
    FileState,
    Pack,
    Piece,
    decode_commit,
    encode_commit,
    file_state,
    pack_pieces,
    pieces_of,
    sha256_of_start,
    split,
    unpack_pieces,
)
from aira_bench.errors import MachineError
from aira_bench.files import entries_below
from aira_bench.leasing.lease import LeaseLost
from aira_bench.shared_store.store import SharedStore, Stubborn
from aira_bench.shared_store.succession import Numbered, Succession
from aira_bench.unfinished import TEMPORARY

CHAINS = ("journal.jsonl", "hidden/confirmed.jsonl")
"""Whose last line says what of the folder counts."""
_MOST_ENTRIES = 1_000_000
_AT_ONCE = 8
"""Requests, where many commits are read."""


class FolderCopy:
    """One folder, its place among the objects and how far they are alike. `push` may be called by several threads."""

    def __init__(
        self, store: SharedStore, folder: str, path: Path, skipped: frozenset[str] = frozenset(), *, number: int = 0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        """Look at nothing yet.

        Args:
            store: the run's.
            folder: of its commits and packs there.
            path: of the copy.
            skipped: names in it that stay here.
            number: of the last commit that the copy holds already.
            pause: waits so many seconds between tries.
        """
        self.path, self.number, self.attempt = path, number, 0
        self._store, self._folder, self._skipped, self._stubborn = store, folder, skipped, Stubborn(pause)
        self._chain = Succession(store, folder)
        self._known: dict[str, FileState] = {}
        self._doubt: tuple[bytes, int, dict[str, FileState]] | None = None
        """A commit that the storage did not answer for, its attempt, and the files that it has."""
        self._is_lost, self._lock = False, threading.Lock()

    def pull(self, *, chains_only: bool = False) -> None:
        """Apply what was committed since, as far as it can be seen.

        Args:
            chains_only: leave packs of other files out, for who reads journals and nothing else.

        Raises:
            MachineError: storage or disk failed; what was applied is whole.
            RunStateError: what stands there cannot be read.
        """
        touched: set[str] = set()
        with self._lock:
            for found in self._new():
                touched.update(self._applied(found, chains_only=chains_only))
            self._known |= {name: self._state(name) for name in touched if (self.path / name).exists()}

    def take_over(self, attempt: int) -> None:
        """Have the copy as it is there, and be the only one who adds to it.

        Args:
            attempt: of the lease; higher than of all before.

        Raises:
            LeaseLost: a later attempt has begun.
            MachineError: storage or disk failed.
            RunStateError: what stands there cannot be read.
        """
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        self.number, self.attempt, self._known = 0, 0, {}
        mine = encode_commit(Commit(attempt, token_hex(16)), b"")
        while True:
            self.pull()
            if self.attempt >= attempt:
                raise LeaseLost(f"{self._folder}: attempt {self.attempt} has it")
            with self._lock:
                if self._claimed(mine, attempt, self._known):
                    return

    def push(self) -> None:
        """Commit what is new in the copy; where this returns it is there for everybody who comes later.

        Raises:
            LeaseLost: a later attempt has begun; nothing of this was added.
            MachineError: the storage failed. Whether it was added shows at the next `push`.
        """
        with self._lock:
            if self._is_lost:
                raise self._lost()
            if self._doubt is not None and not self._claimed(*self._doubt):
                raise self._lost()
            now = self._looked_at()
            if now == self._known:
                return
            changed = [name for name, state in now.items() if self._known.get(name) != state]
            removed = tuple(name for name in self._known if name not in now)
            pieces = [piece for name in changed for piece in pieces_of(name, self._start(name, now), now[name].size)]
            packs, inline = self._packed(pieces)
            commit = Commit(self.attempt, token_hex(16), packs, removed)
            if not self._claimed(encode_commit(commit, inline), self.attempt, now):
                raise self._lost()

    def push_chains(self) -> None:
        """Do the same if a line was appended here that is not there; else nothing is asked of the storage.

        Raises:
            LeaseLost, MachineError: as of `push`.
        """
        if self._is_lost:
            raise self._lost()
        for name in CHAINS:
            known, path = self._known.get(name), self.path / name
            if path.exists() and (known is None or path.lstat().st_size != known.size):
                return self.push()
        return None

    def _start(self, name: str, now: dict[str, FileState]) -> int:
        """From which byte on a file is new: chains that were appended to are the same up to there."""
        known = self._known.get(name)
        if known is None or not known.sha256 or now[name].size < known.size:
            return 0
        return known.size if sha256_of_start(self.path, name, known.size) == known.sha256 else 0

    def _packed(self, pieces: list[Piece]) -> tuple[tuple[Pack, ...], bytes]:
        """Put pieces into objects; the last ones, chains among them, go into the commit itself."""
        chains = [piece for piece in pieces if piece.path.endswith(CHAIN)]
        others = [piece for piece in pieces if not piece.path.endswith(CHAIN)]
        if (
            _bytes(pieces) <= 8 * INLINE_BYTES
            and len(together := pack_pieces(self.path, others + chains)) <= INLINE_BYTES
        ):
            return (), together
        is_long = _bytes(chains) > PIECE_BYTES
        packs = [self._packed_apart(group, chains=False) for group in split(others)]
        packs += [self._packed_apart(group, chains=True) for group in split(chains) if is_long]
        return tuple(packs), b"" if is_long else pack_pieces(self.path, chains)

    def _packed_apart(self, group: list[Piece], *, chains: bool) -> Pack:
        data, name = pack_pieces(self.path, group), token_hex(16)
        self._stubborn(lambda: self._store.create(f"packs/{name}", data))
        return Pack(name, sha256(data).hexdigest(), chains)

    def _claimed(self, entry: bytes, attempt: int, files: dict[str, FileState]) -> bool:
        """Whether a commit is the next one. The copy is as it says already."""
        self._doubt = (entry, attempt, files)
        held = self._stubborn(lambda: self._chain.claim(self.number + 1, entry)).data
        self._doubt = None
        if held != entry:
            return False
        self.number, self.attempt, self._known = self.number + 1, attempt, files
        return True

    def _lost(self) -> LeaseLost:
        self._is_lost = True
        return LeaseLost(f"{self._folder}: another attempt has it")

    def _new(self) -> Iterator[Numbered]:
        """Commits after the last one that was applied; many are asked for at a time."""
        listed = [int(name) for name in self._stubborn(lambda: self._store.names(self._folder)) if name.isdecimal()]
        waiting = sorted(number for number in listed if number > self.number)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for number, data in zip(waiting, pool.map(self._read, waiting), strict=True):
                if number != self.number + 1 or data is None:
                    break
                yield Numbered(number, data)
        while (data := self._read(self.number + 1)) is not None:
            yield Numbered(self.number + 1, data)

    def _read(self, number: int) -> bytes | None:
        return self._stubborn(lambda: self._chain.read(number))

    def _applied(self, found: Numbered, *, chains_only: bool) -> list[str]:
        """Write what a commit has, and return the names of its files."""
        name = f"{self._folder}/{found.number}"
        commit, inline = decode_commit(found.data, name)
        self.path.mkdir(parents=True, exist_ok=True)
        touched: list[str] = []
        for pack in (each for each in commit.packs if each.chains or not chains_only):
            data = self._stubborn(lambda pack=pack: self._store.get(f"packs/{pack.name}"))  # type: ignore[misc]
            if data is None or sha256(data).hexdigest() != pack.sha256:
                raise MachineError(f"The machine failed: packs/{pack.name} of {name} cannot be seen.")
            touched += unpack_pieces(data, self.path, f"packs/{pack.name}")
        if inline:
            touched += unpack_pieces(inline, self.path, name)
        for removed in commit.removed:
            (self.path / removed).unlink(missing_ok=True)
            self._known.pop(removed, None)
        self.number, self.attempt = found.number, max(self.attempt, commit.attempt)
        return touched

    def _looked_at(self) -> dict[str, FileState]:
        """All files of the copy that belong to it; what has not changed since is not read."""
        found = {}
        for name, mode in entries_below(self.path, PurePosixPath(), _MOST_ENTRIES):
            parts = PurePosixPath(name).parts
            if parts[0] in self._skipped or name.endswith(TEMPORARY) or not stat.S_ISREG(mode):
                continue
            state = file_state(self.path, name)
            known = self._known.get(name)
            same = known is not None and replace(known, sha256="") == state
            found[name] = known if known is not None and same else self._state(name)
        return found

    def _state(self, name: str) -> FileState:
        state = file_state(self.path, name)
        if not name.endswith(CHAIN):
            return state
        return replace(state, sha256=sha256_of_start(self.path, name, state.size))


def _bytes(pieces: list[Piece]) -> int:
    return sum(piece.bytes for piece in pieces)

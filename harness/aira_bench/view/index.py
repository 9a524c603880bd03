"""An index of runs: what pages need of each, kept in files until the run's own files change.

It lies in `.aira-view` beside the runs, or, where this user may not write there, in the machine's home folder. Each run
has two files: `summary`, which pages of many runs read, and `detail`, with a line a step. The first line of a file says
what it was made from (sizes and times of the run's files) and of which version, and bears a code by a key of this
machine, so that no index of a stranger's is believed. Whatever does not fit, in whatever way, is made anew.

An index is nothing but speed: it can be removed at any time. Not covered: boards (`aira_bench.view.boards`).
"""

import contextlib
import hashlib
import hmac
import json
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from aira_bench.errors import AiraError, PrerequisiteError
from aira_bench.files import Unacceptable, read_file, write_atomically
from aira_bench.keys import KeyFolder, MachineKey
from aira_bench.paths import INDEX_FOLDER
from aira_bench.record.folder import RunFolder, is_run, list_runs
from aira_bench.record.salvage import RunRemains, read_remains
from aira_bench.version import __version__
from aira_bench.view.entries import RunDetail, RunEntry, run_detail, run_entry

FORMAT = 2
"""Raised where entries change their meaning or their fields."""
_MOST_BYTES = 2**28
_MOST_SEEDS = 1000
_WATCHED = ("journal.jsonl", "hidden/scores.jsonl", "hidden/confirmed.jsonl")

Kept = TypeVar("Kept")


class _Kind(Generic[Kept]):
    """One kind of file of the index."""

    def __init__(self, name: str, adapter: TypeAdapter[Kept]) -> None:
        self.name, self.adapter = name, adapter


_SUMMARY = _Kind("summary", TypeAdapter(RunEntry))
_DETAIL = _Kind("detail", TypeAdapter(RunDetail))
_TEXT = _Kind("text", TypeAdapter(str))


class RunIndex:
    """The index of the runs of one folder."""

    def __init__(self, runs: Path, home: Path, keys: KeyFolder) -> None:
        """Find the place of the index; nothing is read of the runs yet.

        Args:
            runs: folder of run folders.
            home: the machine's folder, for the index where `runs` cannot be written to.
            keys: of this machine.
        """
        self.runs, self.keys, self.ring = runs, keys, keys.ring()
        self._key = _machine_key(keys)
        beside = runs / INDEX_FOLDER
        self.place = beside if _is_ours(beside) else home / "view" / _digest(str(runs.resolve()).encode())[:32]
        with contextlib.suppress(OSError):
            self.place.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def ring_facts(self) -> tuple[str, ...]:
        """Every key that is known: boards say of each run whether its signer is one."""
        return (self.ring.own or "", *sorted(self.ring.trusted))

    def folders(self) -> list[RunFolder]:
        """Return the runs that there are now, by name."""
        return list_runs(self.runs)

    def summary(self, folder: RunFolder) -> RunEntry:
        """Return what a page of many runs has of one, read anew where its files have changed."""
        seen = fingerprint(folder)
        found = self._kept(_SUMMARY, folder.path.name, seen)
        if found is None:
            found = run_entry(self.remains(folder))
            self._keep(_SUMMARY, folder.path.name, seen, found)
        return found

    def known_summary(self, folder: RunFolder) -> RunEntry | None:
        """Return the same where it can be had without reading the run, else None."""
        return self._kept(_SUMMARY, folder.path.name, fingerprint(folder))

    def detail(self, folder: RunFolder, *, patience_s: float = math.inf) -> tuple[RunEntry, RunDetail]:
        """Return a run with all its steps, read anew where its files have changed.

        Args:
            folder: of the run.
            patience_s: how long code is read, of which a long search has a lot; `unread` says what is left over.
        """
        name, seen = folder.path.name, fingerprint(folder)
        entry, before = self._kept(_SUMMARY, name, seen), self._read(_DETAIL, name)
        if entry is not None and before is not None and before[0] == seen and not before[1].unread:
            return entry, before[1]
        run = self.remains(folder)
        entry, detail = run_entry(run), run_detail(run, before[1] if before else None, patience_s=patience_s)
        self._keep(_DETAIL, name, seen, detail)
        self._keep(_SUMMARY, name, seen, entry)
        return entry, detail

    def remains(self, folder: RunFolder) -> RunRemains:
        """Return a run as its own files have it, for pages of single steps."""
        return read_remains(folder, self.ring)

    def text(self, name: str, made_from: str) -> str | None:
        """Return a text kept under a name; None where there is none that was made from that."""
        return self._kept(_TEXT, name, made_from)

    def keep_text(self, name: str, made_from: str, text: str) -> None:
        """Keep a text under a name, with what it was made from."""
        self._keep(_TEXT, name, made_from, text)

    def last_text(self, name: str) -> str | None:
        """Return the text kept under a name, whatever it was made from."""
        found = self._read(_TEXT, name)
        return found[1] if found else None

    def _kept(self, kind: _Kind[Kept], name: str, made_from: str) -> Kept | None:
        found = self._read(kind, name, made_from)
        return found[1] if found else None

    def _read(self, kind: _Kind[Kept], name: str, made_from: str | None = None) -> tuple[str, Kept] | None:
        """What was made from, and what is kept; None where it is not there or not to be believed."""
        try:
            head, _, body = read_file(self.place, _file_name(kind.name, name), _MOST_BYTES).partition(b"\n")
            said = json.loads(head)
            made, code = said["made_from"], said["code"]
            if made_from is not None and made != made_from:
                return None
            if not hmac.compare_digest(code, self._code(kind.name, name, made, body)):
                return None
            return made, kind.adapter.validate_python(json.loads(body))
        except (OSError, Unacceptable, ValueError, KeyError, TypeError, ValidationError):
            return None

    def _keep(self, kind: _Kind[Kept], name: str, made_from: str, value: Kept) -> None:
        body = json.dumps(kind.adapter.dump_python(value), separators=(",", ":")).encode("ascii")
        code = self._code(kind.name, name, made_from, body)
        head = json.dumps({"made_from": made_from, "code": code}).encode("ascii")
        with contextlib.suppress(OSError):  # without an index pages take longer
            write_atomically(self.place / _file_name(kind.name, name), head + b"\n" + body, mode=0o600, lasting=False)

    def _code(self, kind: str, name: str, made_from: str, body: bytes) -> str:
        said = json.dumps([FORMAT, __version__, kind, name, made_from, len(body)]).encode("ascii")
        return self._key.mac(b"view\n" + said + b"\n" + body)


@contextlib.contextmanager
def index_kept(folder: RunFolder, home: Path, keys: KeyFolder) -> Iterator[None]:
    """Bring the index of a run up to date when the block ends, for whoever looks at the run next.

    A run that did not come to its end is left without its code being read: whoever stops it waits for nothing. Nothing
    that goes wrong with an index goes wrong with a run.

    Args:
        folder: of the run, which may not be there yet.
        home: the machine's folder, as for `RunIndex`.
        keys: of this machine.
    """
    patience_s = 0.0
    try:
        yield
        patience_s = math.inf
    finally:
        keep_index(folder, home, keys, patience_s=patience_s)


def keep_index(folder: RunFolder, home: Path, keys: KeyFolder, *, patience_s: float = math.inf) -> None:
    """Bring the index of a run up to date, where that is possible. Of several that do it at a time the last counts."""
    with contextlib.suppress(OSError, AiraError):
        if is_run(folder.path):
            RunIndex(folder.path.parent, home, keys).detail(folder, patience_s=patience_s)


def fingerprint(folder: RunFolder) -> str:
    """Return what tells a run's files from what they were: where they lie, their sizes and times; nothing is read."""
    parts: list[object] = [str(folder.path)]
    for name in ("manifest.json", "record.jsonl"):
        parts.append(_seen(folder.path / name))
    try:
        with os.scandir(folder.path / "seeds") as found:
            seeds = sorted(entry.name for _, entry in zip(range(_MOST_SEEDS), found, strict=False))
    except OSError:
        seeds = []
    for seed in seeds:
        parts += [seed, *(_seen(folder.path / "seeds" / seed / name) for name in _WATCHED)]
    return _digest(json.dumps(parts).encode("ascii"))


def _seen(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _is_ours(folder: Path) -> bool:
    """Whether the index may lie there: a folder of this user's, or none yet where one can be made."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return os.access(folder.parent, os.W_OK | os.X_OK)
    except OSError:
        return False
    plain = not folder.is_symlink() and folder.is_dir()
    return plain and found.st_uid == os.geteuid() and os.access(folder, os.W_OK | os.X_OK)


def _machine_key(keys: KeyFolder) -> MachineKey:
    """The key of this machine, or one for this process alone where none can be kept."""
    try:
        return keys.machine_key()
    except (OSError, PrerequisiteError):
        return MachineKey(secrets.token_bytes(32))


def _file_name(kind: str, name: str) -> str:
    return f"{_digest(os.fsencode(name))[:32]}.{kind}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

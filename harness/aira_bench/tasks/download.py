"""Fetches one public file over HTTP so that a bad network costs time and nothing else.

What arrives grows in `<name>.part`; the finished file appears under its name only after its size and hash were checked.
A broken transfer goes on where it stopped, if the server proves that it still has the same bytes (`If-Range`).
`<name>.pin.json` records size and hash. Where the task knows no hash, the first download decides, checked against
the hash a hub sends for files it keeps in large-file storage; a later file that differs is refused.

Not covered: credentials, and servers other than HTTP(S). Proxies are taken from the usual environment variables.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aira_bench.errors import PrerequisiteError
from aira_bench.files import write_json
from aira_bench.tasks.guarded_http import Gone, TransferBroken, TransferWatch
from aira_bench.tasks.http_transfer import CHANGED, FileAnswer, StaleRange, open_transfer
from aira_bench.tasks.metadata import PublicFile
from aira_bench.tasks.transfer import Transfer

SPARE_BYTES = 512 << 20
MOST_BYTES = 16 << 30
"""Of a file whose size neither task nor server names. The largest that a shipped task names has 7.7 GB."""
_DISK_CHECK_BYTES = 64 << 20


@dataclass(frozen=True)
class Patience:
    """How often a download that makes no progress is tried again."""

    tries: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    silence_s: float = 60.0
    """A server that sends nothing for this long counts as broken off."""
    window_s: float = 60.0
    least_bytes_per_s: float = 8192.0
    """A server that is slower than this over a window counts as broken off, however it spreads its bytes."""
    spare_s: float = 3600.0
    average_bytes_per_s: float = 32768.0
    """All tries together last at most the spare time and as long as the file takes at this rate."""

    def longest_s(self, size: int) -> float:
        """Return the longest that a file of `size` bytes may take."""
        return self.spare_s + size / self.average_bytes_per_s


@dataclass(frozen=True)
class StoredFile:
    """A public file on disk, checked."""

    name: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Pin:
    """What the file was when it was first accepted."""

    url: str
    bytes: int
    sha256: str
    modified_ns: int


@dataclass
class _Partial:
    """The `.part` file and what is known about the bytes in it."""

    path: Path
    url: str
    size: int = 0
    validator: str | None = None
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def notes(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @classmethod
    def reopen(cls, path: Path, url: str) -> "_Partial":
        """Go on with what an earlier call left, if it was of the same address."""
        partial = cls(path, url)
        try:
            notes = json.loads(partial.notes.read_text(encoding="utf-8"))
            same = notes["url"] == url
            partial.validator = notes["validator"] if same else None
            if same:
                with path.open("rb") as stream:
                    partial.digest = hashlib.file_digest(stream, "sha256")
                partial.size = path.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path, url)
        return partial

    def restart(self) -> None:
        """Forget what was fetched."""
        self.path.unlink(missing_ok=True)
        self.size, self.validator, self.digest = 0, None, hashlib.sha256()

    def record(self, validator: str | None) -> None:
        self.validator = validator
        write_json(self.notes, {"url": self.url, "validator": validator})

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)


Watch = Callable[[Transfer], None]
Note = Callable[[str], None]


def fetch(file: PublicFile, folder: Path, *, note: Note, watch: Watch, patience: Patience | None = None) -> StoredFile:
    """Return the file in `folder`, downloaded unless it is there.

    Raises:
        PrerequisiteError: the server has no such file or keeps failing, the disk is full, or what came is not what
            was expected. What was fetched so far stays for the next call, and no finished file is ever replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder / f"{file.name}.lock", note, file.name):
        stored = _stored(file, folder)
        if stored is None:
            stored = _download(file, folder, watch, note, patience or Patience())
        return stored


def stored_bytes(file: PublicFile, folder: Path) -> int:
    """Bytes of the file that are on disk already, finished or not."""
    for path in (folder / file.name, folder / f"{file.name}.part"):
        if path.is_file():
            return path.stat().st_size
    return 0


@contextlib.contextmanager
def _only_one(path: Path, note: Note, name: str) -> Iterator[None]:
    """One process at a time; the lock goes with the process, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            note(f"{name}: another process is downloading it; waiting")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _stored(file: PublicFile, folder: Path) -> StoredFile | None:
    """The finished file, if it is there and what it should be."""
    path = folder / file.name
    if not path.is_file():
        return None
    pin, status = _read_pin(folder, file), path.stat()
    if pin and (status.st_size, status.st_mtime_ns) == (pin.bytes, pin.modified_ns):
        sha256 = pin.sha256
    else:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    expected = file.sha256 or (pin.sha256 if pin else None)
    if expected not in (None, sha256):
        raise PrerequisiteError(
            f"{path} is not what it should be: its SHA-256 is {sha256}, expected {expected}.",
            hint=f"mv {path} {path}.other, then the same command again",
        )
    return _pinned(file, path, sha256)


def pin_path(folder: Path, file: PublicFile) -> Path:
    """Return where size and hash of a downloaded file are recorded."""
    return folder / f"{file.name}.pin.json"


def _read_pin(folder: Path, file: PublicFile) -> _Pin | None:
    try:
        pin = _Pin(**json.loads(pin_path(folder, file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return pin if pin.url == file.url else None


def _pinned(file: PublicFile, path: Path, sha256: str) -> StoredFile:
    status = path.stat()
    pin = _Pin(file.url, status.st_size, sha256, status.st_mtime_ns)
    if pin != _read_pin(path.parent, file):
        write_json(pin_path(path.parent, file), asdict(pin))
    return StoredFile(file.name, path, status.st_size, sha256)


def _download(file: PublicFile, folder: Path, watch: Watch, note: Note, patience: Patience) -> StoredFile:
    pin = _read_pin(folder, file)
    partial = _Partial.reopen(folder / f"{file.name}.part", file.url)
    failures, reached = 0, partial.size
    ends_s = time.monotonic() + patience.longest_s(file.bytes or MOST_BYTES)
    while True:
        try:
            _attempt(file, partial, pin, watch, patience, ends_s - time.monotonic())
            break
        except TransferBroken as error:
            failures = 1 if partial.size > reached else failures + 1
            reached = max(reached, partial.size)
            if failures >= patience.tries or time.monotonic() >= ends_s:
                raise PrerequisiteError(
                    f"{file.name} could not be downloaded from {file.url}: {error} ({failures} tries without progress; "
                    f"{partial.size / 2**20:.1f} MiB are kept).",
                    hint="the same command again, or --source DIR with the file in DIR",
                ) from error
            wait_s = min(
                max(patience.first_wait_s * 2.0 ** (failures - 1), error.retry_after_s or 0.0), patience.longest_wait_s
            )
            note(f"{file.name}: {error}; again in {wait_s:.0f} s")
            time.sleep(wait_s)
        except Gone as error:
            raise PrerequisiteError(
                f"{file.name} cannot be had from {file.url}: {error}.", hint="--source DIR with the file in DIR"
            ) from error
    path = folder / file.name
    partial.path.replace(path)
    stored = _pinned(file, path, partial.digest.hexdigest())
    partial.remove()
    return stored


def _attempt(
    file: PublicFile, partial: _Partial, pin: _Pin | None, watch: Watch, patience: Patience, left_s: float
) -> None:
    """One request; returns when the `.part` file is whole and right."""
    expected = file.sha256 or (pin.sha256 if pin else None)
    if partial.size and partial.validator is None and expected is None:
        partial.restart()  # nothing would prove that the rest belongs to what is here
    resumed = partial.size > 0
    guard = TransferWatch(
        window_s=patience.window_s, least_bytes_per_s=patience.least_bytes_per_s, deadline_s=max(left_s, 0.0)
    )
    begin = partial.size, partial.validator
    try:
        with guard, open_transfer(file.url, *begin, timeout_s=patience.silence_s, watch=guard) as answer:
            if resumed and answer.start_bytes == 0:
                partial.restart()
                resumed = False
            elif answer.start_bytes != partial.size or _changed(answer, partial):
                raise StaleRange(CHANGED)
            if answer.chunks is not None:
                _check_offer(file, answer, partial)
                partial.record(answer.validator)
                _receive(file, answer, answer.chunks, partial, watch)
    except StaleRange:
        partial.restart()
        raise
    _check_whole(file, partial, expected or answer.linked_sha256, pin, resumed=resumed)


def _check_whole(file: PublicFile, partial: _Partial, expected: str | None, pin: _Pin | None, *, resumed: bool) -> None:
    """Refuse a finished download that is not the file; nothing of it is kept."""
    size, seen = partial.size, partial.digest.hexdigest()
    if (file.bytes in (None, size)) and (expected in (None, seen)):
        return
    partial.restart()
    if resumed:
        raise TransferBroken("the pieces of an interrupted download do not fit together")
    if file.bytes not in (None, size):
        raise Gone(f"it has {size} bytes, expected {file.bytes}")
    first = f" as it had when first downloaded (recorded in {pin_path(partial.path.parent, file)})"
    raise Gone(f"its SHA-256 is {seen}, expected {expected}{first if pin and file.sha256 is None else ''}")


def _changed(answer: FileAnswer, partial: _Partial) -> bool:
    return None not in (partial.validator, answer.validator) and answer.validator != partial.validator


def _check_offer(file: PublicFile, answer: FileAnswer, partial: _Partial) -> None:
    """Refuse what cannot be the file before fetching it."""
    if answer.is_web_page and not file.name.endswith((".html", ".htm")):
        raise Gone("the server answered with a web page instead of the file")
    total = answer.total_bytes
    if file.bytes is not None and total not in (None, file.bytes):
        raise Gone(f"the server offers {total} bytes, expected {file.bytes}")
    if total is not None and file.bytes is None and total > MOST_BYTES:
        raise Gone(f"the server offers {total} bytes, expected at most {MOST_BYTES} where the task names no size")
    check_disk(partial.path.parent, (total or 0) - partial.size, file.name)


def check_disk(folder: Path, wanted_bytes: int, what: str) -> None:
    """Refuse a download that cannot fit.

    Raises:
        PrerequisiteError: fewer bytes are free than wanted plus a reserve.
    """
    free = shutil.disk_usage(folder).free
    if wanted_bytes > 0 and free < wanted_bytes + SPARE_BYTES:
        raise PrerequisiteError(
            f"{what} needs {wanted_bytes / 2**30:.2f} GiB and a reserve of {SPARE_BYTES / 2**30:.1f} GiB in {folder}, "
            f"but {free / 2**30:.2f} GiB are free.",
            hint="free space, or point AIRA_HOME elsewhere",
        )


def _receive(file: PublicFile, answer: FileAnswer, chunks: Iterator[bytes], partial: _Partial, watch: Watch) -> None:
    most = file.bytes or answer.total_bytes or MOST_BYTES
    checked = partial.size
    try:
        with partial.path.open("ab" if partial.size else "wb") as stream:
            watch(Transfer(file.name, partial.size, answer.total_bytes))
            for chunk in chunks:
                if partial.size + len(chunk) > most:
                    partial.restart()
                    raise Gone(f"the server sends more than {most} bytes")
                if answer.total_bytes is None and partial.size - checked >= _DISK_CHECK_BYTES:
                    checked = partial.size
                    check_disk(partial.path.parent, 2 * _DISK_CHECK_BYTES, file.name)
                stream.write(chunk)
                partial.digest.update(chunk)
                partial.size += len(chunk)
                watch(Transfer(file.name, partial.size, answer.total_bytes))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        if isinstance(error, TransferBroken):
            raise
        _forget_unwritten(partial)
        raise PrerequisiteError(
            f"{file.name} cannot be written to {partial.path.parent}: {error.strerror or error}. "
            f"{partial.size / 2**20:.0f} MiB are kept and the next try goes on from there.",
            hint="free space, or point AIRA_HOME elsewhere",
        ) from error
    if answer.total_bytes is not None and partial.size < answer.total_bytes:
        raise TransferBroken(f"the connection ended after {partial.size} of {answer.total_bytes} bytes")


def _forget_unwritten(partial: _Partial) -> None:
    """After a failed write the file may hold less, or more, than was hashed: trust the file."""
    with contextlib.suppress(OSError):
        partial.size = partial.path.stat().st_size

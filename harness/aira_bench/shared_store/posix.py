"""The shared store as a folder of a POSIX file system that several machines may share, such as NFS, Lustre or CephFS.

An object is made by `link` of a file beside it that is written and forced to disk before: content appears whole, and
the file server lets exactly one link through. A client of NFS may be told that its link failed although it was made,
since a request that was sent twice is answered twice; the file's own number of links, and then the content, say what
happened. No locks: `flock` means something else on each of these systems.

Where a file system has no hard links the store is refused. `O_EXCL` would be no substitute: content does not appear
whole with it, and the systems without links (buckets that are mounted as folders) do not keep it between machines.

Not covered: mounts that answer from a cache however long they may (`actimeo` of many minutes): a reader opens the
folder before it looks, which asks an NFS server whether the folder has changed, and relies on that.
"""

import contextlib
import errno
import os
import secrets
from pathlib import Path

from aira_bench.errors import PrerequisiteError
from aira_bench.files import read_file, write_atomically
from aira_bench.machine_failures import machine_failures
from aira_bench.shared_store.store import MOST_BYTES, check_object
from aira_bench.unfinished import TEMPORARY

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 20
"""To read or write a name while others remove or replace it, or sweep what they take for a dead process's."""


class PosixStore:
    """Objects as files below `root`. May be shared by threads, and by processes of any machine that sees the folder."""

    def __init__(self, root: Path) -> None:
        """The folder need not be there yet."""
        self.root = root

    def create(self, name: str, data: bytes) -> bytes:
        """Make an object unless it is there, and return what it holds now and for ever.

        Raises:
            PrerequisiteError: the file system has no hard links.
            MachineError: the file system failed; whether the object was made is not known.
        """
        path = self._path(name, data)
        with machine_failures(self.root):
            for _ in range(_TRIES):
                if (found := self._read(name)) is not None:
                    return found
                path.parent.mkdir(parents=True, exist_ok=True)
                if self._linked(path, data):
                    return data
            raise _unsteady(path)

    def get(self, name: str) -> bytes | None:
        """Return an object's bytes, None where there is none.

        Raises:
            MachineError: the file system failed.
        """
        self._path(name)
        with machine_failures(self.root):
            return self._read(name)

    def put(self, name: str, data: bytes) -> None:
        """Make or replace an object as a whole, without forcing it to disk.

        Raises:
            MachineError: the file system failed; whether the object was replaced is not known.
        """
        path = self._path(name, data)
        with machine_failures(self.root):
            for _ in range(_TRIES):
                with contextlib.suppress(FileNotFoundError):  # another machine swept the file beside it
                    return write_atomically(path, data, lasting=False)
            raise _unsteady(path)

    def names(self, folder: str) -> list[str]:
        """Return the last parts of the names directly in a folder, sorted; none where there is no such folder.

        Raises:
            MachineError: the file system failed.
        """
        path = self.root if folder in ("", ".") else self._path(folder)
        with machine_failures(self.root), contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(path) if not name.startswith("."))  # noqa: PTH208
        return []

    def remove(self, name: str) -> None:
        """Remove an object if it is there.

        Raises:
            MachineError: the file system failed.
        """
        with machine_failures(self.root):
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str, data: bytes = b"") -> Path:
        check_object(name, data)
        return self.root / name

    def _read(self, name: str) -> bytes | None:
        for _ in range(_TRIES):
            try:
                return read_file(self.root, name, MOST_BYTES)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno != errno.ESTALE:  # replaced between finding and opening it: look again
                    raise
        raise _unsteady(self.root / name)

    def _linked(self, path: Path, data: bytes) -> bool:
        """Whether `path` is now a file of ours with that content; False if it must be looked at again."""
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY}")
        descriptor = os.open(temporary, _CREATE, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
                try:
                    os.link(temporary, path, follow_symlinks=False)
                except OSError as error:
                    if os.fstat(stream.fileno()).st_nlink > 1:
                        pass  # it was made, and the answer to a second request for it is what we saw
                    elif error.errno in (errno.EEXIST, errno.ENOENT):
                        return False
                    elif error.errno in _NO_LINKS:
                        raise _without_links(path) from error
                    else:
                        raise
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        _force(path.parent)
        return True


def _force(folder: Path) -> None:
    """Force the entries of a folder to disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unsteady(path: Path) -> OSError:
    return OSError(errno.ESTALE, "it was replaced each time it was looked at", str(path))


def _without_links(path: Path) -> PrerequisiteError:
    return PrerequisiteError(
        f"The file system of {path.parent} has no hard links, which workers need to agree who does what.",
        hint=f"df -T {path.parent}; and a folder on NFS, Lustre, CephFS or a local disk",
    )

"""Writing files so that a crash leaves the old or the new content, and reading files that a stranger may have made.

A reader here opens each part of a path without following links, takes regular files alone, and reads no more than it
was told to expect; JSON is taken as strict JSON of bounded depth, with bounded numbers. So a named pipe, a device, a
link, a sparse file of terabytes or a number of a million digits is one exception, at once.

Not covered: what the values mean, and folders that change while they are read.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from aira_bench.errors import MachineError
from aira_bench.machine_failures import about, machine_failure

MOST_DIGITS = 18
"""Of a whole number in JSON: what fits 63 bits."""
LARGEST = 1e100
"""Of a fraction: the sums, squares and differences that boards make of such numbers are finite."""
MOST_DEPTH = 64
_HALF = re.compile("[\ud800-\udfff]")
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Unacceptable(ValueError):
    """A file is not what a reader of it takes; the text is the reason, without the file's name."""

    hint: str | None = None
    """The command to type next, where there is one."""


def reason(error: OSError | ValueError) -> str:
    """Why a file could not be read, without its name."""
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    """Put `what` before the reason of an `Unacceptable` raised inside."""
    try:
        yield
    except Unacceptable as error:
        error.args = (f"{what}: {error}",)
        raise


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666, lasting: bool = True) -> None:
    """Write `data` beside `path`, force it to disk, then rename it into place. `mode` is subject to the umask.

    What can be made again need not be `lasting`: it is not forced to disk, which takes a while for each of many files.

    The file beside has a random name and is made by this call or not at all, so that nobody who may write to the folder
    can lay a link in its way.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, _CREATE, mode)
    with contextlib.suppress(OSError):  # says that somebody lives who will rename it (`aira_bench.unfinished`)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        with about(path), os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if lasting:
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # what failed first is what to tell
            temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write indented JSON atomically. Non-finite numbers are refused."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


@contextlib.contextmanager
def open_file(root: Path, name: str | PurePosixPath, *, owned: bool = False) -> Iterator[int]:
    """A descriptor of the regular file `name` below the folder `root`.

    Args:
        root: a folder; links on the way to it are followed, since whoever names it chose them.
        name: a relative path of plain parts. None of them may be a link.
        owned: refuse a file that another user owns, or that others may write to.

    Raises:
        FileNotFoundError: there is no such file.
        Unacceptable: a part is a link or no folder, or the file is not regular or cannot be opened.
        MachineError: the machine failed; nothing is known of the file.
    """
    said = str(name)  # thousands are opened for a board, so no path is made of it
    *folders, last = parts = [part for part in said.split("/") if part not in ("", ".")]
    if ".." in parts or said.startswith("/"):
        raise Unacceptable("its path leads out of its folder")
    opened: list[int] = []
    try:
        try:
            opened.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            for part in folders:
                opened.append(os.open(part, _OPEN_FOLDER, dir_fd=opened[-1]))
            opened.append(os.open(last, _OPEN_FILE, dir_fd=opened[-1]))
            found = os.fstat(opened[-1])
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise _refusal("it cannot be opened", error, root, said) from error
        if not stat.S_ISREG(found.st_mode):
            raise Unacceptable(f"it is {kind_of(found.st_mode)}, not a regular file")
        if owned and (found.st_uid != os.geteuid() or found.st_mode & 0o022):
            raise Unacceptable("another user owns it or may write to it")
        yield opened[-1]
    finally:
        for descriptor in reversed(opened):
            os.close(descriptor)


def read_file(root: Path, name: str | PurePosixPath, most_bytes: int, *, owned: bool = False) -> bytes:
    """Return the content of a file as `open_file` opens it, of at most `most_bytes` bytes.

    Raises:
        FileNotFoundError: there is no such file.
        Unacceptable: `open_file` refuses it, it is larger, or reading fails.
        MachineError: the machine failed, here and in every reader below.
    """
    with open_file(root, name, owned=owned) as descriptor:
        return b"".join(_pieces(descriptor, most_bytes, root, name))


def read_recorded(root: Path, name: str | PurePosixPath, most_bytes: int, sha256: str) -> bytes:
    """Return the content of a file that a record knows by its hash.

    Raises:
        Unacceptable: it is missing, another than was recorded, or refused like `read_file`.
    """
    try:
        data = read_file(root, name, most_bytes)
    except FileNotFoundError:
        raise Unacceptable("it is missing") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Unacceptable("it was replaced: its hash is not the recorded one")
    return data


def read_text(path: Path, most_bytes: int, *, follow_links: bool = True) -> str:
    """Return the text of a regular file, a byte order mark left out.

    Args:
        path: chosen by whoever calls, so links on the way to it are followed.
        most_bytes: the largest that is read.
        follow_links: whether the file itself may be a link.

    Raises:
        FileNotFoundError: there is no such file.
        Unacceptable: `open_file` refuses it, it is larger, or no UTF-8.
    """
    place = Path(os.path.realpath(path)) if follow_links else path
    data = read_file(place.parent, place.name, most_bytes)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unacceptable(f"it is not UTF-8: byte {error.start} is {data[error.start]:#04x}") from None


def hash_file(root: Path, name: str | PurePosixPath, most_bytes: int) -> str:
    """SHA-256 of a file, in hexadecimal digits; refused like `read_file`."""
    digest = hashlib.sha256()
    with open_file(root, name) as descriptor:
        for piece in _pieces(descriptor, most_bytes, root, name):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(descriptor: int, most_bytes: int, root: Path, name: str | PurePosixPath) -> Iterator[bytes]:
    size = os.fstat(descriptor).st_size
    if size > most_bytes:
        raise Unacceptable(f"it has {size:,} bytes, at most {most_bytes:,} are read")
    left = most_bytes + 1
    try:
        while piece := os.read(descriptor, min(left, 1 << 22)):
            left -= len(piece)
            if not left:
                raise Unacceptable(f"it has more than {most_bytes:,} bytes")
            yield piece
    except OSError as error:
        raise _refusal("it cannot be read", error, root, name) from error


def _refusal(
    what: str, error: OSError | ValueError, root: Path, name: str | PurePosixPath
) -> Unacceptable | MachineError:
    """What a reader says: that the machine failed, or else what is wrong with the file."""
    if isinstance(error, OSError) and error.filename is None:
        error.filename = str(root / name)
    return machine_failure(error) or Unacceptable(f"{what}: {reason(error)}")


def kind_of(mode: int) -> str:
    """Return what a file of that mode is, in words."""
    kinds = {
        stat.S_IFLNK: "a link", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device", stat.S_IFDIR: "a folder", stat.S_IFREG: "a regular file",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "of an unknown kind")


def foreign_entries(root: Path, most: int) -> Iterator[str]:
    """What below `root` is neither a folder nor a regular file, as `path: kind`. No link is followed.

    Raises:
        Unacceptable: there are more than `most` entries, or a folder cannot be listed.
    """
    for name, mode in entries_below(root, PurePosixPath(), most):
        if not stat.S_ISREG(mode):
            yield f"{name}: {kind_of(mode)}"


def entries_below(root: Path, folder: PurePosixPath, most: int) -> Iterator[tuple[str, int]]:
    """Name below `root` and mode of all in `folder` that is no folder. No link is followed.

    A part of the path `folder` that is itself a link, or anything else than a folder, is the only entry; a missing
    folder has none.

    Raises:
        Unacceptable: there are more than `most` entries, nested too deeply to be named, or a folder cannot be listed.
    """
    at = str(root)
    for count, part in enumerate(folder.parts, start=1):
        at = f"{at}/{part}"
        try:
            mode = os.lstat(at).st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            looked_at = PurePosixPath(*folder.parts[:count])
            raise _refusal(f"{looked_at} cannot be looked at", error, root, looked_at) from error
        if not stat.S_ISDIR(mode):
            yield str(PurePosixPath(*folder.parts[:count])), mode
            return
    seen, folders = 0, [f"{folder}/" if folder.parts else ""]
    try:
        while folders:
            here = folders.pop()
            for entry in os.scandir(f"{root}/{here}"):
                seen += 1
                if seen > most:
                    raise Unacceptable(f"it has more than {most:,} entries")
                mode, name = entry.stat(follow_symlinks=False).st_mode, f"{here}{entry.name}"
                if stat.S_ISDIR(mode):
                    folders.append(f"{name}/")
                else:
                    yield name, mode
    except OSError as error:
        raise _refusal("a folder cannot be listed", error, root, folder) from error


def parse_json(data: bytes | str) -> Any:  # noqa: ANN401
    """Return the value of a JSON text: no key twice, no NaN, no infinity, whole numbers of at most `MOST_DIGITS`
    digits.

    Raises:
        Unacceptable: it is something else, or nested deeper than `MOST_DEPTH`.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = _DECODER.decode(text)
    except Unacceptable:
        raise
    except RecursionError as error:
        raise Unacceptable("its JSON is nested too deeply") from error
    except ValueError as error:
        raise Unacceptable(f"it is not JSON: {error}") from error
    if text.count("[") + text.count("{") > MOST_DEPTH:
        _check_depth(value)
    return value


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise Unacceptable(f"its JSON is nested deeper than {MOST_DEPTH}")


def spell_half_surrogates(data: bytes) -> bytes:
    """JSON with halves of surrogate pairs, which are no characters, spelt out in its texts as `\\ud800`."""
    if b"\\ud" not in data and b"\\uD" not in data:
        return data
    text = json.dumps(parse_json(data), ensure_ascii=False)
    return _HALF.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text).encode()


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise Unacceptable(f"a number has more than {MOST_DIGITS} digits")
    return int(digits)


def _fraction(digits: str) -> float:
    if not abs(value := float(digits)) <= LARGEST:
        raise Unacceptable(f"a number is beyond {LARGEST:g}")
    return value


def _constant(name: str) -> NoReturn:
    raise Unacceptable(f"it holds {name}, which is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise Unacceptable("a key stands in it twice")
    return values


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_int=_whole, parse_float=_fraction, parse_constant=_constant)

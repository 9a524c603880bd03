"""Program of a trusted container that keeps the kernel's caches from carrying messages between other containers.

Requests are lines of JSON; the answer to each is a line of JSON. `clean` frees cached names (`drop_caches`, shown here
as `/drop`) and reads the inodes of file trees, so that they stay in memory; `read` reads a whole file system, so that
whether a page of it is in memory says nothing; `list`, `remove` and `tidy` keep house among the file trees under
`/store`.

Not covered: what is freed or read when; the host decides (`aira_bench.sandbox.caches`).
"""

import fcntl
import json
import os
import shutil
import sys

DROP, STORE = "/drop", "/store"
_CHUNK_BYTES = 1 << 20
_NAMES = b"2\n"
"""Names and inodes; pages stay (Documentation/admin-guide/sysctl/vm.rst)."""


def clean(heads: list[tuple[str, int]], *, drop: bool) -> dict[str, object]:
    """Free what looked-up names left in the kernel, then read the first bytes of each file of `heads`."""
    if drop:
        descriptor = os.open(DROP, os.O_WRONLY)
        try:
            os.write(descriptor, _NAMES)
        finally:
            os.close(descriptor)
    for path, size in heads:
        if os.path.exists(f"{STORE}/{path}"):  # noqa: PTH110 - removed since, when nobody had it mounted
            _read(f"{STORE}/{path}", size)
    return {}


def read_all(root: str) -> dict[str, object]:
    """Read every folder and file below `root`, without leaving its file system; say how much that was."""
    device, total = os.lstat(root).st_dev, 0
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if os.lstat(f"{folder}/{name}").st_dev == device]
        for name in names:
            path = f"{folder}/{name}"
            if os.path.isfile(path) and not os.path.islink(path):  # noqa: PTH113, PTH114
                total += _read(path, os.lstat(path).st_size)
    return {"bytes": total}


def _read(path: str, size: int) -> int:
    read = 0
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        while read < size and (chunk := file.read(min(size - read, _CHUNK_BYTES))):
            read += len(chunk)
    return read


def listed() -> dict[str, object]:
    """Return what is complete below the store, with sizes in bytes."""
    found: dict[str, object] = {}
    for key in sorted(os.listdir(STORE)):  # noqa: PTH208
        try:
            with open(f"{STORE}/{key}/ready.json") as file:  # noqa: PTH123
                ready, made_s = json.load(file), os.fstat(file.fileno()).st_mtime
        except (FileNotFoundError, NotADirectoryError):
            continue
        # Blocks, since the files have holes.
        taken = sum(512 * os.stat(f"{STORE}/{key}/{name}").st_blocks for name in os.listdir(f"{STORE}/{key}"))  # noqa: PTH116, PTH208
        found[key] = {**ready, "bytes": taken, "made_s": made_s}
    return found


def tidy() -> dict[str, object]:
    """Remove what makers left that were killed; return its size in bytes. Nothing while one is at work."""
    taken = 0
    with open(f"{STORE}/lock", "w") as lock:  # noqa: PTH123
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return {"bytes": 0}
        for key in os.listdir(STORE):  # noqa: PTH208
            folder = f"{STORE}/{key}"
            if os.path.isdir(folder) and not os.path.exists(f"{folder}/ready.json"):  # noqa: PTH110, PTH112
                taken += sum(512 * os.stat(f"{folder}/{name}").st_blocks for name in os.listdir(folder))  # noqa: PTH116, PTH208
                shutil.rmtree(folder)
    return {"bytes": taken}


def answer(request: dict[str, object]) -> dict[str, object]:
    """Do what one request of the host asks, and return what came of it."""
    match request:
        case {"do": "clean", "drop": bool(drop), "heads": list(heads)}:
            return clean(heads, drop=drop)
        case {"do": "read", "root": str(root)}:
            return read_all(root)
        case {"do": "list"}:
            return listed()
        case {"do": "remove", "key": str(key)}:
            shutil.rmtree(f"{STORE}/{key}")  # where one is mounted, its blocks stay until it is not
            return {}
        case {"do": "tidy"}:
            return tidy()
    raise ValueError(f"no such request: {request}")


def main() -> None:
    """Serve requests until the host lets go."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

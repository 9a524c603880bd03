"""Program of a step's reader container: hands out named regular files of the workspace after the step's death.

Requests are lines of JSON, `{"name": "logs/submission.csv", "max_bytes": 4096}`. The answer is a line of JSON,
`{"status": "ok", "size_bytes": 12, "age_s": 0.5}` followed by that many bytes, or a refusal with a `detail` of our own
words. The age counts from the last change of the inode, which unlike the modification time nobody can set.
Files are opened component by component, so that no link is followed and nothing outside the root is met, and
without blocking, so that a FIFO cannot hold us.

Not covered: whether the content is any good.
"""

import errno
import json
import os
import stat
import sys
import time
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class RefusedFile(Exception):
    """A file that is not handed out: status and detail."""


def open_beneath(root: str, name: str) -> int:
    """Open a path relative to `root`, following no link at any component."""
    *folders, last = name.split("/")
    if any(part in ("", ".", "..") for part in (*folders, last)):
        raise RefusedFile("unreadable", "not a plain relative path")
    opened: list[int] = []
    try:
        opened.append(os.open(root, FLAGS | os.O_DIRECTORY))
        for part in folders:
            opened.append(os.open(part, FLAGS | os.O_DIRECTORY, dir_fd=opened[-1]))
        return os.open(last, FLAGS, dir_fd=opened[-1])
    except OSError as error:
        raise _refusal(error) from error
    finally:
        for folder in opened:
            os.close(folder)


def _refusal(error: OSError) -> RefusedFile:
    if error.errno == errno.ENOENT:
        return RefusedFile("missing", "")
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return RefusedFile("not a regular file", "a link, or beneath one")
    if error.errno in (errno.ENXIO, errno.ENODEV):
        return RefusedFile("not a regular file", "a socket or a device")
    return RefusedFile("unreadable", errno.errorcode.get(error.errno or 0, "unknown error"))


def check(descriptor: int, max_bytes: int) -> int:
    """Size in bytes of an acceptable file.

    Raises:
        RefusedFile: not a regular file, or larger than `max_bytes`.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a FIFO or a device"
        raise RefusedFile("not a regular file", kind)
    if status.st_size > max_bytes:
        raise RefusedFile("too large", f"{status.st_size} bytes, at most {max_bytes} allowed")
    return status.st_size


def answer(root: str, name: str, max_bytes: int, output: BinaryIO) -> None:
    """Write one file, or its refusal, to `output`."""
    try:
        descriptor = open_beneath(root, name)
        try:
            size_bytes = check(descriptor, max_bytes)
            age_s = time.time() - os.fstat(descriptor).st_ctime
            found = {"status": "ok", "size_bytes": size_bytes, "age_s": age_s}
            output.write(json.dumps(found).encode() + b"\n")
            while size_bytes:
                chunk = os.read(descriptor, min(size_bytes, CHUNK_BYTES))
                if not chunk:
                    raise EOFError(f"{name} shrank while it was read")
                output.write(chunk)
                size_bytes -= len(chunk)
        finally:
            os.close(descriptor)
    except RefusedFile as refused:
        status, detail = refused.args
        output.write(json.dumps({"status": status, "detail": detail}).encode() + b"\n")
    output.flush()


def main() -> None:
    """Answer requests until standard input ends, which is when the host lets go."""
    output = sys.stdout.buffer
    output.write(b"ready\n")
    output.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer(sys.argv[1], request["name"], request["max_bytes"], output)


if __name__ == "__main__":
    main()

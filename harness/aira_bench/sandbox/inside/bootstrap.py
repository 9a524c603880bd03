"""First program of a step's container: takes files and a command from standard input, then becomes the command.

It runs before any untrusted code exists in the container, with the standard library only. Protocol: it prints
`ready`, reads one line of JSON (`Header`) followed by the files' bytes in order, writes them below the working
directory, prints `begin` and replaces itself. Without `begin` the hand-over failed and the step has no outcome.

Not covered: any check of the files or the command; the host makes both.
"""

import json
import os
import sys
from typing import BinaryIO, TypedDict

CHUNK_BYTES = 1 << 20


class Header(TypedDict):
    """What the host asks for; `files` holds names and sizes in bytes, `environment` the names to keep.

    With `converse` the command inherits standard input, on which the host sends requests once it was greeted.
    """

    command: list[str]
    environment: list[str]
    converse: bool
    files: list[tuple[str, int]]


def write_files(header: Header, stream: BinaryIO) -> None:
    """Write each file, which must not exist, from the next bytes of `stream`."""
    for name, size_bytes in header["files"]:
        folder = os.path.dirname(name)  # noqa: PTH120 - pathlib is a third of the start-up time
        if folder:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with open(descriptor, "wb") as target:  # noqa: PTH123
            left_bytes = size_bytes
            while left_bytes:
                chunk = stream.read(min(left_bytes, CHUNK_BYTES))
                if not chunk:
                    raise EOFError(f"{name}: {left_bytes} of {size_bytes} bytes did not arrive")
                target.write(chunk)
                left_bytes -= len(chunk)


def main() -> None:
    """Serve one hand-over and become its command."""
    os.write(1, b"ready\n")
    line = sys.stdin.buffer.readline()
    if not line:  # the host is gone
        raise SystemExit(1)
    header: Header = json.loads(line)
    environment = {name: os.environ[name] for name in header["environment"] if name in os.environ}
    os.makedirs(environment.get("HOME", "/tmp"), exist_ok=True)  # noqa: PTH103
    write_files(header, sys.stdin.buffer)
    if not header["converse"]:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    os.write(1, b"begin\n")
    os.execvpe(header["command"][0], header["command"], environment)


if __name__ == "__main__":
    main()

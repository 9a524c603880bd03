"""What a container sees of the host's files, as mounts in the terms of the Docker Engine API.

Not covered: which mounts a container gets (`hardening`), and file systems of its own (`trees`).
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aira_bench.errors import SandboxError
from aira_bench.sandbox.sandbox import Mount, Role
from aira_contract.containers import SOCKET_VOLUME, WORKSPACE

MOST_FILES = 256
"""Files of a folder that are bound one by one: names looked up in a bound folder are seen by others who have it."""


def workspace(volume: str, *, read_only: bool) -> dict[str, Any]:
    """Return the mount of a step's workspace volume, as the Engine API takes it."""
    return {
        "Type": "volume",
        "Source": volume,
        "Target": str(WORKSPACE),
        "ReadOnly": read_only,
        "VolumeOptions": {"NoCopy": True},
    }


def socket_volume(volume: str, role: Role) -> dict[str, Any]:
    """Return the volume with a judge's sockets, which the judge alone may write to.

    Raises:
        SandboxError: the role is neither a judge's nor a predictor's.
    """
    if role not in ("judge", "predict"):
        raise SandboxError(f"A container of role {role} has nobody to meet.")
    return {
        "Type": "volume",
        "Source": volume,
        "Target": str(SOCKET_VOLUME),
        "ReadOnly": role != "judge",
        "VolumeOptions": {"NoCopy": True},
    }


def by_file(mount: Mount) -> list[Mount]:
    """Return a mount of a folder as one mount for each of its files, and anything else as it is.

    A folder with more than `MOST_FILES`, with none, or with anything but files and folders is mounted whole:
    then names looked up in it can be seen by other containers that have it too.

    Raises:
        FileNotFoundError: it is not there.
    """
    source = mount.source.resolve(strict=True)
    if not source.is_dir():
        return [mount]
    files: list[Path] = []
    for path, status in _entries(source):
        if stat.S_ISREG(status.st_mode):
            files.append(path)
        elif not stat.S_ISDIR(status.st_mode):
            return [mount]
        if len(files) > MOST_FILES:
            return [mount]
    return [Mount(path, mount.target / path.relative_to(source), mount.writable) for path in files] or [mount]


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            yield from _entries(path)


def bind(mount: Mount, role: Role) -> dict[str, Any]:
    """Return a file or folder of the host.

    Raises:
        SandboxError: it is writable, and not for preparation.
        FileNotFoundError: it is not there.
    """
    if mount.writable and role != "prepare":
        raise SandboxError(f"A container of role {role} cannot write to a host folder ({mount.target}).")
    return {
        "Type": "bind",
        "Source": str(mount.source.resolve(strict=True)),
        "Target": str(mount.target),
        "ReadOnly": not mount.writable,
        "BindOptions": {"Propagation": "rprivate"},
    }

"""Files that one container alone gets: stand-ins for the kernel's, and copies of small files that it mounts.

Not covered: file systems of its own (`trees`), and what the stand-ins say (`kernel_files`).
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from aira_bench.paths import host_paths
from aira_bench.sandbox import hardening, kernel_files
from aira_bench.sandbox.sandbox import ContainerSpec

OWN_COPY_BYTES = 1 << 20


@contextlib.contextmanager
def own_kernel_files(spec: ContainerSpec) -> Iterator[Path]:
    """One container's files in place of the kernel's; bound at its start, they need no name after it."""
    folder = host_paths().home / "containers"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kernel-files-", dir=folder) as made:
        kernel_files.write_stand_ins(Path(made), hardening.granted_mib(spec.limits))
        yield Path(made)


def with_own_files(spec: ContainerSpec, folder: Path) -> ContainerSpec:
    """Return the spec with copies of small single files: at the pages of a shared one containers could wait for each
    other.
    """
    mounts = []
    for number, mount in enumerate(spec.mounts):
        if mount.source.is_file() and mount.source.stat().st_size <= OWN_COPY_BYTES:
            copy = folder / f"file-{number}"
            shutil.copyfile(mount.source, copy)
            copy.chmod(0o444)
            mounts.append(replace(mount, source=copy))
        else:
            mounts.append(mount)
    return replace(spec, mounts=tuple(mounts))

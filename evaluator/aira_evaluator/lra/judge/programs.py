"""Carries XLA's compiled programs from one judge to the next one of the same graphs, in one file.

JAX finds a compiled program by a hash of the code before compilation, of the compiler's version and options and of
the machine, so a file of another module's programs is useless rather than wrong. What it makes of a found program is
the same to the last digit (a test compares), and so is the memory the compiler planned for it.

Not covered: who may give such a file to whom; the host sees to that.
"""

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aira_contract.files import MAX_PROGRAM_BYTES

_ENTRY = re.compile(r"[A-Za-z0-9_.<>-]{1,200}-cache")


@contextmanager
def carried_programs(file: Path | None) -> Iterator[None]:
    """Compile with the programs in `file`, if there is one, and leave there what was compiled. None: do without.

    To be entered before anything is compiled.
    """
    if file is None:
        yield
        return
    with TemporaryDirectory(dir=file.parent) as folder:
        _unpack(file, Path(folder))
        _configure(
            jax_compilation_cache_dir=folder,
            jax_persistent_cache_min_compile_time_secs=0,
            jax_persistent_cache_enable_xla_caches="none",
        )
        try:
            yield
        finally:
            _configure(jax_compilation_cache_dir=None)
            _pack(Path(folder), file)


def _configure(**options: object) -> None:
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in options.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]
    compilation_cache.reset_cache()  # it remembers the folder of its first use


def _unpack(file: Path, folder: Path) -> None:
    if not file.exists():
        return
    with tarfile.open(file) as archive:
        for member in archive:
            content = archive.extractfile(member) if _ENTRY.fullmatch(member.name) and member.isreg() else None
            if content is not None:
                (folder / member.name).write_bytes(content.read())


def _pack(folder: Path, file: Path) -> None:
    entries = [path for path in sorted(folder.iterdir()) if _ENTRY.fullmatch(path.name)]
    file.unlink(missing_ok=True)
    if sum(path.stat().st_size for path in entries) <= MAX_PROGRAM_BYTES:
        archived = folder / file.name
        with tarfile.open(archived, "w") as archive:
            for path in entries:
                archive.add(path, arcname=path.name, recursive=False)
        archived.replace(file)  # whole or not at all, whenever the process is killed

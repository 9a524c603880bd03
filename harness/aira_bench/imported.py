"""Imports modules by name and from files, and says what of them was imported: hash and distribution.

Not covered: what is in a module, and whether it may be imported (`aira_bench.extensions`).
"""

import hashlib
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

_IMPORTED: dict[Path, str] = {}
"""Hash of each file when this process first took something from its module."""


def import_place(place: str) -> ModuleType:
    """Return the module in a file whose path ends in `.py`, or the one of that name. What it raises is its own."""
    return _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)


def _import_file(path: Path) -> ModuleType:
    """The module in a file, run once for each content, whatever file beside it has its name."""
    path = path.resolve()
    content = path.read_bytes()
    name = f"_aira_bench_file_{hashlib.sha256(os.fsencode(path) + content).hexdigest()[:16]}"
    if (known := sys.modules.get(name)) is not None:
        return known
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(compile(content, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def hash_of_imported(path: Path) -> str | None:
    """Return the hash of a module's file, or None if it is not what this process imported: Python imports a module
    once, whatever becomes of its file.

    Raises:
        OSError: there is no file.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return digest if _IMPORTED.setdefault(path, digest) == digest else None


def nearby_file(place: str) -> str:
    """Return how to name a module that lies in the current folder, where modules are not looked for; or nothing."""
    path = Path(*place.split(".")).with_suffix(".py")
    return f"{path}:NAME in place of {place}:NAME" if not place.endswith(".py") and path.is_file() else ""


def distribution_of(package: str) -> tuple[str | None, str | None]:
    """Return name and version of the one distribution that a top-level package is from; None twice if there is none."""
    from importlib import metadata  # stays out of start-up

    names = set(metadata.packages_distributions().get(package, ()))
    if len(names) != 1:
        return None, None  # no distribution's, or several share the package
    (name,) = names
    return name, metadata.version(name)

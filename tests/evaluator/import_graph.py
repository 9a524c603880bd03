"""What modules of a package import, read from their text: at the top, inside functions, of packages and of modules.

A text that is the whole name of a module counts as an import of it: that is how `python -m` and `importlib` are told.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT_FOLDER = "."


@dataclass(frozen=True)
class ImportGraph:
    """The modules of one package, by dotted name, with the modules each imports and everything else it imports."""

    files: Mapping[str, Path]
    inside: Mapping[str, frozenset[str]]
    """Modules of the package, a package's `__init__` among them, that are imported by name."""
    outside: Mapping[str, frozenset[str]]
    """Dotted names from elsewhere."""
    package: str

    def reached(self, starts: Iterable[str]) -> set[str]:
        """Modules that run when the given ones are imported and used, themselves included."""
        seen: set[str] = set()
        todo = list(starts)
        while todo:
            if (name := todo.pop()) not in seen:
                seen.add(name)
                todo += [*self.inside[name], *parents(name, self.files)]
        return seen

    def folder(self, module: str) -> str:
        """The folder a module lies in, relative to the package; `.` for the package itself."""
        path = self.files[module]
        top = self.files[self.package].parent
        return path.parent.relative_to(top).as_posix()

    def folders(self) -> dict[str, set[str]]:
        """Which folders each folder imports from, itself left out."""
        found: dict[str, set[str]] = {}
        for module, imported in self.inside.items():
            here = found.setdefault(self.folder(module), set())
            here |= {self.folder(other) for other in imported} - {self.folder(module)}
        return found


def parents(module: str, known: Mapping[str, Path]) -> Iterator[str]:
    """The packages around a module, whose `__init__` runs before it."""
    while "." in module:
        module = module.rpartition(".")[0]
        if module in known:
            yield module


def read_graph(folder: Path) -> ImportGraph:
    """Read every module below a package's folder."""
    files = {module_name(path, folder): path for path in sorted(folder.rglob("*.py"))}
    inside, outside = {}, {}
    for name, path in files.items():
        ours, others = set(), set()
        for imported in imported_names(path, name):
            found = imported if imported in files else imported.rpartition(".")[0]  # a name of a module, or in one
            (ours if found in files else others).add(found if found in files else imported)
        inside[name], outside[name] = frozenset(ours - {name}), frozenset(others)
    return ImportGraph(files, inside, outside, folder.name)


def module_name(path: Path, folder: Path) -> str:
    """`package.module` of a file below the package's folder."""
    parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path: Path, module: str) -> Iterator[str]:
    """Dotted names of everything imported anywhere in a file: `from a.b import c` gives `a.b.c`."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    ours = re.compile(rf"{re.escape(module.partition('.')[0])}(\.\w+)+")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ours.fullmatch(node.value):
            yield node.value
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            base = ".".join([*above[: len(above) - node.level + 1], *filter(None, [node.module])])
            source = base if node.level else str(node.module)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def cycles(arrows: Mapping[str, Iterable[str]]) -> set[str]:
    """Everything that reaches itself."""
    found = set()
    for start in arrows:
        seen: set[str] = set()
        todo = list(arrows[start])
        while todo:
            if (name := todo.pop()) not in seen:
                seen.add(name)
                todo += arrows.get(name, ())
        if start in seen:
            found.add(start)
    return found

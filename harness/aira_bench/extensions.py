"""Agents, scaffolds, providers, evaluators and tasks that are not part of this package, and how they are named.

A distribution offers one under an entry point, and its name is then typed like that of a built-in one:

    [project.entry-points."aira_bench.scaffolds"]
    mine = "my_package.search:Policy"

Anything else is named by a reference, `my_package.search:Policy` or `path/to/search.py:Policy`. Modules are found where
Python finds installed ones; the current folder is not searched (`aira_bench.__main__`), so a file there is named by
its path. A built-in name always means the built-in, and a name that two distributions offer means neither.

What a name leads to is a class, a function or an object. Classes and functions are called with those keywords of their
kind (`OFFERS`) that they have parameters for; what comes of it has to have the methods of the kind's protocol.

An extension runs on the host, in this process, with everything its user may do. Entry points are read as metadata;
nothing is imported before somebody names it (docs/decisions/0021-front-door.md).

Not covered: consent to run what a stranger's run folder names (`aira_bench.record.trust`).
"""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import ClassVar, Generic, Literal, TypeVar, cast

from aira_bench.errors import AiraError, PrerequisiteError, UsageError
from aira_bench.excerpts import LINE_CHARS
from aira_bench.imported import distribution_of, hash_of_imported, import_place, nearby_file
from aira_bench.near_names import guess
from aira_bench.protocol_check import call_with, lacks, makes

Kind = Literal["agent", "scaffold", "provider", "evaluator", "task"]
OFFERS: Mapping[Kind, tuple[str, ...]] = {
    "agent": ("options",),
    "scaffold": ("steps", "lower_is_better"),
    "provider": ("endpoint",),
    "evaluator": ("setting", "sandbox", "limits", "ahead", "usual"),
    "task": (),
}
"""The keywords with which classes and functions of a kind are called, as far as they have parameters of these names."""
_LISTED: Mapping[Kind, str] = {"agent": "aira-bench agents", "task": "aira-bench tasks"}
"""Commands that list built-in ones too."""
RESERVED = frozenset({"script", "replay", "bayes", "greedy"})
"""First parts of built-in names that hold a colon. A module of such a name is referred to by its file."""
_REFERENCE = re.compile(
    r"(?P<place>[^:]+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
Made = TypeVar("Made")


def group_of(kind: Kind) -> str:
    """Return the entry point group of a kind, such as `aira_bench.scaffolds`."""
    return f"aira_bench.{kind}s"


@dataclass(frozen=True)
class ExtensionRecord:
    """What a run's manifest keeps of an extension, so that the run goes on with the same code or not at all."""

    name: str
    """As it was typed; the path of a file is absolute."""
    target: str
    """`module:Name`, or `FILE.py:Name`."""
    distribution: str | None
    """Name of the distribution the module is from; None for a file and for a module of none."""
    version: str | None
    sha256: str
    """Of the file that defines the class, function or object."""
    __pydantic_config__: ClassVar[Mapping[str, object]] = {"extra": "forbid", "strict": True}
    """For whoever reads it from a manifest: unknown keys are errors."""

    @property
    def code(self) -> str:
        """What code it is, on whatever machine and in whatever folder: file or module, name, and the file's hash."""
        return f"{self.target.rpartition('/')[2]} {self.sha256}"


@dataclass(frozen=True)
class Extension:
    """Something outside this package that a name stands for. Nothing of it has been imported yet."""

    kind: Kind
    name: str
    target: str
    distribution: str | None = None
    version: str | None = None

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        return f"{self.distribution} {self.version}" if self.distribution else self.target

    def load(self) -> object:
        """Import the module and return what the target names in it, not called yet.

        Raises:
            PrerequisiteError: an installed distribution's target cannot be imported.
            UsageError: a reference cannot be.
        """
        place, _, name = self.target.partition(":")
        with self._failing("cannot be imported"):
            found: object = import_place(place)
            for part in name.split("."):
                found = getattr(found, part)
        return found

    def record(self) -> ExtensionRecord:
        """Return what a manifest keeps of it. Imports it.

        Raises:
            PrerequisiteError, UsageError: as `load` says, or its source is no file.
        """
        found = self.load()
        place = self.target.partition(":")[0]
        if place.endswith(".py"):
            return ExtensionRecord(
                self.name, self.target, None, None, hashlib.sha256(Path(place).read_bytes()).hexdigest()
            )
        module = sys.modules.get(getattr(found, "__module__", None) or place) or sys.modules.get(place)
        with self._failing("has no file whose hash a manifest could keep"):
            source = Path(getattr(module, "__file__", None) or "")
            digest = hash_of_imported(source)
            if digest is None:
                raise self.error(f"was edited in {source} after this process had imported it", "a new Python process")
        distribution, version = self.distribution, self.version
        if distribution is None:
            distribution, version = distribution_of(place.partition(".")[0])
        return ExtensionRecord(self.name, self.target, distribution, version, digest)

    def make(self, protocol: type, offers: Mapping[str, object]) -> object:
        """Return what the target gives when it is called with those of `offers` that it takes, if it has `protocol`'s
        methods.

        Raises:
            PrerequisiteError, UsageError: it cannot be imported or called, or lacks a method.
        """
        found = self.check(protocol)
        if makes(found):
            known = f"a {self.kind} is offered {', '.join(OFFERS[self.kind]) or 'nothing'}"
            with self._failing(f"cannot be made ({known})"):
                found = call_with(found, offers)
        self.require(lacks(found, protocol))
        return found

    def check(self, protocol: type) -> object:
        """Return what the target is, if it is a class with the methods of `protocol`, or no class. See `make` for
        errors.
        """
        found = self.load()
        if isinstance(found, type):
            self.require(lacks(found, protocol))
        return found

    def require(self, lacking: str) -> None:
        """Raise an error that says what an object of this kind lacks, unless that is nothing."""
        if lacking:
            raise self.error(f"is no {self.kind}: {lacking}", "pydoc aira_bench.protocols")

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except AiraError:
            raise
        except (Exception, SystemExit) as error:
            place = self.target.partition(":")[0]
            argument = quote(place) if place.endswith(".py") else f"-c {quote(f'import {place}')}"
            text = " ".join(f"{type(error).__name__}: {error}".split())[:LINE_CHARS]
            nearby = nearby_file(place) if isinstance(error, ModuleNotFoundError) else ""
            raise self.error(f"{what}: {text}", nearby or f"{quote(sys.executable)} {argument}") from error

    def error(self, what: str, hint: str) -> AiraError:
        """What is wrong with it, as an error that names it and its distribution."""
        if self.distribution is None:
            return UsageError(f"The {self.kind} {self.name} {what}.", hint=hint)
        return PrerequisiteError(
            f"The {self.kind} {self.name} of the installed {self.origin} ({self.target}) {what}.",
            hint=f"{hint}   (or: pip uninstall {self.distribution})",
        )


@dataclass(frozen=True)
class Catalog(Generic[Made]):
    """Everything of one kind that can be named: built in, installed, or by reference."""

    kind: Kind
    built_in: Mapping[str, object]
    """Classes, functions or objects, as an extension's target is one."""
    protocol: type
    """What all of them are."""

    def find(self, name: str) -> Extension | None:
        """Return the extension a name stands for; None where it is built in.

        Raises:
            UsageError: nothing has that name, or two distributions offer it.
        """
        return find_extension(self.kind, name, self.built_in)

    def maker(self, name: str) -> Callable[..., Made]:
        """Return what makes the thing of that name, imported and checked as far as that is possible before it is
        called.

        Raises:
            UsageError: nothing has that name, or what a reference names cannot be used.
            PrerequisiteError: what an installed distribution offers cannot be used.
        """
        extension = self.find(name)
        if extension is not None:
            extension.check(self.protocol)
            return partial(self.made_by, extension)
        built_in = self.built_in[name]
        return lambda **offers: cast(Made, call_with(built_in, offers) if makes(built_in) else built_in)

    def make(self, name: str, **offers: object) -> Made:
        """Return the thing of that name, called with those of `offers` that it takes.

        Raises:
            UsageError, PrerequisiteError: as `maker` says; or what it gives lacks a method.
        """
        return self.maker(name)(**offers)

    def made_by(self, extension: Extension, **offers: object) -> Made:
        """Return what an extension of this kind gives, as `make`."""
        return cast(Made, extension.make(self.protocol, offers))  # its methods were checked against the protocol


def installed(kind: Kind) -> tuple[Extension, ...]:
    """Return what installed distributions offer of a kind, sorted by name; read from their metadata, nothing is
    imported.
    """
    from importlib import metadata  # stays out of start-up

    found = set()
    try:
        for point in metadata.entry_points(group=group_of(kind)):
            if _NAME.fullmatch(point.name):
                target = point.value.partition("[")[0].strip()
                name, version = (point.dist.name, point.dist.version) if point.dist else (None, None)
                found.add(Extension(kind, point.name, target, name or "?", version or "?"))
    except Exception as error:  # whatever a strangely installed distribution makes importlib.metadata raise
        raise PrerequisiteError(
            f"The metadata of an installed distribution cannot be read ({type(error).__name__}: {error}).",
            hint="python -m pip check",
        ) from error
    return tuple(sorted(found, key=lambda each: (each.name, each.distribution, each.version)))


def is_reference(name: str) -> bool:
    """Whether a name is `module:Name` or `FILE.py:Name`, so that code is imported which nobody need have installed.

    Decided by its spelling alone, whatever is installed: no built-in name is a reference.
    """
    found = _REFERENCE.fullmatch(name)
    return found is not None and found["place"] not in RESERVED


def absolute_reference(name: str) -> str:
    """Return the name with the path of a file in it made absolute, for a record that is read elsewhere; others
    unchanged.
    """
    if name.endswith(".toml") and ":" not in name:
        return os.path.abspath(name)  # noqa: PTH100 - as below
    place, colon, target = name.partition(".py:")
    if not colon or not is_reference(name):
        return name
    return f"{os.path.abspath(place)}{colon}{target}"  # noqa: PTH100 - the text alone decides, whatever lies there


def find_extension(kind: Kind, name: str, built_in: Collection[str]) -> Extension | None:
    """Return the extension of a kind that a name stands for; None where the name is among the built-in ones.

    Raises:
        UsageError: nothing has that name, or two distributions offer it.
    """
    if name in built_in:
        return None
    if is_reference(name):
        return Extension(kind, absolute_reference(name), absolute_reference(name))
    offered = installed(kind)
    found = [each for each in offered if each.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        listed = " and ".join(f"{each.origin} ({each.target})" for each in found)
        raise UsageError(f"The {kind} {name!r} is offered by {listed}.", hint=f"{found[0].target} in place of {name}")
    names = [*built_in, *(each.name for each in offered)]
    said, hint = guess(name, names), _LISTED.get(kind, "aira-bench extensions")
    if kind == "agent" and name.endswith(".py"):
        said, hint = "A file is named by its kind.", f"aira-bench run --agent script:{quote(name)}"
    raise UsageError(f"Unknown {kind} {name!r}. {said}", hint=hint)

"""Which wheels bring what a task declares into an image of ours: resolved and fetched by the host's pip, once.

What our images have is a condition of the search for versions, and never replaced: a task that needs another version of
it is refused. Only wheels are taken, since building from source would run a stranger's code on the host. What came of a
search is recorded beside the wheels, so that the next start asks nobody and finds the same versions.

Not covered: putting them into an image (`ensure`).
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from packaging.requirements import Requirement

from aira_bench.errors import PrerequisiteError
from aira_bench.excerpts import PROBLEM_CHARS
from aira_bench.files import Unacceptable, parse_json, read_text, write_json
from aira_bench.images.flavour import Flavour, normal_name
from aira_bench.images.wheels import download_wheels, fetch_wheels, run_pip, wheel_folder, wheel_options
from aira_bench.requirement import read_requirement, satisfied_by

_MOST_RECORD_BYTES = 1 << 20
_CAUSE = re.compile(r"The conflict is caused by:\n(.*?)(?:\n\s*\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Declared:
    """Packages that a task's metadata asks for, by what imports them."""

    agent: tuple[str, ...] = ()
    """Solutions."""
    evaluate: tuple[str, ...] = ()
    """`evaluate.py`."""
    prepare: tuple[str, ...] = ()
    """`prepare.py` and `evaluate_prepare.py`."""
    code: bool = False
    """Submissions are code: evaluating one begins in the agent image, where it is trained, traced or served."""
    metadata: Path = Path("metadata.yaml")
    """The file that asks, for messages."""


@dataclass(frozen=True)
class Layer:
    """The wheels that an image lacks of what is declared."""

    wheels: Mapping[str, str]
    """SHA-256 by file name."""

    @property
    def pins(self) -> tuple[str, ...]:
        """The packages as `name==version`, sorted."""
        return tuple(sorted("==".join(name.split("-")[:2]) for name in self.wheels))

    @property
    def lock(self) -> str:
        """Requirement lines for pip, each with the hash of its wheel."""
        parts = sorted((*name.split("-")[:2], sha256) for name, sha256 in self.wheels.items())
        return "".join(f"{name}=={version} --hash=sha256:{sha256}\n" for name, version, sha256 in parts)

    def tag(self, image: str, recipe: bytes) -> str:
        """Return the tag of `image` with these wheels put over it as `recipe` says."""
        made_of = "\n".join((image, self.lock)).encode() + recipe
        return f"{image}-{hashlib.sha256(made_of).hexdigest()[:12]}"


def declared_folder(flavour: Flavour) -> Path:
    """Return the cache of wheels that tasks declare, with records of which serve what."""
    return wheel_folder(flavour).with_name(f"{flavour.name}-declared")


def missing(flavour: Flavour, target: str, declared: Declared) -> tuple[str, ...]:
    """Return what the image for a target has not got of what is declared for it, sorted.

    Raises:
        PrerequisiteError: it has a package in a version that the task does not take.
    """
    have, every = flavour.versions(target), flavour.versions("agent")
    evaluate = [read_requirement(text) for text in declared.evaluate]
    if target == "agent":
        wanted = [*map(read_requirement, declared.agent), *(evaluate if declared.code else ())]
    else:
        begun = every if declared.code else {}
        wanted = [*map(read_requirement, declared.prepare)]
        wanted += [each for each in evaluate if normal_name(each.name) not in begun]
    lacked = set()
    for requirement in wanted:
        name = normal_name(requirement.name)
        if name in every and not satisfied_by(requirement, every[name]):
            raise _conflict(flavour, declared, requirement, every[name])
        if name not in have or requirement.extras:
            lacked.add(str(requirement))
    return tuple(sorted(lacked))


def find_layer(flavour: Flavour, target: str, declared: Declared, note: Callable[[str], None]) -> Layer | None:
    """Return the wheels of what is declared for a target's image, None if it has everything; resolved at first need.

    Raises:
        PrerequisiteError: they contradict the image, or are not to be had as wheels.
    """
    asked = missing(flavour, target, declared)
    if not asked:
        return None
    record = _record(flavour, target, asked)
    return _recorded(record) or _resolved(flavour, target, declared, asked, record, note)


def layer_files(
    flavour: Flavour, target: str, declared: Declared, layer: Layer, note: Callable[[str], None]
) -> list[Path]:
    """Return a layer's wheels on disk, fetched anew where the cache has lost or changed one.

    Raises:
        PrerequisiteError: they are not to be had any more as they were.
    """
    folder = declared_folder(flavour)
    if any(_sha256(folder / name) != sha256 for name, sha256 in layer.wheels.items()):
        asked = missing(flavour, target, declared)
        again = _resolved(flavour, target, declared, asked, _record(flavour, target, asked), note)
        if again != layer:
            raise PrerequisiteError(
                f"The packages of {declared.metadata} are others than when they were first fetched: {again.lock!r}.",
                hint="the same command again, to use these",
            )
    return [folder / name for name in layer.wheels]


def _resolved(
    flavour: Flavour, target: str, declared: Declared, asked: Sequence[str], record: Path, note: Callable[[str], None]
) -> Layer:
    fetch_wheels(flavour, note)  # pip finds the versions that must stay among them, wherever they came from
    note(f"looking for packages that {declared.metadata} asks for: {', '.join(asked)}")
    pins = _new_pins(flavour, target, declared, _search(flavour, declared, asked))
    folder = declared_folder(flavour)
    folder.mkdir(parents=True, exist_ok=True)
    note(f"downloading {', '.join(pins)}")
    found = download_wheels(flavour, pins, folder, ["--find-links", str(wheel_folder(flavour))])
    layer = Layer({path.name: _sha256(path) for path in sorted(found)})
    write_json(record, {"asked": list(asked), "wheels": dict(layer.wheels)})
    return layer


def _search(flavour: Flavour, declared: Declared, asked: Sequence[str]) -> list[tuple[str, str]]:
    """Name and version of everything that pip would install for some requirements; nothing is installed."""
    with tempfile.TemporaryDirectory(prefix="aira-declared-") as temporary:
        constraints, found = Path(temporary) / "constraints.txt", Path(temporary) / "found.json"
        constraints.write_text("\n".join(flavour.pins) + "\n", encoding="utf-8")
        command = ["install", "--dry-run", "--ignore-installed", "--no-input", "--target", f"{temporary}/none"]
        command += ["--report", str(found), "--constraint", str(constraints)]
        command += ["--find-links", str(wheel_folder(flavour)), *wheel_options(flavour), "--", *asked]
        done = run_pip(command)
        if done.returncode != 0:
            raise _unavailable(flavour, declared, asked, done.stdout + "\n" + done.stderr)
        installed: list[dict[str, Any]] = json.loads(found.read_bytes())["install"]
    return [(str(each["metadata"]["name"]), str(each["metadata"]["version"])) for each in installed]


def _new_pins(flavour: Flavour, target: str, declared: Declared, found: Sequence[tuple[str, str]]) -> list[str]:
    """Those of the found packages that the image has not got; none may be another version of what images have."""
    have, every = flavour.versions(target), flavour.versions("agent")
    for name, version in found:
        exact = Requirement(f"{name}=={version}")
        if (kept := every.get(normal_name(name))) is not None and not satisfied_by(exact, kept):
            raise _conflict(flavour, declared, exact, kept)
    return sorted(f"{name}=={version}" for name, version in found if normal_name(name) not in have)


def _conflict(flavour: Flavour, declared: Declared, wanted: Requirement, kept: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"{declared.metadata} asks for {wanted}, but the {flavour.name} images have {wanted.name} {kept}, which is "
        "never replaced: scores are made with it.",
        hint=f"edit the python_requirements in {quote(str(declared.metadata))}",
    )


def _unavailable(flavour: Flavour, declared: Declared, asked: Sequence[str], output: str) -> PrerequisiteError:
    """Why pip found no set of wheels, in its own words: what contradicts what, or its last error."""
    cause = _CAUSE.search(output)
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    told = "; ".join(" ".join(line.split()) for line in cause[1].splitlines()) if cause else "; ".join(errors[-2:])
    return PrerequisiteError(
        f"{declared.metadata} asks for {', '.join(asked)}, which cannot be added to the {flavour.name} images "
        f"(wheels for Python {flavour.settings.python} alone): {told[:PROBLEM_CHARS] or 'pip gave no reason'}.",
        hint="put the wheels into a folder DIR and export PIP_FIND_LINKS=DIR",
    )


def _record(flavour: Flavour, target: str, asked: Sequence[str]) -> Path:
    key = hashlib.sha256(json.dumps([target, flavour.pins, flavour.settings.platforms, asked]).encode()).hexdigest()
    return declared_folder(flavour) / f"{key[:16]}.json"


def _recorded(record: Path) -> Layer | None:
    try:
        wheels = parse_json(read_text(record, _MOST_RECORD_BYTES))["wheels"]
        return Layer({str(name): str(sha256) for name, sha256 in wheels.items()})
    except (OSError, Unacceptable, KeyError, TypeError, AttributeError):
        return None


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return ""

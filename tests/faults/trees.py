"""What a run left behind, without times, so that two runs of which one was disturbed can be compared.

Not covered: times, identifiers, and how often a step was attempted.
"""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from aira_bench.errors import AiraError
from aira_bench.keys import KeyFolder
from aira_bench.paths import INDEX_FOLDER
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import read_run
from aira_bench.unfinished import TEMPORARY
from faults.command import Place
from faults.injector import generalized

NAME = "run"


@dataclass(frozen=True)
class Tree:
    """The steps of each seed, how it ended, its trusted scores; and the names of all files, with random parts out."""

    steps: dict[str, Any]
    files: Counter[str] = field(default_factory=Counter)


def tree_of(place: Place) -> Tree:
    """Read a finished run.

    Raises:
        AiraError: its files do not agree with each other.
    """
    record = read_run(RunFolder(place.runs / NAME), KeyFolder(place.home / "keys").ring(), "all")
    steps = {}
    for seed in record.seeds:
        nodes = []
        for node in seed.nodes:
            values = asdict(node)
            del values["timings"], values["attempts"]
            nodes.append(values)
        ended = None if seed.ended is None else (seed.ended.why, seed.ended.submitted)
        scores = {
            step: {name: value for name, value in asdict(score).items() if name not in ("seconds", "cached")}
            for step, score in seed.scores.items()
        }
        contents = {
            name: hashlib.sha256((seed.folder.path / name).read_bytes()).hexdigest()
            for step in range(1, len(seed.nodes) + 1)
            for name in _files_of(place, seed.seed, step)
        }
        steps[str(seed.seed)] = {"nodes": nodes, "ended": ended, "scores": scores, "contents": contents}
    return Tree(steps | {"closed": record.closed}, files_of(place))


def _files_of(place: Place, seed: int, step: int) -> list[str]:
    root = place.runs / NAME / "seeds" / str(seed)
    found = [path for part in ("nodes", "hidden") for path in (root / part / f"{step:04d}").rglob("*")]
    names = [str(path.relative_to(root)) for path in found if path.is_file()]
    return sorted(name for name in names if "attempt_" not in name)


def files_of(place: Place) -> Counter[str]:
    """Names of all files and empty folders.

    Not among them is what an attempt left, which is kept on purpose, and the index of pages, which is made anew by
    whoever needs it; what was to become of it and did not is.
    """
    found: Counter[str] = Counter()
    for path in place.root.rglob("*"):
        name = generalized(str(path.relative_to(place.root)))
        if INDEX_FOLDER in path.parts and not path.name.endswith(TEMPORARY):
            continue
        if "attempt_" not in name and (not path.is_dir() or not any(path.iterdir())):
            found[name] += 1
    return found


@dataclass(frozen=True)
class Difference:
    """How a disturbed run differs from the undisturbed one."""

    lost: int = 0
    """Steps that are not there."""
    blamed: int = 0
    """Steps that have another class."""
    other: str = ""
    left: tuple[str, ...] = ()
    """Files that the undisturbed run does not leave."""

    @property
    def none(self) -> bool:
        return not (self.lost or self.blamed or self.other)


def compare(place: Place, expected: Tree) -> Difference:
    """Compare what is left of a run with an undisturbed one."""
    try:
        found = tree_of(place)
    except (AiraError, OSError, ValueError) as error:
        return Difference(lost=1, other=f"the run cannot be read: {error}")
    lost = blamed = 0
    other = ""
    for seed, steps in expected.steps.items():
        if seed == "closed":
            continue
        nodes = found.steps.get(seed, {"nodes": []})["nodes"]
        lost += max(len(steps["nodes"]) - len(nodes), 0)
        blamed += sum(a["step_class"] != b["step_class"] for a, b in zip(steps["nodes"], nodes, strict=False))
        other = other or _first_difference(steps, found.steps.get(seed, {}), seed)
    if not other and found.steps != expected.steps:
        other = "the run's end differs"
    left = tuple(sorted((found.files - expected.files).elements()))
    # What a run has of leases is the machine's, and made anew by whoever needs it.
    missing = tuple(name for name in sorted((expected.files - found.files).elements()) if not name.startswith("leases"))
    if missing and not other:
        other = f"missing: {', '.join(missing[:3])}"
    return Difference(lost, blamed, other, left)


def _first_difference(expected: Any, found: Any, where: str) -> str:  # noqa: ANN401
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            if expected.get(key) != found.get(key):
                return _first_difference(expected.get(key), found.get(key), f"{where}.{key}")
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{where}[{number}]")
    return "" if expected == found else f"{where}: {str(found)[:80]} instead of {str(expected)[:80]}"

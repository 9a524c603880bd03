"""Findings kept on disk as they come, so that a trial of all faults that was cut off goes on where it stood.

A file belongs to one state of the sources: what was found with another says nothing of this one, and is refused.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from faults.cases import Case, Finding

ROOT = Path(__file__).resolve().parents[2]
TRIED_WITH = ("harness", "tests/faults", "tests/llm", "tests/played_host.py", "tasks")


@dataclass(frozen=True)
class Tried:
    """A finding, how long it took, and the machine's load average (over a minute) then."""

    finding: Finding
    seconds: float
    load: float


class Kept:
    """A file of findings, which several processes may add to.

    Raises:
        SystemExit: it is of other sources.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        sources = json.dumps({"sources": _sources()})
        if not path.exists():
            path.write_text(sources, encoding="utf-8")
        elif path.read_text(encoding="utf-8").partition("\n")[0] != sources:
            raise SystemExit(f"{path} was made with other sources. Remove it, or name another file.")

    def add(self, tried: Tried) -> None:
        """Append a finding: one write, so that those of several processes do not mix, on a line that nothing torn is on."""
        value = [str(tried.finding.case), tried.finding.to_json(), tried.seconds, tried.load]
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, f"\n{json.dumps(value)}".encode())
        finally:
            os.close(descriptor)

    def read(self, cases: Iterable[Case]) -> dict[str, Tried]:
        """The findings about these cases, by the case's name; a line that was cut off is none."""
        named = {str(case): case for case in cases}
        found: dict[str, Tried] = {}
        for line in self.path.read_text(encoding="utf-8").split("\n")[1:]:
            try:
                name, value, seconds, load = json.loads(line)
            except ValueError:
                continue
            if name in named:
                found[name] = Tried(Finding.from_json(named[name], value), seconds, load)
        return found


def _sources() -> str:
    files = [file for place in TRIED_WITH for file in [ROOT / place, *(ROOT / place).rglob("*")] if file.is_file()]
    whole = hashlib.sha256()
    for file in sorted(files):
        if "__pycache__" not in file.parts:
            whole.update(f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()

"""The command line on a data folder and a folder of runs of a test's own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.journal import SeedEnded


def submitted(folder: SeedFolder) -> int | None:
    """The step an ended seed submitted; None where there is none."""
    last = folder.events[-1]
    return last.submitted if isinstance(last, SeedEnded) else None


Tree = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Place:
    """A data folder and a folder of runs."""

    home: Path
    runs: Path

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, without keys of its user."""
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        return {**kept, "AIRA_HOME": str(self.home), "AIRA_RUNS": str(self.runs)}

    def command(self, *arguments: str, confirm: bool = False) -> list[str]:
        """A command line; a run of a test's confirms itself only if the test says so."""
        unconfirmed = ["--no-confirm"] if arguments[:1] == ("run",) and not confirm else []
        return [sys.executable, "-m", "aira_bench", *arguments, *unconfirmed]

    def call(
        self, *arguments: str, status: int = 0, confirm: bool = False, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **variables}
        done = subprocess.run(
            self.command(*arguments, confirm=confirm),
            capture_output=True,
            text=True,
            timeout=600,
            env=environment,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.runs / name)

    def tree(self, name: str, seed: int = 0) -> Tree:
        """A seed's nodes without their times, and its trusted scores."""
        folder = self.run(name).seed(seed)
        scores = folder.scores.read()
        return [
            (n.step, n.operator, n.parents, n.step_class, n.fitness, n.code_sha256, n.canonical,
             scores[n.step].test if n.step in scores else None)
            for n in folder.nodes
        ]  # fmt: skip

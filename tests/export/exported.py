"""A machine with a run whose hidden numbers are known, for tests of what leaves it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.files import write_json
from aira_bench.keys import KeyFolder, MachineKey
from aira_bench.llm.model import Completion, CompletionRequest, Message, Usage
from aira_bench.llm.recording import Exchange
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.node import ModelUse, Timings
from generated_runs import confirm, manifest, write_run

SCORES = {
    0: [(0.512345678, 0.412345671), (0.712345678, 0.612345673), None],
    1: [(0.612345678, 0.812345677), None, None],
}
"""Validation and test, by seed and step; a search is told four decimals of the first."""
TRAININGS = {0: [0.587654321, 0.567654329, 0.577654323], 1: [0.787654321, 0.767654329, 0.777654323]}
HIDDEN = (
    0.512345678, 0.712345678, 0.612345678, 0.412345671, 0.612345673, 0.812345677,
    *TRAININGS[0], *TRAININGS[1], 0.577654324333333, 0.777654324333333,
)  # fmt: skip
"""Every number that only the judge knows, and the means of confirmations."""
PROMPT = "Improve step 1 (valid, fitness 0.5123)."
ANSWER = "Here is a plan.\n```python\nprint('hello')\n```"


def exchange(text: str = ANSWER, prompt: str = PROMPT, schema: dict[str, Any] | None = None) -> Exchange:
    """One call."""
    request = CompletionRequest("You search.", (Message("user", prompt),), 4096, schema, 0.7)
    usage = Usage(1000, 50, 200, 10)
    return Exchange(request, Completion(text, "stop", "m-1", None, usage, 0.25, 1.5, "request-1", 2))


def leaves(place: SeedFolder, step: int) -> None:
    """What a step of a model leaves: two calls, code and what it printed."""
    schema = {"type": "object", "properties": {"is_bug": {"type": "boolean"}}, "required": ["is_bug"]}
    write_json(place.calls(step) / "propose" / "call_000.json", exchange().to_json())
    write_json(
        place.calls(step) / "analyze" / "call_000.json", exchange('{"is_bug": false}', "Is it a bug?", schema).to_json()
    )
    place.node(step).mkdir(parents=True, exist_ok=True)
    for name, text in (("solution.py", "print('hello')\n"), ("stdout.txt", "hello\n"), ("stderr.txt", "")):
        (place.node(step) / name).write_text(text)


NODES = {
    "plan": "Try more attention.", "model_use": ModelUse(2, 2000, 100, 0.5, ("m-1",)),
    "timings": Timings(3.0, 2.0, 4.0, 9.5, {"provider": 3.0}),
}  # fmt: skip


@dataclass
class Machine:
    """A machine's folders, and its command line."""

    path: Path
    key: MachineKey
    capsys: pytest.CaptureFixture[str]

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    def run(self, name: str = "one", **changes: object) -> RunFolder:
        """A signed run of two seeds whose submissions were confirmed three times."""
        confirmed = changes.pop("confirmed", True)
        settings: dict[str, Any] = {
            "key": self.key,
            "seen": KeyFolder(self.path / "home" / "keys").ring().seen,
            "scores": SCORES,
            "leave": leaves,
            "of_nodes": NODES,
        }
        record = manifest(name, seeds=tuple(SCORES), steps=3, created="2026-01-02T03:04:06+00:00")
        folder = write_run(self.runs, record, **(settings | changes))
        if confirmed:
            confirm(folder, self.key, TRAININGS)
        return folder

    def said(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """What a command says on stdout and stderr."""
        assert run_command_line(arguments) == status
        shown = self.capsys.readouterr()
        assert "Traceback" not in shown.err
        return shown.out, shown.err

    def export(self, form: str, out: str, *more: str, run: str = "one", status: int = 0) -> list[Path]:
        """Files that `export` wrote."""
        said, _ = self.said("export", run, "--format", form, "--out", out, "--json", *more, status=status)
        return [Path(each) for each in json.loads(said)["files"]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Machine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    return Machine(tmp_path, KeyFolder(tmp_path / "home" / "keys").machine_key(), capsys)


Leave = Callable[[SeedFolder, int], None]

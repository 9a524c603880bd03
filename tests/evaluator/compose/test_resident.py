"""The judge that stays: the scores of fresh processes in any order, and nothing of one request in another's answer."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from aira_contract.architectures import LAYERS, canonical, parse_architecture
from aira_contract.framing import MAX_MESSAGE_BYTES
from aira_evaluator.compose.judge.resident import ProtocolError, Resident

SMALL_TASK = """
import argparse, json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import torch
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.split_scores import train_and_score
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.devices import make_deterministic
from aira_contract.architectures import parse_submission, canonical

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--submission-file", type=Path)
    parser.add_argument("--report-file", type=Path)
    options = parser.parse_args()
    layers = parse_submission(options.submission_file.read_bytes())
    tasks = {name: CPU.tasks[name] for name in ("in-context-recall", "compression")}
    small = replace(CPU, tasks=tasks, train_examples=100, test_examples=64, epochs=1)
    seed = int((Path("data") / "seed").read_text())
    make_deterministic()
    scores = train_and_score(layers, small, draw_corpus(small, "train", 1), {"test": draw_corpus(small, "test", seed)},
                             seed=seed, device=torch.device("cpu"))
    report = {"canonical": canonical(layers), "details": scores["test"].details()}
    options.report_file.write_text(json.dumps(report))
    print("scored", canonical(layers))
"""
TRICKS = """
import json, os, sys
from pathlib import Path
layers = Path("data/submission.csv").read_text().splitlines()[1].strip('"').split(",")
left = sorted(path.name for path in Path(".").iterdir()) + sorted(path.name for path in Path("data").iterdir())
print(json.dumps({"left": left, "argv": sys.argv[1:], "mark": os.environ.get("MARK"), "input": sys.stdin.read()}))
os.environ["MARK"] = "set before"
Path("left-behind").write_text("x")
os.write(1, b"past Python")
if layers[0] == "M": sys.exit(2)
if layers[1] == "M": raise RuntimeError("the evaluation broke")
if layers[2] == "M": sys.exit("a reason")
Path("report.json").write_text("{}")
"""
A, M = ("mA",) * LAYERS, ("M",) * LAYERS


def resident(folder: Path, script: str) -> Resident:
    (folder / "hidden").mkdir()
    (folder / "hidden" / "seed").write_text("7")
    (folder / "evaluate.py").write_text(script)
    return Resident(folder / "evaluate.py", folder / "hidden")


class Served:
    """A resident judge as a process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.requests: Any = process.stdin
        self.answers: BinaryIO = process.stdout  # type: ignore[assignment]

    def hear(self) -> Mapping[str, Any] | None:
        head = self.answers.read(4)
        return json.loads(self.answers.read(struct.unpack(">I", head)[0])) if head else None

    def say(self, payload: bytes) -> None:
        self.requests.write(struct.pack(">I", len(payload)) + payload)
        self.requests.flush()

    def ask(self, layers: tuple[str, ...], name: str = "n") -> Mapping[str, Any] | None:
        self.say(json.dumps({"id": name, "architecture": canonical(layers), "training": 0}).encode())
        return self.hear()


UNPREPARED = "import sys; from aira_evaluator.compose.judge.resident import main; sys.exit(main(prepare=lambda: None))"


@contextmanager
def served(folder: Path, script: str) -> Iterator[Served]:
    """Start it in `folder` and wait for its greeting; scripts that train nothing need no torch."""
    made = resident(folder, script)
    program = ["-m", "aira_evaluator.compose.judge.resident"] if script == SMALL_TASK else ["-c", UNPREPARED]
    command = [sys.executable, *program, "--script", str(made.script), "--hidden", str(made.hidden)]
    with subprocess.Popen(command, cwd=folder, stdin=-1, stdout=-1, stderr=-1) as process:
        try:
            served = Served(process)
            assert served.hear() == {"ready": True}
            yield served
        finally:
            process.kill()


def fresh(folder: Path, layers: tuple[str, ...]) -> str:
    """The report of a process that scores this architecture alone."""
    data = folder / "data"
    data.mkdir(parents=True)
    (data / "seed").write_text("7")
    (data / "submission.csv").write_text(f'architecture\n"{canonical(layers)}"\n')
    (folder / "evaluate.py").write_text(SMALL_TASK)
    arguments = ["--submission-file", "data/submission.csv", "--report-file", "report.json"]
    subprocess.run([sys.executable, "evaluate.py", *arguments], cwd=folder, check=True, capture_output=True)
    return (folder / "report.json").read_text()


def test_scores_are_those_of_fresh_processes_in_any_order(tmp_path: Path) -> None:
    some = [parse_architecture(text) for text in ("SMAM" * 4, "AAMS" * 4)]
    others = [parse_architecture(text) for text in ("MMMMMMMASSSSSSSS", "S" * 16, "M" * 16)]
    alone = {layers: fresh(tmp_path / f"fresh-{index}", layers) for index, layers in enumerate(some)}
    assert len(set(alone.values())) == 2
    with served(tmp_path, SMALL_TASK) as judge:
        for index, layers in enumerate((some[0], *others, some[1], some[0], others[0], some[1])):
            answer = judge.ask(layers, f"request-{index}")
            assert answer is not None
            assert (answer["id"], answer["status"]) == (f"request-{index}", 0)
            assert answer["stdout"] == f"scored {canonical(layers)}\n"
            if layers in alone:
                assert answer["report"] == alone[layers]
        judge.requests.close()
        assert judge.process.wait(30) == 0


def test_a_request_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    with served(tmp_path, TRICKS) as judge:
        seen = [judge.ask(A, name) for name in ("one", "two")]
        for answer, name in zip(seen, ("one", "two"), strict=True):
            assert answer is not None
            assert answer.keys() == {"id", "status", "stdout", "stderr", "report"}
            assert (answer["id"], answer["status"], answer["report"]) == (name, 0, "{}")
            facts = json.loads(answer["stdout"])
            assert facts["left"] == ["data", "seed", "submission.csv"]
            assert facts["argv"] == ["--submission-file", "./data/submission.csv", "--report-file", "report.json"]
            assert facts["mark"] is None
            assert facts["input"] == ""
        assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluate.py", "hidden"]


@pytest.mark.parametrize(("layers", "status"), [(("M", *A[1:]), 2), (("mA", "mA", "M", *A[3:]), 1)])
def test_an_exit_status_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: tuple[str, ...], status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", (tmp_path / "nothing").open("w+"))
    request = json.dumps({"id": "n", "architecture": canonical(layers), "training": 0}).encode()
    answer = resident(tmp_path, TRICKS).answer(request)
    assert (answer["status"], answer["report"]) == (status, None)


def test_a_broken_evaluation_ends_the_process(tmp_path: Path) -> None:
    with served(tmp_path, TRICKS) as judge:
        assert judge.ask(("mA", "M", *A[2:])) is None
        assert judge.process.wait(30) == 1
        assert judge.process.stderr is not None
        assert b"the evaluation broke" in judge.process.stderr.read()


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"[]", b"{}", b'{"id": "n"}', b'{"id": 1, "architecture": "M", "training": 0}',
        json.dumps({"id": "n", "architecture": canonical(A), "training": 0, "more": 1}).encode(),
        json.dumps({"id": "n", "architecture": "A" * 16, "training": 0}).encode(),
        json.dumps({"id": "n", "architecture": ", ".join(A), "training": 0}).encode(),
    ],
)  # fmt: skip
def test_only_canonical_architectures_are_let_in(tmp_path: Path, payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        resident(tmp_path, "raise SystemExit(0)").answer(payload)


def test_what_is_no_architecture_at_all_ends_it_too(tmp_path: Path) -> None:
    request = json.dumps({"id": "n", "architecture": "M;import os", "training": 0}).encode()
    with pytest.raises(ValueError, match="is not a compact letter"):
        resident(tmp_path, "raise SystemExit(0)").answer(request)


def test_a_request_that_is_too_long_or_cut_off_ends_it(tmp_path: Path) -> None:
    with served(tmp_path, TRICKS) as judge:
        judge.requests.write(struct.pack(">I", MAX_MESSAGE_BYTES + 1))
        judge.requests.flush()
        assert judge.hear() is None
        assert judge.process.wait(30) == 1


def test_the_environment_of_tests_is_untouched() -> None:
    assert "MARK" not in os.environ

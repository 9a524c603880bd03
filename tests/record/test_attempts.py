"""What attempts that were cut short leave: kept apart, in order, and never overwritten."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.errors import SandboxError
from aira_bench.output import CapturedOutput
from aira_bench.record.attempts import keep_attempt
from aira_bench.sandbox.sandbox import StepLost

names = st.sets(st.sampled_from(["solution.py", "stdout.txt", "submission.csv", "data", "x"]), max_size=4)


def captured(text: bytes) -> CapturedOutput:
    return CapturedOutput(text, b"", len(text), hashlib.sha256(text).hexdigest())


@given(st.lists(names, max_size=4))
@settings(max_examples=60, deadline=None)
def test_each_attempt_keeps_what_it_left_and_touches_no_other(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[set[str]]
) -> None:
    folder = tmp_path_factory.mktemp("step") / "0001"
    for number, left in enumerate(attempts, start=1):
        folder.mkdir(exist_ok=True)
        for name in left:
            (folder / name).write_text(f"{number}")
        keep_attempt(folder)
    kept = {number: {path.name for path in (folder / f"attempt_{number}").iterdir()} for number in range(1, len(attempts) + 1)}  # fmt: skip
    assert kept == dict(enumerate(attempts, start=1))
    for number in kept:
        assert all(path.read_text() == f"{number}" for path in (folder / f"attempt_{number}").iterdir())
    if folder.exists():
        assert {path.name for path in folder.iterdir()} == {f"attempt_{number}" for number in kept}


def test_what_the_next_attempt_needs_stays(tmp_path: Path) -> None:
    for name in ("solution.py", "stdout.txt"):
        (tmp_path / name).write_text("x")
    keep_attempt(tmp_path, besides=["solution.py"])
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        "attempt_1/stdout.txt", "solution.py",
    ]  # fmt: skip


def test_a_failure_leaves_its_words_on_one_line_of_escaped_text(tmp_path: Path) -> None:
    keep_attempt(tmp_path, SandboxError("the engine said \x1b[31mno"))
    kept = (tmp_path / "attempt_1" / "failure.txt").read_text()
    assert "the engine said" in kept
    assert "\x1b" not in kept
    assert not (tmp_path / "attempt_1" / "stdout.txt").exists()


def test_what_the_code_had_printed_by_then_is_kept_escaped(tmp_path: Path) -> None:
    output = (captured(b"epoch 1\x1b[2J"), captured(b"warning"))
    keep_attempt(tmp_path, StepLost("gone", output=output))
    kept = tmp_path / "attempt_1"
    assert (kept / "stdout.txt").read_text().startswith("epoch 1")
    assert "\x1b" not in (kept / "stdout.txt").read_text()
    assert (kept / "stderr.txt").read_text() == "warning"
    keep_attempt(tmp_path, StepLost("gone before it printed"))
    assert [path.name for path in (tmp_path / "attempt_2").iterdir()] == ["failure.txt"]


def test_a_folder_that_was_never_made_is_made(tmp_path: Path) -> None:
    keep_attempt(tmp_path / "hidden" / "0003", SandboxError("no judge"))
    assert (tmp_path / "hidden" / "0003" / "attempt_1" / "failure.txt").read_text() == "no judge\n"

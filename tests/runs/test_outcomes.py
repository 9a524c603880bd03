"""Step classes, claims and printed text."""

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.escaping import printable
from aira_bench.evaluation.claim import CLAIM, claimed_value
from aira_bench.output import CapturedOutput, display, last_line
from aira_bench.runs.outcomes import failure_of
from aira_bench.sandbox.sandbox import Artifact, EndReason, RejectedArtifact, StepOutcome

EMPTY = CapturedOutput(b"", b"", 0, "")
FILE = Artifact("submission.csv", Path("x"), 1, "0")


def outcome(
    ended: EndReason = "exited", exit_code: int | None = 0, stderr: bytes = b"", **artifacts: object
) -> StepOutcome:
    found = {"submission.csv": FILE} | artifacts
    captured = CapturedOutput(stderr, b"", len(stderr), "")
    values = {
        "ended": ended,
        "exit_code": exit_code,
        "wall_s": 1.0,
        "stdout": EMPTY,
        "stderr": captured,
        "peak_memory_mib": None,
    }
    return StepOutcome(**values, artifacts=found)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "step_class", "reason"),
    [
        (outcome(), None, ""),
        (outcome("timeout", None), "timeout", "killed after 9 s"),
        (outcome("out_of_memory", 137), "out_of_memory", "64 MiB"),
        (replace(outcome("output_flood", 137), above="256 MiB of output"), "buggy", "killed above 256 MiB of output"),
        (outcome(exit_code=1, stderr=b"Traceback\nOSError: no space\n"), "buggy", "OSError: no space"),
        (outcome(**{"submission.csv": RejectedArtifact("submission.csv", "missing")}), "invalid_submission", "missing"),
    ],
)
def test_each_way_to_end_has_its_class(what: StepOutcome, step_class: str | None, reason: str) -> None:
    failure = failure_of(what, "submission.csv", timeout_s=9, memory_mib=64)
    assert (failure.step_class if failure else None) == step_class
    assert reason in (failure.reason if failure else "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"metric": "Accuracy", "value": 0.5}', 0.5),
        ('{"metric": "Accuracy", "value": 1}', 1.0),
        ('{"metric": "Accuracy", "value": NaN}', None),
        ('{"metric": "Accuracy", "value": 1e999}', None),
        ('{"metric": "Accuracy", "value": ' + "9" * 400 + "}", None),
        ('{"metric": "Accuracy", "value": true}', None),
        ('{"metric": "Loss", "value": 0.5}', None),
        ('{"metric": "Accuracy", "value": 0.5, "more": 1}', None),
        ("[" * 4000, None),
        ("0.5", None),
        ("", None),
        ("\xff", None),
    ],
)
def test_a_claim_is_a_finite_number_or_nothing(tmp_path: Path, text: str, value: float | None) -> None:
    path = tmp_path / CLAIM.name
    path.write_bytes(text.encode("latin-1"))
    found = Artifact(CLAIM.name, path, len(text), "0")
    assert claimed_value(outcome(**{CLAIM.name: found}), "Accuracy") == value


@given(st.binary(max_size=200))
def test_printed_bytes_hold_nothing_a_terminal_would_obey(data: bytes) -> None:
    text = printable(data)
    assert all(c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in text)
    json.dumps(text).encode()


def test_escapes_and_direction_overrides_become_visible() -> None:
    assert printable("\x1b[31mred\r\u202e") == "\\x1b[31mred\\x0d\\u202e"


def test_long_output_keeps_both_ends_and_counts_the_gap() -> None:
    shown = display(CapturedOutput(b"a" * 5000, b"b" * 5000, 1_000_000, ""), limit=1000)
    assert shown.startswith("a" * 500)
    assert shown.endswith("b" * 500)
    assert "999000 bytes left out" in shown


def test_the_last_line_is_found_and_cut() -> None:
    assert last_line(CapturedOutput(b"first\nlast \n\n", b"", 13, "")) == "last"
    assert last_line(CapturedOutput(b"step 1\rstep 2\rFAIL\r\n", b"", 21, "")) == "FAIL"
    assert len(last_line(CapturedOutput(b"x" * 999, b"", 999, ""))) == 300

"""What is read out of a judge's output."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import SandboxError
from aira_bench.evaluation.submission import host_canonical
from aira_bench.evaluation.verdict import parse_report, parse_score_block
from aira_bench.tasks.artifact_spec import ArtifactSpec
from aira_contract.reports import RESULT_MARKER

SPEC = ArtifactSpec(kind="architecture", layers=4, primitives=("M", "mA"), max_kib=4)


def block(values: object) -> str:
    return f"Loading...\n\n{RESULT_MARKER}\n{json.dumps(values, indent=2)}\n"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_printed_score_is_read_to_the_last_digit(value: float) -> None:
    assert parse_score_block(block({"Accuracy": value}), "Accuracy") == value


def test_the_last_block_counts() -> None:
    assert parse_score_block(block({"Accuracy": 1.0}) + block({"Accuracy": 0.25}), "Accuracy") == 0.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no block", "no score block"),
        (f"{RESULT_MARKER} nothing", "no score block"),
        (block({"Other": 1.0}), "keys"),
        (block({"Accuracy": 1.0, "Other": 2}), "keys"),
        (block({"Accuracy": True}), "finite"),
        (block({"Accuracy": "1.0"}), "finite"),
        (block({"Accuracy": math.nan}), "finite"),
        (block({"Accuracy": math.inf}), "finite"),
        (f"{RESULT_MARKER}\n{{Accuracy: 1}}", "not JSON"),
    ],
)
def test_anything_else_is_no_score(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_score_block(text, "Accuracy")


@given(st.text(max_size=300))
def test_arbitrary_text_never_breaks_the_parser(text: str) -> None:
    with pytest.raises(ValueError, match="score"):
        parse_score_block(text, "Accuracy")


REPORT = {"schema": 1, "canonical": "mA,M", "validation": 0.5, "test": 0.4, "details": {}, "evaluator_version": "1",
          "seed_set": "search", "seconds": 1.5}  # fmt: skip


def test_a_report_is_read() -> None:
    assert parse_report(json.dumps(REPORT).encode()).validation == 0.5


@pytest.mark.parametrize(
    "change", [{"test": None}, {"extra": 1}, {"schema": 2}, {"validation": math.nan}, {"seconds": -1}]
)
def test_a_broken_report_is_the_evaluators_failure(change: dict[str, object]) -> None:
    with pytest.raises(SandboxError):
        parse_report(json.dumps(REPORT | change).encode())


@pytest.mark.parametrize(
    ("data", "canonical"),
    [
        (b'architecture\n"mA,M,mA,M"\n', "mA,M,mA,M"),
        (b"architecture\r\nmA-M-mA-M\r\n", "mA,M,mA,M"),
        (b"architecture\nmA,M,mA\n", None),
        (b"architecture\nmA,M,mA,Mb\n", None),
        (b"mA,M,mA,M\n", None),
        (b"architecture\nmA,M,mA,M\n\n\n", None),
        (b"\xff\xfe", None),
    ],
)
def test_the_host_knows_only_common_spellings(data: bytes, canonical: str | None) -> None:
    assert host_canonical(SPEC, data) == canonical


def test_a_report_that_does_not_rank_a_score_names_a_flag_for_it() -> None:
    named = REPORT | {"flags": ["hard_wired"], "unranked": ["hard_wired"]}
    assert parse_report(json.dumps(named).encode()).unranked == ("hard_wired",)
    with pytest.raises(SandboxError, match="hard_wired"):
        parse_report(json.dumps(REPORT | {"unranked": ["hard_wired"]}).encode())

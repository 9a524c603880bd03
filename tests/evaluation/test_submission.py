"""Submissions: what the host alone can tell of them, and what their scores are cached under."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.evaluation.submission import Submission, host_canonical
from aira_bench.tasks.task import find_task
from aira_contract.architectures import SubmissionError, canonical, parse_architecture, parse_submission

MAD = find_task("mad-3p").metadata.aira.artifact
MODULE = find_task("lra-listops").metadata.aira.artifact
LAYERS = st.lists(st.sampled_from(MAD.primitives), min_size=MAD.layers, max_size=MAD.layers)


def written(layers: list[str], separator: str, quote: str = '"', end: str = "\n") -> bytes:
    return f"architecture\n{quote}{separator.join(layers)}{quote}{end}".encode()


@given(
    layers=LAYERS, separator=st.sampled_from(",-"), quote=st.sampled_from(['"', ""]), end=st.sampled_from(["\n", ""])
)
def test_common_spellings_share_one_key_which_is_the_judge_s_normal_form(
    layers: list[str], separator: str, quote: str, end: str
) -> None:
    submission = Submission.of(MAD, written(layers, separator, quote, end))
    assert submission.canonical == canonical(parse_architecture(",".join(layers)))
    assert submission.key == Submission.of(MAD, written(layers, ",")).key


@given(content=st.binary(max_size=200))
def test_any_other_bytes_are_keyed_by_themselves(content: bytes) -> None:
    submission = Submission.of(MAD, content)
    assert submission.sha256 == hashlib.sha256(content).hexdigest()
    if submission.canonical is None:
        assert submission.key == submission.sha256


@given(layers=LAYERS, at=st.integers(0, 15), symbol=st.sampled_from(["", "m", "mAA", "M A", "é", "M,M", "*"]))
def test_a_symbol_that_the_task_does_not_admit_has_no_normal_form(layers: list[str], at: int, symbol: str) -> None:
    changed = [*layers[:at], symbol, *layers[at + 1 :]]
    assert host_canonical(MAD, written(changed, ",")) is None


@given(layers=LAYERS)
def test_more_than_one_line_too_many_bytes_or_another_artifact_have_none(layers: list[str]) -> None:
    plain = written(layers, ",")
    assert host_canonical(MAD, plain + b"more\n") is None
    assert host_canonical(MAD, plain + b" " * (MAD.max_kib * 1024)) is None
    assert host_canonical(MODULE, plain) is None
    assert host_canonical(MAD, written(layers[1:], ",")) is None, "a layer is missing"


@given(
    layers=LAYERS, header=st.sampled_from(["architecture", "two words", "h\0", "\u00e9", "mA,M", '"architecture"', ""]),
    ends=st.sampled_from(["\n", "\r\n", "\x0b", "\r", "\x1e"]), separators=st.sampled_from([",,", "--", ",-", "-,"]),
    before=st.sampled_from(["", '"', '""']), behind=st.sampled_from(["", '"', '""']),
)  # fmt: skip
def test_what_a_judge_refuses_has_no_normal_form(
    layers: list[str], header: str, ends: str, separators: str, before: str, behind: str
) -> None:
    """Else it would be valid with a judge that stays, and refused on a GPU, where none does."""
    half = len(layers) // 2
    row = separators[1].join([separators[0].join(layers[:half]), *layers[half:]])
    content = f"{header}{ends}{before}{row}{behind}\n".encode()
    try:
        judged = canonical(parse_submission(content, MAD.primitives, MAD.layers))
    except SubmissionError:
        assert host_canonical(MAD, content) is None
    else:
        assert host_canonical(MAD, content) in (None, judged)


@pytest.mark.parametrize("row", ["mA,M-Mb", '"mA,M,Mb'])
def test_mixed_separators_and_unbalanced_quotes_are_for_a_judge_to_refuse(row: str) -> None:
    assert host_canonical(MAD, f"architecture\n{row},{','.join(['M'] * 13)}\n".encode()) is None


def test_equal_bytes_are_equal_submissions() -> None:
    assert Submission(b"x") == Submission(b"x") != Submission(b"y")
    once = Submission(b"x")
    assert once.sha256 is once.sha256, "hashed once"

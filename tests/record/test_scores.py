"""The file of trusted scores: under crashes at any byte, and against what a journal names."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable
from aira_bench.record.scores import ScoreFile, TrustedScore, decode_score
from aira_contract.training_series import MOST_POINTS, TrainingPoint

numbers = st.floats(-1e9, 1e9)
words = st.lists(st.from_regex(r"[a-z][a-z_]{0,9}", fullmatch=True), max_size=3).map(tuple)
scores = st.builds(
    TrustedScore,
    step=st.integers(1, 10**6),
    test=numbers,
    validation=st.none() | numbers,
    evaluator_version=st.text(max_size=9),
    image=st.text(max_size=9),
    seconds=st.floats(0, 1e9),
    cached=st.booleans(),
    claimed=st.none() | numbers,
    flags=words,
    synthetic=st.booleans(),
    unranked=words,
    validation_standard_error=st.none() | st.floats(0, 1e9),
    test_standard_error=st.none() | st.floats(0, 1e9),
    remarks=st.lists(st.text(st.characters(codec="ascii"), max_size=20), max_size=2).map(tuple),
    series=st.lists(st.floats(-1e9, 1e9), max_size=4).map(
        lambda losses: tuple(TrainingPoint(at, loss, 64 * at, at / 8) for at, loss in enumerate(losses, start=1))
    ),
    claimed_series=st.lists(st.floats(-1e9, 1e9), max_size=4).map(
        lambda losses: tuple(TrainingPoint(at, loss, None, None) for at, loss in enumerate(losses, start=1))
    ),
)


def score(step: int, **changes: object) -> TrustedScore:
    return replace(TrustedScore(step, step / 10, step / 20, "1", "judge:1", 2.0), **changes)  # type: ignore[arg-type]


def written(folder: Path, *steps: int) -> ScoreFile:
    (folder / "hidden").mkdir(exist_ok=True)
    file = ScoreFile(folder / "hidden" / "scores.jsonl")
    for step in steps:
        file.append(score(step))
    return file


def hashes(file: ScoreFile, *steps: int) -> dict[int, str]:
    lines = file.path.read_bytes().splitlines(keepends=True)
    return {step: hashlib.sha256(line).hexdigest() for step, line in zip(steps, lines, strict=False)}


@given(st.lists(scores, unique_by=lambda score: score.step, max_size=4))
@settings(max_examples=60, deadline=None)
def test_what_is_appended_is_read_back_whatever_it_says(
    tmp_path_factory: pytest.TempPathFactory, appended: list[TrustedScore]
) -> None:
    file = written(tmp_path_factory.mktemp("seed"))
    for each in appended:
        file.append(each)
        assert (
            file.hash_of_last(each.step)
            == hashlib.sha256(file.path.read_bytes().splitlines(keepends=True)[-1]).hexdigest()
        )
    assert file.read() == {each.step: each for each in appended}
    if appended:
        named = hashes(file, *(each.step for each in appended))
        assert file.read_bound(named, more=False, ours=True) == file.read()
        assert file.read_bound(named, more=False, ours=False) == file.read()


@given(st.integers(0, 10**6))
@settings(max_examples=80, deadline=None)
def test_a_crash_at_any_byte_loses_the_score_it_was_writing_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    file = written(tmp_path_factory.mktemp("seed"), 1, 2, 3)
    data = file.path.read_bytes()
    cut %= len(data) + 1
    file.path.write_bytes(data[:cut])
    ends = [index for index, byte in enumerate(data) if byte == ord("\n")]
    whole = sum(end <= cut for end in ends)  # a line without its end is whole
    assert file.read() == {step: score(step) for step in range(1, whole + 1)}
    file.append(score(9))
    assert file.read() == {step: score(step) for step in (*range(1, whole + 1), 9)}


def test_a_step_scored_again_after_a_crash_counts_with_its_later_score(tmp_path: Path) -> None:
    file = written(tmp_path, 1, 2)
    file.append(score(2, test=0.9))
    assert file.read()[2].test == 0.9


def test_what_a_crash_cut_short_is_taken_away_when_its_step_is_taken_again(tmp_path: Path) -> None:
    file = written(tmp_path, 1, 2, 3)
    file.cut(2)
    assert list(file.read()) == [1, 2]
    file.cut(5)
    assert list(file.read()) == [1, 2], "a file of fewer lines stays as it is"
    ScoreFile(tmp_path / "hidden" / "none.jsonl").cut(1)
    assert not (tmp_path / "hidden" / "none.jsonl").exists()


def test_only_the_last_line_is_a_steps_score_when_it_ends(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert file.hash_of_last(1) is None
    written(tmp_path, 1, 2)
    assert file.hash_of_last(1) is None
    assert file.hash_of_last(2) == hashes(file, 1, 2)[2]


SPOILT: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "missing": (lambda lines: lines[:1], "the score of step 2 is missing"),
    "replaced": (lambda lines: [lines[0], lines[1].replace(b"0.2", b"0.9")], "line 2 is not the score that step 2"),
    "swapped": (lambda lines: lines[::-1], "line 1 is not the score that step 1"),
    "doubled": (lambda lines: [*lines, lines[1]], "line 3 is a score that no step was recorded with"),
    "empty": (lambda lines: [], "the score of step 1 is missing"),
    "cut": (lambda lines: [lines[0], lines[1][:-1]], "line 2 is not the score that step 2"),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=list(SPOILT))
def test_a_file_that_is_not_what_the_journal_names_is_no_score(
    tmp_path: Path, spoil: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    file = written(tmp_path, 1, 2)
    named = hashes(file, 1, 2)
    file.path.write_bytes(b"".join(spoil(file.path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(Unacceptable, match=said):
        file.read_bound(named, more=False, ours=True)


def test_lines_of_the_step_in_flight_may_follow_and_do_not_count(tmp_path: Path) -> None:
    file = written(tmp_path, 1, 2, 3)
    assert list(file.read_bound(hashes(file, 1, 2), more=True, ours=True)) == [1, 2]


def test_a_score_recorded_with_another_step_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, 1, 2)
    (first, second) = hashes(file, 1, 2).values()
    with pytest.raises(Unacceptable, match="line 2 is the score of step 2, recorded with step 7"):
        file.read_bound({1: first, 7: second}, more=False, ours=True)


@pytest.mark.parametrize(
    "change",
    [
        {"step": 0}, {"step": True}, {"step": "1"}, {"seconds": -1.0}, {"test": None}, {"test": "0.5"}, {"more": 1},
        {"validation_standard_error": -0.1}, {"test_standard_error": -1e-9}, {"flags": "late"}, {"cached": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_no_judge_writes_is_no_score(change: dict[str, object]) -> None:
    with pytest.raises(Unacceptable):
        decode_score(json.dumps(asdict(score(1)) | change).encode())


@pytest.mark.parametrize(
    "line", [b"", b"null", b"[]", b"{", b'{"step":1,"step":2}', b'{"step":1e999}', b'{"test":NaN}', b"\xff"]
)
def test_what_is_no_document_is_no_score(line: bytes) -> None:
    with pytest.raises(Unacceptable):
        decode_score(line)


def test_a_line_that_is_whole_and_no_score_stops_the_reader(tmp_path: Path) -> None:
    file = written(tmp_path, 1)
    with file.path.open("ab") as stream:
        stream.write(b'{"step":2}\n')
    with pytest.raises(RunStateError, match=r"scores.jsonl: line 2 is not a score"):
        file.read()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    file = written(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    file.path.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        file.append(score(1))
    assert victim.read_text() == "mine\n"
    with pytest.raises(RunStateError):
        file.read()


@pytest.mark.parametrize("remark_bytes", [0, 2**16 - 200, 2**16, 2**18])
def test_the_last_line_is_found_whatever_its_length(tmp_path: Path, remark_bytes: int) -> None:
    file = ScoreFile(tmp_path / "hidden" / "scores.jsonl")
    file.path.parent.mkdir()
    assert file.hash_of_last(1) is None
    for step in (1, 2):
        file.append(TrustedScore(step, 0.5, None, "1", "image", 1.0, remarks=("x" * remark_bytes,)))
        line = file.path.read_bytes().splitlines(keepends=True)[-1]
        assert file.hash_of_last(step) == hashlib.sha256(line).hexdigest()
        assert file.hash_of_last(step + 1) is None


POINT = TrainingPoint(7, 1.5, 640, 0.25)
LONG = tuple(POINT._replace(step=step) for step in range(1, MOST_POINTS + 2))


def test_a_series_stands_in_a_line_as_lists_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    file = ScoreFile(tmp_path / "hidden" / "scores.jsonl")
    file.append(score(1, series=(POINT,), claimed_series=(POINT._replace(tokens=None, seconds=None),)))
    assert b'"series":[[7,1.5,640,0.25]],"claimed_series":[[7,1.5,null,null]]' in file.path.read_bytes()
    (read,) = file.read().values()
    assert (read.series[0].step, read.series[0].loss, read.series[0].tokens, read.series[0].seconds) == POINT


@pytest.mark.parametrize("name", ["series", "claimed_series"])
@pytest.mark.parametrize(
    ("series", "said"),
    [
        (LONG, "65 points"),
        ((POINT, POINT), "steps of a series do not rise"),
        ((POINT, POINT._replace(step=8, tokens=639)), "tokens of a series do not rise"),
        ((POINT, POINT._replace(step=8, seconds=0.1)), "seconds of a series do not rise"),
        ((POINT._replace(step=0),), "out of bounds"),
        ((POINT._replace(tokens=-1),), "out of bounds"),
        ((POINT._replace(step=10**16),), "out of bounds"),
    ],
)
def test_a_series_that_no_training_has_is_no_score(name: str, series: tuple[TrainingPoint, ...], said: str) -> None:
    line = json.dumps(asdict(score(1, **{name: series}))).encode()
    with pytest.raises(Unacceptable, match=said):
        decode_score(line)


@pytest.mark.parametrize("point", ["[7,1e999,640,0.25]", "[7,NaN,640,0.25]", "[7.5,1,640,0.25]", '[7,"1",640,0.25]', "[7,1,640]",
                                   "[7,1,640,0.25,1]", "[true,1,640,0.25]", '{"step":7}', "7", "[[7,1,640,0.25]]"])  # fmt: skip
@pytest.mark.parametrize("ours", [False, True])
def test_a_point_is_four_finite_numbers(point: str, ours: bool) -> None:
    line = json.dumps(asdict(score(1))).replace('"series": []', f'"series": [{point}]', 1).encode()
    assert point.encode() in line
    with pytest.raises(Unacceptable):
        decode_score(line, ours=ours)

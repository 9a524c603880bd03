"""Windows of a text split: written, cut, read back, and matched with the profile they were made for."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_contract.architectures import SubmissionError
from aira_contract.files import ARCHITECTURE_FILE
from aira_evaluator.compose.submission import read_submission
from aira_evaluator.compose.text.profiles import PROFILES, worst_loss
from aira_evaluator.compose.text.windows import (
    TOKENS,
    StreamWriter,
    TextManifest,
    Windows,
    is_text_split,
    read_text_split,
    text_profile,
    write_text_manifest,
)
from aira_evaluator.split_manifest import DataError

DOCUMENTS = st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=9), max_size=8)
ABOUT = TextManifest(
    corpus="babistories", profile="cpu", split="train", primitives=("M", "mA"), source="synthetic", vocabulary=512,
    length=64, windows=2, tokens=129, tokens_sha256="0" * 64, tokenizer_sha256="1" * 64, documents=1,
)  # fmt: skip


@given(DOCUMENTS, st.integers(0, 40))
def test_a_stream_holds_the_documents_up_to_its_limit(documents: list[list[int]], limit: int) -> None:
    file = io.BytesIO()
    writer = StreamWriter(file, limit)
    for document in documents:
        writer.append(np.array(document, dtype=np.uint16))
    flat = [token for document in documents for token in document]
    written = np.frombuffer(file.getvalue(), "<u2").tolist()
    assert written == flat[:limit]
    assert writer.tokens == len(written)
    assert writer.full == (len(flat) >= limit)
    assert writer.sha256 == hashlib.sha256(file.getvalue()).hexdigest()


@given(st.integers(1, 7), st.integers(0, 12), st.data())
def test_a_part_of_a_part_is_a_part(length: int, count: int, data: st.DataObject) -> None:
    stream = np.arange(length * count + 1, dtype=np.uint16)
    whole = Windows(stream, length, 0, count)
    start, stop = sorted(data.draw(st.lists(st.integers(0, count), min_size=2, max_size=2)))
    part = whole.part(start, stop)
    assert len(part) == stop - start
    assert part.tokens().tolist() == list(range(start * length, stop * length + 1))
    inner = data.draw(st.integers(0, stop - start))
    assert part.part(inner, len(part)).tokens().tolist() == whole.part(start + inner, stop).tokens().tolist()


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (0, 4), (2, 1), (4, 4)])
def test_windows_that_are_not_there_are_an_error(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match=f"no windows {start} to {stop} among 3"):
        Windows(np.zeros(10, np.uint16), 3, 0, 3).part(start, stop)


def split(folder: Path, manifest: TextManifest, tokens: int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / TOKENS).write_bytes(np.arange(tokens, dtype="<u2").tobytes())
    write_text_manifest(folder, manifest)
    return folder


def test_a_split_comes_back_as_its_manifest_says(tmp_path: Path) -> None:
    windows, manifest = read_text_split(split(tmp_path / "train", ABOUT, 129))
    assert manifest == ABOUT
    assert (len(windows), windows.length) == (2, 64)
    assert windows.tokens().tolist() == list(range(129))
    assert is_text_split(tmp_path / "train")
    assert not is_text_split(tmp_path)


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [({}, 128), ({}, 130), ({"windows": 3}, 129), ({"tokens": 128}, 128), ({"windows": 2, "length": 65}, 129)],
)
def test_a_stream_of_another_size_than_recorded_is_named(tmp_path: Path, changes: dict[str, int], tokens: int) -> None:
    folder = split(tmp_path / "train", replace(ABOUT, **changes), tokens)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=rf"tokens\.bin: {2 * tokens} bytes, expected \d+ tokens of 2 bytes"):
        read_text_split(folder)


def test_a_split_without_its_stream_or_manifest_is_named(tmp_path: Path) -> None:
    folder = split(tmp_path / "train", ABOUT, 129)
    (folder / TOKENS).unlink()
    with pytest.raises(DataError, match=r"tokens\.bin: No such file"):
        read_text_split(folder)
    with pytest.raises(DataError, match=r"manifest\.json: No such file"):
        read_text_split(tmp_path)


def test_every_profile_is_found_by_what_a_split_of_it_says() -> None:
    for corpus, profiles in PROFILES.items():
        for name, profile in profiles.items():
            about = replace(
                ABOUT, corpus=corpus, profile=name, vocabulary=profile.vocabulary, length=profile.length
            )  # fmt: skip
            assert text_profile(about) is profile
            assert profile.name == name
            assert profile.worst_loss == worst_loss(profile.vocabulary) > np.log(profile.vocabulary)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corpus": "wikipedia"}, "no profile 'cpu' of a corpus 'wikipedia'"),
        ({"profile": "tiny"}, "no profile 'tiny' of a corpus 'babistories'"),
        ({"vocabulary": 511}, "the data has 511 tokens and windows of 64, expected 512 and 64; prepare it again"),
        ({"length": 65}, "the data has 512 tokens and windows of 65"),
    ],
)
def test_a_split_of_no_profile_known_is_refused(changes: dict[str, str | int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        text_profile(replace(ABOUT, **changes))  # type: ignore[arg-type]


def test_splits_made_together_say_so() -> None:
    assert replace(ABOUT, split="test", documents=9, seed_set="final").belongs_to == ABOUT.belongs_to
    for name in ("corpus", "profile", "source", "tokenizer_sha256"):
        assert replace(ABOUT, **{name: "other"}).belongs_to != ABOUT.belongs_to  # type: ignore[arg-type]


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_architecture_of_the_task_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    try:
        found = read_submission(path, ("M", "mA"))
    except SubmissionError:
        return
    assert set(found) <= {"M", "mA"}


def test_a_submission_is_read_through_a_link_and_refused_where_it_is_no_file(tmp_path: Path) -> None:
    text = 'architecture\n"' + ",".join(["mA", "M"] * 8) + '"\n'
    (tmp_path / "kept").write_text(text)
    (tmp_path / ARCHITECTURE_FILE).symlink_to(tmp_path / "kept")
    assert read_submission(tmp_path / ARCHITECTURE_FILE, ("M", "mA")) == ("mA", "M") * 8
    with pytest.raises(SubmissionError):
        read_submission(tmp_path / ARCHITECTURE_FILE, ("Mb",))
    for wrong, message in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file"),
        (Path("/dev/null"), "not a"),
    ):
        with pytest.raises(SubmissionError, match=message):
            read_submission(wrong, ("M", "mA"))


def test_a_submission_is_never_read_beyond_its_bound(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"architecture\n" + b"M" * 10_000)
    with pytest.raises(SubmissionError, match=r"4,?096|large|KiB"):
        read_submission(tmp_path / "large", ("M", "mA"))

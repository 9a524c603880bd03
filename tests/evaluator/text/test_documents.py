"""Reading public text: every format gives the same texts, and anything damaged is one line that names the file."""

import base64
import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from aira_evaluator.split_manifest import DataError
from aira_evaluator.text import documents
from aira_evaluator.text.documents import read_documents
from aira_evaluator.text.parquet import read_rows

# Made by `7z a -mtm=off -mx=1` of p7zip 16.02 from two files of JSON strings: three texts, packed by LZMA2.
ARCHIVE = base64.b64decode(
    "N3q8ryccAASul99rmgAAAAAAAAAgAAAAAAAAALVaD1QBADkiVGhlIGNhdCBzYXQuIgoiQ2FmXHUwMGU5IFx1ZDgzZFx1ZGUwMCIKIk9uZSBtb3"
    "JlIHN0b3J5LiIKAAAAgTMHrg/R1LcIoJCgd17FQBiP6W1nuuDkzcllRZQYpYqxQQyFAoBy1Pu8VJMO90UOfENMb9MnIJ2jAPS15xQ8k37xP7o/"
    "H+xMjEop0BQL33x4HHYfGpP0/6KtFwY+AQlcAAcLAQABIwMBAQVdABAAAAx+CgGpMvURAAA="
)
# The same tool with `-m0=PPMd`, which is not among the methods that are read.
OTHER_METHOD = base64.b64decode(
    "N3q8ryccAATxkaBPFQAAAAAAAABaAAAAAAAAAJk22joAIi+pertP6ZjhbEldpewodpFD/AABBAYAAQkVAAcLAQABIwMEAQUGAAABAAwSAAgKAR"
    "Ya8CIAAAUBGQYAAAAAAAARHwB2AGEAbABkAGEAdABhAHMAZQB0AC4AdAB4AHQAAAAZABUGAQAggKSBAAA="
)
STORIES = ["The cat sat.", "Caf\u00e9 \U0001f600", "One more story."]

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=8)


def _json_lines(texts: Sequence[str]) -> bytes:
    return "".join(json.dumps({"text": text, "url": "x"}) + "\n" for text in texts).encode()


def _parquet(texts: Sequence[str]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table({"id": list(range(len(texts))), "text": list(texts)}), sink, row_group_size=3)
    return bytes(sink.getvalue())


WRITERS: dict[str, Callable[[Sequence[str]], bytes]] = {
    "a.jsonl": _json_lines,
    "a.txt": lambda texts: "".join(json.dumps(text) + "\n" for text in texts).encode(),
    "a.jsonl.gz": lambda texts: gzip.compress(_json_lines(texts)),
    "a.jsonl.zst": lambda texts: zstandard.compress(_json_lines(texts)),
    "a.parquet": _parquet,
}


@pytest.mark.parametrize("name", list(WRITERS))
@given(texts=TEXTS)
@settings(max_examples=25, deadline=None)
def test_every_format_gives_back_every_text(
    tmp_path_factory: pytest.TempPathFactory, name: str, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("text") / name
    path.write_bytes(WRITERS[name](texts))
    assert list(read_documents([path])) == texts


def test_packed_frames_may_follow_one_another(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(b"".join(zstandard.compress(_json_lines([text])) for text in STORIES))
    assert list(read_documents([path])) == STORIES


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_a_truncated_file_is_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    rng = random.Random(0)
    whole = WRITERS[name]([" ".join(str(rng.random()) for _ in range(50)) for _ in range(20)])
    path = tmp_path / name
    for length in (len(whole) - 1, len(whole) // 2, 5):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"^{name}: truncated") as caught:
            list(read_documents([path]))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": "b', "line 2 is not JSON"),
        ("a.jsonl", b'{"title": "a"}\n', "line 1 holds no text"),
        ("a.jsonl", b"\xff\xfe\n", "line 1 is not JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("a.csv", b"text\n", "an unknown kind"),
        ("a.parquet", b"PAR1 and nothing else", "truncated or damaged"),
        ("a.7z", b"not an archive, whatever its name says", "not a 7z file"),
        ("a.7z", OTHER_METHOD, "method 030401.*--source"),
    ],
)
def test_what_is_no_text_set_is_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(read_documents([path]))
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_without_text_says_what_it_has(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"title": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column 'text' among title"):
        list(read_documents([tmp_path / "a.parquet"]))
    parquet.write_table(pyarrow.table({"text": [7]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column 'text' is of int64"):
        list(read_documents([tmp_path / "a.parquet"]))
    parquet.write_table(pyarrow.table({"text": ["a", "b", None]}), tmp_path / "a.parquet", row_group_size=2)
    with pytest.raises(DataError, match="row 0 of row group 1 holds no text"):
        list(read_documents([tmp_path / "a.parquet"]))


@pytest.mark.parametrize("most", [1, 3, 100])
def test_rows_of_parquet_come_in_order_and_know_their_group(tmp_path: Path, most: int) -> None:
    texts = [f"text {number}" if number % 5 else None for number in range(23)]
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet", row_group_size=10)
    batches = list(read_rows(tmp_path / "a.parquet", most))
    assert [text for rows in batches for text in rows.texts] == texts
    assert all(len(rows.texts) <= most for rows in batches)
    places = [(rows.group, rows.first + place) for rows in batches for place in range(len(rows.texts))]
    assert places == [divmod(number, 10) for number in range(23)]


def test_half_a_surrogate_pair_becomes_something_a_file_can_hold(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a\\ud83db"}\n')
    assert list(read_documents([tmp_path / "a.jsonl"])) == ["a?b"]


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_an_archive_is_read_whole_or_in_volumes(tmp_path: Path, parts: int) -> None:
    size = -(-len(ARCHIVE) // parts)
    volumes = []
    for number in range(parts):
        volumes.append(tmp_path / f"stories.7z.{number + 1:03d}")
        volumes[-1].write_bytes(ARCHIVE[number * size : (number + 1) * size])
    assert list(read_documents(volumes)) == STORIES
    if parts > 1:
        with pytest.raises(DataError, match="a volume is missing"):
            list(read_documents(volumes[:-1]))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.7z"])
def test_a_file_that_is_not_there_is_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"^{name}: .*No such file") as caught:
        list(read_documents([tmp_path / name]))
    assert "\n" not in str(caught.value)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its end is missing or far away: what is kept of a line is bounded."""
    monkeypatch.setattr(documents, "LONGEST_LINE_BYTES", 1000)
    monkeypatch.setattr(documents, "CHUNK_BYTES", 64)
    line = json.dumps({"text": "x" * 980}).encode() + b"\n"
    (tmp_path / "a.jsonl").write_bytes(line * 3)
    assert len(list(read_documents([tmp_path / "a.jsonl"]))) == 3
    for end in (b"", b'"}\n'):
        (tmp_path / "a.jsonl").write_bytes(line + b'{"text": "' + b"x" * 2000 + end)
        texts = read_documents([tmp_path / "a.jsonl"])
        assert len(next(texts)) == 980
        with pytest.raises(DataError, match="a line of more than"):
            next(texts)


def test_files_come_in_the_order_they_are_named_and_archives_first(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text('"b"\n\n  \n"c"')
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "z.7z").write_bytes(ARCHIVE)
    paths = [tmp_path / name for name in ("b.txt", "a.jsonl", "z.7z")]
    assert list(read_documents(paths)) == [*STORIES, "b", "c", "a"]


@pytest.mark.parametrize("value", ["7", "null", '{"text": 7}', '{"text": null}', "[]", '{"TEXT": "a"}', "true"])
def test_what_holds_no_text_says_where(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'"fine"\n{value}\n')
    with pytest.raises(DataError, match=r"^a\.jsonl: line 2 holds no text$"):
        list(read_documents([tmp_path / "a.jsonl"]))

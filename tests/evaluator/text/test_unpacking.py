"""Packed files that unpack to far more than they are: refused in a line, in little memory, in every format."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow  # type: ignore[import-untyped]
import pytest
import zstandard
from pyarrow import parquet

from aira_evaluator.lra.prepare import aan, imdb
from aira_evaluator.lra.prepare.pools import PoolBuilder
from aira_evaluator.split_manifest import DataError
from aira_evaluator.text import documents, unpacking
from aira_evaluator.text.documents import read_documents
from evaluator.text.test_documents import ARCHIVE

LINE = (json.dumps("x" * 1000) + "\n").encode()


def zst(path: Path) -> None:
    with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as packed:
        for _ in range(1024):  # 1 GiB
            packed.write(bytes(1 << 20))


def gz(path: Path) -> None:
    member = gzip.compress(LINE * 1000, 9)
    path.write_bytes(gzip.compress(bytes(1 << 20), 9) * 300 + member)


def lines_gz(path: Path) -> None:
    path.write_bytes(gzip.compress(LINE * 1000, 9) * 200)


def repeated_parquet(path: Path) -> None:
    text = "x" * 1_000_000
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 3000, pyarrow.int32()), pyarrow.array([text]))
    parquet.write_table(pyarrow.table({"text": column}), path, compression="zstd")


BOMBS: dict[str, Callable[[Path], None]] = {
    "a.jsonl.zst": zst, "a.jsonl.gz": gz, "b.jsonl.gz": lines_gz, "a.parquet": repeated_parquet,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_line_in_little_memory(tmp_path: Path, name: str) -> None:
    BOMBS[name](tmp_path / name)
    assert (tmp_path / name).stat().st_size < 3 << 20
    code = (
        "import sys, resource; from pathlib import Path\n"
        "from aira_evaluator.text.documents import read_documents\n"
        "from aira_evaluator.split_manifest import DataError\n"
        "if sys.argv[1].endswith('parquet'): import pyarrow.parquet\n"
        "begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    for _ in read_documents([Path(sys.argv[1])]): pass\n"
        "except DataError as error: print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, timeout=120, check=True
    )
    refusal, grown_mib = done.stdout.strip().splitlines()
    assert name in refusal
    assert int(grown_mib) < 500


def test_one_step_of_zstandard_is_bounded(tmp_path: Path) -> None:
    zst(tmp_path / "a.jsonl.zst")
    pieces = documents._unzstd(tmp_path / "a.jsonl.zst")
    assert max(len(next(pieces)) for _ in range(20)) <= 64 << 20


def packed_by(name: str, path: Path) -> None:
    stories = b"".join(json.dumps({"text": f"story {number}"}).encode() + b"\n" for number in range(5))
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(stories))
    elif name.endswith(".zst"):
        path.write_bytes(zstandard.compress(stories))
    elif name.endswith(".7z.001"):
        path.write_bytes(ARCHIVE)
    else:
        parquet.write_table(pyarrow.table({"text": ["story"] * 5}), path)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.7z.001", "a.parquet"])
def test_every_format_has_an_allowance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    packed_by(name, tmp_path / name)
    assert len(list(read_documents([tmp_path / name]))) >= 3
    monkeypatch.setattr(unpacking, "SPARE_BYTES", 0)
    monkeypatch.setattr(unpacking, "MOST_RATIO", 0)
    with pytest.raises(DataError, match="unpack to more than"):
        list(read_documents([tmp_path / name]))


def tar_gz(path: Path, name: str, content: bytes, copies: int = 1) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for _ in range(copies):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_archives_have_an_allowance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "SPARE_BYTES", 1 << 20)
    monkeypatch.setattr(aan, "LONGEST_LINE_BYTES", 1 << 16)
    tar_gz(tmp_path / imdb.ARCHIVE, "elsewhere", bytes(4 << 20), copies=20)
    with pytest.raises(DataError, match="unpack to more than"):
        imdb.read_imdb(tmp_path, {part: PoolBuilder(tmp_path / part) for part in imdb.PARTS})
    tar_gz(tmp_path / aan.ARCHIVE, aan.FILES["train"], b"x" * (1 << 18))
    with pytest.raises(DataError, match="line 1: longer than"):
        aan.read_aan(tmp_path, {part: PoolBuilder(tmp_path / part) for part in aan.FILES})


def test_lines_are_joined_once_however_they_come() -> None:
    whole = b"a\nbc\n\nlast"
    for size in range(1, len(whole) + 1):
        chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert list(documents._lines(chunks, "x")) == [b"a", b"bc", b"", b"last"]

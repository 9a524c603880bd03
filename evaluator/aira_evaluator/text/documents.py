"""Documents of public text sets, read one at a time from the files as they are published.

JSON lines (an object with a `text`, or the text itself as a JSON string), plain or packed by gzip or Zstandard, parquet
with a `text` column, and 7z archives of such files. Anything damaged is one `DataError` that names file and place.
Memory is one document, one row group's batch or one decompression window; what a file unpacks to is bounded
(`unpacking`). Not covered: cleaning of texts.
"""

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.parquet import read_rows
from aira_evaluator.text.seven_zip import read_members
from aira_evaluator.text.unpacking import Allowance

CHUNK_BYTES = 1 << 20
LONGEST_LINE_BYTES = 64 << 20
_ZSTD_STEP_BYTES = 1 << 10
"""Packed bytes at a time. A block of 4 bytes can stand for 128 KiB, so a step for 32 MiB and not for 32 GiB."""
_ZSTD_WINDOW_BYTES = 1 << 27
_PARQUET_ROWS = 256


def read_documents(paths: Sequence[Path]) -> Iterator[str]:
    """Texts of all files, in order. Volumes of one 7z archive (`.7z.001` and on) count as one file.

    Raises:
        DataError: a file is absent, of an unknown kind, or damaged.
    """
    volumes = [path for path in paths if ".7z" in path.name]
    rest = [path for path in paths if path not in volumes]
    for files in ([volumes] if volumes else []) + [[path] for path in rest]:
        try:
            yield from _archive(files) if files is volumes else _read_file(files[0])
        except OSError as error:
            raise DataError(f"{files[0].name}: {error.strerror or error}") from None


def _archive(volumes: Sequence[Path]) -> Iterator[str]:
    allowance = Allowance(sum(path.stat().st_size for path in volumes), volumes[0].name)
    with contextlib.closing(read_members(volumes)) as members:  # ends the process that unpacks
        for name, chunks in members:
            yield from _json_lines(allowance.watch(chunks), f"{volumes[0].name}: {name}")


def _read_file(path: Path) -> Iterator[str]:
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".gz":
        yield from _json_lines(_allowance(path).watch(_gunzip(path)), path.name)
    elif path.suffix in {".zst", ".zstd"}:
        yield from _json_lines(_allowance(path).watch(_unzstd(path)), path.name)
    elif path.suffix in {".jsonl", ".json", ".txt"}:
        with path.open("rb") as file:
            yield from _json_lines(iter(lambda: file.read(CHUNK_BYTES), b""), path.name)
    else:
        raise DataError(f"{path.name}: an unknown kind of file")


def _allowance(path: Path) -> Allowance:
    return Allowance(path.stat().st_size, path.name)


def _json_lines(chunks: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(_lines(chunks, name), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}: line {number} is not JSON: {error}") from None
        text = value.get("text") if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise DataError(f"{name}: line {number} holds no text")
        # JSON can spell half of a surrogate pair, which no text file can hold.
        yield text.encode("utf-8", "replace").decode("utf-8")


def _lines(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    begun: list[bytes] = []  # of a line: joined once, when it ends
    length = 0
    for chunk in chunks:
        first, *more = chunk.split(b"\n")
        begun.append(first)
        length += len(first)
        if length > LONGEST_LINE_BYTES:
            raise DataError(f"{name}: a line of more than {LONGEST_LINE_BYTES >> 20} MiB")
        if more:
            yield b"".join(begun)
            yield from more[:-1]
            begun, length = [more[-1]], len(more[-1])
    if length:
        yield b"".join(begun)


def _gunzip(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path.name}: truncated or damaged: {error}") from None


def _unzstd(path: Path) -> Iterator[bytes]:
    import zstandard

    frame = None
    try:
        with path.open("rb") as file:
            while chunk := file.read(_ZSTD_STEP_BYTES):
                while chunk:
                    frame = frame or zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()
                    if unpacked := frame.decompress(chunk):
                        yield unpacked
                    chunk, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    except zstandard.ZstdError as error:
        raise DataError(f"{path.name}: truncated or damaged: {error}") from None
    if frame is not None:
        raise DataError(f"{path.name}: truncated: it ends in the middle of a Zstandard frame")


def _parquet(path: Path) -> Iterator[str]:
    for rows in read_rows(path, _PARQUET_ROWS):
        for number, text in enumerate(rows.texts, start=rows.first):
            if text is None:
                raise DataError(f"{path.name}: row {number} of row group {rows.group} holds no text")
            yield text

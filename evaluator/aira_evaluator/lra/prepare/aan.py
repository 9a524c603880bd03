"""The pairs of ACL Anthology papers that the Long Range Arena's release holds, from its archive or unpacked.

Three files without header or quotes, one pair a line: label, two ids, two texts, separated by tabs. Lines go by as
they are read; the archive's other members, nearly all of its size, are skipped. Not covered: the papers' ids, which
the release does not explain.
"""

import tarfile
import zlib
from pathlib import Path
from typing import IO

from aira_evaluator.lra.prepare.pools import PoolBuilder
from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.unpacking import open_tar_gz

ARCHIVE = "lra_release.gz"
FILES = {part: f"new_aan_pairs.{part}.tsv" for part in ("train", "eval", "test")}
_LABELS = {b"0": 0, b"0.0": 0, b"1": 1, b"1.0": 1}
_FIELDS = 5
LONGEST_LINE_BYTES = 64 << 20


def read_aan(raw: Path, builders: dict[str, PoolBuilder]) -> dict[str, int]:
    """Add the pairs to the builders of `train`, `eval` and `test`; return how many had an empty text, by part.

    Raises:
        DataError: a file is absent, ends early, or has a line that is no pair.
    """
    unpacked = {part: raw / name for part, name in FILES.items()}
    try:
        if all(path.is_file() for path in unpacked.values()):
            empty = {}
            for part, path in unpacked.items():
                with path.open("rb") as lines:
                    empty[part] = _add_pairs(path.name, lines, builders[part])
            return empty
        return _from_archive(raw / ARCHIVE, builders)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{raw / ARCHIVE}: {getattr(error, 'strerror', None) or error or 'ends too early'}") from None


def _from_archive(path: Path, builders: dict[str, PoolBuilder]) -> dict[str, int]:
    parts = {name: part for part, name in FILES.items()}
    empty: dict[str, int] = {}
    with open_tar_gz(path) as archive:
        for member in archive:
            name = Path(member.name).name
            lines = archive.extractfile(member) if name in parts and member.isreg() else None
            if lines is not None and parts[name] not in empty:
                empty[parts[name]] = _add_pairs(name, lines, builders[parts[name]])
            if len(empty) == len(FILES):
                return empty
    missing = [name for part, name in FILES.items() if part not in empty]
    raise DataError(f"{path}: holds no {', '.join(missing)}")


def _add_pairs(name: str, lines: IO[bytes], builder: PoolBuilder) -> int:
    empty = 0
    for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE_BYTES + 1), b""), start=1):
        if len(line) > LONGEST_LINE_BYTES:
            raise DataError(f"{name} line {number}: longer than {LONGEST_LINE_BYTES >> 20} MiB")
        if not line.endswith(b"\n"):
            raise DataError(f"{name} line {number}: no line break; the file ends too early")
        fields = line.rstrip(b"\r\n").split(b"\t")
        if len(fields) != _FIELDS or fields[0] not in _LABELS:
            raise DataError(f"{name} line {number}: {len(fields)} fields, label {fields[0][:20]!r}; expected "
                            f"{_FIELDS} fields and a label of 0 or 1")  # fmt: skip
        if not fields[3] or not fields[4]:
            empty += 1
            continue
        builder.add(fields[3:], _LABELS[fields[0]])
    if not len(builder):
        raise DataError(f"{name}: holds no pair")
    return empty

"""How much a packed file may become: a multiple of its own size, whatever the format.

A few kilobytes can unpack to terabytes. Texts pack by 3 to 10, the most repetitive we met by less than 100.
Not covered: time, which the preparation's deadline ends, and memory, which every reader bounds by its own steps.
"""

import gzip
import io
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aira_evaluator.split_manifest import DataError

MOST_RATIO = 200
SPARE_BYTES = 64 << 20


class Allowance:
    """What one packed file may still become."""

    def __init__(self, packed_bytes: int, name: str) -> None:
        self._name, self._packed = name, packed_bytes
        self._left = SPARE_BYTES + MOST_RATIO * packed_bytes

    def use(self, unpacked_bytes: int) -> None:
        """Take note of so many bytes.

        Raises:
            DataError: there have been too many.
        """
        self._left -= unpacked_bytes
        if self._left < 0:
            raise DataError(
                f"{self._name}: {self._packed} bytes unpack to more than {MOST_RATIO} times as much and "
                f"{SPARE_BYTES >> 20} MiB"
            )

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks, counting their bytes against the allowance."""
        for chunk in chunks:
            self.use(len(chunk))
            yield chunk


@contextmanager
def open_tar_gz(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar archive packed by gzip, to be read member after member within its allowance."""
    with gzip.open(path) as unpacked:
        counted = _Counted(unpacked, Allowance(path.stat().st_size, path.name))
        with tarfile.open(fileobj=counted, mode="r|") as archive:
            yield archive


class _Counted(io.RawIOBase):
    """A stream whose bytes are counted as they are read."""

    def __init__(self, source: gzip.GzipFile, allowance: Allowance) -> None:
        self._source, self._allowance = source, allowance

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._allowance.use(len(data))
        return data

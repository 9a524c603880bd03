"""The IMDB reviews of Maas et al. 2011, from their archive or from a folder it was unpacked to.

Read are the labelled reviews, `aclImdb/{train,test}/{neg,pos}/<id>_<stars>.txt`, as bytes. The archive's order is
the file system's of whoever packed it, so reviews are put in the order of their names.
Not covered: the unlabelled reviews.
"""

import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from aira_evaluator.lra.prepare.pools import PoolBuilder
from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.unpacking import open_tar_gz

ARCHIVE = "aclImdb_v1.tar.gz"
FOLDER = "aclImdb"
PARTS = ("train", "test")
_MEMBER = re.compile(r"(?:\./)?aclImdb/(train|test)/(neg|pos)/(\d+_\d+\.txt)")
_LABELS = {"neg": 0, "pos": 1}
_MAX_REVIEW_BYTES = 1 << 20
_Review = tuple[str, str, str, bytes]


def read_imdb(raw: Path, builders: dict[str, PoolBuilder]) -> dict[str, int]:
    """Add the reviews to the builders of `train` and `test`; return how many were left out as empty, by part.

    Raises:
        DataError: neither archive nor folder is there, the archive is damaged, or a class of a part has no review.
    """
    reviews = sorted(_from_folder(raw / FOLDER) if (raw / FOLDER).is_dir() else _from_archive(raw / ARCHIVE))
    empty = dict.fromkeys(PARTS, 0)
    for part in PARTS:
        for name in _LABELS:
            if not any(review[:2] == (part, name) for review in reviews):
                raise DataError(f"{raw}: no review in {FOLDER}/{part}/{name}; the archive is not whole")
    for part, name, _, text in reviews:
        if text:
            builders[part].add([text], _LABELS[name])
        else:
            empty[part] += 1
    return empty


def _from_archive(path: Path) -> Iterator[_Review]:
    try:
        with open_tar_gz(path) as archive:
            for member in archive:
                match = _MEMBER.fullmatch(member.name)
                file = archive.extractfile(member) if match and member.isreg() else None
                if match and file:
                    yield match[1], match[2], match[3], file.read(_MAX_REVIEW_BYTES)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error or 'ends too early'}") from None


def _from_folder(folder: Path) -> Iterator[_Review]:
    try:
        for path in folder.glob("*/*/*.txt"):
            match = _MEMBER.fullmatch(f"{FOLDER}/{path.relative_to(folder).as_posix()}")
            if match and path.is_file():
                with path.open("rb") as file:
                    yield match[1], match[2], match[3], file.read(_MAX_REVIEW_BYTES)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from None

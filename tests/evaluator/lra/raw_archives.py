"""Small archives in the layout of the public ones."""

import io
import random
import tarfile
from pathlib import Path

from aira_evaluator.lra.prepare import aan, imdb

Member = tuple[str, bytes]


def write_archive(path: Path, members: list[Member]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def prose(seed: str, words: int = 60) -> bytes:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 8))) for _ in range(words)).encode()


def reviews(each: int) -> list[Member]:
    """`each` reviews of either class in either part, and some of what has to be passed over."""
    members = [("aclImdb/README", b"about"), ("aclImdb/train/unsup/0_0.txt", b"no label")]
    for part in imdb.PARTS:
        members += [
            (f"aclImdb/{part}/{name}/{number}_{7 if name == 'pos' else 2}.txt", prose(f"{part}{name}{number}"))
            for name in ("pos", "neg")
            for number in range(each)
        ]
    return members


def pair_line(label: object, first: bytes, second: bytes) -> bytes:
    return b"\t".join([f"{label}".encode(), b"P00", b"P01", first, second]) + b"\n"


def pairs(part: str, count: int) -> bytes:
    """Pairs over documents of their own, each document in two pairs."""
    return b"".join(
        pair_line(float(number % 2), prose(f"{part}{number}"), prose(f"{part}{number + 1}")) for number in range(count)
    )


def release(count: int) -> list[Member]:
    """The release's archive: pairs among files that are passed over."""
    folder = "lra_release/lra_release/tsv_data/"
    return [
        ("lra_release/lra_release/listops-1000/basic_train.tsv", b"Source\tTarget\n"),
        *((folder + name, pairs(part, count)) for part, name in aan.FILES.items()),
    ]

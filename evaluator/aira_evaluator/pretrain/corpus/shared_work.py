"""Pieces of work that processes of one machine share: each piece is done once, whoever does it.

A piece is done when its result is there, which appears as a whole. Whoever works on one holds a lock that the kernel
drops with the process: what a dead process had begun, another begins again. Not covered: several machines, whose locks
may not reach each other.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.1


@dataclass(frozen=True)
class WorkPiece:
    """One piece of work."""

    result: Path
    """A file that is there once the work is done."""
    make: Callable[[], None]
    """Does it, and writes the result last."""


def share(pieces: Sequence[WorkPiece], locks: Path, over: Callable[[], bool]) -> None:
    """Return when all pieces are done, having done those that no other process did.

    Args:
        pieces: the work, in the order in which it is begun.
        locks: the folder of locks, which may go once all is over.
        over: whether all of it was done long ago, and results may be gone.
    """
    while not over() and (missing := [piece for piece in pieces if not piece.result.exists()]):
        did = False
        for piece in missing:
            with _held(locks / f"{piece.result.name}.lock") as mine:
                if mine and not piece.result.exists() and not over():
                    piece.make()
                    did = True
        if not did:
            time.sleep(_POLL_S)


@contextmanager
def _held(lock: Path) -> Iterator[bool]:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # another process was done with all, and tidied up
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = True
    except BlockingIOError:
        mine = False
    try:
        yield mine
    finally:
        os.close(descriptor)

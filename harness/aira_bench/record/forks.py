"""Copies of a seed, for a worker that takes over from one of which nobody knows whether it is dead.

A worker that was paused, or cut off, may go on at any moment and write to the seed's folder by the names it knows: to
the journal, to scores, to files of the step that it was at. So who takes over does not go on in that folder. What is
vouched for is copied beside it, as `seeds/<seed>.<n>`, and moved to that name whole; from then on every reader looks
there (`RunFolder.seed`), and what a late worker writes is written into a folder that counts no more. Of two that copy
at a time one gets the name.

Files of finished steps are linked, since nobody writes to them again. Which were finished is read once, after the lease
was won: a line that a worker has heard to be safe (`aira_bench.leasing`) was on disk before.

Not covered: who may take over (`aira_bench.leasing`).
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from aira_bench.files import Unacceptable, entries_below, read_file, write_atomically
from aira_bench.record.chain import MOST_BYTES, read_chain
from aira_bench.record.confirmations import confirmed_files
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.journal import StepEnded, decode_journal, score_hashes
from aira_bench.record.scores import MOST_BYTES as MOST_SCORE_BYTES
from aira_bench.record.sealing import MOST_ENTRIES

_MAKING = ".fork-"
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)


def fork_path(run: RunFolder, seed: int, number: int) -> Path:
    """Return where the copy of a seed with that number is; 1 is the seed's first folder."""
    return run.path / "seeds" / (str(seed) if number == 1 else f"{seed}.{number}")


def newest_fork(run: RunFolder, seed: int, known: int = 1) -> int:
    """Return the number of the newest copy of a seed that can be seen, at least the one that is `known`."""
    while fork_path(run, seed, known + 1).is_dir():
        known += 1
    return known


def fork_seed(run: RunFolder, seed: int, known: int, check: Callable[[], None]) -> int:
    """Copy what is vouched for of a seed to a place of its own, and return the copy's number.

    Args:
        run: its folder.
        seed: which; there need be nothing of it yet.
        known: the newest copy that was heard of.
        check: raises where the seed is another's. Asked once it is known which copy is the newest: that one was made
            before anybody later, whose lines would be lost if it were copied once more.

    Raises:
        Unacceptable: what stands there cannot be read.
        MachineError: the machine failed; a copy is whole or not there.
    """
    (run.path / "seeds").mkdir(exist_ok=True)
    for dead in (run.path / "seeds").glob(f"{_MAKING}{seed}-*"):
        shutil.rmtree(dead, ignore_errors=True)
    while True:
        known = newest_fork(run, seed, known)
        check()
        made = run.path / "seeds" / f"{_MAKING}{seed}-{secrets.token_hex(8)}"
        try:
            _copy(run, SeedFolder(fork_path(run, seed, known)), made)
            made.rename(fork_path(run, seed, known + 1))
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            continue  # somebody else's copy, who may be late
        else:
            return known + 1
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _copy(run: RunFolder, source: SeedFolder, made: Path) -> None:
    made.mkdir()
    (made / "hidden").mkdir(mode=0o700)
    name = f"seeds/{source.path.name}"
    data = _read(run.path, f"{name}/journal.jsonl", MOST_BYTES)
    chain = read_chain(data)
    if chain.bodies:
        write_atomically(made / "journal.jsonl", data[: chain.whole_bytes], mode=0o600)
    events = decode_journal(chain)
    finished = [event for event in events if isinstance(event, StepEnded)]
    scores = _read(run.path, f"{name}/hidden/scores.jsonl", MOST_SCORE_BYTES).splitlines(keepends=True)
    if kept := scores[: len(score_hashes(events))]:
        write_atomically(made / "hidden" / "scores.jsonl", b"".join(kept), mode=0o600)
    for event in finished:
        _link(source.path, made, event.files)
    confirmed = _read(run.path, f"{name}/hidden/confirmed.jsonl", MOST_BYTES)
    if confirmed:
        whole = read_chain(confirmed).whole_bytes
        write_atomically(made / "hidden" / "confirmed.jsonl", confirmed[:whole], mode=0o600)
        _link(source.path, made, confirmed_files(confirmed[:whole]))
    calls = PurePosixPath("calls", f"{len(finished) + 1:04d}")  # what a model has answered is not paid for twice
    for call, _ in entries_below(source.path, calls, MOST_ENTRIES):
        write_atomically(made / call, _read(source.path, call, MOST_BYTES), mode=0o600)


def _read(root: Path, name: str, most: int) -> bytes:
    try:
        return read_file(root, name, most)
    except FileNotFoundError:
        return b""


def _link(source: Path, made: Path, names: "list[str] | dict[str, str]") -> None:
    """Have files at both places that nobody will write to; what cannot be linked is copied."""
    for name in names:
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise Unacceptable(f"{name!r} leads out of its folder")
        (made / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700 if name.startswith("hidden/") else 0o777)
        with contextlib.suppress(FileNotFoundError):  # whoever reads the copy says so
            try:
                os.link(source / name, made / name, follow_symlinks=False)
            except PermissionError:
                shutil.copyfile(source / name, made / name, follow_symlinks=False)

"""What this machine remembers of the runs it recorded, outside their folders.

A chain cut at its end is a shorter chain, and a folder that is gone says nothing. So for each chain that is written
here, the number of lines and the last seal are kept in `AIRA_HOME/keys/seen`, and a copy of each manifest: a run cut
short after it was written is named, and a board can say how often a seed was run, deleted runs included.

Not covered: runs recorded elsewhere, and users who remove this memory too.
"""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from aira_bench.files import Unacceptable, read_file, write_atomically
from aira_bench.record.chain import Chain
from aira_bench.record.manifest import Manifest, load_manifest

_NOTE = re.compile(r"(\d{1,12}) ([0-9A-Za-z_-]{1,200})\n")


@dataclass(frozen=True)
class SeenLength:
    """How far a chain had come when this machine last wrote to it."""

    lines: int = 0
    seal: str = ""

    def check(self, found: Chain | None) -> None:
        """Whether a chain is at least as long, and the same up to there; None is no chain at all.

        Raises:
            Unacceptable: it is shorter, or another.
        """
        seals = found.seals if found else ()
        if len(seals) < self.lines:
            raise Unacceptable(f"it has {len(seals)} whole lines, but {self.lines} were written here: its end was cut")
        if self.lines and seals[self.lines - 1] != self.seal:
            raise Unacceptable(f"line {self.lines} is not the one that was written here")


@dataclass(frozen=True)
class Witness:
    """The memory of one machine."""

    path: Path | None
    """None where nothing is remembered."""

    def begin(self, run_id: str, manifest: bytes) -> None:
        """Remember that a run began."""
        if self.path is not None:
            write_atomically(self.path / run_id / "manifest.json", manifest, mode=0o600)

    def note(self, run_id: str, chain: str, lines: int, seal: str) -> None:
        """Remember how far a chain has come."""
        if self.path is not None:
            write_atomically(self.path / run_id / chain, f"{lines} {seal}\n".encode(), mode=0o600)

    def recall(self, run_id: str, chain: str) -> SeenLength:
        """Return what is remembered of a chain. Ask before reading the chain, which may be growing."""
        if self.path is None:
            return SeenLength()
        try:
            note = _NOTE.fullmatch(read_file(self.path, f"{run_id}/{chain}", 1000, owned=True).decode("ascii"))
        except (FileNotFoundError, Unacceptable, UnicodeDecodeError):
            return SeenLength()  # of a run recorded elsewhere
        return SeenLength(int(note[1]), note[2]) if note else SeenLength()

    def forget(self, run_id: str, chain: str) -> None:
        """Remember nothing more of a chain, which its user has put aside."""
        if self.path is not None:
            (self.path / run_id / chain).unlink(missing_ok=True)

    def manifest(self, run_id: str, most_bytes: int) -> bytes | None:
        """Return the copy of a run's manifest; None where there is none that can be read."""
        if self.path is None:
            return None
        try:
            return read_file(self.path, f"{run_id}/manifest.json", most_bytes, owned=True)
        except (FileNotFoundError, Unacceptable):
            return None

    def unseen(self, seen: Container[str]) -> Iterator[tuple[Manifest, list[int]]]:
        """Manifests of runs recorded here other than `seen`, by run id, and the seeds that each began."""
        for folder in sorted(self.path.iterdir()) if self.path is not None and self.path.is_dir() else ():
            if folder.name in seen:
                continue
            try:
                manifest, _ = load_manifest(folder)
            except Unacceptable:
                continue
            begun = [seed for seed in manifest.plan.seeds if (folder / journal_name(seed)).is_file()]
            yield manifest, begun


RECORD = "record"
"""What a run's own record is called here."""


def journal_name(seed: int) -> str:
    """Return what the journal of a seed is called here."""
    return f"journal-{seed}"


def confirmed_name(seed: int) -> str:
    """Return what the confirmations of a seed are called here."""
    return f"confirmed-{seed}"

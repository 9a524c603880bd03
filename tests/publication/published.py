"""A board of generated, signed runs in a folder of its own, for tests of what goes out and of its check."""

import random
from dataclasses import dataclass
from pathlib import Path

from aira_bench.boards.board import tables_of
from aira_bench.files import write_atomically
from aira_bench.keys import KeyFolder, KeyRing, MachineKey
from aira_bench.publication.files import write_published
from aira_bench.publication.verification import Verified, read_board, verify
from aira_bench.record.folder import list_runs
from aira_bench.record.run_record import read_runs
from generated_runs import manifest, write_run

KEY = MachineKey(b"0" * 32)
STRANGER = MachineKey(b"1" * 32)


@dataclass(frozen=True)
class Place:
    """A machine's folders with runs and their board."""

    path: Path

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def board(self) -> Path:
        return self.path / "board"

    @property
    def ring(self) -> KeyRing:
        return KeyFolder(self.path / "home" / "keys").ring()

    def publish(self, left_out: dict[str, str] | None = None) -> None:
        """Write the board of all runs."""
        records, faults = read_runs(list_runs(self.runs), self.ring)
        assert not faults
        write_published(tables_of(records, self.ring, left_out), records, self.ring, left_out or {}, self.board)

    def verify(self, **wishes: object) -> Verified:
        """Check the board against the runs."""
        return verify(read_board(self.board), self.runs, self.ring, **wishes)  # type: ignore[arg-type]


def make_place(path: Path, key: MachineKey = KEY, **changes: object) -> Place:
    """Two experiments of two seeds on one task, one of them run twice, and one on another task."""
    place = Place(path)
    write_atomically(path / "home" / "keys" / "machine.key", f"{key.secret.hex()}\n".encode(), mode=0o600)
    for name, agent, seeds, task in (
        ("evolution-a", "evolution", (0, 1), "mad-2p"), ("evolution-b", "evolution", (1, 2), "mad-2p"),
        ("random-a", "random", (0, 1), "mad-2p"), ("random-b", "random", (0,), "lra-text"),
    ):  # fmt: skip
        values = {"task_title": task, "task_name": f"Task{task}"} | changes
        record = manifest(name, seeds=seeds, steps=4, agent=agent, **values)
        write_run(place.runs, record, key=key, seen=path / "home" / "keys" / "seen", invalid_share=0.1)
    return place


def changed_byte(content: bytes, generator: random.Random) -> bytes:
    """The content with one byte changed."""
    place = generator.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << generator.randrange(8))]) + content[place + 1 :]

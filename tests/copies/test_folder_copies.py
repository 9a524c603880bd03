"""Copies of a folder on object storage: what was acknowledged stays, what is late is refused, whatever is lost between."""

import hashlib
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aira_bench.copies.commit import PIECE_BYTES, Commit, Piece, encode_commit, pack_pieces, unpack_pieces
from aira_bench.copies.folder_copy import FolderCopy
from aira_bench.errors import MachineError, RunStateError
from aira_bench.leasing.lease import LeaseLost
from aira_bench.shared_store.in_memory import Faults, MemoryStore, Objects

FOLDER = "content/0"
FAULTS = Faults(lost_before=0.05, lost_after=0.1, repeated=0.1, stale=0.2)
Content = dict[str, bytes]
WHICH = st.integers(0, 59)
"""Of up to six attempts each as often as another."""


def copy_at(path: Path, objects: Objects, faults: Faults | None = None, seed: int = 0) -> FolderCopy:
    store = MemoryStore(objects, faults=faults, rng=random.Random(seed))
    return FolderCopy(store, FOLDER, path, frozenset({"compiled"}), pause=lambda seconds: None)


def content(path: Path) -> Content:
    return {str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}


def read_anew(objects: Objects, path: Path) -> Content:
    """What a reader finds who has never looked before."""
    copy_at(path, objects).pull()
    return content(path)


def write(path: Path, name: str, data: bytes, *, append: bool = False) -> None:
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    with (path / name).open("ab" if append else "wb") as file:
        file.write(data)


def test_a_copy_is_what_was_pushed_whatever_became_of_its_files(tmp_path: Path) -> None:
    objects, large = Objects(), random.Random(1).randbytes(2 * PIECE_BYTES + 5)
    mine = copy_at(tmp_path / "mine", objects)
    mine.take_over(1)
    steps: list[tuple[str, bytes | None, bool]] = [
        ("journal.jsonl", b"one\n", True), ("nodes/0001/large", large, False), ("hidden/scores.jsonl", b"1\n2\n", True),
        ("journal.jsonl", b"two\n", True), ("empty", b"", False), ("nodes/0001/solution.py", b"code", False),
        ("hidden/scores.jsonl", b"1\n", False), ("nodes/0001/solution.py", b"other", False), ("empty", None, False),
        ("journal.jsonl", random.Random(2).randbytes(3 * PIECE_BYTES), True), ("a name with spaces", b"x", False),
        ("hidden/scores.jsonl", b"3\n4\n5\n", False), ("hidden/scores.jsonl", b"", False),
    ]  # fmt: skip
    for number, (name, data, append) in enumerate(steps):
        if data is None:
            (mine.path / name).unlink()
        else:
            write(mine.path, name, data, append=append)
        mine.push()
        assert read_anew(objects, tmp_path / f"reader-{number}") == content(mine.path), name
    before = len(objects.versions)
    mine.push()
    assert len(objects.versions) == before, "nothing new, nothing asked"
    write(mine.path, "compiled/program", b"native code")
    write(mine.path, ".journal.jsonl.abc.tmp", b"half")
    mine.push()
    assert len(objects.versions) == before


def test_small_steps_take_one_object_and_appended_lines_are_not_sent_twice(tmp_path: Path) -> None:
    objects = Objects()
    mine = copy_at(tmp_path / "mine", objects)
    mine.take_over(1)
    for step in range(30):
        before = set(objects.versions)
        write(mine.path, "journal.jsonl", random.Random(step).randbytes(2000), append=True)
        write(mine.path, f"nodes/{step:04d}/solution.py", b"code" * 100)
        mine.push()
        (made,) = set(objects.versions) - before
        assert len(objects.versions[made][-1].data or b"") < 4000


def test_an_earlier_attempt_adds_nothing_once_a_later_one_has_begun(tmp_path: Path) -> None:
    objects = Objects()
    early, late = copy_at(tmp_path / "early", objects), copy_at(tmp_path / "late", objects)
    early.take_over(1)
    write(early.path, "journal.jsonl", b"early\n", append=True)
    early.push()
    late.take_over(2)
    assert content(late.path) == {"journal.jsonl": b"early\n"}
    write(early.path, "journal.jsonl", b"too late\n", append=True)
    for _ in range(2):
        with pytest.raises(LeaseLost):
            early.push()
    with pytest.raises(LeaseLost):
        copy_at(tmp_path / "slow", objects).take_over(1)
    write(late.path, "journal.jsonl", b"late\n", append=True)
    late.push()
    assert read_anew(objects, tmp_path / "reader") == {"journal.jsonl": b"early\nlate\n"}


def test_who_reads_journals_alone_asks_for_no_packs(tmp_path: Path) -> None:
    objects = Objects()
    mine, other = copy_at(tmp_path / "mine", objects), copy_at(tmp_path / "other", objects)
    mine.take_over(1)
    write(mine.path, "journal.jsonl", b"line\n", append=True)
    write(mine.path, "nodes/0001/artifact", random.Random(1).randbytes(1_000_000))
    mine.push()
    objects.versions = {name: each for name, each in objects.versions.items() if not name.startswith("packs/")}
    other.pull(chains_only=True)
    assert content(other.path) == {"journal.jsonl": b"line\n"}
    with pytest.raises(MachineError, match="cannot be seen"):
        copy_at(tmp_path / "third", objects).pull()


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../b", "a//b", ""])
def test_what_a_bucket_says_leads_nowhere_else(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match=r"leads out|too_long|at least"):
        Piece(path, 0, 1, 1)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(b"x")
    import zlib

    data = zlib.decompress(pack_pieces(tmp_path / "in", [Piece("file", 0, 1, 1)]))
    with pytest.raises(RunStateError, match="no pack of this version"):
        unpack_pieces(zlib.compress(data.replace(b'"file"', b'"%s"' % path.encode())), tmp_path / "in", "a pack")
    assert {each.name for each in tmp_path.rglob("*")} == {"in", "file"}


@pytest.mark.parametrize("data", [b"", b"{}\n", b'{"schema":2}\n', b"\xff\n", encode_commit(Commit(1, "x"), b"junk")])
def test_what_is_no_commit_is_named(tmp_path: Path, data: bytes) -> None:
    objects = Objects()
    MemoryStore(objects).create(f"{FOLDER}/00000001", data)
    with pytest.raises(RunStateError, match=r"content/0/1 is no (commit|pack) of this version"):
        copy_at(tmp_path / "mine", objects).pull()


@dataclass
class Attempt:
    """One attempt at the folder, which may be late."""

    number: int
    copy: FolderCopy
    lines: int = 0
    acknowledged: int = 0
    is_over: bool = False


class Machine(RuleBasedStateMachine):
    """Workers that take over from each other, die anywhere and come late, on storage that loses, repeats and delays."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="copies-"))
        self.objects, self.rng = Objects(), random.Random(seed)
        self.attempts: list[Attempt] = []
        self.safe: list[bytes] = []
        """Lines of which a worker was told that they are safe, in order."""
        self.read = 0

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root)

    @rule()
    def take_over(self) -> None:
        number = len(self.attempts) + 1
        copy = copy_at(self.root / f"worker-{number}", self.objects, FAULTS, self.rng.randrange(2**32))
        attempt = Attempt(number, copy)
        self.attempts.append(attempt)
        try:
            copy.take_over(number)
        except MachineError:
            attempt.is_over = True  # as a worker gives such a unit back
        except LeaseLost:
            raise AssertionError("nobody came later") from None
        else:
            lines = lines_of(content(copy.path))
            assert lines[: len(self.safe)] == self.safe, "who takes over has every safe line"
            self.safe = lines

    @rule(which=WHICH, bytes_=st.sampled_from([0, 10, 100_000]), pushes=st.booleans())
    def take_step(self, which: int, bytes_: int, pushes: bool) -> None:
        attempt = self.going_on(which)
        if attempt is None:
            return
        attempt.lines += 1
        name, artifact = f"{attempt.number}-{attempt.lines}", self.rng.randbytes(bytes_)
        write(attempt.copy.path, f"nodes/{name}", artifact)
        line = f"{name} {hashlib.sha256(artifact).hexdigest()}\n".encode()
        write(attempt.copy.path, "journal.jsonl", line, append=True)
        if not pushes:
            return
        began = [each.number for each in self.attempts if each.number > attempt.number and not each.is_over]
        try:
            attempt.copy.push()
        except LeaseLost:
            attempt.is_over = True
            assert len(self.attempts) > attempt.number, "only a later attempt takes a unit"
        except MachineError:
            pass  # it may be there: the next push says so
        else:
            assert not began, "a later attempt had begun before"
            self.safe = lines_of(content(attempt.copy.path))

    @rule(which=WHICH)
    def die(self, which: int) -> None:
        attempt = self.going_on(which)
        if attempt is not None:
            attempt.is_over = True

    def going_on(self, which: int) -> Attempt | None:
        """One of the attempts that are not over, if any is.

        A copy's requests go out in several threads, so which of them fails is not the same each time. What is drawn
        must not depend on it.
        """
        attempts = [each for each in self.attempts if not each.is_over]
        return attempts[which % len(attempts)] if attempts else None

    @invariant()
    def a_new_reader_finds_every_safe_line_once_with_all_that_it_speaks_of(self) -> None:
        if not hasattr(self, "root"):
            return
        self.read += 1
        found = read_anew(self.objects, self.root / f"reader-{self.read}")
        lines = lines_of(found)
        assert lines[: len(self.safe)] == self.safe
        assert len(set(lines)) == len(lines)
        attempts = [int(line.partition(b"-")[0]) for line in lines]
        assert attempts == sorted(attempts), "no line of an attempt stands behind one of a later attempt"
        for line in lines:
            name, digest = line.decode().split()
            assert hashlib.sha256(found[f"nodes/{name}"]).hexdigest() == digest
        shutil.rmtree(self.root / f"reader-{self.read}", ignore_errors=True)


def lines_of(found: Content) -> list[bytes]:
    data = found.get("journal.jsonl", b"")
    assert not data or data.endswith(b"\n"), "no torn line"
    return data.splitlines()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)

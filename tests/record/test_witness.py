"""What a machine remembers of its runs outside their folders."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aira_bench.files import Unacceptable
from aira_bench.keys import MachineKey
from aira_bench.record.chain import ChainWriter, read_chain
from aira_bench.record.manifest import encode_manifest
from aira_bench.record.seen_chains import SeenLength, Witness, confirmed_name, journal_name
from generated_runs import manifest

KEY = MachineKey(b"1" * 32)
RUN = "a" * 12


def chain_of(path: Path, lines: int) -> bytes:
    writer = ChainWriter(path, read_chain(b""), KEY)
    for number in range(lines):
        writer.append(f'{{"line":{number}}}'.encode(), signed=True)
    writer.close()
    return path.read_bytes()


def test_a_chain_may_grow_but_neither_shrink_nor_change(tmp_path: Path) -> None:
    data = chain_of(tmp_path / "c", 3)
    three = read_chain(data)
    two = read_chain(b"".join(data.splitlines(keepends=True)[:2]))
    then = SeenLength(2, two.seal)
    then.check(two)
    then.check(three)
    with pytest.raises(Unacceptable, match="it has 1 whole lines, but 2 were written here: its end was cut"):
        then.check(read_chain(data.splitlines(keepends=True)[0]))
    with pytest.raises(Unacceptable, match="it has 0 whole lines"):
        then.check(None)
    with pytest.raises(Unacceptable, match="line 2 is not the one that was written here"):
        SeenLength(2, three.seal).check(three)


@pytest.mark.parametrize("found", [None, read_chain(b"")])
def test_of_a_run_recorded_elsewhere_nothing_is_expected(found: None) -> None:
    SeenLength().check(found)


def test_what_is_noted_is_recalled_for_that_run_and_chain_alone(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "seen")
    witness.note(RUN, journal_name(0), 3, "seal3")
    witness.note(RUN, journal_name(0), 4, "seal4")
    assert witness.recall(RUN, journal_name(0)) == SeenLength(4, "seal4")
    for run, name in ((RUN, journal_name(1)), (RUN, confirmed_name(0)), ("b" * 12, journal_name(0))):
        assert witness.recall(run, name) == SeenLength()
    assert (tmp_path / "seen" / RUN / "journal-0").stat().st_mode & 0o077 == 0


def test_a_machine_that_remembers_nothing_says_so_everywhere() -> None:
    witness = Witness(None)
    witness.begin(RUN, b"{}")
    witness.note(RUN, "record", 1, "seal")
    assert witness.recall(RUN, "record") == SeenLength()
    assert list(witness.unseen(set())) == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda note: note.write_bytes(b""), lambda note: note.write_bytes(b"3 seal"), lambda note: note.write_bytes(b"\xff"),
        lambda note: note.write_bytes(b"-3 seal\n"), lambda note: note.write_bytes(b"3 seal\n" * 500), Path.unlink,
        lambda note: (note.unlink(), os.mkfifo(note)), lambda note: note.chmod(0o666),
    ],
    ids=["empty", "no end", "bytes", "negative", "large", "gone", "pipe", "anybody's"],
)  # fmt: skip
def test_a_note_that_is_not_ours_is_none(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    witness = Witness(tmp_path)
    witness.note(RUN, "record", 3, "seal")
    spoil(tmp_path / RUN / "record")
    assert witness.recall(RUN, "record") == SeenLength()


def test_runs_that_are_not_at_hand_are_told_with_the_seeds_they_began(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "seen")
    made = [manifest(name, seeds=(0, 1, 2), steps=1) for name in ("a", "b", "c")]
    for each in made:
        witness.begin(each.run_id, encode_manifest(each))
    a, b, c = made
    for seed in (0, 2):
        witness.note(a.run_id, journal_name(seed), 1, "seal")
    witness.note(c.run_id, journal_name(1), 1, "seal")
    (tmp_path / "seen" / c.run_id / "manifest.json").write_text("{}")
    (tmp_path / "seen" / "stray").mkdir()
    assert list(witness.unseen({b.run_id})) == [(a, [0, 2])]
    assert sorted(found.run_id for found, _ in witness.unseen(set())) == sorted([a.run_id, b.run_id])
    assert list(Witness(tmp_path / "nowhere").unseen(set())) == []

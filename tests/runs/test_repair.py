"""A damaged run names its last good step and goes on from there, to the tree that it would have come to."""

import hashlib
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from aira_bench.boards.board import tables_of
from aira_bench.errors import RunStateError
from aira_bench.keys import KeyRing
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.sealing import Keeper
from aira_bench.record.trust import read_resumable
from aira_bench.runs.changes import take_back
from aira_bench.runs.host import Host
from aira_bench.runs.launch import resume, start
from aira_bench.runs.resolve import resolve
from played_host import played_host, played_sandbox, request


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return played_host(tmp_path, played_sandbox())


@pytest.fixture
def folder(host: Host) -> RunFolder:
    """Two seeds of four steps, all ended."""
    return start(host, resolve(request(seeds=(0, 1)), host.paths, host.world), lambda text: None, lambda progress: None)


def record_of(host: Host, folder: RunFolder) -> RunRecord:
    return read_run(folder, host.keys.ring(), "all")


def tree(host: Host, folder: RunFolder) -> list[tuple[object, ...]]:
    return [
        (seed.seed, n.step, n.operator, n.parents, n.step_class, n.fitness, n.canonical)
        for seed in record_of(host, folder).seeds
        for n in seed.nodes
    ]


def lines_of(folder: RunFolder) -> list[bytes]:
    return folder.seed(0).journal.read_bytes().splitlines(keepends=True)


def edit_line(folder: RunFolder) -> None:
    """The line of step 3: opened, then two lines a step."""
    lines = lines_of(folder)
    lines[6] = lines[6].replace(b'"reason":""', b'"reason":"x"')
    folder.seed(0).journal.write_bytes(b"".join(lines))


def overwrite_with_zeros(folder: RunFolder) -> None:
    lines = lines_of(folder)
    lines[5] = bytes(len(lines[5]) - 1) + b"\n"
    folder.seed(0).journal.write_bytes(b"".join(lines))


DAMAGES: dict[str, tuple[Callable[[RunFolder], object], int]] = {
    "a line of the journal was edited": (edit_line, 2),
    "a block of the journal is zeros": (overwrite_with_zeros, 2),
    "the journal was cut": (lambda f: f.seed(0).journal.write_bytes(b"".join(lines_of(f)[:5])), 2),
    "the journal is gone": (lambda f: f.seed(0).journal.unlink(), 0),
    "the journal is empty": (lambda f: f.seed(0).journal.write_bytes(b""), 0),
    "something follows the journal's end": (
        lambda f: f.seed(0).journal.write_bytes(f.seed(0).journal.read_bytes() + b"x"), 4),
    "a solution was edited": (lambda f: (f.seed(0).node(2) / "solution.py").write_text("pass"), 1),
    "an artifact is missing": (lambda f: (f.seed(0).node(4) / "submission.csv").unlink(), 3),
    "a file was laid beside a step": (lambda f: (f.seed(0).node(3) / "note.txt").touch(), 2),
    "the scores are gone": (lambda f: f.seed(0).scores.path.unlink(), 0),
    "a score was edited": (lambda f: f.seed(0).scores.path.write_bytes(
        f.seed(0).scores.path.read_bytes().replace(b'"step":3', b'"step":4')), 2),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_seed_goes_on_from_its_last_good_step_to_the_same_tree(
    host: Host, folder: RunFolder, what: str
) -> None:
    damage, good = DAMAGES[what]
    whole, others = tree(host, folder), folder.seed(1).journal.read_bytes()
    damage(folder)
    with pytest.raises(RunStateError, match="Run run: seed 0: ") as caught:
        record_of(host, folder)
    assert caught.value.hint == folder.command("resume", "--from-last-good")
    (named,) = take_back(folder, host.keys, host.world)
    assert (named.what, named.now) == ("journal of seed 0", f"taken again from step {good + 1}")
    assert [row for row in tree(host, folder) if row[0] == 0] == whole[:good]
    resume(host, read_resumable(folder, host.keys.ring(), trust_agent=False), lambda text: None, lambda progress: None)
    assert tree(host, folder) == whole
    record = record_of(host, folder)
    assert record.closed
    assert [each.what for accepted in record.accepted for each in accepted.differences] == ["journal of seed 0"]
    assert folder.seed(1).journal.read_bytes() == others, "the other seed is not touched"
    (table,) = tables_of([record], host.keys.ring())
    assert {row.entry.changed for row in table.rows} == {"journal of seed 0"}


def test_an_edited_line_names_the_last_good_step(host: Host, folder: RunFolder) -> None:
    edit_line(folder)
    with pytest.raises(RunStateError, match=r"line 7 was changed or damaged: .*; its last good step is 2"):
        record_of(host, folder)


def test_what_was_cut_off_stays_beside(host: Host, folder: RunFolder) -> None:
    edit_line(folder)
    before = folder.seed(0).journal.read_bytes()
    take_back(folder, host.keys, host.world)
    assert (folder.seed(0).path / "journal.damaged-1.jsonl").read_bytes() == before
    assert (folder.seed(0).node(3) / "attempt_1" / "solution.py").exists()
    assert (folder.path / "record.damaged-1.jsonl").exists()


def test_a_run_that_is_whole_is_left_as_it_is(host: Host, folder: RunFolder) -> None:
    def hashes() -> dict[str, str]:
        files = [path for path in folder.path.rglob("*") if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = hashes()
    assert take_back(folder, host.keys, host.world) == ()
    assert hashes() == before


def test_a_manifest_comes_back_from_the_machine_s_memory_and_a_record_without_its_end_goes_on(
    host: Host, folder: RunFolder
) -> None:
    whole, manifest = tree(host, folder), (folder.path / "manifest.json").read_bytes()
    (folder.path / "manifest.json").write_text("{")
    lines = (folder.path / "record.jsonl").read_bytes().splitlines(keepends=True)
    (folder.path / "record.jsonl").write_bytes(lines[0] + b"garbage\n")
    take_back(folder, host.keys, host.world)
    assert (folder.path / "manifest.json").read_bytes() == manifest
    resume(host, read_resumable(folder, host.keys.ring(), trust_agent=False), lambda text: None, lambda progress: None)
    assert tree(host, folder) == whole
    assert record_of(host, folder).closed


def test_a_stranger_s_run_and_one_that_lost_its_beginning_are_not_touched(host: Host, folder: RunFolder) -> None:
    edit_line(folder)
    before = folder.seed(0).journal.read_bytes()
    stranger = KeyRing("0" * 64, frozenset(), None)

    class Keys(type(host.keys)):  # type: ignore[misc]
        def ring(self) -> KeyRing:
            return stranger

    with pytest.raises(RunStateError, match=r"cannot be taken back: it is signed by .* \(unknown key\)"):
        take_back(folder, Keys(host.keys.path), host.world)
    (folder.path / "record.jsonl").write_bytes(b"")
    with pytest.raises(RunStateError, match=r"cannot be taken back: record\.jsonl does not say which run it was"):
        take_back(folder, host.keys, host.world)
    assert folder.seed(0).journal.read_bytes() == before


IN_THE_WAY: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a folder is the journal": ("seeds/0/journal.jsonl", Path.mkdir),
    "a folder holds the scores": ("seeds/0/hidden/scores.jsonl", Path.mkdir),
    "a file is the folder of the seeds": ("seeds", Path.touch),
    "a file is the folder of a seed": ("seeds/0", Path.touch),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_what_stands_in_the_place_of_a_seeds_file_is_named_with_the_command_that_moves_it(
    host: Host, folder: RunFolder, what: str
) -> None:
    (name, put), whole = IN_THE_WAY[what], tree(host, folder)
    path = folder.path / name
    path.rename(folder.path.parent / "kept")
    put(path)
    with pytest.raises(RunStateError, match=re.escape(f"{path} cannot be read")) as caught:
        take_back(folder, host.keys, host.world)
    assert caught.value.hint == f"mv {path} {path}.aside"
    subprocess.run(shlex.split(caught.value.hint), check=True)
    take_back(folder, host.keys, host.world)
    resume(host, read_resumable(folder, host.keys.ring(), trust_agent=False), lambda text: None, lambda progress: None)
    assert tree(host, folder) == whole


def write_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


ABOVE_THE_SEEDS: dict[str, Callable[[RunFolder], object]] = {
    "the manifest is damaged": lambda f: (f.path / "manifest.json").write_text("{"),
    "the manifest is another": lambda f: (f.path / "manifest.json").write_bytes(
        (f.path / "manifest.json").read_bytes() + b"\n"),
    "the manifest is missing": lambda f: (f.path / "manifest.json").unlink(),
    "the manifest is a folder": lambda f: write_folder(f.path / "manifest.json"),
    "something follows the record's end": lambda f: (f.path / "record.jsonl").write_bytes(
        (f.path / "record.jsonl").read_bytes() + b"x"),
    "a line follows the record's end": lambda f: (f.path / "record.jsonl").write_bytes(
        (f.path / "record.jsonl").read_bytes() + b"x\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", ABOVE_THE_SEEDS)
def test_damage_above_the_seeds_names_the_command_that_heals_it(host: Host, folder: RunFolder, what: str) -> None:
    whole = tree(host, folder)
    ABOVE_THE_SEEDS[what](folder)
    with pytest.raises(RunStateError) as caught:
        record_of(host, folder)
    assert caught.value.hint == folder.command("resume", "--from-last-good")
    assert take_back(folder, host.keys, host.world) == (), "nothing was lost"
    assert tree(host, folder) == whole
    assert record_of(host, folder).closed


def test_a_run_that_cannot_be_taken_back_is_not_promised_to_be(host: Host, folder: RunFolder) -> None:
    (folder.path / "manifest.json").write_text("{")
    with pytest.raises(RunStateError) as caught:
        read_run(folder, KeyRing("0" * 64, frozenset(), None), "all")
    assert caught.value.hint is None
    (folder.path / "record.jsonl").unlink()
    with pytest.raises(RunStateError) as caught:
        record_of(host, folder)
    assert caught.value.hint is None


@pytest.mark.parametrize("behind", [b"", b"garbage", b"garbage\n"])
def test_lines_of_the_record_that_are_gone_are_named_in_it(host: Host, folder: RunFolder, behind: bytes) -> None:
    whole = tree(host, folder)
    edit_line(folder)
    take_back(folder, host.keys, host.world)
    resume(host, read_resumable(folder, host.keys.ring(), trust_agent=False), lambda text: None, lambda progress: None)
    first = (folder.path / "record.jsonl").read_bytes().splitlines(keepends=True)[0]
    (folder.path / "record.jsonl").write_bytes(first + behind)
    with pytest.raises(RunStateError, match=r"record\.jsonl: ") as caught:
        record_of(host, folder)
    assert caught.value.hint == folder.command("resume", "--from-last-good")
    (named,) = take_back(folder, host.keys, host.world)
    assert named.what == "record of the run"
    assert named.now == "goes on after line 1"
    resume(host, read_resumable(folder, host.keys.ring(), trust_agent=False), lambda text: None, lambda progress: None)
    assert tree(host, folder) == whole
    record = record_of(host, folder)
    (accepted,) = record.accepted
    assert accepted.differences == (named,)
    assert accepted.finished == ((0, 4), (1, 4))
    (table,) = tables_of([record], host.keys.ring())
    assert {row.entry.changed for row in table.rows} == {"record of the run"}


def test_a_record_put_back_as_it_was_before_its_last_change_names_what_is_gone(host: Host, folder: RunFolder) -> None:
    before = (folder.path / "record.jsonl").read_bytes()
    edit_line(folder)
    take_back(folder, host.keys, host.world)
    resume(host, read_resumable(folder, host.keys.ring(), trust_agent=False), lambda text: None, lambda progress: None)
    (folder.path / "record.jsonl").write_bytes(before)
    assert "record of the run" in {each.what for each in take_back(folder, host.keys, host.world)}
    resume(host, read_resumable(folder, host.keys.ring(), trust_agent=False), lambda text: None, lambda progress: None)
    assert record_of(host, folder).closed


def test_killed_before_it_says_so_a_record_that_was_cut_is_found_cut_again(
    host: Host, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (folder.path / "record.jsonl").read_bytes().splitlines(keepends=True)[0]
    (folder.path / "record.jsonl").write_bytes(first + b"garbage\n")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "accept", killed)
        with pytest.raises(KeyboardInterrupt):
            take_back(folder, host.keys, host.world)
    assert [each.what for each in take_back(folder, host.keys, host.world)] == ["record of the run"]

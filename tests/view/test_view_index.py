"""The index beside runs: what it keeps is what the runs say, and nothing of it is believed that does not fit."""

import json
import math
import shutil
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aira_bench.agent_code.reading import read_for_a_while
from aira_bench.keys import KeyFolder
from aira_bench.paths import INDEX_FOLDER
from aira_bench.record.folder import RunFolder
from aira_bench.record.salvage import RunRemains
from aira_bench.view import index as index_module
from aira_bench.view import reading
from aira_bench.view.board_keeping import BoardKeeper, keep_board
from aira_bench.view.index import RunIndex, index_kept
from generated_runs import manifest, write_run
from shown_runs import Machine, compose_run, damaged_run, hostile_run, module_run, script_run


class Unread(RunIndex):
    """An index that may read no run."""

    def remains(self, folder: RunFolder) -> RunRemains:
        raise AssertionError(f"{folder.path.name} is read")


def opened(machine: Machine, kind: type[RunIndex] = RunIndex) -> RunIndex:
    return kind(machine.runs, machine.home, KeyFolder(machine.home / "keys"))


def kept(machine: Machine) -> list[Path]:
    return sorted((machine.runs / INDEX_FOLDER).iterdir())


def test_a_run_is_read_once(machine: Machine) -> None:
    for write in (compose_run, module_run, script_run, hostile_run, damaged_run):
        folder = write(machine.runs, machine.key)
        first = opened(machine).detail(folder)
        again = opened(machine, Unread)
        assert again.detail(folder) == first
        assert again.summary(folder) == first[0]


def test_pages_of_a_run_that_grew_are_made_anew(machine: Machine) -> None:
    folder = write_run(machine.runs, manifest("grows", seeds=(0,), steps=2), key=machine.key)
    before, _ = opened(machine).detail(folder)
    shutil.rmtree(folder.path)
    write_run(machine.runs, manifest("grows", seeds=(0,), steps=3), key=machine.key)
    after, detail = opened(machine).detail(folder)
    assert [seed.steps for seed in before.seeds] == [2]
    assert [seed.steps for seed in after.seeds] == [3]
    assert [node.step for node in detail.nodes] == [1, 2, 3]


def test_code_that_was_read_is_not_read_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = script_run(machine.runs, machine.key)
    _, before = opened(machine).detail(folder)
    assert before.codes
    manifest_file = folder.path / "manifest.json"
    manifest_file.touch()
    asked: list[int] = []

    def nothing(operation: str, texts: list[str], *, patience_s: float, deadline_s: float) -> list[object]:
        asked.append(len(texts))
        return []

    monkeypatch.setattr("aira_bench.view.entries.read_for_a_while", nothing)
    _, after = opened(machine).detail(folder)
    assert after == before
    assert sum(asked) == 0


@pytest.mark.parametrize("suffix", ["summary", "detail"])
def test_a_strangers_index_is_not_believed(machine: Machine, suffix: str, tmp_path: Path) -> None:
    folder = compose_run(machine.runs, machine.key)
    right = opened(machine).detail(folder)
    KeyFolder(tmp_path / "other" / "keys").machine_key()
    other = RunIndex(machine.runs, tmp_path / "other", KeyFolder(tmp_path / "other" / "keys"))
    other.detail(folder)  # signed by another machine, of the same run
    for path in kept(machine):
        if path.suffix == f".{suffix}":
            path.write_bytes(path.read_bytes().replace(b"0.", b"9."))
    assert opened(machine).detail(folder) == right


def test_an_index_of_another_version_is_made_anew(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = compose_run(machine.runs, machine.key)
    monkeypatch.setattr(index_module, "FORMAT", index_module.FORMAT + 1)
    right = opened(machine).detail(folder)
    monkeypatch.undo()
    monkeypatch.setenv("AIRA_HOME", str(machine.home))
    with pytest.raises(AssertionError, match="is read"):
        opened(machine, Unread).detail(folder)
    assert opened(machine).detail(folder) == right


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans(), which=st.integers(0, 1))
def test_no_damage_of_an_index_changes_a_page(machine: Machine, place: float, byte: int, cut: bool, which: int) -> None:
    folder = RunFolder(machine.runs / "damaged-index")
    if not folder.path.exists():
        write_run(machine.runs, manifest("damaged-index", seeds=(0,), steps=2), key=machine.key)
    right = opened(machine).detail(folder)
    path = kept(machine)[which]
    data = bytearray(path.read_bytes())
    at = int(place * len(data))
    if cut:
        del data[at:]
    else:
        data[at] = byte
    path.write_bytes(data)
    assert opened(machine).detail(folder) == right


def test_runs_that_cannot_be_written_beside_have_their_index_at_home(machine: Machine, tmp_path: Path) -> None:
    folder = compose_run(machine.runs, machine.key)
    (tmp_path / "elsewhere").mkdir()
    (machine.runs / INDEX_FOLDER).symlink_to(tmp_path / "elsewhere")  # not a folder of ours, whoever may write to it
    first = opened(machine).detail(folder)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert opened(machine, Unread).detail(folder) == first


def test_nothing_of_an_index_is_taken_for_a_run(machine: Machine) -> None:
    folder = write_run(machine.runs, manifest("manifest.json", seeds=(0,), steps=1), key=machine.key)
    index = opened(machine)
    index.detail(folder)
    index.keep_text("board", "x", "y")
    assert [each.path.name for each in index.folders()] == ["manifest.json"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept(machine))


def test_the_head_of_an_index_file_says_what_it_was_made_from(machine: Machine) -> None:
    folder = compose_run(machine.runs, machine.key)
    opened(machine).detail(folder)
    for path in kept(machine):
        assert set(json.loads(path.read_bytes().partition(b"\n")[0])) == {"made_from", "code"}


def test_a_run_that_has_ended_has_its_index_beside_it(machine: Machine) -> None:
    folder = RunFolder(machine.runs / "script")
    with index_kept(folder, machine.home, KeyFolder(machine.home / "keys")):
        script_run(machine.runs, machine.key)
    _, detail = opened(machine, Unread).detail(folder)
    assert detail.codes
    assert not detail.unread


def test_whoever_stops_a_run_waits_for_no_code_to_be_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*args: object, **options: object) -> list[object]:
        raise AssertionError("code is read")

    monkeypatch.setattr("aira_bench.view.entries.read_for_a_while", read)
    folder = RunFolder(machine.runs / "script")

    def stopped() -> None:
        with index_kept(folder, machine.home, KeyFolder(machine.home / "keys")):
            script_run(machine.runs, machine.key)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert opened(machine, Unread).summary(folder).seeds[0].steps == 8
    assert opened(machine).detail(folder, patience_s=0.0)[1].unread == 8


def test_an_index_that_cannot_be_kept_disturbs_no_run(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    folder = RunFolder(machine.runs / "none")
    with index_kept(folder, tmp_path / "file", KeyFolder(machine.home / "keys")):
        pass  # the run failed before it had a folder
    (machine.runs / INDEX_FOLDER).write_text("no folder either")
    with index_kept(RunFolder(machine.runs / "compose"), tmp_path / "file", KeyFolder(machine.home / "keys")):
        compose_run(machine.runs, machine.key)


def test_the_board_of_a_suite_that_has_ended_is_there(machine: Machine) -> None:
    for name in ("a", "b"):
        write_run(machine.runs, manifest(name, seeds=(0,), steps=2), key=machine.key)
    keep_board(machine.runs, machine.home, KeyFolder(machine.home / "keys"))
    index = opened(machine)
    kept_one = BoardKeeper(index).board(index.folders(), wait=False)
    assert kept_one.board is not None
    assert (kept_one.board.runs, kept_one.is_old) == (2, False)
    keep_board(machine.root / "absent", machine.home, KeyFolder(machine.home / "keys"))


def test_a_page_waits_a_while_for_code_and_has_the_rest_later(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = script_run(machine.runs, machine.key)
    whole = opened(machine).detail(folder)
    shutil.rmtree(machine.runs / INDEX_FOLDER)
    may_go_on = threading.Event()

    def slow(operation: str, texts: list[str], *, patience_s: float, deadline_s: float) -> list[object]:
        if patience_s < math.inf:
            monkeypatch.setattr(reading, "_CODE_PATIENCE_S", 0.0)
            time.sleep(patience_s)
            return list(read_for_a_while(operation, texts[:3], patience_s=10, deadline_s=deadline_s))
        may_go_on.wait(10)
        return list(read_for_a_while(operation, texts, patience_s=patience_s, deadline_s=deadline_s))

    monkeypatch.setattr("aira_bench.view.entries.read_for_a_while", slow)
    monkeypatch.setattr(reading, "_CODE_PATIENCE_S", 0.1)
    runs = reading.RunsReading(opened(machine))
    _, first = runs.detail(folder, wait=False)
    assert (len(first.codes), first.unread) == (3, 5)
    before = runs.codes
    may_go_on.set()
    until_s = time.monotonic() + 20
    while runs.codes == before and time.monotonic() < until_s:
        time.sleep(0.01)
    assert runs.detail(folder, wait=False) == whole
    assert opened(machine, Unread).detail(folder) == whole

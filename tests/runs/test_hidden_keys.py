"""Runs and confirmations under hidden keys, on a played machine: who is told a key, and what records and boards say."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.boards.board import build_tables
from aira_bench.boards.formats import heading
from aira_bench.cli.main import run_command_line
from aira_bench.errors import PrerequisiteError, RunStateError, UsageError
from aira_bench.hidden_keys import HiddenKey, key_of, machine_hidden_key, make_hidden_key, read_hidden_key
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.trust import read_confirmable, read_resumable
from aira_bench.runs.confirm import confirm
from aira_bench.runs.host import Host
from aira_bench.runs.launch import resume, start
from aira_bench.runs.resolve import RunRequest, hidden_key_for, resolve
from aira_bench.tasks.task import find_task
from aira_bench.testing import Call, Done
from played_host import played_host, played_sandbox, request

SECRETS: list[str] = []


def prepare(call: Call) -> Done:
    """Writes what the script was told, as a hash; and remembers where a key went."""
    output = next(mount.source for mount in call.spec.mounts if mount.writable)
    told = call.spec.environment.get("AIRA_HIDDEN_KEY", "")
    SECRETS.append(f"{output.name} {told}")
    data = f"from {told}" if output.name == "hidden" else "public"
    (output / "data.txt").write_text(hashlib.sha256(data.encode()).hexdigest())
    return Done()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    SECRETS.clear()
    return played_host(tmp_path, played_sandbox(prepare=prepare))


def run(host: Host, asked: RunRequest) -> RunFolder:
    return start(host, resolve(asked, host.paths, host.world), lambda text: None, lambda progress: None)


def record_of(host: Host, folder: RunFolder) -> RunRecord:
    return read_run(folder, host.keys.ring(), "all")


def key(place: Path, name: str) -> tuple[Path, HiddenKey]:
    place.mkdir(parents=True, exist_ok=True)
    return place / name, make_hidden_key(place / name)


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_key_is_made_once_readable_by_its_owner_alone_and_read_back(tmp_path: Path) -> None:
    file, made = key(tmp_path, "hidden.key")
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_hidden_key(file) == made
    assert made.secret is not None
    assert made.secret not in repr(made)
    assert made.secret not in (made.sha256, made.draw_secret)
    with pytest.raises(UsageError, match="File exists"):
        make_hidden_key(file)
    with pytest.raises(UsageError, match="No such file"):
        make_hidden_key(tmp_path / "no" / "folder")


@pytest.mark.parametrize("text", ["", "1" * 63, "1" * 64 + "\n\n", "x" * 64, "1" * 65, "A" * 64])
def test_what_is_no_key_is_refused_with_the_command_that_makes_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text)
    (tmp_path / "k").chmod(0o600)
    with pytest.raises(PrerequisiteError, match="is not used") as caught:
        read_hidden_key(tmp_path / "k")
    assert text == "" or text[:20] not in caught.value.message


def test_a_key_that_others_can_read_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    file, _ = key(tmp_path, "k")
    file.chmod(0o640)
    with pytest.raises(PrerequisiteError, match="others may read it"):
        read_hidden_key(file)
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(PrerequisiteError, match="is not used"):
        read_hidden_key(tmp_path / "link")
    with pytest.raises(PrerequisiteError, match="no hidden key at") as caught:
        read_hidden_key(tmp_path / "gone")
    assert "aira-bench key hidden" in (caught.value.hint or "")


def test_the_command_makes_a_key_and_prints_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["key", "hidden", str(tmp_path / "k")]) == 0
    printed = capsys.readouterr()
    assert (tmp_path / "k").read_text().strip() not in printed.out + printed.err
    assert read_hidden_key(tmp_path / "k").sha256[:12] in printed.err
    assert run_command_line(["key", "hidden"]) == 2


# Runs -----------------------------------------------------------------------------------------------------------------


def test_only_the_script_that_makes_hidden_data_is_told_the_key_and_records_hold_its_hash(
    host: Host, tmp_path: Path
) -> None:
    file, made = key(tmp_path, "k")
    record = record_of(host, run(host, request(hidden_key=str(file))))
    assert sorted(set(SECRETS)) == [f"hidden {made.secret}", "public "]
    assert record.manifest.data["hidden_key"] == record.manifest.plan.hidden_key == made.sha256
    assert made.secret is not None
    for path in (place for root in (host.paths.runs, host.paths.home) for place in root.rglob("*") if place.is_file()):
        assert made.secret.encode() not in path.read_bytes(), path


def test_data_of_two_keys_and_of_none_lies_apart_and_is_on_boards_of_its_own(host: Host, tmp_path: Path) -> None:
    (one, of_one), (two, _) = key(tmp_path, "one"), key(tmp_path, "two")
    wishes = (None, str(one), str(two), str(one))
    folders = [run(host, request(f"run{number}", hidden_key=wish)) for number, wish in enumerate(wishes)]
    hashes = [record_of(host, folder).manifest.data["hidden"]["sha256"] for folder in folders]
    assert hashes[1] == hashes[3]
    assert len(set(hashes)) == 3
    assert len(SECRETS) == 6, "the second run of a key prepares nothing"
    tables = build_tables(folders, host.keys.ring())
    assert sorted(len(table.rows[0].results) for table in tables) == [1, 1, 2]
    said = sorted(heading(table).split(" - ")[4] for table in tables)
    assert said[-1] == "public seeds"
    assert f"hidden data of key {of_one.sha256[:12]}" in said


def test_a_machines_default_is_used_and_a_tasks_that_knows_no_keys_is_left_alone(host: Host, tmp_path: Path) -> None:
    _, made = key(host.paths.keys, "hidden.key")
    assert machine_hidden_key(host.paths) == made
    assert resolve(request(), host.paths, host.world).hidden_key == made
    parity = find_task(str(Path(__file__).parents[1] / "folders" / "ParityClassificationAccuracy"))
    assert hidden_key_for(parity, None, host.paths) is None
    with pytest.raises(UsageError, match="derives its hidden data from no key"):
        hidden_key_for(parity, str(host.paths.keys / "hidden.key"), host.paths)


def test_a_run_goes_on_without_its_key_where_its_data_is_and_names_the_way_where_it_is_not(
    host: Host, tmp_path: Path
) -> None:
    file, made = key(tmp_path, "k")
    folder = run(host, request(hidden_key=str(file), seeds=(0,)))
    file.unlink()
    record = read_resumable(folder, host.keys.ring(), trust_agent=False)
    resume(host, record, lambda text: None, lambda progress: None)
    gone = played_host(tmp_path / "elsewhere", played_sandbox(prepare=prepare))
    elsewhere = replace(gone, paths=replace(gone.paths, runs=host.paths.runs))
    with pytest.raises(PrerequisiteError, match=rf"under key {made.sha256[:12]} is not here") as caught:
        confirm(elsewhere, record_of(host, folder), lambda text: None)
    assert "--hidden-key FILE" in (caught.value.hint or "")


# Confirmations --------------------------------------------------------------------------------------------------------


def test_a_confirmation_may_use_a_key_that_the_search_never_had(host: Host, tmp_path: Path) -> None:
    folder = run(host, request(seeds=(0, 1)))
    plain = run(host, request("plain", seeds=(2,)))
    other = key_of("ab" * 32)
    SECRETS.clear()
    confirm(host, read_confirmable(folder, host.keys.ring()), lambda text: None, other)
    assert f"hidden {'ab' * 32}" in SECRETS
    record = record_of(host, folder)
    assert [seed.confirmations.hidden_key for seed in record.seeds] == [other.sha256, other.sha256]
    assert record.manifest.data["hidden_key"] is None, "what was searched on is not rewritten"
    lines = (folder.seed(0).path / "hidden" / "confirmed.jsonl").read_text().splitlines()
    assert other.sha256 in lines[1]
    assert "ab" * 32 not in "".join(lines)
    tables = build_tables([folder, plain], host.keys.ring())
    assert sorted(table.section.confirmed_under for table in tables) == ["", f"key {other.sha256[:12]}"]
    under = next(table for table in tables if table.section.confirmed_under)
    assert "confirmed on hidden data of key" in heading(under)
    assert under.rows[0].confirmed is not None
    assert under.rows[0].confirmed.count == 2


def test_trainings_under_a_key_that_nobody_searched_on_take_the_place_of_a_runs_own(host: Host) -> None:
    """Runs confirm themselves, on hidden data of their own key; whoever checks them later does so on another."""
    folder = run(host, request(seeds=(0,), confirm=True))
    other = key_of("ab" * 32)

    def again(key: HiddenKey | None) -> None:
        confirm(host, read_confirmable(folder, host.keys.ring()), lambda text: None, key)

    again(other)
    (seed,) = record_of(host, folder).seeds
    assert seed.submitted is not None
    step = seed.submitted.step
    assert (seed.confirmations.hidden_key, len(seed.confirmations.scores[step])) == (other.sha256, 3)
    assert len(seed.confirmations.done) == 6, "those of before are kept, and count no more"
    resume(host, read_resumable(folder, host.keys.ring(), trust_agent=False), print, lambda progress: None)
    for key in (None, key_of("cd" * 32)):
        with pytest.raises(
            UsageError, match=f"is confirmed on hidden data of the key {other.sha256[:12]}, not"
        ) as told:
            again(key)
        assert "--hidden-key FILE" in (told.value.hint or "")
    (table,) = build_tables([folder], host.keys.ring())
    assert table.section.confirmed_under == f"key {other.sha256[:12]}"


def test_a_confirmations_key_cannot_be_edited(host: Host) -> None:
    folder = run(host, request(seeds=(0,)))
    confirm(host, read_confirmable(folder, host.keys.ring()), lambda text: None, key_of("ab" * 32))
    path = folder.seed(0).path / "hidden" / "confirmed.jsonl"
    first, second, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, second.replace(key_of("ab" * 32).sha256, "0" * 64), *rest]))
    with pytest.raises(RunStateError, match=r"confirmed\.jsonl"):
        record_of(host, folder)

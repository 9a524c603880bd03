"""Where things lie for users without a home, and folders that are none or another user's, told before anything is done."""

import os
import pwd
from pathlib import Path
from typing import NoReturn

import pytest

from aira_bench.cards.card_files import card_names, shipped_names
from aira_bench.cli.main import run_command_line
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.images.flavour import load_flavour
from aira_bench.images.wheels import wheel_folder
from aira_bench.paths import host_paths, require_new_folders


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user id that no list of users has, which containers are often run as."""

    def unknown(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "AIRA_HOME", "AIRA_RUNS", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_home")
def test_a_user_without_a_home_needs_aira_home_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "mine"))
    assert host_paths(tmp_path).home == tmp_path / "mine"
    assert wheel_folder(load_flavour("cpu")) == tmp_path / "mine" / "cache" / "wheels" / "python3.11"
    assert card_names(os.environ) == shipped_names()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert wheel_folder(load_flavour("cpu")) == tmp_path / "cache" / "aira-bench" / "wheels" / "python3.11"


@pytest.mark.usefixtures("no_home")
def test_without_that_it_is_told_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["status"]) == PrerequisiteError.exit_code
    assert capsys.readouterr().err.endswith("Try: export AIRA_HOME=DIR\n")
    assert run_command_line(["agents"]) == 0, "what needs no folder of ours works"


@pytest.mark.parametrize("below", ["", "x", "x/y"])
@pytest.mark.parametrize("command", [["status"], ["leaderboard"], ["resume", "my-run"]])
def test_a_file_is_no_folder_of_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], below: str, command: list[str]
) -> None:
    (tmp_path / "file").touch()
    runs = tmp_path / "file" / below
    assert run_command_line([*command, "--runs", str(runs)]) == UsageError.exit_code
    told = f"aira-bench: error: {runs} cannot be a folder: {tmp_path / 'file'} is a file. Try: --runs DIR\n"
    assert capsys.readouterr().err == told


def test_a_folder_of_another_user_is_not_called_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(UsageError, match=r"cannot be read by this user\. Try: --runs DIR"):
        host_paths(tmp_path)


def test_where_nothing_can_be_made_is_told_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_new_folders(tmp_path / "a" / "b", "--out DIR")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "access", lambda path, mode: mode & os.W_OK == 0)
    with pytest.raises(UsageError, match=rf"may not write to {tmp_path}\. Try: --out DIR"):
        require_new_folders(tmp_path / "a" / "b", "--out DIR")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        require_new_folders(tmp_path / "file" / "board", "--out DIR")

"""`leaderboard --out` and `verify` as they are typed: what they print, and their exit statuses."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from aira_bench import parquet
from aira_bench.cli.main import run_command_line
from publication.published import KEY, make_place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_place(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    return tmp_path


def test_a_board_is_written_checked_and_found_changed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["leaderboard", "--out", "board"]) == 0
    assert "written: board/board.json, board/index.html" in capsys.readouterr().err
    assert run_command_line(["verify", "board"]) == 0
    assert "files are what 4 runs give" in capsys.readouterr().out
    assert run_command_line(["verify", "board/board.json", "--records-only"]) == 0
    assert "1 files are what 4 runs give, read journals and scores alone" in capsys.readouterr().out
    shutil.rmtree(place / "runs" / "random-b" / "seeds" / "0" / "nodes" / "0001")
    assert run_command_line(["verify", "board", "--json"]) == 1
    shown = capsys.readouterr()
    (said,) = json.loads(shown.out)["differences"]
    assert "step 1" in said
    assert shown.err == "aira-bench: board is not what its runs give: 1 differences.\n"


def test_a_board_of_others_needs_their_key(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["leaderboard", "--out", "board"]) == 0
    monkeypatch.setenv("AIRA_HOME", str(place / "another-home"))
    assert run_command_line(["verify", "board"]) == 1
    assert f"--signed-by ed25519:{KEY.public}" in capsys.readouterr().out
    assert run_command_line(["verify", "board", "--signed-by", f"ed25519:{KEY.public}"]) == 0
    assert run_command_line(["key", "trust", f"ed25519:{KEY.public}"]) == 0
    assert run_command_line(["verify", "board"]) == 0


def test_what_is_excluded_is_checked_too(place: Path) -> None:
    wish = ["--exclude", "evolution-b", "--why", "its card had a typing error"]
    assert run_command_line(["leaderboard", *wish, "--out", "board"]) == 0
    assert "typing error" in (place / "board" / "mad-2p.html").read_text()
    assert run_command_line(["verify", "board"]) == 0


def test_without_pyarrow_one_file_is_missing_and_a_line_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        parquet.importlib.util, "find_spec", lambda name, *rest: None if name == "pyarrow" else find_spec(name, *rest)
    )
    assert run_command_line(["leaderboard", "--out", "board"]) == 0
    assert "pip install 'aira-bench[stats]'" in capsys.readouterr().err
    assert not (place / "board" / "leaderboard.parquet").exists()
    assert run_command_line(["verify", "board"]) == 0

"""`aira-bench key`: what is shown, exported, trusted and forgotten, and that the private key never is."""

import json
import stat
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.keys import MachineKey

OTHER = "ed25519:" + MachineKey(b"7" * 32).public


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def say(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    assert run_command_line(["key", *arguments]) == 0
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_the_first_look_makes_the_key_and_later_ones_show_the_same(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, _ = say(capsys)
    exported, _ = say(capsys, "export")
    assert exported.strip() in shown
    assert say(capsys)[0] == shown
    assert exported.startswith("ed25519:")
    assert len(exported.strip()) == len(OTHER)


def test_nothing_shows_the_private_key_and_only_its_owner_may_read_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = say(capsys)[0] + say(capsys, "export")[0] + say(capsys, "--json")[0]
    files = [path for path in (home / "keys").rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        text = path.read_bytes().decode("latin-1").strip()
        assert not text or text not in shown


def test_a_key_is_trusted_until_it_is_forgotten(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, said = say(capsys, "trust", OTHER)
    assert out == ""
    assert "are trusted from now on" in said
    assert f"Trusted:      {OTHER}" in say(capsys)[0]
    assert json.loads(say(capsys, "--json")[0])["trusted"] == [OTHER.removeprefix("ed25519:")]
    say(capsys, "trust", OTHER)
    assert say(capsys)[0].count(OTHER) == 1, "twice is once"
    assert "no longer trusted" in say(capsys, "forget", OTHER)[1]
    assert OTHER not in say(capsys)[0]
    assert run_command_line(["key", "forget", OTHER]) == 2
    assert "was not trusted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "public",
    ["", "ed25519:", OTHER + "0", OTHER[:-1], OTHER.upper(), "ed25519:" + "g" * 64, " " + OTHER + " x", "٣" * 64],
)
def test_what_is_no_public_key_is_refused_and_nothing_is_trusted(
    home: Path, capsys: pytest.CaptureFixture[str], public: str
) -> None:
    assert run_command_line(["key", "trust", public]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert "Trusted" not in say(capsys)[0]

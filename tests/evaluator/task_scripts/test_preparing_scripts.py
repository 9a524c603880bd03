"""What all task folders' preparing scripts do alike: folders, settings, the submission's copy, exit statuses."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.preparing import evaluate_prepare_script, prepare_script
from aira_evaluator.task_scripts.settings import profile_in_force, seed_set_in_force, source_in_force


def places(root: Path, *names: str) -> list[str]:
    flags = {"raw": "--global-shared-data-dir", "data": "--agent-data-mount-dir", "logs": "--agent-log-dir"}
    for name in names:
        (root / name).mkdir(exist_ok=True)
    return [argument for name in names for argument in (flags[name], str(root / name))]


def write(raw: Path, mount: Path) -> None:
    (mount / "made").write_text(raw.name)


def test_data_is_made_from_raw_data_and_the_submission_lies_beside_it(tmp_path: Path) -> None:
    arguments = places(tmp_path, "raw", "data", "logs")
    (tmp_path / "logs/train.py").write_text("x")
    assert prepare_script("", write, arguments) == 0
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["made"]
    assert evaluate_prepare_script("", "train.py", write, arguments) == 0
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["made", "train.py"]


def test_a_link_in_place_of_the_submission_is_not_followed(tmp_path: Path) -> None:
    arguments = places(tmp_path, "raw", "data", "logs")
    (tmp_path / "labels").write_text("secret")
    (tmp_path / "logs/train.py").symlink_to(tmp_path / "labels")
    assert evaluate_prepare_script("", "train.py", write, arguments) == 0
    assert (tmp_path / "data/train.py").is_symlink()


@pytest.mark.parametrize("error", [DataError("the text ends early"), OSError(28, "No space left on device")])
def test_a_failure_is_one_line_and_exit_status_1(
    tmp_path: Path, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(raw: Path, mount: Path) -> None:
        raise error

    arguments = places(tmp_path, "raw", "data")
    assert prepare_script("", fail, arguments) == evaluate_prepare_script("", "train.py", fail, arguments) == 1
    assert capsys.readouterr().err.splitlines() == [f"prepare: {error}", f"evaluate_prepare: {error}"]


@pytest.mark.parametrize("missing", ["raw", "data", "logs"])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = places(tmp_path, "raw", "data", "logs")
    (tmp_path / missing).rmdir()
    assert prepare_script("", write, arguments) == 1
    assert capsys.readouterr().err == f"prepare: {tmp_path / missing} is not an existing directory\n"


@pytest.mark.parametrize(
    ("variable", "default", "other", "read"),
    [
        ("AIRA_PROFILE", "paper", "cpu", lambda: profile_in_force({"paper": 1, "cpu": 2})),
        ("AIRA_SEED_SET", "search", "final", seed_set_in_force),
        ("AIRA_DATA_SOURCE", "public", "synthetic", source_in_force),
    ],
)
def test_a_setting_has_a_default_and_refuses_what_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch, variable: str, default: str, other: str, read: Callable[[], str]
) -> None:
    monkeypatch.delenv(variable, raising=False)
    assert read() == default
    monkeypatch.setenv(variable, other)
    assert read() == other
    monkeypatch.setenv(variable, "real")
    with pytest.raises(DataError, match=f"{variable} is 'real', expected one of {default}, {other}"):
        read()

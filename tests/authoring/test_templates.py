"""Templates: what is written works at once, names are checked, and nothing that is there is touched."""

import ast
import json
import os
import re
import tomllib
from pathlib import Path

import pytest

from aira_bench.agents.catalog import SEARCHERS
from aira_bench.authoring import templates
from aira_bench.authoring.templates import KINDS, TemplateKind, write_template
from aira_bench.cards.card_files import load_card
from aira_bench.cli.main import run_command_line
from aira_bench.errors import UsageError
from aira_bench.tasks.task import load_task

NAMES: dict[TemplateKind, str] = {
    "task": "DeepBracketsAccuracy",
    "agent": "deep-search",
    "scaffold": "wide-first",
    "card": "my-model-2.5",
}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_templates_own_names_is_left(tmp_path: Path, kind: TemplateKind) -> None:
    written = write_template(kind, NAMES[kind], tmp_path)
    for name, content in tree(tmp_path).items():
        text = f"{name}\n{content.decode()}".lower()
        assert not [
            word for word in ("exampletask", "example-", "example_", "exampleagent", "examplesc") if word in text
        ]
    assert any(NAMES[kind] in str(path) for path in tmp_path.rglob("*"))
    assert {path.name for path in (written.path.iterdir() if written.path.is_dir() else [written.path])} == set(
        written.files
    )


def test_a_task_template_is_a_task(tmp_path: Path) -> None:
    task = load_task(write_template("task", "DeepBracketsAccuracy", tmp_path).path)
    assert task.name == "DeepBracketsAccuracy"
    assert task.metadata.aira.hidden_validation
    assert set(task.metadata.aira.profiles) == {"cpu", "paper"}


def test_a_card_template_is_a_card_and_its_comments_name_its_variable(tmp_path: Path) -> None:
    path = write_template("card", "my-model-2.5", tmp_path).path
    card = load_card(path)
    assert card.name == "my-model-2.5"
    assert card.url_override_variable in path.read_text()
    path.write_text(re.sub(r"^# (\[\w+\]|\w+ = .*)$", r"\1", path.read_text(), flags=re.MULTILINE))
    filled = load_card(path)
    assert filled.prices is not None
    assert filled.reasoning.effort == "high"


@pytest.mark.parametrize(("kind", "group"), [("agent", "aira_bench.agents"), ("scaffold", "aira_bench.scaffolds")])
def test_a_package_template_names_what_it_defines(tmp_path: Path, kind: TemplateKind, group: str) -> None:
    folder = write_template(kind, NAMES[kind], tmp_path).path
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    (name, target), *more = project["project"]["entry-points"][group].items()
    module, _, class_name = target.partition(":")
    defined = ast.parse((folder / f"{module}.py").read_text()).body
    assert not more
    assert name == project["project"]["name"] == NAMES[kind]
    assert class_name in {item.name for item in defined if isinstance(item, ast.ClassDef)}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"] == [f"{module}.py"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_is_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: TemplateKind
) -> None:
    assert run_command_line(["init", kind, NAMES[kind], "--into", str(tmp_path)]) == 0
    place = next(tmp_path.iterdir())
    (place if place.is_file() else next(place.iterdir())).write_text("mine")
    before = tree(tmp_path)
    capsys.readouterr()
    assert run_command_line(["init", kind, NAMES[kind], "--into", str(tmp_path)]) == 2
    assert f"{place} is there already; nothing was written" in capsys.readouterr().err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_dangling_link_is_something_that_is_there(tmp_path: Path, kind: TemplateKind) -> None:
    place = tmp_path / (f"{NAMES[kind]}.toml" if kind == "card" else NAMES[kind])
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is there already"):
        write_template(kind, NAMES[kind], tmp_path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("task", "", "cannot name a task"),
        ("task", "brackets", "words in capitals"),
        ("task", "../Brackets", "cannot name a task"),
        ("task", "Brackets Accuracy", "aira-bench init task BalancedBracketsAccuracy"),
        ("task", "B" * 65, "at most 64 characters"),
        ("task", "Brackets\n", "cannot name a task"),
        ("task", "Ünder", "cannot name a task"),
        ("task", "NeuralArchitectureSearchMAD2PrimitivesAccuracy", "comes with aira-bench"),
        ("agent", "MySearch", "lower-case words"),
        ("agent", "my_search", "joined by '-'"),
        ("agent", "-search", "cannot name an agent"),
        ("agent", "9lives", "cannot name an agent"),
        ("agent", "evolution", "is an agent that comes with aira-bench"),
        ("agent", "gpt5", "comes with aira-bench"),
        ("agent", "json", "that Python or an installed package uses already"),
        ("agent", "class", "uses already"),
        ("agent", "pytest", "uses already"),
        ("agent", "aira-bench", "uses already"),
        ("scaffold", "greedy", "is a scaffold that comes with aira-bench"),
        ("scaffold", "random", "uses already"),
        ("scaffold", "greedy:aide", "cannot name a scaffold"),
        ("card", "My-Model", "cannot name a card"),
        ("card", "../card", "cannot name a card"),
        ("card", "opus46", "comes with aira-bench"),
        ("card", "noop", "comes with aira-bench"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_one_that_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: TemplateKind, name: str, said: str
) -> None:
    assert run_command_line(["init", kind, "--into", str(tmp_path), "--", name]) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert said in shown
    assert f"aira-bench init {kind} " in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_a_refusal_is_itself_a_name(tmp_path: Path, kind: TemplateKind) -> None:
    with pytest.raises(UsageError) as caught:
        write_template(kind, "!", tmp_path)
    assert caught.value.hint is not None
    write_template(kind, caught.value.hint.split()[-1], tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["init", "card", "mine", "--into", str(tmp_path / "absent")]) == 2
    assert f"mkdir -p {tmp_path / 'absent'}" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o555)
    assert run_command_line(["init", "task", "DeepAccuracy", "--into", str(tmp_path)]) == 3
    assert "Permission denied" in capsys.readouterr().err


def test_a_template_that_cannot_be_written_whole_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "damaged" / "task").mkdir(parents=True)
    (tmp_path / "damaged" / "task" / "a.py").write_text("good")
    (tmp_path / "damaged" / "task" / "b.py").write_bytes(b"\xff")
    monkeypatch.setattr(templates, "_TEMPLATES", tmp_path / "damaged")
    with pytest.raises(UnicodeDecodeError):
        write_template("task", "DeepAccuracy", tmp_path)
    assert not (tmp_path / "DeepAccuracy").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_json_says_what_was_written_and_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: TemplateKind
) -> None:
    assert run_command_line(["init", kind, NAMES[kind], "--into", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert Path(answer["path"]).exists()
    assert answer["files"]
    assert answer["next"][0].startswith("aira-bench check ")


def test_the_next_command_survives_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "my work; rm -rf x"
    place.mkdir()
    assert run_command_line(["init", "task", "DeepAccuracy", "--into", str(place)]) == 0
    assert f"aira-bench check '{place / 'DeepAccuracy'}'" in capsys.readouterr().out


def test_a_template_never_takes_the_name_of_a_searcher() -> None:
    for name in SEARCHERS:
        with pytest.raises(UsageError):
            write_template("card", name, Path())

"""What is missing of a plan is begun, what is done is not, and the folders say what they were begun for."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_contract.recipes import FOLDER, find_recipe
from played_trainer import trainer

MANIFEST = {
    "name": "none", "source": "none", "synthetic": True, "tokenizer": "none", "vocabulary": 512, "unigram_entropy": 1.0,
    "train": [], "validation": [],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _tokens(tmp_path: Path) -> None:
    """What is said of tokens, to which the stand-in comes not."""
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))


def command(folder: Path, *more: str, architectures: tuple[str, ...] = ("llama-3.2", "2Mb-M-3A")) -> list[str]:
    return ["scale", "run", *architectures, "--recipe", "toy", "--seeds", "2", "--gpus", "1", "--data", str(folder),
            "--out", str(folder / "out"), "--yes", *more]  # fmt: skip


def status(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    told = ["scale", "status", "llama-3.2", "2Mb-M-3A", "--recipe", "toy", "--seeds", "2", "--gpus", "1", "--json"]
    assert run_command_line([*told, "--out", str(folder / "out")]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_what_is_missing_is_trained_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = trainer(tmp_path)
    assert [each["state"] for each in status(tmp_path, capsys)] == ["missing"] * 4
    assert run_command_line(command(tmp_path, "--python", python)) == 0
    assert [each["state"] for each in status(tmp_path, capsys)] == ["done"] * 4
    assert run_command_line(command(tmp_path, "--python", python)) == 0
    assert [len(path.read_text()) for path in (tmp_path / "out").glob("*/calls")] == [1] * 4
    begun = json.loads((tmp_path / "out" / "llama-3.2-toy-toy-s1" / "training.json").read_text())
    assert (begun["architecture"], begun["seed"], begun["steps"]) == ("Llama 3.2", 1, 200)


def test_one_that_was_stopped_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(command(tmp_path, "--python", trainer(tmp_path, finished=False, status=75))) == 1
    assert "was asked to stop and left a checkpoint" in capsys.readouterr().err
    found = status(tmp_path, capsys)
    assert [each["state"] for each in found] == ["begun", "missing", "missing", "missing"]
    assert (found[0]["steps_done"], found[0]["steps"]) == (7, 200)
    assert run_command_line(command(tmp_path, "--python", trainer(tmp_path))) == 0
    assert [each["state"] for each in status(tmp_path, capsys)] == ["done"] * 4


def test_a_dry_run_prints_what_would_be_started_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(command(tmp_path, "--dry-run", "--device", "cpu", "--python", "py")) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 4
    assert lines[2] == [
        "py", "-m", "aira_evaluator.pretrain.train", "--pattern", "2Mb-M-3A", "--scale", "toy", "--recipe", "toy", "--data",
        str(tmp_path), "--out", str(tmp_path / "out" / "2mb-m-3a-toy-toy-s0"), "--seed", "0", "--microbatch", "4",
        "--recompute", "none", "--device", "cpu",
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_published_steps_of_other_layers_come_with_a_recipe(tmp_path: Path) -> None:
    place = ["airaformer-a-stretched", "--scale", "350M", "--recipe", "isoflop-2e19", "--gpus", "1"]
    told = ["scale", "run", *place, "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--yes"]
    assert run_command_line([*told, "--python", trainer(tmp_path)]) == 0
    (folder,) = (tmp_path / "out").iterdir()
    recipe = find_recipe(str(folder / "isoflop-2e19-published.toml"))
    assert (recipe.steps, recipe.flop_budget) == (9907, None), "Table 10"
    assert recipe.optimizer == find_recipe("isoflop-2e19").optimizer
    begun = json.loads((folder / "training.json").read_text())
    assert (begun["budget_flops"], begun["steps"]) == (2e19, 9907)


def test_lines_that_were_prepared_can_be_run_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["airaformer-a-stretched", "--scale", "350M", "--recipe", "isoflop-2e19", "--gpus", "1"]
    told = [
        "scale",
        "run",
        *place,
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
        "--python",
        trainer(tmp_path),
    ]
    assert run_command_line([*told, "--dry-run"]) == 0
    assert not (tmp_path / "out").exists()
    capsys.readouterr()
    assert run_command_line([*told, "--prepare"]) == 0
    (words,) = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    (folder,) = (tmp_path / "out").iterdir()
    assert not (folder / "calls").exists()
    assert json.loads((folder / "training.json").read_text())["budget_flops"] == 2e19
    subprocess.run(words, check=True)
    assert json.loads((folder / "pretrain.json").read_text())["identity"]["steps"] == 9907
    assert run_command_line([*told, "--prepare"]) == 0
    assert not capsys.readouterr().out, "nothing is missing"


def test_a_recipe_of_ones_own_is_trained_by_where_steps_are_published(tmp_path: Path) -> None:
    """It may be called like a shipped one, or like none, and be written in any way that TOML can be."""
    shipped = (FOLDER / "isoflop-2e19.toml").read_text()
    for name in ("isoflop-2e19", "mine"):
        mine = shipped.replace("flop_budget = ", '"flop_budget"   = ').replace("350M = 6e-4", "350M = 1e-5")
        (tmp_path / f"{name}.toml").write_text(mine)
        place = ["airaformer-a-stretched", "--scale", "350M", "--recipe", str(tmp_path / f"{name}.toml"), "--gpus", "1"]
        told = ["scale", "run", *place, "--data", str(tmp_path), "--out", str(tmp_path / f"{name}-out"), "--yes"]
        assert run_command_line([*told, "--python", trainer(tmp_path)]) == 0
        (folder,) = (tmp_path / f"{name}-out").iterdir()
        recipe = find_recipe(str(folder / f"{name}-published.toml"))
        assert (recipe.steps, recipe.flop_budget) == (9907, None)
        assert recipe.optimizer.learning_rates["350M"] == 1e-5


def test_one_folder_is_one_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Patterns that differ in brackets alone, patterns too long for a folder's name, and two recipes of one name."""
    patterns = ("2(A-M)-A", "2(A-M-A)", "2A-M-A", "A-" * 100 + "M", "A-" * 101 + "M")
    told = command(tmp_path, "--python", trainer(tmp_path), architectures=patterns)
    assert run_command_line(told) == 0
    assert [len(path.read_text()) for path in (tmp_path / "out").glob("*/calls")] == [1] * 10
    begun = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*/training.json")]
    assert len({(each["architecture"], each["seed"]) for each in begun}) == 10
    other = tmp_path / "other"
    other.mkdir()
    (other / "toy.toml").write_text((FOLDER / "toy.toml").read_text().replace("toy = 6e-3", "toy = 1e-3"))
    both = command(tmp_path, "--python", trainer(tmp_path), "--recipe", f"toy,{other / 'toy.toml'}")
    assert run_command_line(both) == 2
    assert "are two trainings with one folder" in capsys.readouterr().err


def test_a_training_by_another_recipe_of_the_same_name_is_not_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text((FOLDER / "toy.toml").read_text())
    told = command(tmp_path, "--recipe", str(recipe), "--python", trainer(tmp_path))
    assert run_command_line(told) == 0
    recipe.write_text(recipe.read_text().replace("toy = 6e-3", "toy = 1e-3"))
    assert run_command_line(told) == 2
    assert "holds another training than is planned: optimizer of its recipe" in capsys.readouterr().err
    recipe.write_text((FOLDER / "toy.toml").read_text().replace('title = "A toy', 'title = "Our toy'))
    assert run_command_line(told) == 0, "a title is no setting"


def test_trainings_on_other_tokens_are_not_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(command(tmp_path, "--python", trainer(tmp_path))) == 0
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"source": "none"', '"source": "another"'))
    assert run_command_line(command(tmp_path, "--python", trainer(tmp_path))) == 2
    assert "was trained on other tokens" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_engines_of_searches_begin_no_training(tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str) -> None:
    assert run_command_line(command(tmp_path, "--engine", engine)) == 2
    assert f"--engine {engine} starts workers of searches" in capsys.readouterr().err


def test_a_folder_without_tokens_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").unlink()
    assert run_command_line(command(tmp_path, "--python", trainer(tmp_path))) == 2
    assert "manifest.json is missing" in capsys.readouterr().err


def test_a_folder_of_another_training_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(command(tmp_path, "--python", trainer(tmp_path))) == 0
    one, other = tmp_path / "out" / "llama-3.2-toy-toy-s0", tmp_path / "out" / "2mb-m-3a-toy-toy-s0"
    (one / "pretrain.json").write_text((other / "pretrain.json").read_text())
    capsys.readouterr()
    assert run_command_line(command(tmp_path, "--dry-run")) == 2
    assert "holds another training than is planned" in capsys.readouterr().err

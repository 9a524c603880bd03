"""From the votes of a run to trained models beside controls: one command, which goes on where it was cut off."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.scaling.downstream import evaluated
from aira_bench.scaling.downstream.evaluated import StoredEvaluation
from aira_bench.scaling.downstream.suites import find_suite
from aira_bench.scaling.grow.models import control
from aira_bench.scaling.plan.experiments import named_recipe
from aira_contract.downstream import EvaluatedModel, MetricEstimate, TaskScores
from aira_contract.model_sizes import TOY_SCALE, model_size
from aira_contract.presets import find_preset
from aira_contract.recipes import FOLDER
from aira_contract.training_arithmetic import count_layers, layer_parameters
from generated_runs import manifest, write_run
from played_trainer import trainer

CONTROLS = ("llama-3.2", "composite-stretched", "airahybrid-d-stretched")


def searched(folder: Path, name: str = "searched") -> Path:
    """A run of random architectures with random scores."""

    def architecture(seed: int, step: int) -> str:
        rng = random.Random(f"{seed}/{step}")
        return ",".join(rng.choices(("mA", "M"), k=16))

    write_run(folder / "runs", manifest(name, seeds=(0, 1), steps=6), canonical=architecture)
    return folder / "runs"


def command(folder: Path, *more: str, python: str | None = None) -> list[str]:
    return ["grow", "searched", "--runs", str(folder / "runs"), "--scale", "toy", "--recipe", "toy",
            "--patterns", *CONTROLS, "--out", str(folder / "out"), "--python", python or trainer(folder),
            *more]  # fmt: skip


def calls(folder: Path) -> list[int]:
    return [len(path.read_text()) for path in sorted((folder / "out" / "trainings").glob("*/calls"))]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    searched(tmp_path)
    return tmp_path


def test_five_models_are_trained_with_three_seeds_and_compared(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loss = "3 + 0.01 * seed + 0.1 * ('Mb' in layers) + 0.0001 * (len(layers) * (seed + 1) % 3)"
    assert run_command_line(command(world, "--yes", "--json", python=trainer(world, loss=loss))) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["is_grown"] for each in found["models"]] == [True, True, False, False, False]
    size = model_size(TOY_SCALE, "2-primitive")
    for each in found["models"]:
        largest = max(layer_parameters(symbol, size) for symbol in ("mA", "M", "Mb"))
        assert abs(each["parameters"] - size.nominal_parameters) <= largest, "models are compared at one size"
    assert calls(world) == [1] * 15
    verdicts = {each["name"]: each["verdict"] for each in found["comparison"]["models"]}
    assert verdicts["Llama 3.2"] == "reference"
    assert verdicts["AIRAhybrid-D (Stretched)"] == "worse"
    assert verdicts["searched N0 stretched"] == verdicts["searched N0 stacked"] == "cannot tell"
    (hybrid,) = (each for each in found["comparison"]["models"] if each["verdict"] == "worse")
    assert 0.09 < hybrid["difference"]["low"] < 0.1 < hybrid["difference"]["high"] < 0.11


def test_the_page_has_the_way_from_votes_to_losses_and_opens_from_disk(world: Path) -> None:
    assert run_command_line(command(world, "--yes")) == 0
    page = (world / "out" / "index.html").read_text()
    for heading in ("Losses", "Downstream tasks", "Votes", "Models", "Plan", "Trainings"):
        assert f"<h2>{heading}</h2>" in page
    assert "Synthetic text." in page
    assert "cannot tell" in page
    assert "<script" not in page
    assert page.count("<img") == len(re.findall(r'<div class="wide"[^>]*><img', page)), "pictures scroll, not the page"
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(linked) > 5
    assert all((world / "out" / address).is_file() for address in linked), "nothing is loaded from elsewhere"


def test_what_was_evaluated_of_the_models_is_on_the_page(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(command(world, "--yes")) == 0
    page = world / "out" / "index.html"
    assert "None of these models was evaluated" in page.read_text()
    suite = find_suite("zero-shot-6")
    trainings = world / "out" / "trainings"
    for seed, step, value in ((0, 200, 0.4321), (1, 200, 0.5), (2, 100, 0.9876)):
        model = EvaluatedModel("M", "toy", step, 200, "0", "0", 64, "float32", 50, 0, {}, ())
        tasks = [
            TaskScores(task.lm_eval, 0, 50, {each: MetricEstimate(value, 0.01) for each in task.metrics}, "0", "0", 1.0)
            for task in suite.tasks
        ]
        evaluation = StoredEvaluation(1, suite.name, suite.sha256, model, tuple(tasks))
        evaluated.write(evaluated.file_of(trainings / f"llama-3.2-toy-toy-s{seed}", suite, model), evaluation)
    mine = StoredEvaluation(1, "<mine>", "0", replace(model, step=200), ())
    evaluated.write(trainings / "llama-3.2-toy-toy-s0" / "downstream" / "mine-step-00000200.json", mine)
    capsys.readouterr()
    assert run_command_line(command(world, "--json")) == 0
    (found,) = json.loads(capsys.readouterr().out)["downstream"]
    assert found["suite"] == "zero-shot-6"
    assert [row["name"] for row in found["rows"]] == [f"Llama 3.2, seed {seed}, 50 examples" for seed in (0, 1)]
    assert [row["average"]["value"] for row in found["rows"]] == pytest.approx([43.21, 50.0])
    text = page.read_text()
    assert "None of these models was evaluated" not in text
    assert "43.2 +- 0.4 (43.2 +- 0.4)" in text
    assert "98.8" not in text, "an earlier step is no final model"
    assert "&lt;mine&gt;" in text


def test_what_is_trained_stays_when_the_command_is_given_again(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(command(world, "--yes", python=trainer(world, finished=False, status=75))) == 1
    assert "was asked to stop and left a checkpoint" in capsys.readouterr().err
    begun = sum(calls(world))
    assert 1 <= begun < 15
    assert run_command_line(command(world, "--yes")) == 0
    assert sum(calls(world)) == begun + 15
    assert run_command_line(command(world)) == 0, "all are trained: nobody is asked"
    assert sum(calls(world)) == begun + 15


def test_nobody_at_a_terminal_is_no_consent(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(command(world, "--dollars-per-gpu-hour", "0.5")) == 2
    told = capsys.readouterr()
    assert "total: 15 runs, 6.14 M tokens" in told.out
    assert "core-hours" in told.out
    assert "GPU" not in told.out
    assert "dollars" in told.out
    assert "15 trainings are missing" in told.err
    assert "the same command with --yes" in told.err
    assert not calls(world)


def test_another_growth_in_the_folder_is_refused(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(command(world, "--yes")) == 0
    assert run_command_line(command(world, "--yes", "--top", "2")) == 2
    assert "holds another growth: selection was top 20" in capsys.readouterr().err


def test_a_control_more_is_trained_beside_what_is_there(world: Path) -> None:
    assert run_command_line(command(world, "--yes")) == 0
    more = command(world, "--yes")
    more.insert(more.index(CONTROLS[-1]) + 1, "5(2A-M)-A")
    assert run_command_line(more) == 0
    assert calls(world) == [1] * 18


def test_full_scales_need_tokens_and_take_printed_patterns(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["grow", "searched", "--runs", str(world / "runs"), "--scale", "350M", "--recipe", "isotoken-350m",
            "--out", str(world / "out"), "--yes"]  # fmt: skip
    assert run_command_line(told) == 2
    found = capsys.readouterr()
    assert "A training at 350M needs tokens" in found.err
    assert "total: 9 runs, 338 B tokens" in found.out
    printed = control("llama-3.2", "350M", named_recipe("isotoken-350m")).model
    preset = find_preset("llama-3.2")
    assert preset is not None
    assert printed.pattern == preset.full_size["350M"].pattern


def test_a_model_is_not_compared_with_itself(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twice = command(world, "--yes")
    twice.insert(twice.index(CONTROLS[0]) + 1, "Llama 3.2")
    assert run_command_line(twice) == 2
    assert "are one model at toy" in capsys.readouterr().err


def test_a_suite_that_cannot_be_evaluated_is_told_before_anything_is_trained(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(command(world, "--yes", "--evaluate", "zero-shot-7")) == 2
    assert "zero-shot-7" in capsys.readouterr().err
    (world / "without").write_text("#!/bin/sh\nexit 1\n")
    (world / "without").chmod(0o755)
    told = command(world, "--yes", "--evaluate", "zero-shot-6", python=str(world / "without"))
    assert run_command_line(told) != 0
    assert "lm-evaluation-harness" in capsys.readouterr().err
    assert not (world / "out").exists()


def test_named_controls_keep_their_kinds_at_toy_scale() -> None:
    recipe = named_recipe("toy")
    for name in ("llama-3.2", "airaformer-d", "airaformer-d-stacked", "composite-stacked", "nemotron-h", "mamba"):
        model = control(name, TOY_SCALE, recipe).model
        counts = count_layers(model.pattern)
        assert counts.layers > 8
        assert (counts.mamba > 0) == (name in {"nemotron-h", "mamba"})


def test_the_trainer_itself_trains_both_seeds_of_both_models(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = (FOLDER / "toy.toml").read_text()
    for key, few in (("steps = 200", "steps = 3"), ("step_tokens = 2048", "step_tokens = 512")):
        assert key in recipe
        recipe = recipe.replace(key, few)
    (world / "few.toml").write_text(recipe)
    told = ["grow", "searched", "--runs", str(world / "runs"), "--scale", "toy", "--recipe", str(world / "few.toml"),
            "--method", "stretch", "--patterns", "2(A-M)", "--seeds", "2", "--out", str(world / "out"), "--yes",
            "--json"]  # fmt: skip
    assert run_command_line(told) == 0
    found = json.loads(capsys.readouterr().out)["comparison"]
    assert found["data"]["synthetic"]
    assert found["data"]["name"] == "toy stories"
    losses = [loss for each in found["models"] for loss in each["losses"]]
    assert len(set(losses)) == 4
    assert all(4 < loss < 8 for loss in losses)
    records = (world / "out" / "trainings").glob("*/metrics.jsonl")
    assert [len(path.read_text().splitlines()) for path in records] == [3] * 4

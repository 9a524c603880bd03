"""Whole trainings of toys on one rank and two: what they learn, and that neither ranks nor kills change it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aira_contract.pretraining import STOPPED_STATUS
from aira_evaluator.pretrain.checkpoints import load_weights, whole_checkpoints
from aira_evaluator.pretrain.shards import TokenFolder
from aira_evaluator.pretrain.train import main
from aira_kernels.large import LargeLanguageModel
from evaluator.pretrain.toy_trainings import (
    CHECKPOINT_EVERY,
    FAMILIES,
    RECIPE,
    SEQUENCE,
    STEP_SEQUENCES,
    STEPS,
    arguments,
    lines,
    losses,
    make_inputs,
    start_ranks,
)

PATIENCE_S = 240


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every family, trained to its end by two ranks."""
    folder = tmp_path_factory.mktemp("trained")
    make_inputs(folder)
    ranks = start_ranks(folder, 2, *FAMILIES)
    assert [rank.wait(PATIENCE_S) for rank in ranks] == [0, 0], (folder / "rank0.log").read_text()
    return folder


def resumed(trained: Path, pattern: str, step: int, out: Path) -> Path:
    """A folder as it was when the checkpoint of a step was the newest and some more steps had been done."""
    shutil.copytree(trained / pattern, out)
    for found in whole_checkpoints(out / "checkpoints"):
        if found != step:
            shutil.rmtree(out / f"checkpoints/step-{found:08}")
    return out


@pytest.mark.parametrize("pattern", FAMILIES)
def test_two_ranks_learn_more_than_how_often_each_token_comes(trained: Path, pattern: str) -> None:
    found, entropy = losses(trained / pattern), TokenFolder(trained / "tokens").manifest.unigram_entropy
    assert len(found) == STEPS
    assert sum(found[-5:]) / 5 < entropy - 0.2
    record = json.loads((trained / pattern / "pretrain.json").read_text())
    assert record["finished"]
    assert record["steps_done"] == STEPS
    assert record["ranks"] == 2
    assert record["validation_loss"] < entropy - 0.2
    assert record["identity"]["data"]["synthetic"]
    validations = lines(trained / pattern / "validation.jsonl")
    assert [line["step"] for line in validations] == [24, STEPS]
    assert validations[-1]["loss"] == record["validation_loss"]
    assert lines(trained / pattern / "metrics.jsonl")[-1]["tokens"] == STEPS * STEP_SEQUENCES * SEQUENCE


@pytest.mark.parametrize("pattern", FAMILIES)
def test_one_rank_goes_on_with_the_curve_of_two(trained: Path, pattern: str, tmp_path: Path) -> None:
    out = resumed(trained, pattern, STEPS - CHECKPOINT_EVERY, tmp_path / "out")
    assert main(arguments(trained, pattern, out)) == 0
    assert losses(out) == pytest.approx(losses(trained / pattern), abs=1e-5)
    ours, theirs = (json.loads((each / "pretrain.json").read_text()) for each in (out, trained / pattern))
    assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], abs=1e-5)
    assert (ours["ranks"], theirs["ranks"]) == (1, 2)
    assert lines(out / "events.jsonl")[-2:] == [
        {"event": "steps lost", "step": STEPS - CHECKPOINT_EVERY, "lost": CHECKPOINT_EVERY},
        {"event": "started", "step": STEPS - CHECKPOINT_EVERY, "ranks": 1, "device": "CPU"},
    ]


def test_a_killed_rank_costs_the_steps_since_the_last_checkpoint_and_nothing_else(
    trained: Path, tmp_path: Path
) -> None:
    make_inputs(tmp_path)
    first, second = start_ranks(tmp_path, 2, "A-M")
    out = tmp_path / "A-M"
    until(lambda: (out / "metrics.jsonl").exists() and len((out / "metrics.jsonl").read_text().splitlines()) >= 20)
    second.send_signal(signal.SIGKILL)
    assert first.wait(PATIENCE_S) not in (0, STOPPED_STATUS), "the other does not wait for the dead"
    second.wait()
    newest = whole_checkpoints(out / "checkpoints")[-1]
    done = len((out / "metrics.jsonl").read_text().splitlines())
    # One is being written while the next steps are done.
    assert newest % CHECKPOINT_EVERY == 0
    assert done - newest < 2 * CHECKPOINT_EVERY
    assert main(arguments(tmp_path, "A-M", out)) == 0
    assert losses(out) == pytest.approx(losses(trained / "A-M"), abs=1e-5)


def test_a_checkpoint_that_was_cut_off_is_none(trained: Path, tmp_path: Path) -> None:
    out = resumed(trained, "A-M", STEPS, tmp_path / "out")
    shutil.copytree(out / f"checkpoints/step-{STEPS:08}", out / "checkpoints/step-00000099")
    (out / "checkpoints/step-00000099/.metadata").unlink()
    assert whole_checkpoints(out / "checkpoints") == [STEPS]


def damage(checkpoint: Path, name: str) -> None:
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("damaged", ["__0_0.distcp", "__1_0.distcp", ".metadata"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    trained: Path, tmp_path: Path, ranks: int, damaged: str
) -> None:
    make_inputs(tmp_path)
    out, before = tmp_path / "A-M", STEPS - CHECKPOINT_EVERY
    shutil.copytree(trained / "A-M", out)
    damage(out / f"checkpoints/step-{STEPS:08}", damaged)
    started = start_ranks(tmp_path, ranks, "A-M")
    assert [rank.wait(PATIENCE_S) for rank in started] == [0] * ranks
    printed = (tmp_path / "rank0.log").read_text()
    assert f"the checkpoint of step {STEPS} cannot be read" in printed
    assert f"going on from {before}" in printed
    assert losses(out) == pytest.approx(losses(trained / "A-M"), abs=1e-5)
    unread = [line for line in lines(out / "events.jsonl") if line["event"] == "checkpoint not read"]
    assert [line["step"] for line in unread] == [STEPS]
    assert whole_checkpoints(out / "checkpoints") == [before, STEPS]
    assert main(arguments(tmp_path, "A-M", out)) == 0, "the damaged one was written anew"
    assert lines(out / "events.jsonl")[-1] == {"event": "started", "step": STEPS, "ranks": 1, "device": "CPU"}


def test_damaged_checkpoints_do_not_stand_for_good_ones(trained: Path, tmp_path: Path) -> None:
    """Two are kept, the newest: damaged ones counted, so that the first good one to be written was removed at once."""
    out, before = tmp_path / "out", STEPS - CHECKPOINT_EVERY
    shutil.copytree(trained / "A-M", out)
    shutil.copytree(out / f"checkpoints/step-{STEPS:08}", out / f"checkpoints/step-{STEPS - 1:08}")
    for step in (STEPS - 1, STEPS):
        damage(out / f"checkpoints/step-{step:08}", ".metadata")
    assert main(arguments(trained, "A-M", out, "--stop-after", "1")) == STOPPED_STATUS
    assert whole_checkpoints(out / "checkpoints") == [before, before + 1, STEPS - 1, STEPS]
    assert main(arguments(trained, "A-M", out)) == 0
    assert whole_checkpoints(out / "checkpoints")[-1] == STEPS
    assert losses(out) == pytest.approx(losses(trained / "A-M"), abs=1e-5)


def test_with_no_checkpoint_that_can_be_read_nothing_begins_anew(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(trained / "A-M", out)
    for step in whole_checkpoints(out / "checkpoints"):
        damage(out / f"checkpoints/step-{step:08}", ".metadata")
    assert main(arguments(trained, "A-M", out)) == 2
    printed = capsys.readouterr().err
    assert "no checkpoint in" in printed
    assert f"step {STEPS - CHECKPOINT_EVERY}: " in printed
    assert "To begin anew, choose another folder." in printed
    assert printed.count("\n") == 1
    assert losses(out) == losses(trained / "A-M"), "what it was told is still there"


@pytest.mark.parametrize("words", [("--microbatch", "-4"), ("--microbatch", "0"), ("--stop-after", "0")])
def test_counts_are_above_0(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments(tmp_path, "A-M", tmp_path / "out"), *words])
    assert ended.value.code == 2
    assert "is not a whole number above 0" in capsys.readouterr().err


def test_weights_are_those_of_the_large_model_by_name(trained: Path) -> None:
    size = json.loads((trained / "Mb-M-A/pretrain.json").read_text())["identity"]
    from aira_contract.model_sizes import model_size

    model = LargeLanguageModel(
        tuple(size["pattern"].split("-")), model_size("toy", "3-primitive"), generator=torch.Generator(), vocabulary=520
    )
    load_weights(trained / "Mb-M-A/checkpoints", STEPS, model)
    ids = torch.from_numpy(
        TokenFolder(trained / "tokens").sequences("validation", SEQUENCE).read(range(40)).astype("int64")
    )
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert float(loss) == pytest.approx(lines(trained / "Mb-M-A/validation.jsonl")[-1]["loss"], abs=0.3)


def test_a_stop_leaves_a_checkpoint_and_the_next_start_goes_on(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(arguments(trained, "A-M", out, "--stop-after", "3")) == STOPPED_STATUS
    assert whole_checkpoints(out / "checkpoints") == [3]
    assert main(arguments(trained, "A-M", out, "--stop-after", "2")) == STOPPED_STATUS
    assert losses(out) == pytest.approx(losses(trained / "A-M")[:5], abs=1e-5)


def test_another_training_does_not_go_on_in_a_folder(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = resumed(trained, "A-M", STEPS, tmp_path / "out")
    assert main([*arguments(trained, "A-M", out), "--seed", "1"]) == 2
    assert "holds another training: seed 0, asked for 1" in capsys.readouterr().err
    assert main(arguments(trained, "A-A", out)) == 2
    assert 'pattern "mA-M", asked for "mA-mA"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--microbatch", "3"), "1 ranks with --microbatch 3 do not divide the 16 sequences"),
        (("--microbatch", "32"), "do not divide"),
        (("--pattern", "AxM"), "character 2"),
        (("--scale", "1B"), "is for toy, not for '1B'"),
        (("--recipe", "none"), "no recipe 'none'"),
        (("--data", "/nowhere"), "/nowhere/manifest.json: No such file"),
    ],
)
def test_what_cannot_begin_is_one_line_and_status_2(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: tuple[str, str], said: str
) -> None:
    assert main([*arguments(trained, "A-M", tmp_path / "out"), *changed]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_a_training_that_is_not_finite_changes_nothing_and_is_given_up(trained: Path, tmp_path: Path) -> None:
    """A learning rate of 1e30 makes weights that no loss is finite with."""
    make_inputs(tmp_path, RECIPE.replace("toy = 1e-2", "toy = 1e30").replace("steps = 48", "steps = 99", 1))
    assert main(arguments(tmp_path, "A-M", tmp_path / "out")) == 76
    events = lines(tmp_path / "out/events.jsonl")
    assert events[-1]["event"] == "diverged"
    assert sum(event["event"] == "not finite" for event in events) == 10
    metrics = lines(tmp_path / "out/metrics.jsonl")
    assert [line["skipped"] for line in metrics[-10:]] == [True] * 10
    assert metrics[-1]["loss"] is None or metrics[-1]["grad_norm"] is None


def test_a_spike_is_an_event_and_nothing_else(trained: Path, tmp_path: Path) -> None:
    """Losses that were near nothing make usual ones far above them, when a training goes on that has both."""
    out = resumed(trained, "A-M", STEPS - CHECKPOINT_EVERY, tmp_path / "out")
    found = lines(out / "metrics.jsonl")
    low = [line | {"loss": 0.5 + 0.001 * (line["step"] % 3)} for line in found]
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in low))
    assert main(arguments(trained, "A-M", out)) == 0
    spikes = [event for event in lines(out / "events.jsonl") if event["event"] == "spike"]
    assert [event["step"] for event in spikes][:2] == [STEPS - CHECKPOINT_EVERY + 1, STEPS - CHECKPOINT_EVERY + 2]
    assert spikes[0]["usual"] == pytest.approx(0.5, abs=0.01)
    ours = [line["loss"] for line in lines(out / "metrics.jsonl")[-CHECKPOINT_EVERY:]]
    assert ours == pytest.approx([line["loss"] for line in found[-CHECKPOINT_EVERY:]], abs=1e-5)


def test_tensorboard_reads_each_step_once_though_some_were_done_twice(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "out"
    told = arguments(trained, "A-M", out, "--tensorboard")
    assert main([*told, "--stop-after", str(CHECKPOINT_EVERY + 3)]) == STOPPED_STATUS
    shutil.rmtree(out / f"checkpoints/step-{CHECKPOINT_EVERY + 3:08}")  # as if it had been killed there
    assert main([*told, "--stop-after", str(24 - CHECKPOINT_EVERY)]) == STOPPED_STATUS
    board = EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    assert set(board.Tags()["scalars"]) == {"loss", "grad_norm", "lr", "tokens_per_s", "validation_loss"}
    shown = [(event.step, event.value) for event in board.Scalars("loss")]
    assert [step for step, _ in shown] == list(range(1, 25))
    assert [value for _, value in shown] == pytest.approx(losses(out), rel=1e-6)
    assert [event.step for event in board.Scalars("validation_loss")] == [24]


def test_sigterm_leaves_a_checkpoint(trained: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "aira_evaluator.pretrain.train", *arguments(trained, "A-M", tmp_path / "out")]
    child = subprocess.Popen(command, env=environment)
    until(lambda: (tmp_path / "out/metrics.jsonl").exists())
    child.terminate()
    assert child.wait(PATIENCE_S) == STOPPED_STATUS
    done = len(lines(tmp_path / "out/metrics.jsonl"))
    assert whole_checkpoints(tmp_path / "out/checkpoints")[-1] == done < STEPS


def until(met: Callable[[], Any]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < end_s
        time.sleep(0.05)

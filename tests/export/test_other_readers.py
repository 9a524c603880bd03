"""Other programs read what `aira-bench export` writes, and take what `--track` sends: the real packages.

They are heavy, so `make test-formats` installs them into an environment of its own and runs these; elsewhere each test
that lacks its package is skipped. There none may be (AIRA_TEST_FORMATS).
"""

import importlib.util
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from exported import ANSWER, HIDDEN, PROMPT, Machine, machine  # noqa: F401
from test_export_command import hostile_leaves

import generated_runs
from aira_bench.export.mirror import Mirror
from aira_bench.record.folder import RunFolder
from aira_bench.record.scores import TrustedScore
from aira_contract.training_series import TrainingPoint
from hostile_text import WHOLE

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "suite.ipynb"


def require(package: str) -> Any:  # noqa: ANN401
    """Import a package, or skip; fail where it was to be there."""
    if os.environ.get("AIRA_TEST_FORMATS"):
        assert importlib.util.find_spec(package.partition(".")[0]), f"make test-formats installs {package}"
    return pytest.importorskip(package)


def holds(data: bytes, number: float) -> bool:
    """Whether a number stands in bytes: as text, to five decimals or more, or as a double or a float."""
    whole = re.escape(f"{number:.5f}"[:-1])
    packed = (struct.pack("<d", number), struct.pack("<f", number))
    return re.search(whole.encode() + rb"\d", data) is not None or any(each in data for each in packed)


def unpacked(path: Path) -> bytes:
    """All that an archive's members hold."""
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def test_inspect_reads_its_log(machine: Machine) -> None:  # noqa: F811
    require("inspect_ai")
    from inspect_ai.log import read_eval_log, read_eval_log_sample

    machine.run()
    (path,) = machine.export("inspect", "logs")
    log = read_eval_log(str(path))
    assert (log.status, log.eval.task, log.eval.model) == ("success", "mad-2p", "m-1")
    assert [(sample.id, sample.epoch) for sample in log.samples] == [(n, s) for s in (0, 1) for n in (1, 2, 3)]
    sample = read_eval_log_sample(str(path), id=2, epoch=0)
    assert sample.input == PROMPT
    assert {name: score.value for name, score in sample.scores.items()} == {"search_score": 0.7123}
    events = [event.event for event in sample.events]
    assert events == ["model", "model", "sandbox", "score"]
    first, second, ran, _ = sample.events
    assert [(each.role, each.text) for each in first.input] == [("system", "You search."), ("user", PROMPT)]
    assert (first.output.completion, first.output.usage.output_tokens, first.output.usage.total_cost) == (
        ANSWER,
        50,
        0.25,
    )
    assert (first.output.usage.input_tokens, first.output.usage.input_tokens_cache_read) == (800, 200)
    assert (first.config.temperature, first.config.max_tokens, first.tools, first.retries) == (0.7, 4096, [], 1)
    assert second.config.response_schema.json_schema.required == ["is_bug"]
    assert (ran.input, ran.output.splitlines()[0], ran.result) == ("print('hello')\n", "hello", 0)
    (score,) = log.results.scores
    assert (score.name, score.metrics["mean_of_submitted"].value) == ("search_score", (0.7123 + 0.6123) / 2)


def test_inspect_gets_hidden_scores_only_when_asked(machine: Machine) -> None:  # noqa: F811
    require("inspect_ai")
    from inspect_ai.log import read_eval_log

    machine.run()
    (path,) = machine.export("inspect", "logs")
    assert [number for number in HIDDEN if holds(unpacked(path), number)] == []
    first = path.read_bytes()
    machine.export("inspect", "logs")
    assert path.read_bytes() == first, "the same run makes the same bytes"
    (path,) = machine.export("inspect", "logs", "--with-hidden")
    scores = read_eval_log(str(path)).samples[1].scores
    assert {name: scores[name].value for name in ("validation", "test")} == {
        "validation": 0.712345678, "test": 0.612345673,
    }  # fmt: skip
    assert scores["confirmed"].value == pytest.approx(0.577654324)


def test_inspect_view_bundles_the_logs(machine: Machine) -> None:  # noqa: F811
    require("inspect_ai")
    machine.run()
    machine.export("inspect", "logs")
    command = [sys.executable, "-m", "inspect_ai", "view", "bundle", "--log-dir", "logs", "--output-dir", "site"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    site = machine.path / "site"
    assert (site / "index.html").is_file()
    assert (site / "logs" / "one.eval").read_bytes() == (machine.path / "logs" / "one.eval").read_bytes()


def test_hostile_text_breaks_no_log(machine: Machine) -> None:  # noqa: F811
    require("inspect_ai")
    from inspect_ai.log import read_eval_log

    said = WHOLE.encode("utf-8", "ignore").decode()
    machine.run(leave=hostile_leaves, of_nodes={"plan": said, "reason": said})
    (path,) = machine.export("inspect", "logs")
    log = read_eval_log(str(path), resolve_attachments=True)
    assert log.samples[0].metadata["plan"] == said
    assert "characters left out" in log.samples[0].output.completion


@pytest.mark.parametrize("leave", [None])
def test_a_run_without_models_is_a_log(machine: Machine, leave: None) -> None:  # noqa: F811
    require("inspect_ai")
    from inspect_ai.log import read_eval_log

    machine.run(leave=leave, of_nodes={}, confirmed=False, end=False)
    (path,) = machine.export("inspect", "logs")
    log = read_eval_log(str(path))
    assert (log.status, log.eval.model, log.samples[0].input) == ("started", "none/none", "draft of step nothing")


def test_tensorboard_reads_its_events(machine: Machine) -> None:  # noqa: F811
    require("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    machine.run()
    paths = machine.export("tensorboard", "events")
    data = b"".join(path.read_bytes() for path in paths)
    assert [number for number in HIDDEN if holds(data, number)] == []
    read = EventAccumulator(str(paths[0].parent))
    read.Reload()
    found = {tag: [(each.step, each.value) for each in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    assert found["search_score"] == [(1, pytest.approx(0.5123)), (2, pytest.approx(0.7123))]
    assert found["best_search_score"] == [(n, pytest.approx(v)) for n, v in ((1, 0.5123), (2, 0.7123), (3, 0.7123))]
    assert found["spent/input_tokens"] == [(1, 2000.0), (2, 4000.0), (3, 6000.0)]
    assert "test" not in found
    assert [path.read_bytes() for path in machine.export("tensorboard", "events")] == [
        each.read_bytes() for each in paths
    ]
    machine.export("tensorboard", "events", "--with-hidden")
    read = EventAccumulator(str(paths[0].parent))
    read.Reload()
    assert [each.value for each in read.Scalars("test")] == [pytest.approx(0.412345671), pytest.approx(0.612345673)]


def test_a_training_curve_leaves_only_when_it_is_asked_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Two points of the training behind step 1 of seed 0."""
    require("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curve = (TrainingPoint(1, 2.5, 100, 0.5), TrainingPoint(50, 1.25, 5000, 4.0))
    monkeypatch.setattr(generated_runs, "TrustedScore", partial(TrustedScore, series=curve))
    machine.run(confirmed=False)
    assert len(machine.export("tensorboard", "events")) == 2
    machine.export("tensorboard", "shown", "--with-hidden")
    read = EventAccumulator("shown/one/seed-0-step-0001")
    read.Reload()
    assert [(each.step, each.value) for each in read.Scalars("training/loss")] == [(1, 2.5), (50, 1.25)]


def test_pandas_reads_the_tables(machine: Machine) -> None:  # noqa: F811
    pandas = require("pandas")
    machine.run()
    (path,) = machine.export("parquet", "steps.parquet", "--with-hidden")
    steps = pandas.read_parquet(path)
    assert steps.groupby("seed")["best_search_score"].last().tolist() == [0.7123, 0.6123]
    assert steps.loc[steps["submitted"], "test"].tolist() == [0.612345673, 0.812345677]
    (path,) = machine.export("csv", "steps.csv", "--with-hidden")
    assert pandas.read_csv(path)["test"].tolist()[:2] == [0.412345671, 0.612345673]


def test_harbor_takes_the_trajectories(machine: Machine) -> None:  # noqa: F811
    """Its own models of the format; its package wants a newer Python than ours may be."""
    if sys.version_info < (3, 12):
        pytest.skip("harbor needs Python 3.12; test_export_command checks the rules of the format")
    require("harbor")
    from harbor.models.trajectories import Trajectory

    machine.run()
    for path in machine.export("atif", "out"):
        Trajectory.model_validate(json.loads(path.read_text()))


def test_mlflow_takes_a_run_into_its_local_store(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    require("mlflow")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{machine.path / 'mlflow.db'}")
    folder = machine.run()
    for _ in range(2):  # once more, as `resume --track` does: what was sent is not sent again
        mirror = Mirror("mlflow", RunFolder(folder.path))
        assert mirror.look(), mirror.problem
        assert mirror.close(), mirror.problem
    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("aira-bench").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["agent"]) == ("one", "FINISHED", "evolution")
    history = client.get_metric_history(run.info.run_id, "seed_0/search_score")
    assert [(each.step, each.value) for each in history] == [(1, 0.5123), (2, 0.7123)]
    assert [number for number in HIDDEN if holds((machine.path / "mlflow.db").read_bytes(), number)] == []


def test_wandb_takes_a_run_offline(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    require("wandb")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(machine.path)), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    folder = machine.run()
    mirror = Mirror("wandb", RunFolder(folder.path))
    assert mirror.look(), mirror.problem
    assert mirror.close(), mirror.problem
    assert mirror.steps == 6
    files = [path for path in (machine.path / "wandb").rglob("*") if path.is_file() and not path.is_symlink()]
    (kept,) = [path for path in files if path.suffix == ".wandb"]
    data = b"".join(path.read_bytes() for path in files)
    assert b"seed_0/search_score" in kept.read_bytes()
    assert b"0.7123" in kept.read_bytes()
    assert [number for number in HIDDEN if holds(data, number)] == []


def test_the_notebook_reads_a_suite(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Its cells one after the other, in a namespace of their own, as a kernel would."""
    require("pandas")
    machine.run("one")
    machine.run("two", of_nodes={})
    names: dict[str, Any] = {}
    for number, cell in enumerate(json.loads(NOTEBOOK.read_text())["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    steps, submitted, anytime = names["steps"], names["submitted"], names["anytime_test"]
    assert [run.name for run in names["runs"]] == ["one", "two"]
    assert len(steps) == 12
    assert submitted["test"].tolist() == [0.612345673, 0.812345677] * 2
    assert submitted["trainings"].tolist() == [3] * 4
    assert submitted["confirmed"].tolist() == pytest.approx([0.577654324, 0.777654324] * 2)
    assert anytime["one", 0].tolist() == [0.412345671, 0.612345673, 0.612345673]


def test_the_notebook_is_whole_and_without_outputs() -> None:
    """A run of it on somebody's machine is not committed: it would show test scores."""
    told = json.loads(NOTEBOOK.read_text())
    assert (told["nbformat"], told["nbformat_minor"]) == (4, 5)
    assert [cell for cell in told["cells"] if cell.get("outputs") or cell.get("execution_count")] == []

"""The baseline script through the command line and real containers, on a clock of seconds.

Not covered: whole searches, which take minutes; their steps are no different from this one.
"""

import json

import pytest

from aira_bench.agents.searchers.script_hyperparameters import read_hyperparameters
from autoresearch_folders import LITERATURE, untrained_copy
from place import Place

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One step of an evolution on the task with literature, on a clock of 4 s; on busy machines starting takes long."""
    root = tmp_path_factory.mktemp("autoresearch")
    task = root / LITERATURE.name
    untrained_copy(LITERATURE, task)
    metadata = task / "metadata.yaml"
    text = metadata.read_text()
    clock = "fit: {budget_s: 25, start_up_s: 30,"
    assert clock in text
    metadata.write_text(text.replace(clock, "fit: {budget_s: 4, start_up_s: 240,"))
    found = Place(root / "home", root / "runs")
    found.call("run", "--agent", "evolution", "--task", str(task), "--profile", "cpu", "--scaffold", "greedy",
               "--steps", "1", "--seeds", "1", "--name", "search")  # fmt: skip
    return found


def test_a_script_is_trained_and_scored_on_hidden_text(place: Place) -> None:
    folder = place.run("search").seed(0)
    (node,) = folder.nodes
    assert node.step_class == "valid", node.reason
    score = folder.scores.read()[1]
    assert 1.0 < score.test < 3.5, "better than a uniform guess, and no miracle"
    assert node.fitness is not None
    assert node.claimed is not None
    assert score.validation is not None
    assert node.fitness == pytest.approx(score.validation, abs=1e-4)
    assert abs(node.claimed - node.fitness) < 0.3, "claimed on other text of the same kind"
    report = json.loads((folder.verdict(1) / "report.json").read_text())
    assert report["flags"] in ([], ["slow_to_serve"]), "a busy machine may be slow"
    assert report["details"]["window_step"] == 32, "the baseline takes windows of any length"
    assert report["details"]["test"]["questions"] == 2000
    for error in (score.validation_standard_error, score.test_standard_error):
        assert error is not None
        assert 0.001 < error < 0.1
    assert report["details"]["public_corpus"] is True
    assert read_hyperparameters((folder.node(1) / "train.py").read_text())["DEPTH"] == 2, (
        "the hyperparameters of the profile"
    )

"""Searches on the two tasks of patterns in containers: evolution, and a language model behind a local server."""

import json
from collections.abc import Iterator

import pytest

from aira_contract.training_arithmetic import toy_parameters
from llm.wire_server import Reply, WireRequest, WireServer
from place import Place
from small_pattern_tasks import small_pattern_task

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
LAYERS = {"compose-aggregate": 16, "compose-scale": 23}
ANSWERS = {"compose-aggregate": "SSAAAASSASASASSA", "compose-scale": "SSMSMSMAMSMAMSMASMSMSMM"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("patterns")
    for alias in LAYERS:
        small_pattern_task(alias, root)
    return Place(root / "home", root / "runs")


def brain(request: WireRequest) -> Reply:
    """Submits the pattern that the description of the task names."""
    if request.schema is not None:
        return Reply(json.dumps({"is_bug": False, "summary": "it ran", "metric": None}))
    text = "\n".join((request.system, *(part for _, part in request.messages)))
    pattern = ANSWERS["compose-aggregate" if "searched.csv" in text else "compose-scale"]
    return Reply(f"```python\nopen('submission.csv', 'w').write('architecture\\n{pattern}\\n')\n```")


@pytest.fixture(scope="module")
def server() -> Iterator[WireServer]:
    with WireServer(brain) as running:
        yield running


@pytest.mark.parametrize("alias", list(LAYERS))
def test_evolution_searches_patterns_within_their_budget(place: Place, alias: str) -> None:
    (task,) = place.home.parent.glob("ArchitectureA*" if alias == "compose-aggregate" else "ArchitectureS*")
    told = ("--task", str(task), "--profile", "cpu", "--source", "synthetic", "--seeds", "1", "--steps", "2")
    place.call("run", "--agent", "evolution", *told, "--name", alias)
    nodes = place.run(alias).seed(0).nodes
    assert [node.step_class for node in nodes] == ["valid"] * 2
    for node in nodes:
        assert node.canonical is not None
        pattern = tuple(node.canonical.split(","))
        assert len(pattern) == LAYERS[alias]
        assert alias == "compose-aggregate" or toy_parameters(pattern) <= 700_000
        assert node.fitness is not None
        assert 2 < node.fitness < 8


@pytest.mark.parametrize("alias", list(LAYERS))
def test_a_language_model_behind_a_local_server_submits_a_pattern(place: Place, server: WireServer, alias: str) -> None:
    (task,) = place.home.parent.glob("ArchitectureA*" if alias == "compose-aggregate" else "ArchitectureS*")
    told = ("--task", str(task), "--profile", "cpu", "--source", "synthetic", "--seeds", "1", "--steps", "1")
    place.call(
        "run", "--agent", "gpt-oss-20b", *told, "--name", f"model-{alias}",
        AIRA_BASE_URL_GPT_OSS_20B=server.base_url("openai-compatible"),
    )  # fmt: skip
    (node,) = place.run(f"model-{alias}").seed(0).nodes
    assert node.step_class == "valid"
    assert node.canonical is not None
    assert len(node.canonical.split(",")) == LAYERS[alias]

"""Our own policies, agents, models and sandboxes under the checks that others get."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from aira_bench.agents.catalog import SEARCHERS
from aira_bench.agents.llm.llm_agent import LlmAgent
from aira_bench.agents.llm.model_sources import FunctionSource
from aira_bench.docker_engine import DockerEngine
from aira_bench.images.ensure import ImageSet
from aira_bench.llm.model import Completion, CompletionRequest, Model
from aira_bench.llm.recording import RecordingModel
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.scaffolds.catalog import SCAFFOLDS, make_scaffold
from aira_bench.scaffolds.policy import Policy
from aira_bench.tasks.task import find_task
from aira_bench.testing import (
    AGENT_CHECKS,
    ISOLATION_CHECKS,
    MODEL_CHECKS,
    POLICY_CHECKS,
    SANDBOX_CHECKS,
    AgentOnTask,
    Check,
    InMemorySandbox,
    SandboxOnImage,
    ScriptedModel,
    brief_of,
    run_unprotected,
)


@pytest.mark.parametrize("lower_is_better", [False, True])
@pytest.mark.parametrize("name", list(SCAFFOLDS.built_in))
@pytest.mark.parametrize("check", POLICY_CHECKS, ids=str)
def test_scaffolds(check: Check[Policy], name: str, lower_is_better: bool) -> None:
    check(make_scaffold(name, steps=30, lower_is_better=lower_is_better))


TASKS = {"architecture": "mad-3p", "module": "lra-listops-conf", "script": "autoresearch"}
SEARCHES = [
    (name, task)
    for name in ("evolution", "random", "baseline", "noop")
    for task in TASKS.values()
]  # fmt: skip


def public_data(task: str, folder: Path) -> Path:
    """What searchers read of a task's public data: the script that a `train.py` starts from."""
    script = find_task(task).folder / "train.py"
    if script.is_file():
        (folder / "train.py").write_bytes(script.read_bytes())
    return folder


@pytest.mark.parametrize(("name", "task"), SEARCHES)
@pytest.mark.parametrize("check", AGENT_CHECKS, ids=str)
def test_searchers(check: Check[AgentOnTask], name: str, task: str, tmp_path: Path) -> None:
    check(AgentOnTask(SEARCHERS[name], brief_of(task, public=public_data(task, tmp_path))))


def answer(request: CompletionRequest) -> str:
    if request.schema is not None:
        return json.dumps({"is_bug": False, "summary": "It printed a number.", "metric": 0.5, "number": 3})
    seed = request.messages[-1].text
    return f"A plan.\n\n```python\nvalue = {random.Random(seed).random()}\n```"


@pytest.mark.parametrize("check", AGENT_CHECKS, ids=str)
def test_an_agent_with_a_scripted_model(check: Check[AgentOnTask]) -> None:
    agent = LlmAgent("scripted", FunctionSource(ScriptedModel("scripted", answer)))
    check(AgentOnTask(agent, brief_of("mad-2p")))


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=str)
def test_scripted_models(check: Check[Model]) -> None:
    check(ScriptedModel("scripted", answer))


@pytest.mark.parametrize("check", [each for each in MODEL_CHECKS if "threads" not in str(each)], ids=str)
def test_recording_models(check: Check[Model], tmp_path: Path) -> None:
    """One serves one node, whose calls come one after another."""
    check(RecordingModel(ScriptedModel("scripted", answer), tmp_path))
    again: Model = RecordingModel(ScriptedModel("scripted", _never), tmp_path)
    if list(tmp_path.iterdir()):
        check(again)


def _never(request: CompletionRequest) -> Completion:
    raise AssertionError("a call that is recorded is not made again")


@pytest.mark.parametrize("check", SANDBOX_CHECKS, ids=str)
def test_the_in_memory_sandbox(check: Check[SandboxOnImage]) -> None:
    sandbox = InMemorySandbox({"agent": run_unprotected}, {"judge": lambda request: request[::-1]})
    check(SandboxOnImage(sandbox, "python"))
    assert not sandbox.containers


def test_the_in_memory_sandbox_does_not_pass_for_a_safe_one() -> None:
    (check,) = ISOLATION_CHECKS
    with pytest.raises(AssertionError):
        check(SandboxOnImage(InMemorySandbox({"agent": run_unprotected, "probe": run_unprotected}), "python"))


@pytest.fixture(scope="module")
def docker_sandbox(engine: DockerEngine) -> Iterator[DockerSandbox]:
    with DockerSandbox(engine) as sandbox:
        yield sandbox


@pytest.mark.docker
@pytest.mark.parametrize("check", [*SANDBOX_CHECKS, *ISOLATION_CHECKS], ids=str)
def test_the_docker_sandbox(check: Check[SandboxOnImage], docker_sandbox: DockerSandbox, images: ImageSet) -> None:
    check(SandboxOnImage(docker_sandbox, images.agent))

"""Real containers for tests: one engine and one sandbox a session, one fresh container a step."""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from small_steps import SMALL, SUBMISSION, RunCode

from aira_bench.docker_engine import DockerEngine
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ArtifactRequest, ContainerSpec, Limits, Mount, StepOutcome


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> str:
    """The cpu agent image, or AIRA_TEST_IMAGE: any image with python3 and a shell."""
    chosen = os.environ.get("AIRA_TEST_IMAGE")
    return chosen if chosen else str(request.getfixturevalue("images").agent)


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    engine = DockerEngine.connect()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def sandbox(engine: DockerEngine) -> Iterator[DockerSandbox]:
    with DockerSandbox(engine) as sandbox:
        yield sandbox


@pytest.fixture
def run_id() -> str:
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def spec(image: str, run_id: str) -> ContainerSpec:
    return ContainerSpec(image=image, role="agent", run_id=run_id, limits=SMALL)


@pytest.fixture
def run_code(sandbox: DockerSandbox, image: str, run_id: str, tmp_path: Path) -> RunCode:
    """Run Python code as a solution; artifacts land in `tmp_path / "out"`."""

    def run(
        code: str,
        *,
        timeout_s: float = 30,
        artifacts: Sequence[ArtifactRequest] = (SUBMISSION,),
        mounts: tuple[Mount, ...] = (),
        limits: Limits = SMALL,
        files: Mapping[str, bytes] | None = None,
    ) -> StepOutcome:
        spec = ContainerSpec(image=image, role="agent", run_id=run_id, limits=limits, mounts=mounts)
        container = sandbox.prepare(spec)
        try:
            return container.run(
                ["python3", "solution.py"],
                files={"solution.py": code.encode(), **(files or {})},
                timeout_s=timeout_s,
                artifacts=artifacts,
                destination=tmp_path / "out",
            )
        finally:
            container.close()

    return run

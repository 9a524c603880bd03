"""Fixtures shared by tests that need real containers, and how property tests draw.

The suite draws the same examples each time, so that a failure is the change's; `make search` draws others.
"""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import settings

from aira_bench.docker_engine import DockerEngine
from aira_bench.images.ensure import ImageSet, ensure_images
from aira_bench.runs.leases import FOLDER_VARIABLE
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from long_tests import long_tests

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is long."""
    names = long_tests()
    for item in items:
        if item.nodeid in names or item.nodeid.partition("[")[0] in names:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", autouse=True)
def leases_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of a suite lease cores from each other, and wait for nobody else on this machine."""
    before = os.environ.get(FOLDER_VARIABLE)
    os.environ[FOLDER_VARIABLE] = str(tmp_path_factory.mktemp("leases") / "folder")
    yield
    if before is None:
        del os.environ[FOLDER_VARIABLE]
    else:
        os.environ[FOLDER_VARIABLE] = before


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A shell that starts the suite in the background has it ignore Ctrl-C, and children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def engine() -> DockerEngine:
    """The daemon of this machine; `make test` has started it."""
    return DockerEngine.connect()


@pytest.fixture(scope="session")
def images(engine: DockerEngine) -> ImageSet:
    """The cpu images, built by `make test` before the suite."""
    return ensure_images("cpu", engine, lambda text: None)


@pytest.fixture
def sandbox(engine: DockerEngine) -> Iterator[DockerSandbox]:
    """A sandbox that leaves nothing behind."""
    with DockerSandbox(engine) as made:
        yield made


def leftovers() -> list[str]:
    """Names of containers that carry a label of ours."""
    listed = subprocess.run(
        ["docker", "ps", "--all", "--filter", "label=aira-bench.run", "--format", "{{.Names}}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return listed.stdout.split()

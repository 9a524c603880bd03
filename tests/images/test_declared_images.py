"""A task's packages in an image of its own, looked at from its containers: there, last, and unable to replace ours."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.images.declared import Declared
from aira_bench.images.ensure import ImageSet, ensure_images
from aira_bench.images.flavour import load_flavour
from aira_bench.images.wheels import wheel_folder
from wheel_shop import offer, only_pip_source

pytestmark = pytest.mark.docker
LOOK = """
import json, numpy, os, sys
import seasons, aira_kernels
starts = hasattr(sys, "ran_at_start") or any("customize" in name for name in os.listdir("/opt/declared"))
print(json.dumps([seasons.NAME, numpy.__file__, aira_kernels.__file__, starts, seasons.__file__]))
"""


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = wheel_folder(load_flavour("cpu"))
    only_pip_source(tmp_path / "offered", monkeypatch, tmp_path / "cache")
    mine = wheel_folder(load_flavour("cpu"))
    mine.parent.mkdir(parents=True)
    mine.symlink_to(cache)
    wheel = offer(tmp_path / "offered", "seasons", "1.0", needs=("numpy>=2",), code="NAME = 'spring'\n")
    with ZipFile(wheel, "a") as more:
        more.writestr("numpy/__init__.py", "raise SystemExit('replaced')")
        more.writestr("aira_kernels/__init__.py", "raise SystemExit('replaced')")
        more.writestr("seasons.pth", "import sys; sys.ran_at_start = True\n")
        for name in ("sitecustomize.py", "usercustomize/__init__.py"):  # Python imports these at every start
            more.writestr(name, "import sys; sys.ran_at_start = True\n")
    return tmp_path / "offered"


@pytest.fixture
def layered(images: ImageSet, engine: DockerEngine, offered: Path) -> Iterator[ImageSet]:
    declared = Declared(agent=("seasons",), evaluate=("seasons==1.*",))
    made = ensure_images("cpu", engine, lambda text: None, declared)
    yield made
    for tag in (made.agent, made.evaluator):
        engine.remove_image(tag)


def look(image: str) -> list[object]:
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", image, "python3", "-c", LOOK],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert isinstance(seen, list)
    return seen


def test_declared_packages_are_there_and_replace_nothing(
    images: ImageSet, layered: ImageSet, engine: DockerEngine
) -> None:
    ours = "/opt/aira/lib/python3.11/site-packages"
    for image in (layered.agent, layered.evaluator):
        assert look(image) == [
            "spring", f"{ours}/numpy/__init__.py", f"{ours}/aira_kernels/__init__.py", False, "/opt/declared/seasons.py",
        ]  # fmt: skip
    assert layered.agent.startswith(f"{images.agent}-")
    assert layered.evaluator.startswith(f"{images.evaluator}-")
    notes: list[str] = []
    again = ensure_images("cpu", engine, notes.append, Declared(agent=("seasons",), evaluate=("seasons==1.*",)))
    assert again == layered
    assert notes == [], "nothing is looked up or built again"

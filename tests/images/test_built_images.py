"""What is in the built images, asked of containers of them."""

import json
import subprocess

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.images.ensure import ImageSet, build_images
from aira_bench.images.flavour import load_flavour, normal_name

pytestmark = pytest.mark.docker


def run(image: str, *command: str) -> str:
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", image, *command],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_second_build_does_nothing(images: ImageSet, engine: DockerEngine) -> None:
    notes: list[str] = []
    rows = build_images("cpu", engine, notes.append)
    assert [row.tag for row in rows] == [images.agent, images.evaluator]
    assert [row.seconds for row in rows] == [0, 0]
    assert all(100 < row.size_mib < 4000 for row in rows)
    assert notes == []


def test_user_is_unprivileged_and_has_a_name(images: ImageSet) -> None:
    assert run(images.agent, "id") == "uid=10001(agent) gid=10001(agent) groups=10001(agent)"


def test_python_is_one_and_the_same_however_it_is_called(images: ImageSet) -> None:
    for image in (images.agent, images.evaluator):
        assert run(image, "python3", "-I", "-c", "import sys; print(sys.prefix)") == "/opt/aira"
        assert run(image, "/opt/aira/bin/python3", "-I", "-S", "-c", "import json, socket; print(1)") == "1"


def test_locked_versions_are_what_a_solution_sees(images: ImageSet) -> None:
    code = """
import importlib.metadata as metadata, json
print(json.dumps([(found.name, found.version) for found in metadata.distributions()]))
import aira_evaluator, aira_kernels, torch
assert not torch.cuda.is_available()
"""
    seen = {normal_name(name): version for name, version in json.loads(run(images.agent, "python3", "-c", code))}
    locked = dict(pin.split("==") for pin in load_flavour("cpu").pins)
    assert {name: seen.get(name) for name in locked} == locked
    assert "pip" not in seen


def test_nothing_needless_or_dangerous_is_left(images: ImageSet) -> None:
    code = r"""
import os, stat
found = []
for top, folders, files in os.walk("/"):
    if top in {"/proc", "/sys", "/dev"}:
        folders.clear()
        continue
    found += [os.path.join(top, name) for name in folders if name == ".git"]
    for name in files:
        path = os.path.join(top, name)
        mode = os.lstat(path)
        if stat.S_ISREG(mode.st_mode) and (mode.st_mode & 0o6000 or name.endswith(".whl") and "ensurepip" not in path):
            found.append(path)
print([path for path in found if "python-wheels" not in path])
"""
    assert run(images.agent, "python3", "-I", "-S", "-c", code) == "[]"
    assert run(images.agent, "find", "/workspace", "/tmp", "-mindepth", "1") == ""

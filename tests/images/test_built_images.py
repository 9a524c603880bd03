"""What is in the built images, asked of containers of them."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.images.ensure import ImageSet, build_images
from aira_bench.images.flavour import load_flavour, normal_name
from aira_bench.tasks.task import shipped_tasks

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


def installed(image: str) -> dict[str, str]:
    code = (
        "import importlib.metadata as metadata, json\n"
        "print(json.dumps([(found.name, found.version) for found in metadata.distributions()]))"
    )
    return {normal_name(name): version for name, version in json.loads(run(image, "python3", "-c", code))}


def test_each_image_has_its_lock_and_nothing_else(images: ImageSet) -> None:
    cpu = load_flavour("cpu")
    for image, pins in ((images.agent, cpu.pins), (images.evaluator, cpu.evaluator_pins)):
        have = installed(image)
        assert have.pop("setuptools", None) in {None, dict(pin.split("==") for pin in pins).get("setuptools")}
        locked = dict(pin.split("==") for pin in pins)
        locked.pop("setuptools", None)
        assert have == locked


def test_judges_have_nothing_of_what_only_agents_need(images: ImageSet) -> None:
    """Nowhere in the image, and by no other name: no module, no metadata, no leftover of one."""
    only_agents = {*load_flavour("cpu").settings.imports.only_agent, "orbax", "tensorstore", "treescope"}
    children = ["find", "/opt", "/usr", "-path", "*-packages/*", "-prune", "-print"]
    names = {
        image: {Path(line).name for line in run(image, *children).splitlines()}
        for image in (images.agent, images.evaluator)
    }
    stems = {image: {re.split(r"[-.]", name)[0].lower() for name in found} for image, found in names.items()}
    assert only_agents <= stems[images.agent]
    assert not only_agents & stems[images.evaluator]
    assert {"jax", "torch", "py7zr", "aira_evaluator", "aira_kernels"} <= stems[images.evaluator]
    refused = "import importlib.util as util; print([name for name in %r if util.find_spec(name)])"
    assert run(images.evaluator, "python3", "-c", refused % sorted(only_agents)) == "[]"


def test_what_judging_and_preparing_import_is_there(images: ImageSet) -> None:
    """The modules that the scripts of all shipped tasks begin with, each in a process of its own."""
    scripts = ("prepare.py", "evaluate_prepare.py", "evaluate.py")
    found = {
        line.split()[1]
        for task in shipped_tasks()
        for script in scripts
        for line in (task.folder / script).read_text().splitlines()
        if line.startswith("from aira_")
    }
    assert len(found) >= 6
    code = "; ".join(f"subprocess.run([sys.executable, '-c', 'import {name}'], check=True)" for name in sorted(found))
    run(images.evaluator, "python3", "-c", f"import subprocess, sys; {code}")


def test_agents_packages_load_from_where_they_were_compiled(images: ImageSet) -> None:
    """They are installed in another folder than they are used in; bytecode that names the other is no use in a traceback."""
    code = "import flax.linen as nn; print(nn.Module.__init_subclass__.__func__.__code__.co_filename, nn.__cached__)"
    source, compiled = run(images.agent, "python3", "-c", code).split()
    assert source.startswith("/opt/aira/lib/python3.11/site-packages/flax/")
    assert run(images.agent, "test", "-f", compiled) == ""


def test_archives_are_unpacked_in_the_image(images: ImageSet) -> None:
    """The process gives up memory and files in a container, too."""
    code = (
        "import io, pathlib, py7zr, lzma\n"
        "archive = py7zr.SevenZipFile('/tmp/a.7z', 'w', filters=[{'id': lzma.FILTER_LZMA2, 'preset': 1}])\n"
        "archive.writestr(b'{\"text\": \"a story\"}', 'a.jsonl'); archive.close()\n"
        "from aira_evaluator.text.documents import read_documents\n"
        "print(list(read_documents([pathlib.Path('/tmp/a.7z')])))"
    )
    assert run(images.evaluator, "python3", "-c", code) == "['a story']"

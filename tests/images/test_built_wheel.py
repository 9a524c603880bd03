"""An installed wheel works away from a checkout: it carries tasks, image recipes and published tables."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from aira_bench.images.ensure import planned_images

CHECKOUT = Path(__file__).parents[2]
PACKAGES = {"aira_bench", "aira_contract", "aira_evaluator", "aira_kernels"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(CHECKOUT)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked as an installer does it; dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(site: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=site.parent, env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bundled_folders_are_found_inside_the_package(site: Path) -> None:
    names = "tasks", "images", "published"
    code = f"from aira_bench.bundled import bundled_folder as f; print(*map(f, {names}), sep='\\n')"
    folders = [Path(line) for line in python(site, "-c", code).splitlines()]
    assert all(folder.is_relative_to(site) for folder in folders)
    tasks, images, published = folders
    assert list(tasks.glob("*/metadata.yaml"))
    assert (images / "Dockerfile").is_file()
    assert (images / "cuda" / "requirements.lock").is_file()
    assert list(published.rglob("*.csv"))


def test_image_tags_are_those_of_the_checkout(site: Path) -> None:
    code = "from aira_bench.images.ensure import planned_images as p; print(*p('cpu'))"
    assert tuple(python(site, "-c", code).split()) == planned_images("cpu")


def test_tasks_are_listed(site: Path) -> None:
    listed = json.loads(python(site, "-m", "aira_bench", "tasks", "--json"))
    assert "mad-2p" in json.dumps(listed)


@pytest.mark.parametrize(
    ("kind", "name"), [("task", "DeepAccuracy"), ("agent", "a-b"), ("scaffold", "c-d"), ("card", "e")]
)
def test_templates_are_written_as_in_the_checkout(site: Path, tmp_path: Path, kind: str, name: str) -> None:
    for place in ("wheel", "checkout"):
        (tmp_path / place).mkdir()
    arguments = ["-m", "aira_bench", "init", kind, name, "--into"]
    python(site, *arguments, str(tmp_path / "wheel"))
    subprocess.run([sys.executable, *arguments, tmp_path / "checkout"], check=True, capture_output=True, timeout=60)
    trees = [
        {
            path.relative_to(tmp_path / place): path.read_bytes()
            for path in (tmp_path / place).rglob("*")
            if path.is_file()
        }
        for place in ("wheel", "checkout")
    ]
    assert trees[0] == trees[1]
    assert trees[0]


def test_wheel_holds_nothing_but_the_product(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert "aira_bench/py.typed" in names, "whoever imports it sees types"

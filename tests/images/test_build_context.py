"""What a build of the images is given, what its recipe does with it, and that a flavour is listed in one place."""

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aira_bench.bundled import bundled_folder
from aira_bench.cli.main import build_parser
from aira_bench.errors import PrerequisiteError
from aira_bench.images import base, ensure
from aira_bench.images.flavour import (
    PACKAGES,
    TARGETS,
    gpu_flavour,
    load_flavour,
    package_files,
    package_folder,
)
from aira_bench.images.names import DEFAULT_FLAVOUR, PAPER_FLAVOUR, flavour_names
from aira_bench.tasks.task import shipped_tasks

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "images").glob("*Dockerfile"))


# One list -------------------------------------------------------------------------------------------------------------


def test_a_folder_is_all_it_takes_to_be_a_flavour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, the lock script and the product see a new one without a line of theirs."""
    images = Path(shutil.copytree(bundled_folder("images"), tmp_path / "images"))
    shutil.copytree(images / "cpu", images / "rocm")
    monkeypatch.setattr("aira_bench.images.names.bundled_folder", lambda name: images)
    monkeypatch.setattr("aira_bench.images.flavour.bundled_folder", lambda name: images)
    assert flavour_names() == ("cpu", "cuda", "cuda-jax", "cuda-paper", "rocm")
    rocm = load_flavour("rocm")
    assert rocm.pins == load_flavour("cpu").pins
    assert rocm.recipe("Dockerfile") == images / "Dockerfile"
    assert build_parser().parse_args(["images", "build", "--flavour", "rocm"]).flavour == "rocm"
    usage = subprocess.run(["sh", str(images / "lock.sh")], capture_output=True, text=True, check=False)
    assert (usage.returncode, usage.stderr.strip()) == (
        2, "usage: images/lock.sh [--check | --upgrade] cpu|cuda|cuda-jax|cuda-paper|rocm",
    )  # fmt: skip


def test_nobody_else_lists_them() -> None:
    """Neither the Makefile, which once forgot one, nor a module."""
    names = set(flavour_names()) - {DEFAULT_FLAVOUR, PAPER_FLAVOUR}
    either = "|".join(sorted(names))
    in_scripts, in_python = re.compile(rf"""["' ]({either})["' ,);]"""), re.compile(rf"""["']({either})["']""")
    for path in [ROOT / "Makefile", ROOT / "images" / "lock.sh", *(ROOT / "harness" / "aira_bench").rglob("*.py")]:
        listing = in_python if path.suffix == ".py" else in_scripts
        lines = [
            line
            for line in path.read_text().splitlines()
            if '"""' not in line and "--flavour cuda" not in line and "device" not in line
        ]
        assert not [line for line in lines if listing.search(line)], path


def test_every_lock_is_made_by_make_lock() -> None:
    planned = subprocess.run(
        ["make", "--dry-run", "--always-make", "lock"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    loop = re.search(r"for recipe in (.*?); do", planned)
    assert loop is not None
    found = subprocess.run(["sh", "-c", f"echo {loop[1]}"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert tuple(sorted(Path(path).parent.name for path in found.split())) == flavour_names()


@pytest.mark.parametrize("kind", ["torch", "jax", "any"])
def test_every_kind_of_evaluator_has_images_for_gpus(kind: str) -> None:
    assert kind in load_flavour(gpu_flavour(kind)).settings.gpu_for
    assert sum(kind in load_flavour(name).settings.gpu_for for name in flavour_names()) == 1
    with pytest.raises(PrerequisiteError, match="'tensorflow'"):
        gpu_flavour("tensorflow")


# Locks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", flavour_names())
def test_what_only_agents_need_is_in_their_lock_alone(name: str) -> None:
    flavour = load_flavour(name)
    agents = {pin.partition("==")[0] for pin in flavour.pins} - {
        pin.partition("==")[0] for pin in flavour.evaluator_pins
    }
    assert len(flavour.pins) == len(set(flavour.pins)) == len(flavour.evaluator_pins) + len(agents)
    asked = [line for line in (flavour.folder / "agents.in").read_text().splitlines() if not line.startswith("#")]
    names = {re.split("[=<>]", line)[0] for line in asked}
    assert names <= {pin.partition("==")[0] for pin in flavour.pins}
    assert names & agents
    assert not set(flavour.settings.imports.only_agent) & set(flavour.settings.imports.evaluator)
    assert not {"flax", "optax"} & {pin.partition("==")[0] for pin in flavour.evaluator_pins}


@pytest.mark.parametrize("name", flavour_names())
def test_modules_that_a_build_imports_at_its_end_exist(name: str) -> None:
    """Found without importing: this machine may have no GPU, and the build would only fail hours later."""
    import importlib.util

    for module in load_flavour(name).imports("agent"):
        if module.partition(".")[0] in PACKAGES:
            assert importlib.util.find_spec(module) is not None, module


def test_the_modules_judges_begin_with_are_among_those_a_build_imports() -> None:
    """At least one for each framework, so that an image that cannot judge is never finished."""
    for task in shipped_tasks():
        framework = task.metadata.aira.evaluator
        assert framework in load_flavour("cpu").settings.imports.evaluator
        if framework != "any":
            assert framework in load_flavour(gpu_flavour(framework)).settings.imports.evaluator


# The context ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A context's files, kept: the context itself is gone at its end."""
    wheels = tmp_path / "cache" / "wheels" / "cpu"
    wheels.mkdir(parents=True)
    paths = [wheels / "a-1-py3-none-any.whl", wheels / "b-2-py3-none-any.whl"]
    for path in paths:
        path.write_bytes(b"wheel")
    (wheels / "c-3-py3-none-any.whl").write_bytes(b"of another lock")
    with ensure._our_context(load_flavour("cpu"), paths) as folder:
        assert folder.is_dir()
        shutil.copytree(folder, tmp_path / "kept")
    assert not folder.exists()
    assert not list(wheels.parent.glob(".context-*"))
    return tmp_path / "kept"


def test_a_context_holds_what_the_recipe_copies_and_nothing_else(context: Path) -> None:
    assert {path.name for path in context.iterdir()} == {
        "Dockerfile", "packages", "wheels",
    }  # fmt: skip
    assert {path.name for path in (context / "wheels").iterdir()} == {"a-1-py3-none-any.whl", "b-2-py3-none-any.whl"}
    assert {path.name for path in (context / "packages").iterdir()} == set(PACKAGES)
    copied = {name for line in (context / "Dockerfile").read_text().splitlines() if line.startswith("COPY")
              for name in line.split()[1:-1] if not name.startswith(("--from", "/"))}  # fmt: skip
    assert copied == {"wheels", "packages"}


def test_our_packages_come_whole_readable_and_without_caches(context: Path) -> None:
    for package in PACKAGES:
        source, copy = package_folder(package), context / "packages" / package
        names = {path.relative_to(source) for path in package_files(source)}
        assert {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()} == names
        assert not any("__pycache__" in path.parts or path.suffix == ".pyc" for path in names)
        assert all(stat.S_IMODE((copy / name).stat().st_mode) == 0o644 for name in names)


def test_our_packages_import_none_that_the_images_do_not_get() -> None:
    """Adding a package is a line in `PACKAGES`: an import of one that is not there would fail in containers alone."""
    ours = {path.parent.name for path in ROOT.glob("*/aira_*/__init__.py")}
    assert set(PACKAGES) < ours
    for package in PACKAGES:
        for path in package_files(package_folder(package)):
            if path.suffix == ".py":
                imported = re.findall(r"^\s*(?:from|import) (aira_\w+)", path.read_text(), re.MULTILINE)
                assert set(imported) <= set(PACKAGES), path


# The recipes ----------------------------------------------------------------------------------------------------------


def test_the_recipe_gives_judges_no_layer_of_the_agents() -> None:
    stages = re.split(r"^FROM (\S+) AS (\w+)$", (ROOT / "images" / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    begun = dict(zip(stages[1::3], stages[0::3], strict=True))
    text = dict(zip(stages[1::3], stages[2::3], strict=True))
    assert list(begun) == ["installed", "framework", *TARGETS]
    assert begun["agent"] == begun["evaluator"] == "framework"
    assert "/opt/agents" in text["agent"]
    assert "agents" not in text["evaluator"]
    assert "agents" not in text["framework"]
    for target in TARGETS:
        assert f"ARG {target.upper()}_IMPORTS" in text[target]
        assert f'CUDA_VISIBLE_DEVICES= python3 -c "import ${{{target.upper()}_IMPORTS}}"' in text[target]
    ours = (ROOT / "images" / "ours.Dockerfile").read_text()
    assert ours.rstrip().endswith("USER 10001:10001")
    assert 'CUDA_VISIBLE_DEVICES= python3 -c "import ${IMPORTS}"' in ours


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_a_recipe_fetches_nothing(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert not re.search(r"\b(curl|wget|apt-get|git clone|ADD|https?://)\b", text)
    for line in text.splitlines():
        assert "pip install" not in line or "--no-index" in line


# A base that is made --------------------------------------------------------------------------------------------------


def test_a_command_that_fails_is_its_last_line_and_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; print('first', file=sys.stderr); print('E: no such suite', file=sys.stderr); sys.exit(1)"
    with pytest.raises(PrerequisiteError, match="debootstrap failed: E: no such suite") as caught:
        base._run([sys.executable, "-c", code], "debootstrap")
    assert sys.executable in str(caught.value)
    with pytest.raises(PrerequisiteError, match="packing failed: no message"):
        base._run([sys.executable, "-c", "raise SystemExit(1)"], "packing")
    with pytest.raises(PrerequisiteError, match=r"packing failed: .*No such file"):
        base._run(["/no/such/command"], "packing")
    monkeypatch.setattr(base, "_TIMEOUT_S", 0.2)
    with pytest.raises(PrerequisiteError, match=r"packing failed: .*timed out"):
        base._run([sys.executable, "-c", "import time; time.sleep(30)"], "packing")


def test_every_base_can_be_made() -> None:
    """All can be made where no registry answers, and those with the same base share it."""
    assert all(load_flavour(name).settings.base.debootstrap is not None for name in flavour_names())
    assert load_flavour("cpu").base_tag == load_flavour("cuda-jax").base_tag
    assert len({load_flavour(name).base_tag for name in flavour_names()}) == 3

"""Tags follow content: the recipe, the lock, the packages; never the time or the place."""

import os
import re
import shutil
from pathlib import Path

import pytest

from aira_bench.bundled import bundled_folder
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.hardware import Hardware
from aira_bench.images.declared import missing
from aira_bench.images.ensure import planned_images
from aira_bench.images.flavour import TARGETS, Flavour, load_flavour, package_files, package_folder
from aira_bench.images.names import flavour_names
from aira_bench.runs.host import declared_packages, flavour_for
from aira_bench.tasks.task import Task, find_task, shipped_tasks
from fake_gpus import h100

PIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][0-9a-z.]*(\+cpu)?")
SOURCE_ONLY = {"causal-conv1d", "flash-attn", "mamba-ssm"}


@pytest.fixture
def flavour(tmp_path: Path) -> Flavour:
    shutil.copytree(bundled_folder("images"), tmp_path / "images")
    return Flavour("cpu", tmp_path / "images" / "cpu")


def test_same_content_elsewhere_and_later_has_the_same_tag(flavour: Flavour) -> None:
    for path in (flavour.dockerfile, *flavour.folder.iterdir()):
        os.utime(path, (0, 0))
    assert (flavour.tag("agent"), flavour.tag("evaluator")) == planned_images("cpu")


@pytest.mark.parametrize("name", ["../Dockerfile", "requirements.lock", "agents.lock", "flavour.toml"])
def test_changed_recipe_changes_the_tag(flavour: Flavour, name: str) -> None:
    before = Flavour("cpu", flavour.folder).content
    with (flavour.folder / name).open("a") as file:
        file.write("# changed\n")
    assert Flavour("cpu", flavour.folder).content != before


def test_base_is_kept_while_its_own_recipe_stays(flavour: Flavour) -> None:
    before = flavour.base_tag
    text = (flavour.folder / "flavour.toml").read_text()
    (flavour.folder / "flavour.toml").write_text(text.replace("source_packages = []", 'source_packages = ["x"]'))
    assert Flavour("cpu", flavour.folder).base_tag == before
    (flavour.folder / "flavour.toml").write_text(text.replace('suite = "bookworm"', 'suite = "trixie"'))
    assert Flavour("cpu", flavour.folder).base_tag != before


@pytest.mark.parametrize("text", ["", "not toml at all [", 'unknown = "key"\n'])
def test_damaged_settings_are_one_clear_error(flavour: Flavour, text: str) -> None:
    (flavour.folder / "flavour.toml").write_text(text)
    with pytest.raises(PrerequisiteError, match=r"flavour\.toml cannot be used"):
        _ = flavour.settings


def test_unknown_flavour_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'rocm'.*cpu, cuda"):
        load_flavour("rocm")


def test_packages_come_without_caches() -> None:
    files = package_files(package_folder("aira_kernels"))
    assert any(path.name == "__init__.py" for path in files)
    assert not any("__pycache__" in path.parts or path.suffix == ".pyc" for path in files)


@pytest.mark.parametrize("name", flavour_names())
def test_locks_name_one_exact_version_of_every_package(name: str) -> None:
    pins = load_flavour(name).pins
    assert all(PIN.fullmatch(pin) for pin in pins)
    names = [pin.partition("==")[0] for pin in pins]
    assert len(set(names)) == len(names)
    asked = (load_flavour(name).folder / "requirements.in").read_text().splitlines()
    exact = {re.sub(r"\[.*\]", "", line) for line in asked if "==" in line and not line.startswith("#")}
    assert exact <= set(pins)


def test_cpu_images_cannot_get_a_cuda_torch() -> None:
    pins = load_flavour("cpu").pins
    assert any(re.fullmatch(r"torch==.*\+cpu", pin) for pin in pins)
    assert not any(pin.startswith(("nvidia-", "triton")) for pin in pins)


def test_tasks_in_jax_run_on_the_versions_they_are_tested_with() -> None:
    cpu, cuda = (dict(pin.split("==") for pin in load_flavour(name).pins) for name in ("cpu", "cuda-jax"))
    assert {name: cuda[name] for name in ("jax", "jaxlib", "flax", "optax")} == {
        name: cpu[name] for name in ("jax", "jaxlib", "flax", "optax")
    }
    assert not {"torch", "triton"} & set(cuda), "torch wants other versions of CUDA's libraries"


@pytest.mark.parametrize("task", shipped_tasks(), ids=lambda task: task.title)
def test_a_tasks_images_have_what_it_asks_for(task: Task) -> None:
    gpu = Hardware("a processor", 8, 65536, (h100(),))
    flavours = {flavour_for(task, "paper", gpu), flavour_for(task, "cpu", gpu)}
    assert flavours == {"cpu", "cuda-jax" if task.title.startswith("lra-") else "cuda"}
    for flavour in flavours:
        assert [missing(load_flavour(flavour), target, declared_packages(task)) for target in TARGETS] == [(), ()]


@pytest.mark.parametrize(
    ("kind", "asked", "lacked"),
    [
        ("csv", ["numpy", "flax"], [(), ("flax",)]), ("architecture", ["einops", "torch"], [(), ("einops",)]),
        ("module", ["flax", "sktime"], [("sktime",), ("sktime",)]), ("csv", ["jax[cpu]"], [(), ("jax[cpu]",)]),
    ],
)  # fmt: skip
def test_what_a_judge_lacks_is_told_apart_from_what_agents_lack(
    kind: str, asked: list[str], lacked: list[tuple[str, ...]]
) -> None:
    """A submission that is code is first run where agents are; any other is judged at once."""
    task = find_task("mad-2p")
    aira = task.metadata.aira.model_copy(
        update={"artifact": task.metadata.aira.artifact.model_copy(update={"kind": kind})}
    )
    update = {"aira": aira, "evaluate_container_python_requirements": asked, "container_python_requirements": ["flax"]}
    declared = declared_packages(Task(task.folder, task.metadata.model_copy(update=update)))
    assert [missing(load_flavour("cpu"), target, declared) for target in TARGETS] == lacked


def test_only_known_packages_are_compiled() -> None:
    cuda = load_flavour("cuda")
    assert set(cuda.settings.source_packages) == SOURCE_ONLY
    assert {pin.partition("==")[0] for pin in cuda.pins} >= SOURCE_ONLY
    assert load_flavour("cpu").settings.source_packages == ()

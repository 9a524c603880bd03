"""Tags follow content: the recipe, the lock, the packages; never the time or the place."""

import os
import re
import shutil
from pathlib import Path

import pytest

from aira_bench.bundled import bundled_folder
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.hardware import Hardware
from aira_bench.images.choices import pin, skip_packages
from aira_bench.images.declared import missing
from aira_bench.images.ensure import planned_images
from aira_bench.images.flavour import TARGETS, Flavour, load_flavour, package_files, package_folder
from aira_bench.images.names import flavour_names
from aira_bench.runs.declared import flavour_for
from aira_bench.runs.host import declared_packages
from aira_bench.tasks.task import Task, find_task, shipped_tasks
from fake_gpus import h100

PIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][0-9a-z.]*(\+cpu)?")
SOURCE_ONLY = {"causal-conv1d", "flash-attn", "mamba-ssm"}


@pytest.fixture
def flavour(tmp_path: Path) -> Flavour:
    shutil.copytree(bundled_folder("images"), tmp_path / "images")
    return Flavour("cpu", tmp_path / "images" / "cpu")


def test_same_content_elsewhere_and_later_has_the_same_tag(flavour: Flavour) -> None:
    for path in (*flavour.folder.iterdir(), *flavour.folder.parent.glob("*Dockerfile")):
        os.utime(path, (0, 0))
    assert (flavour.tag("agent"), flavour.tag("evaluator")) == planned_images("cpu")


@pytest.mark.parametrize(
    ("name", "libraries"),
    [
        ("../Dockerfile", True), ("../cuda_home.sh", True), ("requirements.lock", True), ("agents.lock", True),
        ("../ours.Dockerfile", False),
    ],
)  # fmt: skip
def test_changed_recipe_changes_the_tag(flavour: Flavour, name: str, libraries: bool) -> None:
    """Libraries are made anew where what makes them changed, and not for anything of ours."""
    before = Flavour("cpu", flavour.folder)
    tags = before.content, before.libraries_tag("agent")
    with (flavour.folder / name).open("a") as file:
        file.write("# changed\n")
    after = Flavour("cpu", flavour.folder)
    assert after.content != tags[0]
    assert (after.libraries_tag("agent") != tags[1]) is libraries


@pytest.mark.parametrize(
    ("setting", "changed", "images"),
    [
        ('"einops", "flax"', '"flax"', True), ('pull = "python', 'pull = "mypython', True),
        ("images = ", "images = 1", False), ("# How", "# So", False),
    ],
)  # fmt: skip
def test_settings_that_make_no_other_image_change_no_tag(
    flavour: Flavour, setting: str, changed: str, images: bool
) -> None:
    before = flavour.content
    path = flavour.folder / "flavour.toml"
    path.write_text(path.read_text().replace(setting, changed))
    assert (Flavour("cpu", flavour.folder).content != before) is images


def test_base_is_kept_while_its_own_recipe_stays(flavour: Flavour) -> None:
    before = flavour.base_tag
    text = (flavour.folder / "flavour.toml").read_text()
    (flavour.folder / "flavour.toml").write_text(text.replace("gpu_for = []", 'gpu_for = ["x"]'))
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


def test_what_is_left_out_on_a_machine_makes_another_image_and_stays_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path))
    before = load_flavour("cuda-paper").content
    assert {package.name for package in load_flavour("cuda-paper").compiled} == SOURCE_ONLY
    skip_packages("cuda-paper", ["flash-attn", "mamba-ssm"])
    without = load_flavour("cuda-paper")
    assert [package.pin for package in without.compiled] == ["causal-conv1d==1.5.3.post1"]
    assert without.content != before
    assert without.libraries_tag("agent") == load_flavour("cuda-paper").libraries_tag("agent")
    assert "flash_attn" not in without.our_imports("agent")
    assert "causal_conv1d" in without.our_imports("agent")
    assert not {"causal_conv1d", "flash_attn", "mamba_ssm"} & set(without.our_imports("evaluator"))
    assert {package.name for package in load_flavour("cuda").compiled} == {"causal-conv1d"}
    skip_packages("cuda-paper", [])
    assert load_flavour("cuda-paper").content == before


def test_a_damaged_file_of_choices_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path))
    for text in ("{", "[]", '{"skip": {}}', '{"skipped": {"cuda": 3}}'):
        (tmp_path / "images.json").write_text(text)
        with pytest.raises(PrerequisiteError, match=r"images\.json cannot be used"):
            _ = load_flavour("cuda").compiled
    assert load_flavour("cpu").compiled == (), "what compiles nothing asks nobody"


def test_what_was_seen_first_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path))
    assert [pin("a", "1"), pin("a", "2"), pin("b", "2"), pin("a", "3")] == ["1", "1", "2", "1"]
    skip_packages("cuda", ["causal-conv1d"])
    assert pin("a", "4") == "1"


def test_compilers_get_the_versions_of_the_papers_tables() -> None:
    pins = {*load_flavour("cuda-paper").pins, *(each.pin for each in load_flavour("cuda-paper").settings.compiled)}
    assert pins >= {
        "torch==2.6.0", "torchvision==0.21.0", "torchaudio==2.6.0", "datasets==4.0.0", "flash-attn==2.8.3",
        "causal-conv1d==1.5.3.post1", "mamba-ssm==2.2.6.post3", "nvidia-cuda-nvcc-cu12==12.4.131",
    }  # fmt: skip
    names = {pin.partition("==")[0] for pin in pins}
    assert names >= {
        "ninja", "scikit-learn", "multiprocess", "ax-platform", "submitit", "blobfile", "numpy", "pandas", "einops",
        "seaborn", "torchmetrics", "pytorch-lightning", "opt-einsum", "ray", "scipy", "absl-py", "tiktoken", "pyyaml",
        "tqdm", "packaging", "transformers", "tokenizers", "huggingface-hub", "safetensors", "filelock", "fsspec",
        "pyarrow", "requests", "rustbpe", "matplotlib",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(flavour_names()) - {"cpu"}))
def test_a_compiler_of_cuda_comes_with_the_headers_that_its_own_include(name: str) -> None:
    """cuda_fp16.h includes nv/target of another wheel: without that, nothing with half precision compiles."""
    versions = load_flavour(name).versions("agent")
    releases = {
        part: tuple(map(int, version.split(".")[:2]))
        for package, version in versions.items()
        for part in ("runtime", "nvcc", "cccl")
        if re.fullmatch(rf"nvidia-cuda-{part}(-cu12)?", package)
    }
    assert set(releases) == {"runtime", "nvcc", "cccl"}
    assert releases["runtime"] == releases["nvcc"]
    assert releases["cccl"][0] == releases["nvcc"][0]
    assert releases["cccl"] >= releases["nvcc"]
    assert releases["cccl"] not in {(12, 4), (12, 5)}, "these wheels have no nv/target, or were withdrawn"


@pytest.mark.parametrize("name", ["cuda", "cuda-paper"])
def test_images_of_autoresearch_have_what_its_scripts_import(name: str) -> None:
    names = {pin.partition("==")[0] for pin in load_flavour(name).pins}
    assert names >= {"numpy", "pyarrow", "requests", "rustbpe", "tiktoken", "matplotlib", "pandas", "torch", "triton"}


def test_judges_packages_on_a_gpu_are_those_of_the_cpu_images() -> None:
    """Everything is tested in those: a judge on a GPU differs in torch's build and CUDA's libraries alone."""
    cpu, cuda = load_flavour("cpu").versions("evaluator"), load_flavour("cuda").versions("evaluator")
    both = cpu.keys() & cuda.keys() - {"torch"}
    assert {name: cuda[name] for name in both} == {name: cpu[name] for name in both}
    assert cpu["torch"] == f"{cuda['torch']}+cpu"
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in cuda.keys() - cpu.keys())
    assert not any(name.startswith(("flash-attn", "mamba", "causal-conv1d", "fla-")) for name in cuda)

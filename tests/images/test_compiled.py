"""Packages with CUDA code: whose build is taken, that it stays the same, and for what one is compiled here."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from aira_bench.bundled import bundled_folder
from aira_bench.docker_engine import DockerEngine
from aira_bench.docker_engine.archives import packed, unpacked
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.images.choices import choose_architectures
from aira_bench.images.compiled import check_architectures, compiled_folder, compiled_wheels
from aira_bench.images.flavour import Flavour, load_flavour
from aira_bench.images.wheels import wheel_folder
from file_server import FileServer, serve
from image_builder import ImageBuilder
from wheel_shop import SETTINGS, flavour, only_pip_source

IMAGES = bundled_folder("images")
COMPILED = """
[[compiled]]
name = "quick-scan"
version = "1.0"
imports = "quick_scan"
{release}
architectures = ["8.0", "9.0"]
core_minutes = 3
variables = ["QUICK_FORCE_BUILD=TRUE"]
"""


@dataclass
class CompilingEngine(ImageBuilder):
    """Stands for the engine where a build would take hours: keeps what it was asked, hands out a wheel."""

    memory_gib, wheel = 32, "quick_scan-1.0"
    asked: list[dict[str, str]] = field(default_factory=list)
    contexts: list[set[str]] = field(default_factory=list)

    def build(self, context: Path, dockerfile: str, target: str, tag: str, labels: object, build_args: dict[str, str],
              on_line: object) -> None:  # fmt: skip
        self.asked.append(dict(build_args))
        self.contexts.append({path.name for path in context.iterdir()})
        for line in ("[1/4] nvcc a", "[1/4] nvcc a", "something", "[2/4] nvcc b"):
            on_line(line)  # type: ignore[operator]

    def remove_image(self, tag: str) -> None:
        """Nothing is there."""

    def remove_unnamed(self, label: str) -> None:
        """Nothing is there."""

    @property
    def engine(self) -> DockerEngine:
        return cast("DockerEngine", self)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_pip_source(tmp_path / "offered", monkeypatch, tmp_path / "cache")
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    for name in ("nvcc", "compile.Dockerfile", "ours.Dockerfile", "Dockerfile", "cuda_home.sh"):
        shutil.copy(IMAGES / name, tmp_path)


@pytest.fixture
def release() -> Iterator[FileServer]:
    with serve(FileServer(b"compiled by its project")) as server:
        yield server


def small(tmp_path: Path, address: str = "") -> Flavour:
    settings = SETTINGS + COMPILED.format(release=f'release = "{address}"' if address else "")
    made = flavour(tmp_path, "torch==2.0", "nvidia-cuda-runtime==13.0.96", settings=settings)
    sources = wheel_folder(made) / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    (sources / "quick_scan-1.0.tar.gz").write_bytes(b"source")
    return made


# The project's own ----------------------------------------------------------------------------------------------------


def test_the_projects_own_build_is_fetched_once(tmp_path: Path, release: FileServer) -> None:
    engine, notes, made = CompilingEngine(), list[str](), small(tmp_path, release.url)
    first = compiled_wheels(made, engine.engine, notes.append)["quick-scan"]
    assert first.path.read_bytes() == b"compiled by its project"
    assert re.fullmatch(r"release sha256:[0-9a-f]{64}", first.origin)
    assert compiled_wheels(made, engine.engine, notes.append) == {"quick-scan": first}
    assert (len(release.requests), len(notes), engine.asked) == (1, 1, [])


def test_another_file_at_the_same_address_is_refused_even_with_a_new_cache(tmp_path: Path, release: FileServer) -> None:
    """A release that is replaced would be a stranger's program in every container."""
    made = small(tmp_path, release.url)
    wheel = compiled_wheels(made, CompilingEngine().engine, lambda text: None)["quick-scan"].path
    wheel.unlink()
    release.content = b"compiled by a stranger"
    with pytest.raises(PrerequisiteError, match="is another file than when this machine first fetched it"):
        compiled_wheels(made, CompilingEngine().engine, lambda text: None)
    assert not wheel.exists()
    wheel.write_bytes(b"put there by a stranger")
    with pytest.raises(PrerequisiteError, match="is another file"):
        compiled_wheels(made, CompilingEngine().engine, lambda text: None)
    release.content = b"compiled by its project"
    assert compiled_wheels(made, CompilingEngine().engine, lambda text: None)["quick-scan"].path == wheel


@pytest.mark.parametrize("trick", ["error 404", "error 503", "break off", "garbage"])
def test_where_there_is_none_it_is_compiled(tmp_path: Path, release: FileServer, trick: str) -> None:
    release.tricks = [trick]  # type: ignore[list-item]
    engine, notes = CompilingEngine(), list[str]()
    found = compiled_wheels(small(tmp_path, release.url), engine.engine, notes.append)["quick-scan"]
    assert found.path.read_bytes() == b"compiled here"
    assert found.origin == "compiled for 8.0 9.0"
    assert any(note.startswith("no build of quick-scan==1.0 from its project") for note in notes)
    assert not list((wheel_folder(small(tmp_path)) / "released").iterdir()), "no part of one is left"


# Compiled here --------------------------------------------------------------------------------------------------------


def test_compiling_says_how_long_and_how_far(tmp_path: Path) -> None:
    engine, notes = CompilingEngine(), list[str]()
    compiled_wheels(small(tmp_path), engine.engine, notes.append)
    assert notes == [
        "compiling quick-scan==1.0 for 8.0, 9.0: about 1 min on 8 cores (--skip-compiled quick-scan leaves it out)",
        "compiling quick-scan: 1 of 4 files, 0 min of about 1",
        "compiling quick-scan: 2 of 4 files, 0 min of about 1",
    ]
    (asked,) = engine.asked
    assert asked["ARCHITECTURES"] == "8.0;9.0"
    assert asked["JOBS"] == "8", "4 GiB of memory each"
    assert asked["VARIABLES"] == "QUICK_FORCE_BUILD=TRUE"
    assert engine.contexts == [{"Dockerfile", "nvcc", "source.tar.gz"}]


def test_a_wheel_serves_one_version_torch_cuda_and_set_of_architectures(tmp_path: Path) -> None:
    engine, made = CompilingEngine(), small(tmp_path)
    for _ in range(2):
        compiled_wheels(made, engine.engine, lambda text: None)
    assert len(engine.asked) == 1
    choose_architectures("small", ["9.0"])
    compiled_wheels(made, engine.engine, lambda text: None)
    assert len(engine.asked) == 2
    (package,) = made.compiled
    assert compiled_folder(made, package).name == "quick-scan-1.0-torch2.0-cuda13.0.96-sm9.0"
    newer = flavour(
        tmp_path, "torch==2.1", "nvidia-cuda-runtime==13.0.96", settings=(made.folder / "flavour.toml").read_text()
    )
    assert compiled_folder(newer, package) != compiled_folder(made, package)


@pytest.mark.parametrize("asked", [["9"], ["sm_90"], ["9.0;8.0"], ["-gencode"], [""]])
def test_what_is_no_compute_capability_is_refused(asked: list[str]) -> None:
    with pytest.raises(UsageError, match="no compute capability"):
        check_architectures(asked)


def test_architectures_have_one_order() -> None:
    assert check_architectures(["12.0", "9.0", "10.0", "9.0"]) == ("9.0", "10.0", "12.0")
    for name in ("cuda", "cuda-paper"):
        for package in load_flavour(name).settings.compiled:
            assert check_architectures(package.architectures) == package.architectures


def test_release_addresses_fit_the_lock() -> None:
    """Built for this Python, the torch of the lock and the C++ ABI of its wheel on the index."""
    versions = load_flavour("cuda-paper").versions("agent")
    torch = ".".join(versions["torch"].split(".")[:2])
    for package in load_flavour("cuda-paper").settings.compiled:
        file = (package.release or "").rpartition("/")[2]
        name = package.name.replace("-", "_")
        assert file == f"{name}-{package.version}+cu12torch{torch}cxx11abiFALSE-cp311-cp311-linux_x86_64.whl"
        assert f"/releases/download/v{package.version}/" in (package.release or "")


# The scripts ----------------------------------------------------------------------------------------------------------


def nvcc(tmp_path: Path, architectures: str, *words: str) -> list[str]:
    """What the wrapper hands on."""
    real = tmp_path / "real"
    real.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    real.chmod(0o755)
    script = tmp_path / "wrapper"
    script.write_text((IMAGES / "nvcc").read_text().replace("/usr/local/cuda/bin/nvcc", str(real)))
    done = subprocess.run(
        ["sh", str(script), *words], capture_output=True, text=True, check=True,
        env={**os.environ, "TORCH_CUDA_ARCH_LIST": architectures},
    )  # fmt: skip
    return done.stdout.splitlines()


def test_architectures_that_a_package_hard_codes_are_replaced(tmp_path: Path) -> None:
    words = ["-c", "a b.cu", "-gencode", "arch=compute_75,code=sm_75", "-gencode=arch=compute_80,code=sm_80",
             "--generate-code", "arch=compute_90,code=sm_90", "-O3", "-DX=\"y z\""]  # fmt: skip
    kept = ["-c", "a b.cu", "-O3", '-DX="y z"']
    assert nvcc(tmp_path, "9.0", *words) == [*kept, "-gencode", "arch=compute_90,code=sm_90"]
    assert nvcc(tmp_path, "8.0;12.0", *words)[-4:] == [
        "-gencode", "arch=compute_80,code=sm_80", "-gencode", "arch=compute_120,code=sm_120",
    ]  # fmt: skip
    assert nvcc(tmp_path, "9.0", "--version") == ["--version"]


# Streams --------------------------------------------------------------------------------------------------------------


def test_a_folder_comes_through_a_stream_whole_and_in_one_order(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    content = {"b.bin": os.urandom(3 << 20), "empty": b"", "c.txt": b"text"}
    for name, data in content.items():
        (tmp_path / "a" / "deep" / name).write_bytes(data)
    once, again = b"".join(packed(tmp_path / "a")), b"".join(packed(tmp_path / "a"))
    assert once == again
    (tmp_path / "out").mkdir()
    paths = unpacked(iter([once[:1000], once[1000:]]), tmp_path / "out")
    assert {path.name: path.read_bytes() for path in paths} == content


def test_a_stream_that_nobody_reads_to_its_end_leaves_no_thread(tmp_path: Path) -> None:
    import threading

    (tmp_path / "big").write_bytes(bytes(8 << 20))
    before = threading.active_count()
    stream = packed(tmp_path)
    next(stream)
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("toolkit", ["13", "12 with Debian's nvcc", "12", "none", "came with the base"])
def test_a_toolkit_is_put_together_from_wheels(tmp_path: Path, toolkit: str) -> None:
    """nvcc, headers and libraries under one folder, and libraries by the names that linkers look for."""
    wheels, cuda, bin_folder = tmp_path / "nvidia", tmp_path / "cuda", tmp_path / "usr-bin"
    bin_folder.mkdir()
    if toolkit == "13":
        parts = {"cu13/bin/nvcc": 0o755, "cu13/include/cuda.h": 0o644, "cu13/lib/libcudart.so.13": 0o644}
    else:
        parts = {"cuda_nvcc/bin/ptxas": 0o755, "cuda_nvcc/nvvm/libdevice/libdevice.10.bc": 0o644,
                 "cuda_runtime/include/cuda.h": 0o644, "cuda_runtime/lib/libcudart.so.12": 0o644}  # fmt: skip
    for name, mode in parts.items() if toolkit != "none" else ():
        path = wheels / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(mode)
    if "Debian" in toolkit:
        (bin_folder / "nvcc").touch(0o755)
    if toolkit == "came with the base":
        cuda.mkdir()
    text = (IMAGES / "cuda_home.sh").read_text()
    for there, here in {
        "/opt/aira/lib/python3.11/site-packages/nvidia": wheels, "/usr/local/cuda": cuda, "/usr/bin/": f"{bin_folder}/",
    }.items():  # fmt: skip
        assert there in text
        text = text.replace(there, str(here))
    subprocess.run(["sh", "-c", text], check=True)
    if toolkit in {"none", "came with the base"}:
        assert not list(cuda.glob("*"))
        return
    assert (cuda / "include" / "cuda.h").is_file()
    assert (cuda / "lib64" / "libcudart.so").is_file()
    assert (cuda / "bin" / "nvcc").exists() == (toolkit != "12")

"""Wheels of packages with CUDA code that no package index has: the project's own build, else one made here, kept.

A project's build is fetched by the host from the address in `flavour.toml`; what came the first time is what must come
ever after. Where there is none, or no network, the source is compiled over the agent libraries, for the architectures
asked for, and the wheel is kept by version, torch, CUDA, Python and architectures.

Not covered: installing them (`aira_bench.images.ensure`).
"""

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import requests

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.images.building import STAGE_LABEL, Build, new_context, run_build
from aira_bench.images.choices import pin
from aira_bench.images.flavour import LABEL, Compiled, Flavour, normal_name
from aira_bench.images.source_archives import fetch_source, host_index
from aira_bench.images.wheels import wheel_folder
from aira_bench.unfinished import staging_folder

_TIMEOUT_S = 60
_CHUNK_BYTES = 1 << 20
_ARCHITECTURE = re.compile(r"[1-9][0-9]?\.[0-9]")
_NINJA = re.compile(r"\[(\d+)/(\d+)\]")
_COMPILED_FOR = "compiled for "
_GIB_A_JOB = 4
"""Memory that one nvcc takes at the worst."""


@dataclass(frozen=True)
class CompiledWheel:
    """One wheel, and where it came from."""

    path: Path
    origin: str
    """`release` and its hash, or `compiled` and for what."""


def check_architectures(asked: Sequence[str]) -> tuple[str, ...]:
    """Return compute capabilities as compilers are told them.

    Raises:
        UsageError: one of them is none.
    """
    for each in asked:
        if not _ARCHITECTURE.fullmatch(each):
            raise UsageError(
                f"{each!r} is no compute capability.",
                hint="--architectures 9.0 (nvidia-smi --query-gpu=compute_cap --format=csv)",
            )
    return tuple(sorted(set(asked), key=float))


def compiled_wheels(flavour: Flavour, engine: DockerEngine, note: Callable[[str], None]) -> dict[str, CompiledWheel]:
    """Return the wheel of each package that is compiled and not left out, by the package's name.

    Args:
        flavour: its agent libraries are there.
        engine: compiles.
        note: told what happens.

    Raises:
        PrerequisiteError: a package can neither be fetched nor compiled, or is another than it was.
    """
    return {each.name: _wheel(flavour, each, engine, note) for each in flavour.compiled}


def _wheel(flavour: Flavour, package: Compiled, engine: DockerEngine, note: Callable[[str], None]) -> CompiledWheel:
    if package.release is not None:
        try:
            return _released(flavour, package, package.release, note)
        except requests.RequestException as error:
            note(f"no build of {package.pin} from its project ({type(error).__name__}: {_shortly(error)})")
    folder = compiled_folder(flavour, package)
    origin = f"{_COMPILED_FOR}{' '.join(package.architectures)}"
    if found := sorted(folder.glob("*.whl")):
        return CompiledWheel(found[0], origin)
    return CompiledWheel(_compile(flavour, package, folder, engine, note), origin)


def serves(origin: str, package: Compiled) -> bool:
    """Whether a wheel that came from there has code for all architectures of a package."""
    return not origin.startswith(_COMPILED_FOR) or set(package.architectures) <= set(origin.split())


def compiled_folder(flavour: Flavour, package: Compiled) -> Path:
    """Return where the wheel of a package that was compiled here is kept."""
    versions = flavour.versions("agent")
    toolkit = versions.get("nvidia-cuda-runtime") or versions.get("nvidia-cuda-runtime-cu12") or "none"
    key = f"{package.name}-{package.version}-torch{versions['torch']}-cuda{toolkit}-sm{'+'.join(package.architectures)}"
    return wheel_folder(flavour) / "compiled" / key


def _released(flavour: Flavour, package: Compiled, address: str, note: Callable[[str], None]) -> CompiledWheel:
    """Return the project's own build, fetched at first need."""
    folder = wheel_folder(flavour) / "released"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / unquote(address.rpartition("/")[2])
    if not path.is_file():
        note(f"downloading {path.name}, as {package.name}'s project compiled it")
        with staging_folder(folder / "part", secrets.token_hex(6)) as partial:
            _download(address, partial / path.name)
            _require_first_seen(address, partial / path.name)
            (partial / path.name).replace(path)
    return CompiledWheel(path, f"release sha256:{_require_first_seen(address, path)}")


def _download(address: str, path: Path) -> None:
    with requests.Session() as session:
        session.verify = os.environ.get("PIP_CERT") or True
        with session.get(address, stream=True, timeout=_TIMEOUT_S) as answer, path.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_content(_CHUNK_BYTES):
                file.write(chunk)
            told = answer.headers.get("Content-Length")
    if told is not None and told.isdecimal() and path.stat().st_size < int(told):
        raise requests.ConnectionError(f"{path.stat().st_size} of {told} bytes came")


def _require_first_seen(address: str, path: Path) -> str:
    """Return the file's hash, which is the one that the address had when it was first fetched."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if (first := pin(address, sha256)) != sha256:
        path.unlink()
        raise PrerequisiteError(
            f"{address} is another file than when this machine first fetched it: sha256 {sha256[:12]}, "
            f"expected {first[:12]}.",
            hint="find out who changed it; AIRA_HOME/images.json holds what was seen first",
        )
    return sha256


def _compile(
    flavour: Flavour,
    package: Compiled,
    folder: Path,
    engine: DockerEngine,
    note: Callable[[str], None],
) -> Path:
    sources = wheel_folder(flavour) / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    archive = _source(package, sources, note)
    cores = _jobs(engine)
    architectures = package.architectures
    minutes = package.core_minutes * len(architectures) / cores
    note(
        f"compiling {package.pin} for {', '.join(architectures)}: about {minutes:.0f} min on {cores} cores "
        f"(--skip-compiled {package.name} leaves it out)"
    )
    tag = f"aira-bench-compiled:{secrets.token_hex(6)}"
    arguments = {
        "LIBRARIES": flavour.libraries_tag("agent"), "ARCHITECTURES": ";".join(architectures), "JOBS": str(cores),
        "VARIABLES": " ".join(package.variables),
    }  # fmt: skip
    files = (flavour.recipe("nvcc"),)
    with new_context(flavour.recipe("compile.Dockerfile"), files) as context:
        os.link(archive, context / "source.tar.gz")
        build = Build("compiled", tag, {LABEL: flavour.name}, arguments)
        run_build(context, build, engine, note, _Progress(package.name, minutes))
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with staging_folder(folder, secrets.token_hex(6)) as made:
            (wheel,) = (path for path in engine.copy_out(tag, "/build/wheel", made) if path.suffix == ".whl")
            made.rename(folder)
    finally:
        engine.remove_image(tag)
        engine.remove_unnamed(STAGE_LABEL)
    return folder / wheel.name


def _source(package: Compiled, folder: Path, note: Callable[[str], None]) -> Path:
    for path in folder.glob("*.tar.gz"):
        name, _, version = path.name.removesuffix(".tar.gz").rpartition("-")
        if (normal_name(name), version) == (package.name, package.version):
            return path
    note(f"downloading the source of {package.pin}")
    return fetch_source(package.pin, host_index(), folder)


def _jobs(engine: DockerEngine) -> int:
    info = engine.info()
    return max(1, min(info.cpus, info.memory_mib // 1024 // _GIB_A_JOB))


class _Progress:
    """Notes from what ninja prints: so many of so many files, and how long it has taken."""

    def __init__(self, name: str, minutes: float) -> None:
        self._name, self._minutes, self._started_s, self._done = name, minutes, time.monotonic(), ""

    def __call__(self, line: str) -> str:
        """Return a note where a line tells of another file, else an empty string."""
        found = _NINJA.match(line)
        if found is None or found[0] == self._done:
            return ""
        self._done = found[0]
        taken = (time.monotonic() - self._started_s) / 60
        return f"compiling {self._name}: {found[1]} of {found[2]} files, {taken:.0f} min of about {self._minutes:.0f}"


def _shortly(error: requests.RequestException) -> str:
    answer = getattr(error, "response", None)
    return f"status {answer.status_code}" if answer is not None else "its address does not answer"

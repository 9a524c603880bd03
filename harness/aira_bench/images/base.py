"""The base image: pulled, or made with debootstrap where no registry answers."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError
from aira_bench.images.flavour import LABEL, Debootstrap, Flavour

_DEBIAN = "http://deb.debian.org/debian"
_TIMEOUT_S = 1800
_LEFT_OUT = ("./var/cache/apt", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/man", "./var/log")


def ensure_base(flavour: Flavour, engine: DockerEngine, note: Callable[[str], None]) -> str:
    """Tag of the base image, pulling or making it if it is not there.

    Raises:
        PrerequisiteError: neither is possible here.
    """
    tag, base = flavour.base_tag, flavour.settings.base
    if engine.image_exists(tag):
        return tag
    note(f"pulling {base.pull}")
    try:
        engine.pull(base.pull, lambda line: None)
    except PrerequisiteError as error:
        if base.debootstrap is None:
            raise
        note(f"no registry has it ({error.message[:80]}); making a base with debootstrap")
        _debootstrap(base.debootstrap, tag, flavour.name, engine)
    else:
        engine.tag_image(base.pull, tag)
    return tag


def _debootstrap(recipe: Debootstrap, tag: str, flavour: str, engine: DockerEngine) -> None:
    if os.geteuid() != 0:
        raise PrerequisiteError(
            "The base image can neither be pulled (no registry answers) nor made (debootstrap needs root).",
            hint="sudo aira-bench images build",
        )
    if shutil.which("debootstrap") is None:
        _run(["apt-get", "update", "-qq"], "apt-get update")
        _run(["apt-get", "install", "-y", "-qq", "debootstrap"], "installing debootstrap")
    with tempfile.TemporaryDirectory(prefix="aira-base-") as temporary:
        root, archive = Path(temporary) / "root", Path(temporary) / "root.tar"
        included = ",".join(recipe.include)
        _run(
            ["debootstrap", "--variant=minbase", f"--include={included}", recipe.suite, str(root), debian_mirror()],
            "debootstrap",
        )
        excluded = [f"--exclude={path}/*" for path in _LEFT_OUT]
        _run(["tar", "--directory", str(root), *excluded, "--create", "--file", str(archive), "."], "packing the base")
        engine.import_root(archive, tag, {LABEL: flavour})


def debian_mirror(apt: Path = Path("/etc/apt"), release: Path = Path("/etc/os-release")) -> str:
    """The Debian mirror this host uses, the official one if it is no Debian."""
    if not release.exists() or "ID=debian" not in release.read_text(encoding="utf-8").split():
        return _DEBIAN
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("URIs:") and line.split()[1:]:
                return line.split()[1]
    for path in (apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))):
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for line in lines:
            words = [word for word in line.split() if "=" not in word and word not in {"[", "]"}]
            if words[:1] == ["deb"] and len(words) > 2:
                return words[1]
    return _DEBIAN


def _run(command: Sequence[str], what: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PrerequisiteError(f"{what} failed: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise PrerequisiteError(f"{what} failed: {last[0] if last else 'no message'}", hint=" ".join(command))

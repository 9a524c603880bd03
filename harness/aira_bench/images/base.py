"""The base image: pulled, or made with debootstrap where no registry answers.

What debootstrap installs comes from the mirror this host's own apt uses and is checked against Debian's keys.

Not covered: a mirror reached through apt's proxy settings alone; debootstrap reads `http_proxy`.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError
from aira_bench.images.flavour import LABEL, Debootstrap, Flavour, Unpacked

_DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
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
        if base.debootstrap is None or not engine.builds_images:
            raise
        note(f"{error.message} Making the base with debootstrap, from Debian {base.debootstrap.suite}.")
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
    # Without Debian's keys debootstrap only warns, and installs unchecked packages: on Ubuntu it comes without them.
    if shutil.which("debootstrap") is None or not _DEBIAN_KEYS.exists():
        _run(["apt-get", "update", "-qq"], "apt-get update")
        _run(["apt-get", "install", "-y", "-qq", "debootstrap", "debian-archive-keyring"], "installing debootstrap")
    with tempfile.TemporaryDirectory(prefix="aira-base-") as temporary:
        root, archive = Path(temporary) / "root", Path(temporary) / "root.tar"
        included = ",".join(recipe.include)
        options = ["--variant=minbase", f"--keyring={_DEBIAN_KEYS}", f"--include={included}"]
        mirror = debian_mirror()
        _run(["debootstrap", *options, recipe.suite, str(root), *([mirror] if mirror else [])], "debootstrap")
        if recipe.unpacked is not None:
            _unpack(recipe.unpacked, root)
        excluded = [f"--exclude={path}/*" for path in _LEFT_OUT]
        _run(["tar", "--directory", str(root), *excluded, "--create", "--file", str(archive), "."], "packing the base")
        engine.import_root(archive, tag, {LABEL: flavour})


def _unpack(extra: Unpacked, root: Path) -> None:
    """Lay the files of packages of another suite into a root, from the mirror it was made from."""
    sources, lists = root / "etc/apt/sources.list", root / "var/lib/apt/lists"
    before = sources.read_text(encoding="utf-8")
    mirror = before.split()[1]
    sources.write_text(f"deb {mirror} {extra.suite} {extra.component}\n", encoding="utf-8")
    fetch = f"apt-get update -qq && cd /tmp && apt-get download -qq {' '.join(extra.packages)}"
    _run(["chroot", str(root), "sh", "-c", fetch], f"fetching {', '.join(extra.packages)}")
    for package in (root / "tmp").glob("*.deb"):
        _run(["chroot", str(root), "dpkg-deb", "--extract", f"/tmp/{package.name}", "/"], f"unpacking {package.name}")
        package.unlink()
    sources.write_text(before, encoding="utf-8")
    shutil.rmtree(lists)
    (lists / "partial").mkdir(parents=True)


def debian_mirror(apt: Path = Path("/etc/apt"), release: Path = Path("/etc/os-release")) -> str | None:
    """Return the Debian mirror this host's apt is set to; None (debootstrap's own choice) if it is no Debian or names
    none.
    """
    fields = dict(line.partition("=")[::2] for line in _lines(release))
    if fields.get("ID", "").strip('"') != "debian":
        return None
    # Other archives (Docker's, a vendor's) share the suite's name, but none has a component `main` under it.
    suite = fields.get("VERSION_CODENAME", "").strip('"')
    entries = [entry for path in sorted(apt.glob("sources.list.d/*.sources")) for entry in _stanzas(_lines(path))]
    for path in (apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))):
        entries += [_one_line(line) for line in _lines(path)]
    for uris, suites, components in entries:
        if uris and suite in suites and "main" in components:
            return uris[0]
    return None


_Entry = tuple[list[str], list[str], list[str]]
"""URIs, suites and components of one apt source."""


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def _stanzas(lines: Sequence[str]) -> Iterator[_Entry]:
    """Entries of a `.sources` file (deb822): fields, a blank line between stanzas."""
    fields: dict[str, list[str]] = {}
    for line in [*lines, ""]:
        name, colon, value = line.partition(":")
        if colon and not line.startswith(("#", " ", "\t")):
            fields[name.strip().lower()] = value.split()
        elif not line.strip() and fields:
            if "deb" in fields.get("types", []) and fields.get("enabled") != ["no"]:
                yield fields.get("uris", []), fields.get("suites", []), fields.get("components", [])
            fields = {}


def _one_line(line: str) -> _Entry:
    """Entry of a `.list` file: `deb [options] URI suite components...`."""
    words = re.sub(r"\[[^]]*\]", " ", line.partition("#")[0]).split()
    if words[:1] != ["deb"] or len(words) < 4:
        return [], [], []
    return [words[1]], [words[2]], words[3:]


def _run(command: Sequence[str], what: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PrerequisiteError(f"{what} failed: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise PrerequisiteError(f"{what} failed: {last[0] if last else 'no message'}", hint=" ".join(command))

"""Small wheels in a folder that is all the host's pip can see, and small flavours of images that pin some of them."""

import os
import zipfile
from pathlib import Path

import pytest

from aira_bench.images.flavour import Flavour

SETTINGS = """
python = "3.11"
glibc = "2.28"
gpu_for = []
[disk_gib]
wheels = 1
build = 1
images = 1
[imports]
evaluator = []
only_agent = []
[base]
pull = "nothing"
"""


def only_pip_source(folder: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let pip look for packages in one folder alone, and keep our caches elsewhere."""
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": str(folder)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def offer(
    folder: Path, name: str, version: str, tag: str = "py3-none-any", needs: tuple[str, ...] = (), code: str = ""
) -> Path:
    """Put a wheel of one module into a folder."""
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        info = f"{name}-{version}.dist-info"
        required = "".join(f"Requires-Dist: {each}\n" for each in needs)
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def flavour(folder: Path, *pins: str, agents: tuple[str, ...] = (), settings: str = SETTINGS) -> Flavour:
    """A flavour that pins these packages, and some more in the agent image."""
    place = folder / "small"
    place.mkdir(exist_ok=True)
    (place / "flavour.toml").write_text(settings)
    (place / "requirements.lock").write_text("# a lock\n" + "".join(f"{pin}\n" for pin in pins))
    (place / "agents.lock").write_text("".join(f"{pin}\n" for pin in agents))
    return Flavour("small", place)

"""Downloads the files of a lock with the host's pip, for the image's Python.

Containers have no network while they are built, and the host's pip settings (mirrors, certificates) apply. A file
appears under its own name only when it is whole, and files that are there are not fetched again: a download that was
cut off goes on where it stopped, at the latest batch.

Not covered: packages without a wheel on the package index (`aira_bench.images.compiled`).
"""

import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aira_bench.errors import PrerequisiteError
from aira_bench.images.flavour import Flavour, normal_name
from aira_bench.paths import cache_folder
from aira_bench.unfinished import staging_folder, sweep_staging

_TIMEOUT_S = 3600
_BATCH = 10
"""Packages one call of pip gets: enough that its start does not count, few enough to show progress."""


def wheel_folder(flavour: Flavour) -> Path:
    """Cache of wheels on the host, of all flavours with the same Python: most packages are in several."""
    return cache_folder() / "wheels" / f"python{flavour.settings.python}"


def fetch_wheels(flavour: Flavour, note: Callable[[str], None]) -> list[Path]:
    """Return every file the lock names, downloading what is missing.

    Raises:
        PrerequisiteError: a package could not be had; the message is pip's own.
    """
    folder = wheel_folder(flavour)
    folder.mkdir(parents=True, exist_ok=True)
    sweep_staging(folder)
    missing = [pin for pin in flavour.pins if find_file(folder, pin) is None]
    for start in range(0, len(missing), _BATCH):
        pins = missing[start : start + _BATCH]
        note(f"downloading packages {start + 1} to {start + len(pins)} of {len(missing)}: {', '.join(pins)}")
        download_wheels(flavour, pins, folder)
    found = {pin: find_file(folder, pin) for pin in flavour.pins}
    absent = [pin for pin, path in found.items() if path is None]
    if absent:
        raise PrerequisiteError(f"pip left no file for {', '.join(absent)} in {folder}.", hint=f"rm -r {folder}")
    return [path for path in found.values() if path is not None]


def find_file(folder: Path, pin: str) -> Path | None:
    """Return the downloaded wheel of `name==version`."""
    name, _, version = pin.partition("==")
    wanted = (normal_name(name), version.lower())
    for path in folder.iterdir():
        parts = path.name.split("-")
        if path.suffix == ".whl" and len(parts) >= 5 and (normal_name(parts[0]), parts[1].lower()) == wanted:
            return path
    return None


def wheel_options(flavour: Flavour) -> list[str]:
    """Options of pip by which it takes wheels for a flavour's Python alone, and runs no package's build."""
    settings = flavour.settings
    platforms = [part for name in (*settings.platforms, "any") for part in ("--platform", name)]
    return ["--only-binary", ":all:", "--implementation", "cp", "--python-version", settings.python, *platforms]


def download_wheels(flavour: Flavour, pins: Sequence[str], folder: Path, options: Sequence[str] = ()) -> list[Path]:
    """Download the wheel of each `name==version` into `folder`; return their paths.

    Args:
        flavour: whose Python and platforms the wheels are for.
        pins: what is downloaded, without what it requires in turn.
        folder: is there.
        options: more of pip's.

    Raises:
        PrerequisiteError: pip could not; the message is its own.
    """
    with staging_folder(folder / "part", secrets.token_hex(6)) as partial:
        command = ["download", "--quiet", "--no-deps", "--dest", str(partial), *wheel_options(flavour), *options]
        # `torch==2.13.0` would also be 2.13.0+cpu, of a machine that has that, too.
        exact = [pin.replace("==", "===", 1) for pin in pins]
        done = run_pip([*command, *exact])
        if done.returncode != 0 and flavour.settings.extra_index:
            done = run_pip([*command, "--extra-index-url", flavour.settings.extra_index, *exact])
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            raise PrerequisiteError(
                f"pip could not download the {flavour.name} images' packages: {errors[-1] if errors else 'no message'}",
                hint=f"python3 -m pip download --no-deps {pins[0]} (its settings: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL)",
            )
        return [path.replace(folder / path.name) for path in partial.iterdir()]


def run_pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run the host's pip, with the host's settings and no module of the current folder; its output is kept.

    Raises:
        PrerequisiteError: it did not end in an hour.
    """
    command = [sys.executable, "-P", "-m", "pip", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PrerequisiteError(f"pip did not finish within {_TIMEOUT_S} s: {' '.join(arguments)}") from error

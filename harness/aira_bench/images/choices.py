"""What was chosen for this machine's images once, and holds from then on: packages left out, what others are compiled
for, and hashes first seen.

It lies in `AIRA_HOME/images.json`, not among the caches: removing those must not start hours of compiling, nor let a
download be another one than before.

Not covered: checking a hash (`aira_bench.images.compiled`, `aira_bench.images.exchange`).
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from aira_bench.errors import PrerequisiteError
from aira_bench.files import Unacceptable, parse_json, read_text, write_json
from aira_bench.paths import host_paths
from aira_bench.unfinished import only_one

_MOST_BYTES = 1 << 20


class _Choices(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    skipped: dict[str, tuple[str, ...]] = {}
    """Names of packages, by flavour."""
    architectures: dict[str, tuple[str, ...]] = {}
    """Compute capabilities, by flavour."""
    pinned: dict[str, str] = {}
    """SHA-256 or digest, by address or tag."""


def skipped_packages(flavour: str) -> frozenset[str]:
    """Return which compiled packages a flavour's images are made without on this machine.

    Raises:
        PrerequisiteError: the file of choices is damaged.
    """
    return frozenset(_read().skipped.get(flavour, ()))


def skip_packages(flavour: str, names: Iterable[str]) -> None:
    """Make a flavour's images without these packages from now on, and with all others.

    Raises:
        PrerequisiteError: the file of choices is damaged.
    """
    with _changing():
        choices = _read()
        skipped = {**choices.skipped, flavour: tuple(sorted(set(names)))}
        _write(choices.model_copy(update={"skipped": {name: each for name, each in skipped.items() if each}}))


def chosen_architectures(flavour: str) -> tuple[str, ...]:
    """Return the compute capabilities that a flavour's packages are compiled for on this machine; none where nobody
    chose.

    Raises:
        PrerequisiteError: the file of choices is damaged.
    """
    return _read().architectures.get(flavour, ())


def choose_architectures(flavour: str, capabilities: Iterable[str]) -> None:
    """Compile a flavour's packages for these compute capabilities from now on; none for those that the flavour names.

    Raises:
        PrerequisiteError: the file of choices is damaged.
    """
    with _changing():
        choices = _read()
        chosen = {**choices.architectures, flavour: tuple(capabilities)}
        _write(choices.model_copy(update={"architectures": {name: each for name, each in chosen.items() if each}}))


def pin(key: str, value: str) -> str:
    """Remember what `key` is, if it was never seen before; return what it was then.

    Raises:
        PrerequisiteError: the file of choices is damaged.
    """
    with _changing():
        choices = _read()
        if key not in choices.pinned:
            choices = choices.model_copy(update={"pinned": {**choices.pinned, key: value}})
            _write(choices)
        return choices.pinned[key]


def choices_file() -> Path:
    """Return where they lie."""
    return host_paths().home / "images.json"


def _changing() -> AbstractContextManager[None]:
    choices_file().parent.mkdir(parents=True, exist_ok=True)
    return only_one(choices_file().with_name("images.lock"))


def _read() -> _Choices:
    path = choices_file()
    try:
        return _Choices.model_validate(parse_json(read_text(path, _MOST_BYTES)))
    except FileNotFoundError:
        return _Choices()
    except (OSError, Unacceptable, ValidationError) as error:
        raise PrerequisiteError(
            f"{path} cannot be used: {' '.join(str(error).split())}",
            hint=f"rm {path} (which packages are left out, and hashes seen, are then chosen anew)",
        ) from error


def _write(choices: _Choices) -> None:
    write_json(choices_file(), choices.model_dump(mode="json"))

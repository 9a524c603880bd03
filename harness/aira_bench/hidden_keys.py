"""Secrets that hidden data is derived from, where the published seeds of task folders are not secret enough.

A key is a file of 64 hexadecimal digits that its owner alone may read, made by `aira-bench key hidden FILE`. The
machine's default is `AIRA_HOME/keys/hidden.key`; without one, and without `--hidden-key FILE`, hidden data is drawn
from the published seeds, so that anybody can draw it again, and boards say `public seeds`. Records hold the key's hash
alone.

Not covered: what a key decides (`evaluate_prepare.py` of the shipped tasks), and giving a key to another machine.
"""

import hashlib
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.files import Unacceptable, read_file
from aira_bench.paths import HostPaths

_DEFAULT = "hidden.key"
_KEY_BYTES = 65


@dataclass(frozen=True)
class HiddenKey:
    """A key, or the hash of one that is not at hand: then only data that was made under it can be used."""

    sha256: str
    """What records and folders name it by."""
    secret: str | None = field(default=None, repr=False)
    """64 hexadecimal digits."""

    @property
    def draw_secret(self) -> str:
        """What judges draw questions by besides the seeds in the hidden data, which are as secret as the key.

        It is the same on every machine, so that machines with one key ask about one submission the same.
        """
        return hashlib.sha256(f"aira-bench questions\0{self.sha256}".encode()).hexdigest()


def key_of(secret: str) -> HiddenKey:
    """Return the key of 64 hexadecimal digits."""
    return HiddenKey(hashlib.sha256(f"aira-bench hidden key\0{secret}".encode()).hexdigest(), secret)


def read_hidden_key(file: Path) -> HiddenKey:
    """Read a key's file.

    Raises:
        PrerequisiteError: it is missing, is no key, or others may read it.
    """
    path = file.absolute()
    try:
        text = read_file(path.parent, path.name, _KEY_BYTES, owned=True)
        if path.stat().st_mode & 0o077:
            raise Unacceptable("others may read it")
    except FileNotFoundError:
        raise PrerequisiteError(
            f"There is no hidden key at {file}.", hint=f"aira-bench key hidden {quote(str(file))}"
        ) from None
    except Unacceptable as error:
        raise PrerequisiteError(
            f"The hidden key {file} is not used: {error}.", hint=f"chmod 600 {quote(str(file))}"
        ) from error
    if not re.fullmatch(rb"[0-9a-f]{64}\n?", text):
        raise PrerequisiteError(
            f"The hidden key {file} is not used: expected 64 hexadecimal digits.",
            hint="aira-bench key hidden FILE   (makes one)",
        )
    return key_of(text.decode("ascii").strip())


def make_hidden_key(file: Path) -> HiddenKey:
    """Write a new key to a file that is not there.

    Raises:
        UsageError: it is, or cannot be made.
    """
    secret = secrets.token_hex(32)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"No hidden key was made at {file}: {error.strerror}.", hint="another FILE") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(secret + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return key_of(secret)


def machine_hidden_key(paths: HostPaths) -> HiddenKey | None:
    """Return this machine's default; None where it has none.

    Raises:
        PrerequisiteError: it cannot be used.
    """
    file = paths.keys / _DEFAULT
    return read_hidden_key(file) if os.path.lexists(file) else None


def recorded_hidden_key(paths: HostPaths, sha256: str | None) -> HiddenKey | None:
    """Return the key that a record names: this machine's default where it is that, else its hash alone.

    Raises:
        PrerequisiteError: the default cannot be used.
    """
    if sha256 is None:
        return None
    default = machine_hidden_key(paths)
    return default if default is not None and default.sha256 == sha256 else HiddenKey(sha256)

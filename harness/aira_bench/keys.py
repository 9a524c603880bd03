"""The key with which this machine signs its records, and the keys of other machines that its user trusts.

Keys are ed25519. The private one is made on first use, lies in `AIRA_HOME/keys` readable by its owner alone, and never
leaves it. A signature says that whoever holds the key recorded these lines in this order, and that nobody else has
changed them since.

Not covered: honesty of the key's owner, who can sign anything.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.files import Unacceptable, read_file, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE_CHARACTERS = 128
SIGNED_HERE = "signed here"
_PRIVATE, _TRUSTED = "machine.key", "trusted"
_PUBLIC = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class MachineKey:
    """The private key of this machine, with which it signs records and its own caches."""

    secret: bytes = field(repr=False)

    @cached_property
    def _private(self) -> "Ed25519PrivateKey":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # stays out of start-up

        return Ed25519PrivateKey.from_private_bytes(self.secret)

    @cached_property
    def public(self) -> str:
        """The public key, 64 hexadecimal digits."""
        return self._private.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> str:
        """Public key and signature of `message`, as `SIGNATURE_CHARACTERS` characters of base64."""
        return base64.urlsafe_b64encode(bytes.fromhex(self.public) + self._private.sign(message)).decode("ascii")

    @cached_property
    def draw_secret(self) -> str:
        """What only this machine's judges draw their questions by, 64 hexadecimal digits."""
        return hashlib.sha256(b"aira-bench questions\0" + self.secret).hexdigest()

    def mac(self, message: bytes) -> str:
        """Return an authentication code that only this machine can make or check; for its own caches."""
        subkey = hashlib.sha256(b"aira-bench cache\0" + self.secret).digest()
        return hmac.new(subkey, message, hashlib.sha256).hexdigest()


def signer_of(signature: str, message: bytes) -> str | None:
    """Return the public key that made `signature` of `message`; None where it did not."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        raw = base64.b64decode(signature, altchars=b"-_", validate=True)
        Ed25519PublicKey.from_public_bytes(raw[:32]).verify(raw[32:], message)
    except (binascii.Error, ValueError, InvalidSignature):
        return None
    return raw[:32].hex()


@dataclass(frozen=True)
class KeyRing:
    """The public keys whose signatures this machine knows: its own, and those its user trusts."""

    own: str | None = None
    trusted: frozenset[str] = frozenset()
    seen: Path | None = None
    """Where the machine remembers what it recorded (`aira_bench.record.seen_chains`)."""

    def trusts(self, signer: str | None) -> bool:
        """Whether a record signed by `signer` counts as one of this machine's or its user's friends."""
        return signer is not None and (signer == self.own or signer in self.trusted)

    def trusts_all(self, signers: Collection[str | None]) -> bool:
        """Whether there are any, and each is trusted."""
        return bool(signers) and all(map(self.trusts, signers))

    def describe(self, signer: str | None) -> str:
        """Return what boards say of a record's signer."""
        if signer is None:
            return "unsigned"
        if signer == self.own:
            return SIGNED_HERE
        return f"signed by {short(signer)}" + (" (trusted)" if signer in self.trusted else " (unknown key)")

    def describe_all(self, signers: Iterable[str | None]) -> str:
        """Return what boards say of several signers, in their order."""
        return ", ".join(map(self.describe, signers))


def short(public: str) -> str:
    """Return the first digits of a public key, for people."""
    return public[:16]


@dataclass(frozen=True)
class KeyFolder:
    """The folder `AIRA_HOME/keys`: this machine's key, the keys it trusts, and what it remembers of runs."""

    path: Path

    @property
    def seen(self) -> Path:
        """Where the machine remembers what it recorded."""
        return self.path / "seen"

    def machine_key(self) -> MachineKey:
        """This machine's key, made now if there is none.

        Raises:
            PrerequisiteError: the file is not a key, or others can read it.
        """
        if (known := self._read()) is not None:
            return known
        self.path.mkdir(parents=True, mode=0o700, exist_ok=True)
        temporary = self.path / f".{_PRIVATE}.{secrets.token_hex(8)}.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(32).hex().encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            os.link(temporary, self.path / _PRIVATE)  # fails where another process was first: its key is the key
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
        made = self._read()
        assert made is not None, "linked above, or by the process that was first"
        return made

    def _read(self) -> MachineKey | None:
        path = self.path / _PRIVATE
        try:
            text = read_file(self.path, _PRIVATE, 65, owned=True)
            if path.stat().st_mode & 0o077:
                raise Unacceptable("others may read it")
            if not re.fullmatch(rb"[0-9a-f]{64}\n", text):
                raise Unacceptable("it is not a key")
        except FileNotFoundError:
            return None
        except Unacceptable as error:
            raise PrerequisiteError(f"The key {path} is not used: {error}.", hint=f"chmod 600 {path}") from error
        return MachineKey(bytes.fromhex(text.decode().strip()))

    def ring(self) -> KeyRing:
        """Return the keys known here. A machine that has never signed anything has no key of its own yet."""
        own = self._read()
        folder = self.path / _TRUSTED
        named = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        trusted = frozenset(name for name in named if _PUBLIC.fullmatch(name))
        return KeyRing(own.public if own else None, trusted, self.seen)

    def trust(self, public: str) -> None:
        """Count records signed by `public` as trusted from now on."""
        write_atomically(self.path / _TRUSTED / public, b"", mode=0o600)

    def forget(self, public: str) -> None:
        """Stop trusting a public key, so that its records count as those of an unknown one.

        Raises:
            UsageError: the key was not trusted.
        """
        try:
            (self.path / _TRUSTED / public).unlink()
        except FileNotFoundError as error:
            raise UsageError(f"The key {short(public)} was not trusted.", hint="aira-bench key") from error


def parse_public(text: str) -> str:
    """Return a public key as `aira-bench key export` prints it.

    Raises:
        UsageError: it is something else.
    """
    found = text.strip().removeprefix("ed25519:")
    if not _PUBLIC.fullmatch(found):
        raise UsageError("That is no public key, expected ed25519: and 64 hexadecimal digits.", hint="aira-bench key")
    return found

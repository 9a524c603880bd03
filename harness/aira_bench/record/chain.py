"""Files of JSON lines of which none can be changed, moved, added or left out unnoticed.

A line is `{"chain":LINK,"signature":SIGNATURE,"body":BODY}`. LINK is the SHA-256 of the line before (its link and its
signature) and of BODY, so one link stands for all lines up to it; SIGNATURE is made over LINK by the machine's key
(`aira_bench.keys`), so that nobody else can write a chain anew. Lines that only say that something began have no
signature of their own; the next one vouches for them. A line torn by a crash can only be the last: it is left out.

Version 1, from before aira-bench 0.1.0, has links of 16 digits and no signatures. It is read, and goes on as it began.

Not covered: what bodies mean, and lines cut off the end together with everything that counts them
(docs/decisions/0014-signed-records.md).
"""

import hashlib
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aira_bench.files import Unacceptable
from aira_bench.keys import MachineKey, signer_of
from aira_bench.machine_failures import about

Noted = Callable[[int, str], None]
Guard = Callable[[], None]
MOST_BYTES = 256 * 2**20
MOST_LINE_BYTES = 16 * 2**20
MOST_SIGNERS = 100
KEY_CHARACTERS = 42
"""Of a signature's base64: what of them is of the public key alone."""
_LINE = re.compile(rb'\{"chain":"([0-9a-f]{64})",(?:"signature":"([A-Za-z0-9_-]{128})",)?"body":')
_LINE_1 = re.compile(rb'\{"chain":"([0-9a-f]{16})","body":')
_GENESIS = {1: "0" * 16, 2: "0" * 64}
UNSIGNED = b'"event":"step_started"}'
_PURPOSE = b"aira-bench record 2\n"


@dataclass(frozen=True)
class Chain:
    """The lines of a chain's file as they were read, and who signed them. An empty file counts as version 2."""

    version: int
    bodies: tuple[bytes, ...]
    seals: tuple[str, ...]
    """Link and signature of each line."""
    whole_bytes: int
    """Bytes of the whole lines; what follows is torn."""
    torn: bool
    """Whether something follows."""
    signers: tuple[str, ...]
    """The public keys that signed lines of it, whoever signed last at the end: that signature covers all before."""
    vouched: int
    """How many lines that signature covers."""

    @property
    def signer(self) -> str | None:
        """The public key that signed the last signed line, None without any."""
        return self.signers[-1] if self.signers else None

    @property
    def seal(self) -> str:
        """Link and signature of the last line, which stand for all of them."""
        return self.seals[-1] if self.seals else _GENESIS[self.version]


class BrokenChain(Unacceptable):
    """A line was changed or damaged."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line} was changed or damaged: {reason}")
        self.line = line


def _link(version: int, seal: str, body: bytes) -> str:
    digest = hashlib.sha256(seal.encode("ascii") + body).hexdigest()
    return digest[:16] if version == 1 else digest


def read_chain(data: bytes) -> Chain:
    """Check links, and the last signature of each key.

    Raises:
        BrokenChain: a line does not fit the one before it, is too long, or its signature is not of its key.
    """
    version = 1 if _LINE_1.match(data) else 2
    pattern, seal, whole = (_LINE_1 if version == 1 else _LINE), _GENESIS[version], 0
    bodies: list[bytes] = []
    seals: list[str] = []
    signed: dict[str, tuple[int, str, str]] = {}
    for number, raw in enumerate(io.BytesIO(data), start=1):
        if len(raw) > MOST_LINE_BYTES:
            raise BrokenChain(number, f"it has more than {MOST_LINE_BYTES:,} bytes")
        if not raw.endswith(b"\n"):
            break
        match = pattern.match(raw)
        body = raw[match.end() : -2] if match else b""
        if match is None or raw[-2:] != b"}\n":
            raise BrokenChain(number, "it is no line of a chain")
        link = match.group(1).decode("ascii")
        if link != _link(version, seal, body):
            raise BrokenChain(number, "the hash chain is broken")
        signature = match.group(2).decode("ascii") if version == 2 and match.group(2) else ""
        if signature:
            whose = signature[:KEY_CHARACTERS]
            signed.pop(whose, None)
            signed[whose] = (number, link, signature)
        seal, whole = link + signature, whole + len(raw)
        bodies.append(body)
        seals.append(seal)
    if len(signed) > MOST_SIGNERS:
        raise Unacceptable(f"more than {MOST_SIGNERS} keys signed it")
    signers = []
    for number, link, signature in signed.values():
        signer = signer_of(signature, _PURPOSE + link.encode("ascii"))
        if signer is None:
            raise BrokenChain(number, "its signature does not hold")
        signers.append(signer)
    vouched = max((number for number, _, _ in signed.values()), default=0)
    return Chain(version, tuple(bodies), tuple(seals), whole, whole < len(data), tuple(signers), vouched)


def require_signed(chain: Chain) -> None:
    """Whether every line that is signed when it is written still is: only marks of begun steps may follow the last.

    Raises:
        Unacceptable: a signature is missing.
    """
    if chain.version == 1:
        raise Unacceptable("it is of version 1, without signatures, in a run that is signed")
    for number, body in enumerate(chain.bodies[chain.vouched :], start=chain.vouched + 1):
        if not body.endswith(UNSIGNED):
            raise Unacceptable(f"line {number} has no signature")


class ChainWriter:
    """Appends lines to one file, and forces each to disk."""

    def __init__(
        self, path: Path, found: Chain, key: MachineKey | None, noted: Noted | None = None, guard: Guard | None = None
    ) -> None:
        """Open for appending after `found`, which was just read from it; a torn last line is cut off.

        `noted` is told the number of lines and the last seal after each line. `guard` raises where nothing may be
        appended any more; it is asked before each line, and once the line is on disk, before `noted` hears of it.

        A file of version 1, or of no lines and without a key, gets lines of version 1.
        """
        self._version = 1 if found.version == 1 or (key is None and not found.bodies) else 2
        self._seal, self._key = found.seal if found.bodies else _GENESIS[self._version], key
        self._lines, self._noted, self._path, self._guard = len(found.bodies), noted, path, guard or (lambda: None)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._file = os.open(path, flags, 0o600)
        if os.fstat(self._file).st_size > found.whole_bytes:
            os.ftruncate(self._file, found.whole_bytes)
            os.fsync(self._file)

    def append(self, body: bytes, *, signed: bool) -> None:
        """Write one line behind the last, signed if asked for, and force it to disk."""
        link = _link(self._version, self._seal, body)
        signature = ""
        if self._version == 2 and signed:
            assert self._key is not None, "a signed chain is continued by who can sign"
            signature = self._key.sign(_PURPOSE + link.encode("ascii"))
        part = f'"signature":"{signature}",' if signature else ""
        self._guard()
        with about(self._path):
            _write_all(self._file, f'{{"chain":"{link}",{part}"body":'.encode("ascii") + body + b"}\n")
            os.fsync(self._file)
        self._guard()
        self._seal, self._lines = link + signature, self._lines + 1
        if self._noted is not None:
            self._noted(self._lines, self._seal)

    def close(self) -> None:
        """Close the file; lines that were appended are on disk already."""
        os.close(self._file)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]

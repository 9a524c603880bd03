"""Scores already paid for.

Training an architecture twice buys nothing, and a second draw of luck must not be for sale: the same submission gets
the same score. The key covers everything a score depends on: the submission in normal form (or its bytes), and the
conditions it was made under (`aira_bench.record.conditions`).
"""

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from aira_bench.evaluation.verdict import Scored
from aira_bench.files import Unacceptable, parse_json, read_file, write_atomically
from aira_bench.keys import MachineKey

_SCORED = TypeAdapter(Scored)
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class ScoreCache:
    """A folder of scores. `scope` is everything of the key but the submission.

    An entry carries a code that only this machine's key makes, over the entry's place and its content: a file that
    somebody else wrote, or that was moved from another place, counts as absent.
    """

    folder: Path
    scope: tuple[str, ...]
    key: MachineKey

    def _name(self, submission: str) -> str:
        digest = hashlib.sha256(json.dumps([*self.scope, submission]).encode()).hexdigest()
        return f"{digest[:2]}/{digest}.json"

    def get(self, submission: str) -> Scored | None:
        """Return the stored score; an entry that cannot be read, or that this machine did not write, counts as
        absent.
        """
        name = self._name(submission)
        try:
            code, _, stored = read_file(self.folder, name, MOST_BYTES, owned=True).partition(b"\n")
            if not hmac.compare_digest(code, self._code(name, stored)):
                return None
            parse_json(stored)
            return replace(_SCORED.validate_json(stored), cached=True)
        except (OSError, Unacceptable, ValidationError):
            return None

    def put(self, submission: str, scored: Scored) -> None:
        """Store a score under its key, with a code that only this machine can make."""
        name, stored = self._name(submission), json.dumps(asdict(scored), allow_nan=False).encode()
        write_atomically(self.folder / name, self._code(name, stored) + b"\n" + stored, mode=0o600)

    def _code(self, name: str, stored: bytes) -> bytes:
        return self.key.mac(name.encode() + b"\n" + stored).encode("ascii")

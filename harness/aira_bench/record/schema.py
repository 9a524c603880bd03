"""Which schema the files of a run are of, and events as lines of a chain.

The manifest and every line of a journal, of a run's record and of confirmations name the schema they were written in:

    1   unsigned chains, no record
    2   signed chains (aira-bench 0.1.0); lines other than the first of a file do not name it
    3   every line names it
    4   nodes say how their devices worked (`gpu_use`)
    5   scores say what the judge found on public rows, and its standard error (`public`, `public_standard_error`)
    6   scores say how their training went (`series`, `claimed_series`)
    7   journals say which attempt of which worker wrote what follows (`attempt_began`), where several work on a run;
        manifests name walls that were missing (`missing_walls`), and judges on other machines (`judges`)

This version writes 7 and reads all seven; a run of an older schema goes on in the chains it has.
Scores are of the schema of the line that names their hash.

Not covered: the form of a chain, which read_chain tells by its lines.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from aira_bench.excerpts import PROBLEM_CHARS
from aira_bench.files import Unacceptable, parse_json, spell_half_surrogates
from aira_bench.record.chain import BrokenChain, Chain
from aira_bench.version import __version__

SCHEMA: Literal[7] = 7
"""What this version writes."""
UNNAMED: Literal[2] = 2
"""The schema of a manifest, or of a line in a signed chain, that names none."""


def _a_number(found: object) -> object:
    """Python takes `true` for 1 and 2.0 for 2, wherever values are compared."""
    if type(found) is not int:
        raise ValueError("a schema is a whole number")
    return found


ManifestSchema = Annotated[Literal[1, 2, 3, 4, 5, 6, 7], BeforeValidator(_a_number)]
"""What a manifest may name."""
LineSchema = Annotated[Literal[2, 3, 4, 5, 6, 7], BeforeValidator(_a_number)]
"""What a line of an event may name. Compared with nothing: it says how a line is written, not what it says."""
Event = TypeVar("Event")
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,2}([a-z.]{0,5}\d{0,4})")


class LaterSchema(Unacceptable):
    """A file was written by a later version, in a schema that this one does not know."""

    def __init__(self, found: int, writer: object = None) -> None:
        """`writer`: the version that the file says wrote it, if it does."""
        known = isinstance(writer, str) and _VERSION.fullmatch(writer)
        by = f"aira-bench {writer}" if known else "a later version of aira-bench"
        super().__init__(f"it is of schema {found}, written by {by}; {__version__} reads schemas 1 to {SCHEMA}")
        self.hint = f"python -m pip install --upgrade 'aira-bench>={writer}'" if known else UPGRADE


UPGRADE = "python -m pip install --upgrade aira-bench"


def require_known(found: object, writer: object = None) -> None:
    """Whether a schema is none of a later version. One that is no whole number is for the reader of its file to refuse.

    Raises:
        LaterSchema: it is.
    """
    if isinstance(found, int) and not isinstance(found, bool) and found > SCHEMA:
        raise LaterSchema(found, writer)


def encode(event: Any) -> bytes:  # noqa: ANN401
    """Return an event of a chain, a dataclass with a field `schema`, as the body of a line in this version's schema."""
    fields = asdict(event) | {"schema": SCHEMA}
    return json.dumps(fields, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def decode(chain: Chain, adapter: TypeAdapter[Event], ours: int = 0) -> Iterator[tuple[int, Event]]:
    """Number and event of each line of a chain, one after the other.

    Args:
        chain: what was read.
        adapter: of the events that may stand in it.
        ours: how many of its first lines this code wrote, which are not looked at for what it never writes, such as
            keys that stand twice.

    Raises:
        BrokenChain: a line is none of the adapter's events.
        LaterSchema: a later version wrote it.
    """
    for number, body in enumerate(chain.bodies, start=1):
        try:
            if number > ours:
                parse_json(body)
            event = adapter.validate_json(spell_half_surrogates(body), strict=True)
        except ValidationError as error:
            _require_known_line(number, body)
            raise BrokenChain(number, str(error.errors()[0]["msg"])[:PROBLEM_CHARS]) from error
        except Unacceptable as error:
            raise BrokenChain(number, str(error)) from error
        yield number, event


def _require_known_line(number: int, body: bytes) -> None:
    value = parse_json(body)
    if isinstance(value, dict):
        try:
            require_known(value.get("schema"))
        except LaterSchema as error:
            error.args = (f"line {number}: {error}",)
            raise

"""Every request and answer of a run as JSON files, and a model that writes them and answers from those that are there.

A record holds the request, its digest, and the completion: no key, no header, no URL. A call that was answered
before a crash is answered from its record afterwards, so that nothing is asked or paid for twice. Each record is
written before its answer is used.

Not covered: calls that failed; they have no answer to replay.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from aira_bench.errors import RunStateError
from aira_bench.files import parse_json, read_file, spell_half_surrogates, write_json
from aira_bench.llm.model import Completion, CompletionRequest, Json, Model
from aira_bench.llm.schemas import parse_object
from aira_bench.world import SystemWorld, World

SCHEMA = 2
"""What this version writes: 2 has when a call was made, and what came of the model's reasoning (decision 0055)."""
_SINCE_2 = ("asked_at", "reasoning")
MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Exchange:
    """One request and its answer."""

    request: CompletionRequest
    completion: Completion

    def to_json(self) -> Json:
        """Return request and answer as the JSON values of a record's file."""
        return {
            "schema": SCHEMA,
            "request_sha256": self.request.digest(),
            "request": self.request.to_json(),
            "completion": self.completion.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read request and answer from the JSON values of a record's file.

        Raises:
            RunStateError: another version, missing parts, or a request that does not match its digest.
        """
        schema = value.get("schema")
        if type(schema) is not int or not 1 <= schema <= SCHEMA:
            raise RunStateError(f"A model record has schema {schema!r}, this version reads 1 to {SCHEMA}.")
        if set(value) != {"schema", "request_sha256", "request", "completion"}:
            raise RunStateError(f"A model record has the keys {sorted(value)}.")
        completion = value["completion"]
        if schema == 1 and isinstance(completion, Mapping) and not set(_SINCE_2) & set(completion):
            completion = {**completion, **dict.fromkeys(_SINCE_2)}
        exchange = cls(CompletionRequest.from_json(value["request"]), Completion.from_json(completion))
        if exchange.request.digest() != value["request_sha256"]:
            raise RunStateError("A model record was changed: its request does not have the digest it names.")
        return exchange


class RequestChanged(RunStateError):
    """A step in flight asks something else than before it was interrupted: `resume --accept-changes` asks anew."""


class RecordingModel:
    """Records each call of `model` as `call_000.json`, `call_001.json`, ... in a folder, and reuses what is there.

    One instance serves one node, whose calls come one after another.
    """

    def __init__(self, model: Model, folder: Path, world: World | None = None) -> None:
        """`world` tells when a call is made whose model does not say; this machine's, unless given."""
        self._model, self._folder, self._world = model, folder, world or SystemWorld()
        self._calls = 0

    @property
    def name(self) -> str:
        """The name of the model that is recorded."""
        return self._model.name

    @property
    def next_record(self) -> Path:
        """The file of the next call, which is there where it was made before."""
        return self._folder / f"call_{self._calls:03d}.json"

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Return the recorded answer to this call if there is one; else ask the model, and record its answer.

        Raises:
            ModelError: the model refused.
            RunStateError: the record is unreadable, or of another request.
        """
        path = self.next_record
        if path.exists():
            completion = _answer_of(read_exchange(path), request, path.name)
        else:
            began = self._world.now().isoformat()
            completion = self._model.complete(request, deadline_s=deadline_s)
            completion = replace(completion, asked_at=completion.asked_at or began)
            write_json(path, Exchange(request, completion).to_json())
        self._calls += 1
        return completion


@dataclass(frozen=True)
class ScriptedModel:
    """A Python function in place of a model: for tests, and for people who write agents."""

    name: str
    answer: Callable[[CompletionRequest], Completion | str]

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Return what the function answers; plain text counts as a finished answer of unknown size and cost."""
        reply = self.answer(request)
        if isinstance(reply, Completion):
            return reply
        structured = None if request.schema is None else parse_object(reply)
        return Completion(text=reply, finish_reason="stop", model_id=self.name, structured=structured)


def read_exchange(path: Path) -> Exchange:
    """Read the record of one call from its file.

    Raises:
        RunStateError: it cannot be read.
    """
    try:
        value = parse_json(spell_half_surrogates(read_file(path.parent, path.name, MOST_BYTES)))
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return Exchange.from_json(value)
    except RunStateError as error:
        raise RunStateError(f"{path}: {error.message}", hint=error.hint) from error
    except (OSError, ValueError, TypeError) as error:
        raise RunStateError(f"The model record {path} cannot be read: {error}.") from error


def read_exchanges(folder: Path) -> list[Exchange]:
    """Read all records of calls in a folder, in the order in which they were made.

    Raises:
        RunStateError: one cannot be read.
    """
    return [read_exchange(path) for path in sorted(folder.glob("call_*.json"))]


def _answer_of(exchange: Exchange, request: CompletionRequest, where: str) -> Completion:
    seen, recorded = request.to_json(), exchange.request.to_json()
    if seen != recorded:
        changed = ", ".join(key for key in seen if seen[key] != recorded[key])
        raise RequestChanged(
            f"The request differs from the recorded one in {changed} ({where}: {request.digest()[:12]} "
            f"against {exchange.request.digest()[:12]})."
        )
    return exchange.completion

"""What holds for every `Model`. A dozen short calls are made; use a model whose calls cost little or nothing.

Not covered: what the model says.
"""

import contextlib
import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

from aira_bench.errors import ModelError
from aira_bench.llm.model import Completion, CompletionRequest, FinishReason, Message, Model
from aira_bench.testing.checks import Check, require

DEADLINE_S = 60.0
_THREADS = 4
_LATE_S = 2.0
"""How long after its deadline a call may take to come back."""
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"number": {"type": "integer"}},
    "required": ["number"],
    "additionalProperties": False,
}


def _request(text: str, schema: Mapping[str, Any] | None = None) -> CompletionRequest:
    return CompletionRequest("Answer in one word.", (Message("user", text),), max_output_tokens=1024, schema=schema)


def _require_completion(found: object) -> Completion:
    require(isinstance(found, Completion), "a Completion", found)
    assert isinstance(found, Completion)
    require(found.finish_reason in get_args(FinishReason), f"one of {get_args(FinishReason)}", found.finish_reason)
    require(isinstance(found.model_id, str) and bool(found.model_id), "a name of the model", found.model_id)
    require(math.isfinite(found.latency_s) and found.latency_s >= 0, "seconds of latency", found.latency_s)
    cost = found.cost_usd
    require(cost is None or (math.isfinite(cost) and cost >= 0), "dollars, or None for unknown", cost)
    require(found.attempts >= 1, "at least one attempt", found.attempts)
    return found


def _has_a_name(model: Model) -> None:
    require(isinstance(model.name, str) and model.name.isprintable() and bool(model.name), "a name", model.name)


def _completes(model: Model) -> None:
    found = _require_completion(model.complete(_request("Say yes."), deadline_s=DEADLINE_S))
    require(isinstance(found.text, str), "text", found.text)
    require(found.structured is None, "no object where no schema was given", found.structured)


def _follows_a_schema(model: Model) -> None:
    found = _require_completion(model.complete(_request("Give a number.", _SCHEMA), deadline_s=DEADLINE_S))
    require(found.structured is None or isinstance(found.structured, dict), "an object or None", found.structured)


def _is_recorded(model: Model) -> None:
    for schema in (None, _SCHEMA):
        found = model.complete(_request("Say no.", schema), deadline_s=DEADLINE_S)
        again = Completion.from_json(found.to_json())
        require(again == found, "a completion that its recorded form gives again", (found, again))


def _continues_a_conversation(model: Model) -> None:
    turns = (Message("user", "One?"), Message("assistant", "Two."), Message("user", "Three?"))
    _require_completion(model.complete(CompletionRequest("", turns, max_output_tokens=1024), deadline_s=DEADLINE_S))


def _keeps_deadlines(model: Model) -> None:
    began_s = time.monotonic()
    with contextlib.suppress(ModelError):  # the protocol's way to say that the time was not enough
        _require_completion(model.complete(_request("Say maybe."), deadline_s=0.01))
    spent_s = time.monotonic() - began_s
    require(spent_s < _LATE_S, f"an answer or a ModelError within {_LATE_S:g} s of the deadline", f"{spent_s:.1f} s")


def _serves_threads(model: Model) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        asked = [pool.submit(model.complete, _request(f"Say {n}."), deadline_s=DEADLINE_S) for n in range(_THREADS)]
        for future in asked:
            _require_completion(future.result())


MODEL_CHECKS: tuple[Check[Model], ...] = (
    Check("it has a name that boards can show", _has_a_name),
    Check("it completes a request", _completes),
    Check("it gives an object, or None, where a schema is asked for", _follows_a_schema),
    Check("it takes a conversation of several turns", _continues_a_conversation),
    Check("its completions can be recorded and read back", _is_recorded),
    Check("it gives up by its deadline", _keeps_deadlines),
    Check("it can be called from several threads at once", _serves_threads),
)

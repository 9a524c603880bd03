"""JSON schemas in the form that every provider's structured output takes.

All of them want objects closed (`additionalProperties: false`); OpenAI's strict mode wants every property required
as well. Callers write a property that may be absent as one that may be null.
"""

import json
from collections.abc import Mapping
from typing import Any

from aira_bench.files import Unacceptable, parse_json, spell_half_surrogates
from aira_bench.llm.model import Json


def closed_schema(schema: Mapping[str, Any]) -> Json:
    """Return a copy of a schema in which every object that lists its properties allows no others."""
    return {**_closed(json.loads(schema_text(schema)))}


def is_strict(schema: Any) -> bool:  # noqa: ANN401
    """Whether every object in a schema requires all of its properties."""
    if isinstance(schema, list):
        return all(is_strict(entry) for entry in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict) and set(properties) != set(schema.get("required", ())):
        return False
    return all(is_strict(entry) for entry in schema.values())


def parse_object(text: str) -> Json | None:
    """Return the JSON object that `text` consists of; None for any other text, and where it is nested too deeply or has
    numbers beyond bounds.
    """
    try:
        value = parse_json(spell_half_surrogates(text.encode("utf-8", "backslashreplace")))
    except Unacceptable:
        return None
    return value if isinstance(value, dict) else None


def find_object(text: str) -> Json | None:
    """Return the JSON object in a text that may say something around it, or fence it; None where there is none."""
    first, last = text.find("{"), text.rfind("}")
    return parse_object(text) or (parse_object(text[first : last + 1]) if 0 <= first < last else None)


def schema_text(schema: Mapping[str, Any]) -> str:
    """Return a schema as JSON text, to be quoted in a prompt."""
    return json.dumps(dict(schema))


def _closed(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_closed(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    closed = {key: _closed(entry) for key, entry in value.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed

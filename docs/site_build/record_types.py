"""The reference of what is on disk of a run, from the types that read it: tables for people, JSON Schema for programs.

A field's meaning is the docstring below it. Not covered: rules over several fields, which the readers hold.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from aira_bench.record.confirmations import ConfirmationOpened, ConfirmationRefused, Confirmed
from aira_bench.record.journal import AttemptBegan, SeedEnded, SeedOpened, StepEnded, StepStarted
from aira_bench.record.manifest import Manifest
from aira_bench.record.news import SeedNews
from aira_bench.record.scores import TrustedScore
from aira_bench.record.sealing import ChangesAccepted, RunEnded, RunOpened
from site_build.tables import code, table, text

PACKAGE = Path(__file__).resolve().parents[2] / "harness" / "aira_bench"
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class RecordFile:
    """One kind of file of a run folder: its name on the site, where it lies, and what its lines, or it, may be."""

    name: str
    place: str
    types: tuple[type, ...]


FILES = (
    RecordFile("manifest", "manifest.json", (Manifest,)),
    RecordFile("record", "record.jsonl", (RunOpened, ChangesAccepted, RunEnded)),
    RecordFile("journal", "seeds/N/journal.jsonl", (SeedOpened, AttemptBegan, StepStarted, StepEnded, SeedEnded)),
    RecordFile("scores", "seeds/N/hidden/scores.jsonl", (TrustedScore,)),
    RecordFile("confirmed", "seeds/N/hidden/confirmed.jsonl", (ConfirmationOpened, Confirmed, ConfirmationRefused)),
    RecordFile("news", "seeds/N/news.json", (SeedNews,)),
)


def schema_of(file: RecordFile) -> dict[str, Any]:
    """Return the JSON Schema of one kind of file, or of the bodies of its lines, with the meaning of each field."""
    union: Any = file.types[0]
    for each in file.types[1:]:
        union = union | each
    schema = TypeAdapter(union).json_schema(ref_template="#/$defs/{model}")
    definitions = schema.get("$defs", {})
    for name, found in definitions.items():
        _explain(name, found)
    if "properties" in schema:
        _explain(file.types[0].__name__, schema)
    return (
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": file.place}
        | schema
        | {"title": file.place}
    )


def _explain(name: str, schema: dict[str, Any]) -> None:
    meaning = documented().get(name, {})
    for field, found in schema.get("properties", {}).items():
        found.pop("title", None)
        if said := meaning.get(field):
            found["description"] = said
    if said := meaning.get(""):
        schema["description"] = said


@cache
def documented() -> Mapping[str, Mapping[str, str]]:
    """What the docstrings of each class say: by class, by field; of the class itself under the empty name."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, dict(_said_in(node)))
    return found


def _said_in(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    yield "", " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    for field, after in zip(node.body, node.body[1:], strict=False):
        said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(said, str):
            yield field.target.id, " ".join(said.split())


def records_in_markdown() -> str:
    """Return a section for each kind of file, with a table of fields for each type that stands in it."""
    return "\n".join(_section(file) for file in FILES)


def schema_files() -> dict[str, str]:
    """Return the text of each JSON Schema by the name of its file."""
    return {f"{file.name}.schema.json": json.dumps(schema_of(file), indent=2) + "\n" for file in FILES}


def _section(file: RecordFile) -> str:
    schema = schema_of(file)
    own = {file.types[0].__name__: schema} if "properties" in schema else {}
    types = own | schema.get("$defs", {})
    first = [each.__name__ for each in file.types]
    order = [*first, *(name for name in types if name not in first)]
    link = f"[{file.name}.schema.json](schemas/{file.name}.schema.json)"
    parts = [f"## {file.place}\n", f"As JSON Schema: {link}\n"]
    parts += [_type(file, name, types[name]) for name in order if "properties" in types[name]]
    return "\n".join(parts)


def _type(file: RecordFile, name: str, schema: Schema) -> str:
    rows = [
        (code(field), _spoken(found), _may_be_absent(schema, field, found), text(found.get("description", "")))
        for field, found in schema["properties"].items()
    ]
    heading = f"### {name} {{: #{file.name}-{name.lower().strip('_')} }}\n"
    return f"{heading}\n{text(schema.get('description', ''))}\n\n" + table(
        ("field", "type", "where absent", "meaning"), rows
    )


def _may_be_absent(schema: Schema, field: str, found: Schema) -> str:
    if field in schema.get("required", ()):
        return ""
    default = found.get("default", "empty")
    return code(json.dumps(default)) if not isinstance(default, dict) else "empty"


def _spoken(schema: Schema) -> str:
    """A type in a few words; types of their own by name."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(json.dumps(value)) for value in schema["enum"])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_spoken, options)))
    return _plain_type(schema)


def _plain_type(schema: Schema) -> str:
    kind = schema.get("type", "anything")
    if kind == "array":
        inner = schema.get("items") or {}
        fixed = schema.get("prefixItems")
        return f"list of {'two: ' + ', '.join(map(_spoken, fixed)) if fixed else _spoken(inner)}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_spoken(inner)}" if isinstance(inner, dict) and inner else "object"
    return {"integer": "whole number", "boolean": "true or false"}.get(kind, str(kind))

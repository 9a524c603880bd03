"""A board as one document that can be made again from its runs: figures, and what they stand on.

`board.json` holds each row's cells, its seeds with all that they came to, and of each run what tells it from any other:
run id, hash of the manifest, the ends of its chains, and who signed them. It has no date of its own and no path, so
that the same runs give the same bytes on any machine.

What only the machine knows that wrote it stands apart: which keys were its own or trusted, which rows name by what
they show, and how often seeds were begun (`begun`), deleted runs included. `verification` takes those as said.

Not covered: the check (`aira_bench.publication.verification`), and tables for people.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from aira_bench.boards.board import Table
from aira_bench.boards.columns import COLUMNS
from aira_bench.boards.formats import heading
from aira_bench.boards.rows import Row
from aira_bench.escaping import json_text
from aira_bench.keys import KeyRing
from aira_bench.record.run_record import RunRecord
from aira_bench.record.seed_record import SeedRecord

BOARD_FILE = "board.json"
SCHEMA = 1
Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
"""A value of a JSON text."""


def board_document(
    tables: Sequence[Table], runs: Sequence[RunRecord], ring: KeyRing, left_out: Mapping[str, str]
) -> dict[str, Json]:
    """Return the document of a board.

    Args:
        tables: of the board.
        runs: what it was made from.
        ring: the keys of the machine that makes it.
        left_out: why each run that is in no figure was left out, by its run id.
    """
    signers = {signer for run in runs for signer in run.signers if signer is not None}
    return {
        "schema": SCHEMA,
        "keys": {"own": ring.own if ring.own in signers else None, "trusted": [*sorted(signers & ring.trusted)]},
        "left_out": {run_id: left_out[run_id] for run_id in sorted(left_out)},
        "runs": [run_evidence(run) for run in sorted(runs, key=lambda run: (run.name, run.manifest.run_id))],
        "sections": [_section(table) for table in tables],
    }


def document_bytes(document: Mapping[str, Json]) -> bytes:
    """Return the bytes of a board's file."""
    return (json_text(document) + "\n").encode()


def run_evidence(run: RunRecord) -> dict[str, Json]:
    """Return what tells a run from any other, and of which experiment it is."""
    manifest = run.manifest
    models = sorted({model for seed in run.seeds for node in seed.nodes for model in node.model_use.models})
    return {
        "name": run.name,
        "run_id": manifest.run_id,
        "created": manifest.created,
        "aira_bench": manifest.aira_bench,
        "task": manifest.task_title,
        "agent": manifest.plan.agent,
        "manifest_sha256": run.manifest_sha256,
        "card_sha256": card_sha256(manifest.card),
        "agent_file_sha256": manifest.agent_file_sha256,
        "prompts_sha256": {name: manifest.prompts[name] for name in sorted(manifest.prompts)},
        "models": [*models],
        "closed": run.closed,
        "signers": [*run.signers],
        "seeds": [_seed_evidence(seed) for seed in run.seeds],
        "confirmations": [
            {"seed": seed.seed, "lines": seed.confirmations.lines, "seal": seed.confirmations.seal}
            for seed in run.seeds
            if seed.confirmations.lines
        ],
    }


def card_sha256(card: Mapping[str, object] | None) -> str | None:
    """Return the hash of an agent card as it was used, whatever the order of its keys; None without a card."""
    if card is None:
        return None
    return hashlib.sha256(json.dumps(card, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _seed_evidence(seed: SeedRecord) -> dict[str, Json]:
    submitted = seed.submitted
    return {
        "seed": seed.seed,
        "lines": seed.lines,
        "seal": seed.seal,
        "steps": len(seed.nodes),
        "valid_steps": sum(node.is_valid for node in seed.nodes),
        "submitted": submitted.step if submitted else None,
        "artifact_sha256": submitted.artifact_sha256 if submitted else None,
    }


def _section(table: Table) -> dict[str, Json]:
    section = asdict(replace(table.section, pair=None)) | {
        "pair": None if table.section.pair is None else table.section.pair.model_dump(mode="json")
    }
    return {"heading": heading(table), "section": section, "rows": [_row(row) for row in table.rows]}


def _row(row: Row) -> dict[str, Json]:
    cells = {name: value for column in COLUMNS for name, value in column.cells(row)}
    begun: dict[str, Json] = {str(seed): count for seed, count in sorted(row.runs_by_seed.items())}
    return {"cells": dict(cells), "begun": begun, "seeds": [_plain(asdict(result)) for result in row.results]}


def _plain(value: object) -> Json:
    """A value of our own as JSON has it: tuples are lists, and keys are texts."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    assert value is None or isinstance(value, str | int | float), type(value)
    return value


def differences(told: Json, found: Json, place: str = "") -> Iterator[str]:
    """Yield in words what a document tells otherwise than another, place by place.

    Args:
        told: by the board.
        found: made from its runs.
        place: where in the document both stand.
    """
    if isinstance(told, dict) and isinstance(found, dict):
        label = _label(told)
        for name in sorted({*told, *found}):
            where = f"{place}{label}.{name}".removeprefix(".")
            if name not in found or name not in told:
                yield f"{where}: only {'on the board' if name in told else 'in what its runs give'}"
            else:
                yield from differences(told[name], found[name], where)
    elif isinstance(told, list) and isinstance(found, list):
        if len(told) != len(found):
            yield f"{place}: {len(told)} on the board, {len(found)} by its runs"
        for index, (one, other) in enumerate(zip(told, found, strict=False)):
            yield from differences(one, other, f"{place}[{index}]")
    elif told != found or type(told) is not type(found):
        yield f"{place}: {_shown(told)} on the board, {_shown(found)} by its runs"


def _label(value: Mapping[str, Json]) -> str:
    """What people call the thing that an object is about."""
    named = value.get("heading")
    cells = value.get("cells")
    if isinstance(cells, dict):
        named = cells.get("agent")
    elif "seed" in value and not isinstance(value["seed"], dict):
        named = f"seed {value['seed']}"
    return f" ({named})" if isinstance(named, str) else ""


def _shown(value: Json) -> str:
    return json.dumps(value)[:200]

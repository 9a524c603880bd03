"""Manifests and plans: what they admit, and that a file is what was written."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from aira_bench.files import Unacceptable
from aira_bench.record.manifest import MOST_SEEDS, Manifest, RunPlan, encode_manifest, load_manifest
from aira_bench.record.schema import SCHEMA
from aira_bench.sandbox.isolation import BEST_FIRST
from aira_bench.sandbox.sandbox import Isolation, Role
from generated_runs import manifest

MADE = manifest("a", seeds=(0, 1), steps=3, schema_version=SCHEMA)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2), max_leaves=4,
)  # fmt: skip


def document() -> dict[str, Any]:
    found = json.loads(encode_manifest(MADE))
    assert isinstance(found, dict)
    return found


def written(folder: Path, value: object) -> Path:
    (folder / "manifest.json").write_text(json.dumps(value))
    return folder


@given(st.dictionaries(st.text(max_size=6), values, max_size=3), st.text(max_size=9))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_with_the_hash_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, card: dict[str, Any], revision: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    whole = "".join(c for c in revision if not "\ud800" <= c <= "\udfff")
    made = MADE.model_copy(update={"card": card, "source_revision": whole})
    data = encode_manifest(made)
    (folder / "manifest.json").write_bytes(data)
    assert load_manifest(folder) == (made, hashlib.sha256(data).hexdigest())


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "no hidden data": lambda value: value["data"].clear(),
    "hidden data without a hash": lambda value: value["data"].update(hidden={"bytes": 1}),
    "no evaluator image": lambda value: value["images"].pop("evaluator"),
    "a run id that is a path": lambda value: value.update(run_id="../../x"),
    "a run id that is long": lambda value: value.update(run_id="a" * 33),
    "a field of nobody": lambda value: value.update(more=1),
    "a field less": lambda value: value.pop("metric"),
    "a text for a truth": lambda value: value.update(lower_is_better="false"),
    "a number for a text": lambda value: value.update(metric=1),
    "a role of nobody": lambda value: value.update(isolation_of={"root": {"word": "own kernel", "reason": ""}}),
    "an unknown isolation": lambda value: value.update(isolation_of={"agent": {"word": "perfect", "reason": ""}}),
    "no seeds": lambda value: value["plan"].update(seeds=[]),
    "a seed twice": lambda value: value["plan"].update(seeds=[1, 1]),
    "a seed below 0": lambda value: value["plan"].update(seeds=[-1]),
    "seeds without end": lambda value: value["plan"].update(seeds=list(range(MOST_SEEDS + 1))),
    "no steps": lambda value: value["plan"].update(steps=0),
    "steps without end": lambda value: value["plan"].update(steps=10**9),
    "no hours": lambda value: value["plan"].update(hours=0),
    "more seconds than timers have": lambda value: value["plan"].update(step_timeout_s=1e18),
    "a budget below 0": lambda value: value["plan"].update(max_cost_usd=-1),
    "an unknown profile": lambda value: value["plan"].update(profile="huge"),
    "an unknown fitness": lambda value: value["plan"].update(fitness="test"),
}


@pytest.mark.parametrize("break_it", BROKEN.values(), ids=list(BROKEN))
def test_what_no_run_writes_is_no_manifest(tmp_path: Path, break_it: Callable[[dict[str, Any]], object]) -> None:
    value = document()
    load_manifest(written(tmp_path, value))
    break_it(value)
    with pytest.raises(Unacceptable, match=r"^manifest\.json: it is damaged: ") as caught:
        load_manifest(written(tmp_path, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"run_id":"a","run_id":"b"}', '{"hours": 1e999}', "\ufeff{}"])
def test_what_is_no_document_is_no_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(Unacceptable, match=r"^manifest\.json: "):
        load_manifest(tmp_path)


def test_a_plan_cannot_be_changed_after_it_was_checked() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        MADE.plan.steps = 9  # type: ignore[misc]


@pytest.mark.parametrize("field", ["max_cost_usd", "max_tokens", "seed_max_cost_usd", "seed_max_tokens"])
def test_a_plan_without_caps_has_none(field: str) -> None:
    assert getattr(MADE.plan, field) is None
    assert RunPlan.model_validate(MADE.plan.model_dump() | {field: 1}) != MADE.plan


def test_the_isolation_of_a_run_is_that_of_its_weakest_containers() -> None:
    assert MADE.isolation_word == "shared", "of runs that did not know"
    best, worst = Isolation(BEST_FIRST[0], ""), Isolation(BEST_FIRST[-1], "")
    roles: dict[Role, Isolation] = {"agent": best, "predict": best}
    assert made(isolation_of=roles).isolation_word == BEST_FIRST[0]
    assert made(isolation_of={**roles, "fit": worst}).isolation_word == BEST_FIRST[-1]


@pytest.mark.parametrize(
    ("mark", "expected"), [({}, False), ({"synthetic": False}, False), ({"synthetic": True}, True)]
)
def test_data_is_real_unless_it_is_marked(mark: dict[str, bool], expected: bool) -> None:
    assert made(data={**MADE.data, **mark}).synthetic is expected


def made(**changes: object) -> Manifest:
    return manifest("a", seeds=(0,), steps=1, **changes)

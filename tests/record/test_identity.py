"""Which runs are of one experiment: every recorded field is decided, and does what was decided of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aira_bench.cards.card import Card
from aira_bench.extensions import ExtensionRecord
from aira_bench.keys import KeyRing
from aira_bench.record.conditions import comparable_with
from aira_bench.record.identity import (
    CARD_FIELDS,
    MANIFEST_FIELDS,
    PLAN_FIELDS,
    identity_of,
    planned_identity,
)
from aira_bench.record.manifest import Manifest, RunPlan
from aira_bench.record.node import ModelUse
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.sealing import ChangesAccepted, Difference
from generated_runs import manifest, write_run

CARD = {"name": "m", "title": "M", "provider": "openai", "model": "gpt", "key_variable": "K", "base_url": "https://a",
        "base_url_variable": "U", "context_tokens": 1000, "max_output_tokens": 100, "source": "s",
        "sampling": {"adjustable": True, "temperature": 0.5}, "reasoning": {"effort": "low"},
        "prices": {"usd_per_mtok_input": 1.0}}  # fmt: skip
EXTENSION = ExtensionRecord("p", "m:P", None, None, "a" * 64)
OTHER_PLAN: dict[str, Any] = {
    "name": "other", "task": "/elsewhere", "profile": "paper", "fitness": "claimed", "seeds": (7, 8), "steps": 99,
    "hours": 9.0, "step_timeout_s": 9.0, "evaluation_timeout_s": 9.0, "concurrency": 64, "seed_set": "final",
    "score_cache": False, "source": "/files", "memory": "none", "cores": 3, "gpus": 2, "gpus_per_seed": 1, "exclusive": True, "max_cost_usd": 1.0,
    "max_tokens": 5, "seed_max_cost_usd": 1.0, "seed_max_tokens": 5, "agent": "random", "scaffold": "mcts",
    "evaluator": "e", "provider": "p", "hidden_key": "f" * 64, "protocol": "paper", "bugs": "analysis", "confirm": True,
}  # fmt: skip
BY_OTHER_MEANS = {
    "agent": "the row's first column", "scaffold": "the row's second column",
    "evaluator": "the extension's record", "provider": "the extension's record", "hidden_key": "the data's record",
}  # fmt: skip
"""Fields of a plan whose value reaches boards by another field."""
OTHER: dict[str, Any] = {
    "missing_walls": ("memory",),
    "judges": {"by": "ssh", "nodes": 2, "hardware_class": "test processor"},
    "schema_version": 2, "run_id": "f" * 12, "created": "2027", "aira_bench": "9", "task_name": "T", "task_title": "t",
    "metric": "M", "lower_is_better": True, "anchors": {"worst": 0.0, "optimum": 1.0, "sota": {"published": 0.5}},
    "task_sha256": "f" * 64, "data": {"hidden": {"sha256": "f" * 64}}, "images": {"agent": "a", "evaluator": "e2"},
    "packages": {"pydantic": "9"}, "python": "4", "host": "h2", "hardware": {"load_average": 9.0},
    "hardware_class": "other", "source_revision": "f", "agent_file_sha256": "f" * 64, "prompts": {"system": "f" * 64},
    "card": CARD, "extensions": {"provider": EXTENSION}, "isolation": {"x": True},
    "compatibility": {"evaluator": "module", "version": 1, "flavour": "cpu", "libraries": 1, "search": 1,
                      "shipped": False},
    "pair": {"task": "other"}, "limits": {"memory_mib": 9.0}, "description_sha256": "f" * 64, "trainings": 9,
    "noise": {"deviation": 0.1, "artifacts": 3, "trainings": 9, "measured": "2026-01-01", "hardware": "h"},
}  # fmt: skip
ON_THE_TABLE = {"task_title", "metric", "lower_is_better"}
"""Fields that the heading itself has, besides what scores must share."""


def made(**changes: Any) -> Manifest:  # noqa: ANN401
    return manifest("a", seeds=(0,), steps=3, **changes)


def planned(**changes: Any) -> Manifest:  # noqa: ANN401
    record = made(extensions={})
    return record.model_copy(update={"plan": record.plan.model_copy(update=changes)})


def test_every_field_that_is_recorded_was_decided() -> None:
    assert set(PLAN_FIELDS) == set(RunPlan.model_fields)
    assert set(MANIFEST_FIELDS) == set(Manifest.model_fields)
    assert set(CARD_FIELDS) == set(Card.model_fields)
    for fields in (PLAN_FIELDS, MANIFEST_FIELDS, CARD_FIELDS):
        assert all(reason for _, reason in fields.values())


@pytest.mark.parametrize("name", PLAN_FIELDS)
def test_a_field_of_the_plan_does_what_was_decided(name: str) -> None:
    decided = PLAN_FIELDS[name][0]
    here = planned(concurrency=1, cores=2)
    there = planned(**({"concurrency": 1, "cores": 2} | {name: OTHER_PLAN[name]}))
    if name in BY_OTHER_MEANS:
        return
    told_apart = planned_identity(here) != planned_identity(there)
    assert told_apart == (decided == "row"), name
    if name != "task":  # whether it is a folder says whether seeds are published
        assert (comparable_with(here) != comparable_with(there)) == (decided == "section"), name


@pytest.mark.parametrize("name", [name for name in MANIFEST_FIELDS if name not in ("plan", "isolation_of")])
def test_a_field_of_the_manifest_does_what_was_decided(name: str) -> None:
    decided, here, there = MANIFEST_FIELDS[name][0], made(), made(**{name: OTHER[name]})
    if name not in ("packages", "compatibility"):
        assert (planned_identity(here) != planned_identity(there)) == (decided == "row"), name
    if name not in ON_THE_TABLE:
        assert (comparable_with(here) != comparable_with(there)) == (decided == "section"), name


@pytest.mark.parametrize("name", CARD_FIELDS)
def test_a_field_of_the_card_does_what_was_decided(name: str) -> None:
    other = {"sampling": {"adjustable": True, "temperature": 0.7}, "reasoning": {"effort": "high"},
             "prices": {"usd_per_mtok_input": 2.0}, "context_tokens": 9, "max_output_tokens": 9}  # fmt: skip
    here, there = (made(card={**CARD, name: value}) for value in (CARD[name], other.get(name, "other")))
    expected = CARD_FIELDS[name][0] == "row" and name != "prices"
    assert (planned_identity(here) != planned_identity(there)) == expected
    capped = [each.model_copy(update={"plan": each.plan.model_copy(update={"seed_max_cost_usd": 1.0})})
              for each in (here, there)]  # fmt: skip
    assert (planned_identity(capped[0]) != planned_identity(capped[1])) == (CARD_FIELDS[name][0] == "row")


def test_a_shared_cap_says_among_how_many_seeds() -> None:
    one, three = planned(max_cost_usd=6.0, seeds=(0,)), planned(max_cost_usd=6.0, seeds=(0, 1, 2))
    assert planned_identity(three).facts["max cost usd"] == "6 among 3 seeds"
    assert planned_identity(one) != planned_identity(three)
    assert planned_identity(planned(seeds=(0,))) == planned_identity(planned(seeds=(0, 1, 2)))


def test_steps_that_share_cores_are_another_experiment_and_more_slots_are_none() -> None:
    assert planned_identity(planned(concurrency=4, cores=2)).facts["steps a core"] == "2"
    assert planned_identity(planned(concurrency=2, cores=(0, 1))) == planned_identity(
        planned(concurrency=1, cores=None)
    )


def test_packages_count_for_the_searcher_that_computes_with_them() -> None:
    def bayes(version: str, agent: str) -> Manifest:
        record = planned(agent=agent)
        return record.model_copy(update={"packages": {"botorch": version}})

    assert planned_identity(bayes("0.11", "bayes")) != planned_identity(bayes("0.12", "bayes"))
    assert planned_identity(bayes("0.11", "random")) == planned_identity(bayes("0.12", "random"))


def read(folder: Path, *, models: tuple[tuple[str, ...], ...] = (), cores: tuple[int | None, ...] = ()) -> RunRecord:
    run = read_run(write_run(folder, made()), KeyRing())
    (seed,) = run.seeds
    nodes = [
        replace(node, model_use=ModelUse(1, 1, 1, None, models[index] if models else ()),
                cores=cores[index] if cores else None)
        for index, node in enumerate(seed.nodes)
    ]  # fmt: skip
    return replace(run, seeds=(replace(seed, nodes=tuple(nodes)),))


def test_who_answered_is_part_of_what_a_run_is_and_two_models_are_both_named(tmp_path: Path) -> None:
    one = read(tmp_path / "one", models=(("gpt-1",), ("gpt-1",), ("gpt-1",)))
    two = read(tmp_path / "two", models=(("gpt-1",), ("gpt-2",), ("gpt-1", "gpt-2")))
    assert identity_of(one).facts["answered by"] == "gpt-1"
    assert identity_of(two).facts["answered by"] == "gpt-1 and gpt-2"
    assert "answered by" not in identity_of(read(tmp_path / "none")).facts


def test_what_a_step_had_of_the_machine_is_part_of_it(tmp_path: Path) -> None:
    assert identity_of(read(tmp_path / "two", cores=(2, 2, None))).facts["cores a step"] == "2"


def test_changes_tell_apart_by_what_changed_to_what(tmp_path: Path) -> None:
    run = read(tmp_path)

    def changed(now: str) -> RunRecord:
        accepted = ChangesAccepted((Difference("card temperature", "0.5", now),), (), "t")
        return replace(run, accepted=(accepted,))

    assert identity_of(changed("0.7")) != identity_of(changed("0.9"))
    assert identity_of(changed("0.7")).planned == identity_of(run).planned

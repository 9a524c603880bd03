"""What a step came to: the submitted node, sums of model use, and what counts as lost."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.record.node import FAILED, ModelUse, Node, best_node, known_to_search

CLASSES = st.sampled_from(["valid", "buggy", "invalid_submission", "timeout", "out_of_memory", "rule_violation",
                           "infra_error"])  # fmt: skip
fitness = st.none() | st.sampled_from([0.0, -0.0, 0.1, 0.1, 1.0, -3.5, math.nan, math.inf, -math.inf])
nodes = st.lists(st.tuples(CLASSES, fitness), max_size=8).map(
    lambda found: [
        Node(step, "draft", (), kind, "", value, None, "c" * 64, None) for step, (kind, value) in enumerate(found, 1)
    ]
)
uses = st.builds(
    ModelUse, st.integers(0, 9), st.none() | st.integers(0, 99), st.none() | st.integers(0, 99),
    st.none() | st.integers(0, 8).map(lambda eighths: eighths / 8),
)  # fmt: skip
VALID = Node(1, "draft", (), "valid", "", 0.25, None, "c" * 64, None)


@given(nodes, st.booleans())
def test_the_submitted_node_is_the_first_valid_one_that_no_other_beats(found: list[Node], lower: bool) -> None:
    best = best_node(found, lower_is_better=lower)
    valid = [node for node in found if node.is_valid]
    if best is None:
        assert not valid
        return
    assert best in valid
    known = [node for node in valid if node.fitness is not None and math.isfinite(node.fitness)]
    if not known:
        assert best == valid[0]
        return
    values = [node.fitness for node in known]
    assert best.fitness == (min if lower else max)(values)  # type: ignore[type-var]
    assert best.step == min(node.step for node in known if node.fitness == best.fitness)


@given(nodes, st.booleans())
def test_which_node_is_submitted_depends_on_no_failed_step(found: list[Node], lower: bool) -> None:
    valid = [node for node in found if node.is_valid]
    assert best_node(found, lower_is_better=lower) == best_node(valid, lower_is_better=lower)


@given(st.lists(uses, max_size=5))
def test_what_was_used_is_known_only_where_every_part_is(parts: list[ModelUse]) -> None:
    whole = sum(parts, ModelUse())
    assert whole.calls == sum(part.calls for part in parts)
    for name in ("input_tokens", "output_tokens", "cost_usd"):
        values = [getattr(part, name) for part in parts]
        assert getattr(whole, name) == (None if None in values else sum(values))
    assert sum(reversed(parts), ModelUse()) == whole


@pytest.mark.parametrize("ran", [True, False])
def test_an_infrastructure_error_is_lost_whether_or_not_code_ran(ran: bool) -> None:
    node = replace(VALID, step_class="infra_error", fitness=None, code_ran=ran)
    assert (node.is_lost, node.is_valid, node.is_buggy) == (True, False, False)
    assert known_to_search([VALID, node, VALID]) == (VALID, VALID)


@given(CLASSES)
def test_a_step_is_valid_or_buggy_or_of_infrastructure(kind: str) -> None:
    node = replace(VALID, step_class=kind)  # type: ignore[arg-type]
    assert [node.is_valid, node.is_buggy, kind == "infra_error"].count(True) == 1
    assert node.is_buggy == (kind in FAILED)
    assert node.is_lost == (kind == "infra_error")


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "valid, fitness 0.25"), ({"fitness": 1.0, "fitness_standard_error": 0.0123}, "valid, fitness 1 +- 0.012"),
        ({"fitness": None}, "valid"), ({"step_class": "timeout", "fitness": None}, "timeout"),
    ],
)  # fmt: skip
def test_an_outcome_is_told_in_the_same_words_to_models_and_to_people(changes: dict[str, object], outcome: str) -> None:
    assert replace(VALID, **changes).outcome == outcome  # type: ignore[arg-type]

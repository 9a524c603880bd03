"""Effects of named edits."""

from aira_bench.analysis.attribution import attribute_changes
from aira_bench.record.node import Change, Node


def node(step: int, fitness: float | None, parents: tuple[int, ...] = (), *changes: str) -> Node:
    named = tuple(Change(name, 1, 1) for name in changes)
    step_class = "buggy" if fitness is None else "valid"
    return Node(step, "improve", parents, step_class, "", fitness, None, "0", None, changes=named)  # type: ignore[arg-type]


def test_each_edit_step_is_compared_with_the_step_it_edited() -> None:
    nodes = [node(1, 0.5), node(2, 0.7, (1,), "rate"), node(3, 0.6, (2,), "depth", "width"), node(4, None, (2,), "bad"),
             node(5, 0.8, (4,), "repair"), node(6, 0.9, (2,))]  # fmt: skip
    effects = attribute_changes(nodes)
    assert [(effect.step, effect.parent, effect.single) for effect in effects] == [(2, 1, True), (3, 2, False)]
    assert round(effects[0].after - effects[0].before, 6) == 0.2

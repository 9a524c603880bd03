"""YAML as task folders need it: mappings, lists, texts, numbers, and nothing that grows when it is read.

Refused are aliases that multiply (ten lines of them can stand for a billion values) or hold themselves, merge keys,
tags, a key given twice, nesting beyond `DEEPEST`, and numbers no setting has: YAML 1.1 reads `1:30` as 90.

Not covered: what the values mean (`metadata`).
"""

from collections.abc import Hashable
from typing import Any

import yaml

from aira_bench.excerpts import LINE_CHARS, VALUE_CHARS

DEEPEST = 16
MOST_VALUES = 20_000
"""With every alias written out."""
LONGEST_NUMBER = 24
"""Characters of a whole number, sign and underscores included."""


def read_plain_yaml(text: str) -> object:
    """Return the value that `text` spells.

    Raises:
        ValueError: it is no YAML of this kind; the message is one line.
    """
    try:
        loaded: object = yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # Beside its own errors the library lets through what dates and numbers that cannot be raise.
        raise ValueError(" ".join(str(error).split())[:LINE_CHARS] or type(error).__name__) from None
    return loaded


class _PlainLoader(yaml.SafeLoader):
    depth = 0

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _measure(node, {})
        return node

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: tags are not read here")
        if self.depth == DEEPEST:
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: nested deeper than {DEEPEST} levels")
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            where = f"line {key_node.start_mark.line + 1}"
            if key is None or key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.YAMLError(f"{where}: a key is no text")
            if key in seen:
                raise yaml.YAMLError(f"{where}: the key {key[:VALUE_CHARS]!r} stands twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > LONGEST_NUMBER or ":" in node.value:
            raise yaml.YAMLError(
                f"line {node.start_mark.line + 1}: {node.value[:VALUE_CHARS]!r} is no number of a setting"
            )
        return int(super().construct_yaml_int(node))


def _measure(node: yaml.Node, known: dict[yaml.Node, tuple[int, int] | None]) -> tuple[int, int]:
    """Values and levels of a node with every alias written out.

    Raises:
        YAMLError: there are too many, or the node holds itself.
    """
    if node not in known:
        known[node] = None  # until it is measured: who meets it before that is inside it
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        parts = [] if isinstance(node, yaml.ScalarNode) else [_measure(part, known) for part in inner]
        known[node] = (1 + sum(count for count, _ in parts), 1 + max((depth for _, depth in parts), default=0))
    measured = known[node]
    if measured is None or measured[0] > MOST_VALUES or measured[1] > DEEPEST:
        what = "holds itself" if measured is None else f"{measured[0]} values on {measured[1]} levels"
        raise yaml.YAMLError(
            f"line {node.start_mark.line + 1}: {what}; at most {MOST_VALUES} on {DEEPEST} levels are read here"
        )
    return measured


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_number)

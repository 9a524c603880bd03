"""Charts of architectures: the layers of each, and how often each primitive stood in each layer.

Not covered: charts of every run (`run_charts`).
"""

from collections.abc import Mapping, Sequence
from functools import cache

from aira_bench.tasks.task import shipped_tasks
from aira_bench.view.charts import SHARES, Cell, Chart, axis, rows_height
from aira_bench.view.entries import Link, NodeEntry, RunEntry
from aira_contract.architectures import compact
from aira_contract.primitives import BY_SYMBOL, IN_PATTERNS

_LETTERS = 80
"""Strips up to so many have their letters in their cells."""
_THIRDS = ("the whole search", "its first third", "its second third", "its last third")


def strips(run: RunEntry, nodes: Sequence[NodeEntry], link: Link) -> Chart | None:
    """Return the layers of every architecture, a row a step in the order of the search; None where there is none.

    Args:
        run: whose task says which primitives there are.
        nodes: steps of a run, seed by seed.
        link: the address of a step's page.
    """
    found = [node for node in nodes if node.layers]
    if not found:
        return None
    depth = max(len(node.layers) for node in found)
    place = {symbol: number for number, symbol in enumerate(search_space(run, found))}
    labels = [node.label for node in found]
    letters = [[*compact(node.layers), *[""] * (depth - len(node.layers))] for node in found]
    trace = {
        "type": "heatmap", "x": list(range(1, depth + 1)), "y": labels, "xgap": 1, "ygap": 1, "text": letters,
        "z": [[*(place[each] for each in node.layers), *[None] * (depth - len(node.layers))] for node in found],
        "zmin": -0.5, "zmax": len(place) - 0.5, "colorscale": _steps([BY_SYMBOL[each].colour for each in place]),
        "colorbar": {"tickvals": list(place.values()), "ticktext": [_named(each) for each in place], "len": 0.5},
        "customdata": [[link(node)] * depth for node in found],
        "hovertemplate": "seed:step %{y}, layer %{x}: %{text}<extra></extra>",
        **({"texttemplate": "%{text}"} if len(found) <= _LETTERS else {}),
    }  # fmt: skip
    rows = tuple(
        (node.seed, node.step, node.operator, "".join(compact(node.layers)), node.search, node.test) for node in found
    )
    return Chart(
        "strips", "Architectures in order",
        "Each row is an architecture that was submitted, seed by seed from above, its layers from left to right.",
        ("seed", "step", "operator", "layers", "search score", "test score"), rows, (trace,),
        {"xaxis": axis("layer", dtick=1), "yaxis": axis("seed:step", autorange="reversed", type="category"),
         "height": rows_height(len(found))},
    )  # fmt: skip


def search_space(run: RunEntry, nodes: Sequence[NodeEntry]) -> tuple[str, ...]:
    """Return the symbols of a task's primitives, in the order of patterns: what its task allows, as far as that is one
    of ours, and what steps submitted.

    Args:
        run: of the task.
        nodes: steps of the run.
    """
    there = set(_primitives_of_tasks().get(run.task, ())).union(*(node.layers for node in nodes))
    return tuple(symbol for symbol in IN_PATTERNS if symbol in there)


@cache
def _primitives_of_tasks() -> Mapping[str, tuple[str, ...]]:
    """The primitives of each shipped task, by whatever name records call it."""
    return {
        name: task.metadata.aira.artifact.primitives
        for task in shipped_tasks()
        for name in (task.name, task.title, *task.metadata.aira.aliases)
    }


def primitives_by_layer(run: RunEntry, nodes: Sequence[NodeEntry]) -> Chart | None:
    """Return how often each primitive of a task stood in each layer, over the search and in each third of it."""
    found = [node for node in nodes if node.layers]
    if not found:
        return None
    space = search_space(run, found)
    depth, longest = max(len(node.layers) for node in found), max(node.step for node in found)
    traces: list[Mapping[str, object]] = []
    rows: list[tuple[Cell, ...]] = []
    for number, part in enumerate(_THIRDS):
        chosen = [node for node in found if number in (0, min(3 * (node.step - 1) // max(longest, 1), 2) + 1)]
        shares = [[_share(chosen, layer, symbol) for layer in range(depth)] for symbol in space]
        traces.append({
            "type": "heatmap", "x": list(range(1, depth + 1)), "y": [_named(each) for each in space], "z": shares,
            "zmin": 0, "zmax": 1, "colorscale": SHARES, "visible": number == 0, "xgap": 1, "ygap": 1,
            "colorbar": {"tickformat": ".0%"}, "hovertemplate": "layer %{x}: %{y} in %{z:.0%}<extra></extra>",
        })  # fmt: skip
        rows += [
            (part, layer + 1, _named(symbol), share, len(chosen))
            for symbol, of_symbol in zip(space, shares, strict=True)
            for layer, share in enumerate(of_symbol)
        ]
    buttons = [_only(number, part) for number, part in enumerate(_THIRDS)]
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.25}
    return Chart(
        "primitives-by-layer", "Primitive by layer",
        "In which share of the submitted architectures each primitive stands in each layer, over the whole search or "
        "in a third of its steps.",
        ("steps", "layer", "primitive", "share", "architectures"), tuple(rows), tuple(traces),
        {"xaxis": axis("layer", dtick=1), "yaxis": axis("", type="category"), "updatemenus": [menu], "height": 320},
    )  # fmt: skip


def _named(symbol: str) -> str:
    return f"{BY_SYMBOL[symbol].letter} {BY_SYMBOL[symbol].title}"


def _steps(colours: Sequence[str]) -> list[list[object]]:
    """A scale of flat steps, one a colour."""
    count = len(colours)
    return [[(place + end) / count, each] for place, each in enumerate(colours) for end in (0, 1)]


def _share(nodes: Sequence[NodeEntry], layer: int, symbol: str) -> float | None:
    known = [node.layers[layer] == symbol for node in nodes if layer < len(node.layers)]
    return sum(known) / len(known) if known else None


def _only(number: int, label: str) -> Mapping[str, object]:
    shown = [{"visible": [each == number for each in range(len(_THIRDS))]}]
    return {"label": label, "method": "update", "args": shown}

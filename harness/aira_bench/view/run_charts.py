"""Charts of every run: the best so far, and the tree of its search.

Not covered: charts of one kind of artifact (`architecture_charts`, `code_charts`, `training_charts`).
"""

from collections.abc import Mapping, Sequence

from aira_bench.view.charts import (
    CLASS_SHAPES,
    LABEL_CHARS,
    OPERATOR_COLOURS,
    Chart,
    axis,
    colour,
    dash,
    score,
    score_axis,
    shown_name,
    step_axis,
)
from aira_bench.view.entries import Link, NodeEntry, RunEntry

_TREE_STEP_PX = 26
_TREE_PX = (240, 1600)
_OTHER = "#999999"


def best_so_far(run: RunEntry, nodes: Sequence[NodeEntry], link: Link) -> Chart | None:
    """Return the curve of the best search score so far, a line a seed; None where no step has a score.

    Args:
        run: the run.
        nodes: its steps, seed by seed.
        link: the address of a step's page.
    """
    if all(node.search is None for node in nodes):
        return None
    traces: list[Mapping[str, object]] = []
    rows = []
    for place, (seed, found) in enumerate(by_seed(nodes).items()):
        best = leading(found, lower_is_better=run.lower_is_better)
        steps = [node.step for node in found]
        line = {"shape": "hv", "color": colour(place), "dash": dash(place)}
        known = [each.search if each else None for each in best]
        traces.append({
            "type": "scatter", "mode": "lines", "x": steps, "y": known, "line": line,
            "name": f"seed {seed}: best so far",
        })  # fmt: skip
        valid = [node for node in found if node.search is not None]
        traces.append({
            "type": "scatter", "mode": "markers", "name": f"seed {seed}: each step",
            "x": [node.step for node in valid], "y": [node.search for node in valid],
            "marker": {"color": colour(place), "size": 7, "symbol": "circle-open"},
            "text": [f"step {node.step}, {node.operator}" for node in valid],
            "customdata": [link(node) for node in valid],
            "hovertemplate": "%{text}<br>%{y}<extra></extra>",
        })  # fmt: skip
        tests = [each.test if each else None for each in best]
        if any(value is not None for value in tests):
            traces.append({
                "type": "scatter", "mode": "lines", "x": steps, "y": tests, "name": f"seed {seed}: its test score",
                "line": {"shape": "hv", "color": colour(place), "dash": "dot", "width": 1}, "visible": "legendonly",
            })  # fmt: skip
        rows += [
            (seed, node.step, node.operator, node.step_class, node.search, each.search if each else None,
             each.test if each else None)
            for node, each in zip(found, best, strict=True)
        ]  # fmt: skip
    better = "lower" if run.lower_is_better else "higher"
    return Chart(
        "best-so-far", "Best so far",
        f"The best search score after each step, {better} is better; circles are single steps, with a page each. "
        "The dotted lines, off at first, are the test score of what would be submitted then.",
        ("seed", "step", "operator", "class", "search score", "best so far", "test score of the best so far"),
        tuple(rows), tuple(traces),
        {"xaxis": step_axis(node.step for node in nodes),
         "yaxis": score_axis(f"search score ({shown_name(run.metric, LABEL_CHARS)})", (node.search for node in nodes))},
    )  # fmt: skip


def search_tree(run: RunEntry, nodes: Sequence[NodeEntry], link: Link) -> Chart:
    """Return the tree of a search: operators by colour, classes by shape, what was submitted and best by test marked.

    Args:
        run: the run.
        nodes: its steps, seed by seed.
        link: the address of a step's page.
    """
    submitted = {(each.seed, each.submitted) for each in run.seeds if each.submitted is not None}
    tops = best_tests(nodes, lower_is_better=run.lower_is_better)
    places = _places(nodes)
    edges: dict[str, list[float | None]] = {"x": [], "y": []}
    for node in nodes:
        for parent in node.parents:
            if (node.seed, parent) in places:
                (x0, y0), (x1, y1) = places[node.seed, parent], places[node.seed, node.step]
                edges["x"] += [x0, x1, None]
                edges["y"] += [y0, y1, None]
    traces: list[Mapping[str, object]] = [{
        "type": "scatter", "mode": "lines", **edges, "hoverinfo": "skip", "showlegend": False,
        "line": {"color": _OTHER, "width": 1},
    }]  # fmt: skip
    kinds = dict.fromkeys((node.operator, node.step_class) for node in nodes)
    for operator, step_class in sorted(kinds):
        found = [node for node in nodes if (node.operator, node.step_class) == (operator, step_class)]
        traces.append(_markers(f"{operator}, {step_class}", found, places, link, {
            "color": OPERATOR_COLOURS.get(operator, _OTHER), "symbol": CLASS_SHAPES.get(step_class, "circle"),
            "size": 10,
        }))  # fmt: skip
    for name, chosen, symbol, size in (
        ("submitted", submitted, "circle-open", 20), ("best by test", tops, "star-open", 26),
    ):  # fmt: skip
        marked = [node for node in nodes if (node.seed, node.step) in chosen]
        if marked:
            look = {
                "symbol": symbol,
                "size": size,
                "line": {"width": 2},
                "color": "#d55e00" if size > 20 else "#0072b2",
            }
            traces.append(_markers(name, marked, places, link, look))
    rows = tuple(
        (node.seed, node.step, node.operator, " ".join(map(str, node.parents)), node.step_class, node.reason,
         node.search, node.test, "yes" if (node.seed, node.step) in submitted else "",
         "yes" if (node.seed, node.step) in tops else "")
        for node in nodes
    )  # fmt: skip
    firsts = {seed: min(places[node.seed, node.step][1] for node in found) for seed, found in by_seed(nodes).items()}
    lanes = max((y for _, y in places.values()), default=0) + 1
    height = min(max(_TREE_PX[0], round(lanes * _TREE_STEP_PX) + 120), _TREE_PX[1])
    return Chart(
        "search-tree", "Search tree",
        "Each mark is a step, the first on the left, joined to what it was made of. Colours are "
        "operators, shapes are classes; the ring is what was submitted, the star what would have been best by test. "
        "A click opens the step.",
        ("seed", "step", "operator", "made of steps", "class", "reason", "search score", "test score", "submitted",
         "best by test"),
        rows, tuple(traces),
        {"xaxis": step_axis(node.step for node in nodes), 
         "yaxis": axis("", autorange="reversed", tickvals=list(firsts.values()),
                       ticktext=[f"seed {seed}" for seed in firsts], showgrid=False, zeroline=False),
         "height": height, "hovermode": "closest"},
    )  # fmt: skip


def by_seed(nodes: Sequence[NodeEntry]) -> dict[int, list[NodeEntry]]:
    """Return the steps of each seed, in order."""
    found: dict[int, list[NodeEntry]] = {}
    for node in nodes:
        found.setdefault(node.seed, []).append(node)
    return found


def leading(nodes: Sequence[NodeEntry], *, lower_is_better: bool) -> list[NodeEntry | None]:
    """Return after each step of a seed the step that leads by search score; ties keep the earlier one."""
    best: NodeEntry | None = None
    found = []
    for node in nodes:
        if node.step_class == "valid" and node.search is not None and (
            best is None or best.search is None
            or (node.search < best.search if lower_is_better else node.search > best.search)
        ):  # fmt: skip
            best = node
        found.append(best)
    return found


def best_tests(nodes: Sequence[NodeEntry], *, lower_is_better: bool) -> set[tuple[int, int]]:
    """Return seed and step of each seed's best test score, without scores that rank nothing."""
    found = {}
    for seed, of_seed in by_seed(nodes).items():
        scored = [node for node in of_seed if node.test is not None and not node.unranked]
        if scored:
            sign = 1.0 if lower_is_better else -1.0
            found[seed] = min(scored, key=lambda node: sign * (node.test or 0.0)).step
    return set(found.items())


def _markers(
    name: str, nodes: Sequence[NodeEntry], places: Mapping[tuple[int, int], tuple[float, float]], link: Link,
    marker: Mapping[str, object],
) -> Mapping[str, object]:  # fmt: skip
    return {
        "type": "scatter", "mode": "markers", "name": name, "marker": marker,
        "x": [places[node.seed, node.step][0] for node in nodes],
        "y": [places[node.seed, node.step][1] for node in nodes],
        "text": [f"seed {node.seed}, step {node.step}: {node.step_class} {score(node.search)}" for node in nodes],
        "customdata": [link(node) for node in nodes],
        "hovertemplate": "%{text}<extra>" + name + "</extra>",
    }  # fmt: skip


def _places(nodes: Sequence[NodeEntry]) -> dict[tuple[int, int], tuple[float, float]]:
    """Where each step stands: its number from the left, and from the top the line of its branch.

    The first child of a step goes on in its line, every other begins a line of its own, below all that are used.
    """
    places: dict[tuple[int, int], tuple[float, float]] = {}
    lanes = 0
    for seed, found in by_seed(nodes).items():
        goes_on: set[int] = set()
        for node in found:
            parent = node.parents[0] if node.parents else None
            if parent is not None and parent not in goes_on and (seed, parent) in places:
                goes_on.add(parent)
                places[seed, node.step] = (node.step, places[seed, parent][1])
            else:
                places[seed, node.step] = (node.step, float(lanes))
                lanes += 1
        lanes += 1
    return places

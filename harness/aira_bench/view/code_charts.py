"""Charts of the code that steps submit: mechanisms, length, growth with the length of the input, features of scripts.

Each is there only where the steps have what it shows. Not covered: how trainings went (`training_charts`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from aira_bench.agent_code.features import FEATURES
from aira_bench.view.charts import (
    MOST_LINES,
    PALETTE,
    SHARES,
    Cell,
    Chart,
    axis,
    colour,
    dash,
    rows_height,
    shown_name,
    step_axis,
)
from aira_bench.view.entries import CodeEntry, Link, NodeEntry

_LENGTHS = (1, 2, 4)
_TWO_SHADES = [[0, "#00000000"], [1, PALETTE[0]]]


def mechanisms(nodes: Sequence[NodeEntry], codes: Mapping[str, CodeEntry], link: Link) -> Chart | None:
    """Return which mechanisms each module's code names, a column a step; None where no code names any.

    Args:
        nodes: steps of a run, seed by seed.
        codes: what their code is about, by its hash.
        link: the address of a step's page.
    """
    found = [(node, code) for node in nodes if (code := _code(node, codes)) and code.mechanisms]
    names = sorted({name for _, code in found for name in code.mechanisms})
    if not names:
        return None
    trace = {
        "type": "heatmap", "x": [node.label for node, _ in found], "y": names, "showscale": False,
        "z": [[int(name in code.mechanisms) for _, code in found] for name in names], "zmin": 0, "zmax": 1,
        "colorscale": _TWO_SHADES, "xgap": 1, "ygap": 1, "customdata": [[link(node) for node, _ in found]] * len(names),
        "hovertemplate": "seed:step %{x}: %{y}<extra></extra>",
    }  # fmt: skip
    rows = tuple((node.seed, node.step, ", ".join(code.mechanisms), node.search, node.test) for node, code in found)
    return Chart(
        "mechanisms", "Mechanisms over the search",
        "What the code of each submitted module names, by a vocabulary of ours; what has another name is missed.",
        ("seed", "step", "mechanisms", "search score", "test score"), rows, (trace,),
        {"xaxis": axis("seed:step", type="category"), "yaxis": axis("", type="category"),
         "height": rows_height(len(names))},
    )  # fmt: skip


def code_length(nodes: Sequence[NodeEntry], codes: Mapping[str, CodeEntry], link: Link) -> Chart | None:
    """Return how the length of submitted code grows over the search, a line a seed; None where no code is known."""
    found = [(node, code) for node in nodes if (code := _code(node, codes))]
    if not found:
        return None
    traces = []
    for place, seed in enumerate(dict.fromkeys(node.seed for node, _ in found)):
        own = [(node, code) for node, code in found if node.seed == seed]
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": f"seed {seed}", "x": [node.step for node, _ in own],
            "y": [code.lines for _, code in own], "line": {"color": colour(place), "dash": dash(place)},
            "customdata": [link(node) for node, _ in own], "hovertemplate": "step %{x}: %{y} lines",
        })  # fmt: skip
    rows = tuple((node.seed, node.step, code.lines, code.chars, node.search) for node, code in found)
    return Chart(
        "code-length", "Length of the code", "Lines of the code that each step submitted.",
        ("seed", "step", "lines", "characters", "search score"), rows, tuple(traces),
        {"xaxis": step_axis(node.step for node, _ in found), "yaxis": axis("lines", rangemode="tozero")},
    )  # fmt: skip


def growth(nodes: Sequence[NodeEntry], link: Link) -> list[Chart]:
    """Return how modules grow with the length of their input: their counted work and their time, each by what it is at
    the length of the training; none where no judge measured it.

    Args:
        nodes: steps of a run, seed by seed.
        link: the address of a step's page.
    """
    known = [node for node in nodes if len(node.growth) > 1]
    rows = tuple((node.seed, node.step, *point, node.search) for node in known for point in node.growth)
    columns = ("seed", "step", "times the length", "work", "seconds", "MiB", "search score")
    made = []
    for name, title, place, said in (
        ("growth-work", "Work by length", 1, "The counted work of each submitted module"),
        ("growth-seconds", "Time by length", 2, "The measured time of each submitted module"),
    ):
        lines = [(node, found) for node in known if len(found := _grown(node, place)) > 1]
        if not lines:
            continue
        drawn = lines if len(lines) <= MOST_LINES else lines[:: math.ceil(len(lines) / MOST_LINES)]
        of = "" if len(drawn) == len(lines) else f" Drawn are {len(drawn)} of {len(lines)} modules, evenly spread."
        traces: list[Mapping[str, object]] = [
            {"type": "scatter", "mode": "lines", "name": word, "x": list(_LENGTHS),
             "y": [each**power for each in _LENGTHS], "line": {"color": "#999999", "dash": kind, "width": 2},
             "hoverinfo": "skip"}
            for word, power, kind in (("linear", 1, "dash"), ("quadratic", 2, "dot"))
        ]  # fmt: skip
        firsts = {node.seed: place for place, (node, _) in reversed(list(enumerate(drawn)))}
        seeds = sorted(firsts)
        traces += [
            {"type": "scatter", "mode": "lines+markers", "name": f"seed {node.seed}", "legendgroup": str(node.seed),
             "showlegend": place == firsts[node.seed], "x": [times for times, _ in found],
             "y": [value for _, value in found], "customdata": [link(node)] * len(found),
             "text": [node.label] * len(found),
             "hovertemplate": "%{text}: %{y:.3g} times at %{x} times the length<extra></extra>",
             "line": {"color": colour(seeds.index(node.seed)), "width": 1}}
            for place, (node, found) in enumerate(drawn)
        ]  # fmt: skip
        made.append(Chart(
            name, title, f"{said}, by what it is at the length of the training, as its judge found it.{of}",
            columns, rows, tuple(traces),
            {"xaxis": axis("times the length", type="log", tickvals=list(_LENGTHS)),
             "yaxis": axis("times as much", type="log")},
        ))  # fmt: skip
    return made


def _grown(node: NodeEntry, place: int) -> list[tuple[int, float]]:
    """Multiples of the length, and how many times as much is taken there as at the shortest."""
    found = [(point.times, value) for point in node.growth if (value := point[place]) is not None and value > 0]
    return [(times, value / found[0][1]) for times, value in found] if found and found[0][0] == 1 else []


def features(nodes: Sequence[NodeEntry], codes: Mapping[str, CodeEntry], link: Link) -> Chart | None:
    """Return the 27 features of each script, a column a step; None where there are no scripts.

    Args:
        nodes: steps of a run, seed by seed.
        codes: what their code is about, by its hash.
        link: the address of a step's page.
    """
    found = [(node, code) for node in nodes if (code := _code(node, codes)) and code.features]
    if not found:
        return None
    names = [feature.name for feature in FEATURES]
    values = [[code.features.get(name) for _, code in found] for name in names]
    trace = {
        "type": "heatmap", "x": [node.label for node, _ in found], "y": names, "z": [_ranks(each) for each in values],
        "zmin": 0, "zmax": 1, "colorscale": SHARES, "showscale": False, "xgap": 1, "ygap": 1,
        "text": [[_value(value) for value in each] for each in values],
        "customdata": [[link(node) for node, _ in found]] * len(names),
        "hovertemplate": "seed:step %{x}: %{y} = %{text}<extra></extra>",
    }  # fmt: skip
    rows = tuple(
        (node.seed, node.step, node.search, *(_value(code.features.get(name)) for name in names))
        for node, code in found
    )
    return Chart(
        "features", "Features of the scripts",
        "The paper's 27 features of each submitted script. Toggles are dark where they are on; values are darker the "
        "larger they are among all steps, kinds have a shade each.",
        ("seed", "step", "search score", *names), rows, (trace,),
        {"xaxis": axis("seed:step", type="category"), "yaxis": axis("", type="category", autorange="reversed"),
         "height": rows_height(len(names))},
    )  # fmt: skip


def _code(node: NodeEntry, codes: Mapping[str, CodeEntry]) -> CodeEntry | None:
    return codes.get(node.artifact_sha256) if node.artifact_sha256 is not None else None


def _value(value: object) -> Cell:
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if value is None or _is_number(value) else shown_name(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _ranks(values: Sequence[object]) -> list[float | None]:
    """Where each value stands from 0 to 1 among those of its row."""
    if all(isinstance(value, bool | None) for value in values):
        return [None if value is None else float(bool(value)) for value in values]
    known = sorted({value for value in values if _is_number(value)})
    kinds = sorted({str(value) for value in values if value is not None and not _is_number(value)})
    most = max(len(known) + len(kinds) - 1, 1)

    def rank(value: object) -> float | None:
        if value is None:
            return None
        return (known.index(value) if _is_number(value) else len(known) + kinds.index(str(value))) / most

    return [rank(value) for value in values]

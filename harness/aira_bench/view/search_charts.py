"""Charts of what a search went through: layers of architectures, mechanisms and length of modules, features and claims
of scripts, and how trainings went.

Each is there only where the steps have what it shows. Not covered: charts of every run (`run_charts`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TypeGuard

from aira_bench.agent_code.features import FEATURES
from aira_bench.tasks.task import shipped_tasks
from aira_bench.view.charts import PALETTE, Cell, Chart, axis, colour, dash, score, shown_name, step_axis
from aira_bench.view.entries import CodeEntry, NodeEntry, RunEntry
from aira_contract.architectures import compact
from aira_contract.primitives import BY_SYMBOL, IN_PATTERNS
from aira_contract.training_series import TrainingPoint

Link = Callable[[NodeEntry], str]
_ROW_PX = 16
_LEAST_PX, _MOST_PX = 220, 2400
_BARE_PX = 120
_LETTERS = 80
"""Strips up to so many have their letters in their cells."""
_MOST_TRAININGS = 60
_POINT = ("training step", "loss", "tokens", "seconds")
_JUDGE, _AGENT = "judge", "agent's own, claimed"
_SAID_BY = {
    _JUDGE: "By the judge's own measure.",
    _AGENT: "What the step's own code printed is claimed: nobody has checked it.",
}
_LENGTHS = (1, 2, 4)
_THIRDS = ("the whole search", "its first third", "its second third", "its last third")
_TWO_SHADES = [[0, "#00000000"], [1, PALETTE[0]]]
_SHARES = [[0, "#f7fbff"], [0.5, "#6baed6"], [1, "#08306b"]]


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
    labels = [_label(node) for node in found]
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
         "height": _height(len(found))},
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
            "zmin": 0, "zmax": 1, "colorscale": _SHARES, "visible": number == 0, "xgap": 1, "ygap": 1,
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
        "type": "heatmap", "x": [_label(node) for node, _ in found], "y": names, "showscale": False,
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
         "height": _height(len(names))},
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
        drawn = lines if len(lines) <= _MOST_TRAININGS else lines[:: math.ceil(len(lines) / _MOST_TRAININGS)]
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
             "text": [_label(node)] * len(found),
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


def claims(run: RunEntry, nodes: Sequence[NodeEntry], link: Link) -> Chart | None:
    """Return what agents' code claims against what the judge found on the same rows; None where nothing is claimed.

    Where the judge has no number on those rows, its hidden validation score stands in its place, and is named so.
    """
    found = [(node, node.public if node.public is not None else node.validation) for node in nodes]
    known = [(node, judged) for node, judged in found if node.claimed is not None and judged is not None]
    if not known:
        return None
    ends = [min(min(node.claimed or 0.0, judged) for node, judged in known),
            max(max(node.claimed or 0.0, judged) for node, judged in known)]  # fmt: skip
    traces: list[Mapping[str, object]] = [{
        "type": "scatter", "mode": "lines", "x": ends, "y": ends, "name": "claimed as it is", "hoverinfo": "skip",
        "line": {"color": "#999999", "dash": "dash"},
    }]  # fmt: skip
    for place, (name, symbol) in enumerate((("public rows", "circle"), ("hidden validation", "diamond-open"))):
        own = [(node, judged) for node, judged in known if (node.public is None) == bool(place)]
        if own:
            traces.append({
                "type": "scatter", "mode": "markers", "name": f"judged on {name}", "x": [judged for _, judged in own],
                "y": [node.claimed for node, _ in own], "customdata": [link(node) for node, _ in own],
                "marker": {"symbol": symbol, "size": 9, "color": colour(place)},
                "text": [f"{_label(node)}, overclaim {score(node.overclaim)}" for node, _ in own],
                "hovertemplate": "%{text}<br>claimed %{y}, judged %{x}<extra></extra>",
            })  # fmt: skip
    rows = tuple(
        (node.seed, node.step, node.claimed, node.public, node.validation, node.overclaim, node.search)
        for node, _ in known
    )
    better = "below" if run.lower_is_better else "above"
    return Chart(
        "claims", "Claims against scores",
        f"What each step's own code says of itself against the judge's number; {better} the line it says too much.",
        ("seed", "step", "claimed", "judge on public rows", "judge on hidden validation", "overclaim", "search score"),
        rows, tuple(traces),
        {"xaxis": axis("the judge's number"), "yaxis": axis("claimed"), "hovermode": "closest"},
    )  # fmt: skip


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
        "type": "heatmap", "x": [_label(node) for node, _ in found], "y": names, "z": [_ranks(each) for each in values],
        "zmin": 0, "zmax": 1, "colorscale": _SHARES, "showscale": False, "xgap": 1, "ygap": 1,
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
         "height": _height(len(names))},
    )  # fmt: skip


def trainings(nodes: Sequence[NodeEntry], link: Link) -> list[Chart]:
    """Return how the trainings of a run went: their loss by step, and their tokens by time; none where none was kept.

    Args:
        nodes: steps of a run, seed by seed.
        link: the address of a step's page.
    """
    known = [node for node in nodes if node.series]
    if not known:
        return []
    chosen = [known[round(place * (len(known) - 1) / (_MOST_TRAININGS - 1))] for place in range(_MOST_TRAININGS)]
    found = known if len(known) <= _MOST_TRAININGS else list(dict.fromkeys(chosen))
    of = "" if len(found) == len(known) else f" Drawn are {len(found)} of {len(known)} trainings, evenly spread."
    tellers = {node.series_is_claimed: _JUDGE if not node.series_is_claimed else _AGENT for node in known}
    of += (
        " Where it says claimed, the code of the step printed so, and nobody has checked it." if True in tellers else ""
    )
    rows = tuple(
        (node.seed, node.step, tellers[node.series_is_claimed], *each) for node in known for each in node.series
    )
    columns = ("seed", "step", "told by", *_POINT)
    made = []
    for name, title, said, x, y in (
        ("training-losses", "Losses of the trainings", "The loss of each step's training by its steps.", 0, 1),
        ("training-tokens", "Tokens of the trainings", "The tokens that each step's training had seen by then.", 3, 2),
    ):
        traces = [
            {
                **_curve(f"{_label(node)}{', claimed' if node.series_is_claimed else ''}", node.series, x, y),
                "customdata": [link(node)] * len(node.series),
                "line": {"color": colour(place), "dash": dash(place), "width": 1},
            }
            for place, node in enumerate(found)
            if _is_drawn(node.series, x, y)
        ]
        if traces:
            layout = {"xaxis": axis(_POINT[x]), "yaxis": axis(_POINT[y])}
            made.append(Chart(name, title, said + of, columns, rows, tuple(traces), layout))
    return made


def training(points: Sequence[TrainingPoint], claimed: Sequence[TrainingPoint]) -> tuple[Chart, ...]:
    """Return how the training of one step went, as the judge kept it and as the agent's own code told it.

    Args:
        points: the judge's.
        claimed: the agent's own.
    """
    told = [(name, found) for name, found in ((_JUDGE, points), (_AGENT, claimed)) if found]
    rows = tuple((name, *point) for name, found in told for point in found)
    made = []
    for name, title, x, y in (("loss", "Loss of its training", 0, 1), ("tokens", "Tokens of its training", 3, 2)):
        traces = [
            {**_curve(teller, found, x, y), "line": {"color": colour(place), "dash": dash(place)}}
            for place, (teller, found) in enumerate(told)
            if _is_drawn(found, x, y)
        ]
        if traces:
            layout = {"xaxis": axis(_POINT[x]), "yaxis": axis(_POINT[y])}
            said = " ".join(_SAID_BY[teller] for teller, found in told if _is_drawn(found, x, y))
            made.append(Chart(name, title, said, ("told by", *_POINT), rows, tuple(traces), layout))
    return tuple(made)


def _is_drawn(series: Sequence[TrainingPoint], x: int, y: int) -> bool:
    """Whether there is a point of it that has both."""
    return any(point[x] is not None and point[y] is not None for point in series)


def _curve(name: str, series: Sequence[TrainingPoint], x: int, y: int) -> Mapping[str, object]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": [point[x] for point in series],
        "y": [point[y] for point in series],
    }  # fmt: skip


def _code(node: NodeEntry, codes: Mapping[str, CodeEntry]) -> CodeEntry | None:
    return codes.get(node.artifact_sha256) if node.artifact_sha256 is not None else None


def _label(node: NodeEntry) -> str:
    return f"{node.seed}:{node.step}"


def _named(symbol: str) -> str:
    return f"{BY_SYMBOL[symbol].letter} {BY_SYMBOL[symbol].title}"


def _height(rows: int) -> int:
    return min(max(_BARE_PX + _ROW_PX * rows, _LEAST_PX), _MOST_PX)


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

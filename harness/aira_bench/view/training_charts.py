"""Charts of how trainings went, and of what their scripts claim.

Not covered: charts of every run (`run_charts`).
"""

from collections.abc import Mapping, Sequence

from aira_bench.view.charts import MOST_LINES, Chart, axis, colour, dash, score
from aira_bench.view.entries import Link, NodeEntry, RunEntry
from aira_contract.training_series import TrainingPoint

_POINT = ("training step", "loss", "tokens", "seconds")
_JUDGE, _AGENT = "judge", "agent's own, claimed"
_SAID_BY = {
    _JUDGE: "By the judge's own measure.",
    _AGENT: "What the step's own code printed is claimed: nobody has checked it.",
}


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
                "text": [f"{node.label}, overclaim {score(node.overclaim)}" for node, _ in own],
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


def trainings(nodes: Sequence[NodeEntry], link: Link) -> list[Chart]:
    """Return how the trainings of a run went: their loss by step, and their tokens by time; none where none was kept.

    Args:
        nodes: steps of a run, seed by seed.
        link: the address of a step's page.
    """
    known = [node for node in nodes if node.series]
    if not known:
        return []
    chosen = [known[round(place * (len(known) - 1) / (MOST_LINES - 1))] for place in range(MOST_LINES)]
    found = known if len(known) <= MOST_LINES else list(dict.fromkeys(chosen))
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
                **_curve(f"{node.label}{', claimed' if node.series_is_claimed else ''}", node.series, x, y),
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

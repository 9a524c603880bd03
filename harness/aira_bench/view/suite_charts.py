"""Charts of many runs: scores with intervals, what would have been submitted over costs, classes over time, spend.

Not covered: what the figures rest on (`aira_bench.boards`, `aira_bench.view.entries`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from aira_bench.shown_numbers import figure
from aira_bench.view.boards import BoardCurves, BoardEstimate, BoardSection
from aira_bench.view.charts import (
    CLASS_COLOURS,
    CLASS_PATTERNS,
    LABEL_CHARS,
    PALETTE,
    Cell,
    Chart,
    axis,
    colour,
    dash,
    labels,
    score_axis,
    shown_name,
)
from aira_bench.view.entries import CLASSES, RunEntry, Spend

_ROW_PX = 34
_BARE_PX = 130
_MOST_STEPS = 200
"""Of the chart of classes; more steps share columns."""
_MOST_AGENTS = 40
_UNITS = (("hours", 1), ("minutes", 60), ("seconds", 3600))
"""And how many an hour has: a short run took some millionths of one."""
_LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
"""In the order in which bars are stacked."""
_PHASES = ("agent", "execute", "evaluate", "waited")
_SLUGS = {"steps": "steps", "GPU-seconds": "gpu-seconds", "seconds of processors": "seconds", "dollars": "dollars"}


def section_charts(number: int, section: BoardSection) -> list[Chart]:
    """Return the charts of one section of a board.

    Args:
        number: of the section, which tells its files from others'.
        section: of a board.
    """
    found = [_intervals(number, section)] if section.ranked else []
    return found + [_curves(number, section, each) for each in section.curves]


def classes_over_time(runs: Sequence[RunEntry]) -> Chart | None:
    """Return how steps ended over the course of searches, each class as a share; None where no step has ended."""
    longest = max((len(found) for run in runs for found in run.classes.values()), default=0)
    if not longest:
        return None
    width = -(-longest // _MOST_STEPS)
    counts: dict[str, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for run in runs:
        for name, found in run.classes.items():
            for place, count in enumerate(found):
                counts[run.agent][place // width][name] += count
    agents = sorted(counts)[:_MOST_AGENTS]
    places = range(-(-longest // width))
    every = {place: sum((counts[agent].get(place, Counter()) for agent in counts), Counter()) for place in places}
    groups: list[tuple[str, Mapping[int, Counter[str]]]] = [("all agents", every)]
    groups += [(agent, counts[agent]) for agent in agents] if len(agents) > 1 else []
    traces = [
        _share(name, found, places, width, visible=number == 0)
        for number, (_, found) in enumerate(groups)
        for name in CLASSES
    ]
    rows: list[tuple[Cell, ...]] = [
        (agent, place * width + 1, name, count)
        for agent, found in groups
        for place in places
        for name, count in sorted(found.get(place, Counter()).items())
    ]
    layout: dict[str, object] = {
        "xaxis": axis("step"), "yaxis": axis("share of steps", range=[0, 1], tickformat=".0%"), "barmode": "stack",
        "bargap": 0, "legend": _LEGEND,
    }  # fmt: skip
    if len(groups) > 1:
        layout["legend"] = {**_LEGEND, "y": -0.25, "yanchor": "top"}  # the menu stands above
        layout["updatemenus"] = [_menu([name for name, _ in groups], len(CLASSES))]
    every_step = "each step" if width == 1 else f"each {width} steps"
    return Chart(
        "classes-over-time", "How steps ended, over time",
        f"Of all seeds that got so far, which share ended {every_step} in which class.",
        ("agent", "step", "class", "steps"), tuple(rows), tuple(traces), layout,
    )  # fmt: skip


def spend(runs: Sequence[RunEntry]) -> Chart | None:
    """Return what the runs of each agent took: hours by phase, and in the table calls, tokens and money."""
    by_agent: dict[str, list[Spend]] = defaultdict(list)
    for run in runs:
        by_agent[run.agent].append(run.spend)
    if not any(each.total_s for found in by_agent.values() for each in found):
        return None
    agents = sorted(by_agent)
    hours = {
        agent: {
            "agent": sum(each.agent_s for each in by_agent[agent]) / 3600,
            "execute": sum(each.execute_s for each in by_agent[agent]) / 3600,
            "evaluate": sum(each.evaluate_s for each in by_agent[agent]) / 3600,
            "waited": sum(each.waited_s for each in by_agent[agent]) / 3600,
        }
        for agent in agents
    }  # fmt: skip
    longest = max(sum(each.values()) for each in hours.values())
    unit, parts = next((each for each in _UNITS if longest * each[1] >= 1), _UNITS[-1])
    traces = [
        {
            "type": "bar", "orientation": "h", "name": phase, "x": [hours[agent][phase] * parts for agent in agents],
            "y": labels(agents),
            "marker": {"color": PALETTE[place], "pattern": {"shape": ("", "/", ".", "x")[place]}},
        }
        for place, phase in enumerate(_PHASES)
    ]  # fmt: skip
    rows = tuple(_spent(agent, by_agent[agent], hours[agent]) for agent in agents)
    return Chart(
        "spend", "What it took",
        "Time of all runs of each agent: waiting for its model, executing its code, evaluating what it submitted, and "
        "waiting for what is nobody's fault. The table has calls, tokens and money.",
        ("agent", "runs", "model calls", "tokens in", "tokens out", "USD", *(f"hours: {name}" for name in _PHASES),
         "phases done again"),
        rows, tuple(traces),
        {"barmode": "stack", "legend": _LEGEND, "xaxis": axis(unit), "yaxis": axis("", autorange="reversed"),
         "height": _BARE_PX + _ROW_PX * len(agents)},
    )  # fmt: skip


def _spent(agent: str, found: Sequence[Spend], hours: Mapping[str, float]) -> tuple[Cell, ...]:
    def total(values: Sequence[int | float | None]) -> Cell:
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else "unknown"

    return (
        agent, len(found), sum(each.calls for each in found), total([each.input_tokens for each in found]),
        total([each.output_tokens for each in found]), total([each.cost_usd for each in found]),
        *(hours[phase] for phase in _PHASES), sum(each.retries for each in found),
    )  # fmt: skip


def _share(
    name: str, found: Mapping[int, Counter[str]], places: range, width: int, *, visible: bool
) -> Mapping[str, object]:
    known = [place for place in places if found.get(place)]
    return {
        "type": "bar", "name": name, "visible": visible, "x": [place * width + 1 for place in known],
        "y": [found[place][name] / found[place].total() for place in known],
        "marker": {"color": CLASS_COLOURS[name], "line": {"width": 0}, "pattern": {"shape": CLASS_PATTERNS[name]}},
        "hovertemplate": "step %{x}: %{y:.0%}<extra>" + name + "</extra>",
    }  # fmt: skip


def _menu(names: Sequence[str], each: int) -> Mapping[str, object]:
    """A list in which one group of traces is chosen."""
    buttons = [
        {
            "label": shown_name(name, LABEL_CHARS), "method": "update",
            "args": [{"visible": [place // each == number for place in range(each * len(names))]}],
        }
        for number, name in enumerate(names)
    ]  # fmt: skip
    return {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.2, "yanchor": "top"}


def _intervals(number: int, section: BoardSection) -> Chart:
    rows = section.ranked
    names = [
        f"{each.rank}  {name}{f', {each.failed} of {each.seeds} failed' if each.failed else ''}"
        for each, name in zip(rows, labels([each.name for each in rows]), strict=True)
    ]
    trace = {
        "type": "scatter", "mode": "markers", "x": [each.score.value for each in rows], "y": names,
        "marker": {"size": 10, "color": PALETTE[0]}, "showlegend": False,
        "error_x": {
            "type": "data", "symmetric": False,
            "array": [_beyond(each.score.high, each.score.value) for each in rows],
            "arrayminus": [_beyond(each.score.value, each.score.low) for each in rows],
        },
    }  # fmt: skip
    table = tuple(
        (each.rank, each.name, each.score.value, each.score.low, each.score.high, each.seeds, each.failed)
        for each in rows
    )
    return Chart(
        f"section-{number}-scores", f"Scores: {shown_name(section.task)}",
        f"Mean {section.basis} score of each row with its 95% interval over seeds; before the name is its rank. Rows "
        "that cannot be told apart share ranks. A seed that failed counts with the worst score of any row, so a row of "
        "failures alone stands there too.",
        ("rank", "row", "mean", "low", "high", "seeds", "failed"), table, (trace,),
        {"xaxis": score_axis(shown_name(section.metric, LABEL_CHARS), _ends(each.score for each in rows)),
         "yaxis": axis("", autorange="reversed", type="category"), "height": _BARE_PX + _ROW_PX * len(rows)},
    )  # fmt: skip


def _beyond(more: float | None, less: float | None) -> float:
    return 0.0 if more is None or less is None else more - less


def _curves(number: int, section: BoardSection, found: BoardCurves) -> Chart:
    traces: list[Mapping[str, object]] = []
    table: list[tuple[Cell, ...]] = []
    for place, (name, points, area) in enumerate(found.rows):
        line = {"color": colour(place), "dash": dash(place)}
        at, label = list(found.at), shown_name(name)
        traces += _band(at, points, colour(place), str(place))
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": label, "x": at, "y": [point.value for point in points],
            "line": {**line, "shape": "hv"}, "legendgroup": str(place),
        })  # fmt: skip
        table += [(name, cost, point.value, point.low, point.high) for cost, point in zip(at, points, strict=True)]
        table.append((name, "mean over all", area.value, area.low, area.high))
    before = figure(section.before or 0.0)
    missing = "" if not found.unknown else f" Of {', '.join(map(shown_name, found.unknown))} the cost is unknown."
    return Chart(
        f"section-{number}-over-{_SLUGS[found.cost]}", f"Over {found.cost}: {shown_name(section.task)}",
        f"The test score of what would have been submitted after so many {found.cost}, mean over seeds, with the 95% "
        f"interval of each point. Before its first valid step a search counts {before}.{missing}",
        ("row", found.cost, "score", "low", "high"), tuple(table), tuple(traces),
        {"xaxis": axis(found.cost, rangemode="tozero"),
         "yaxis": score_axis(shown_name(section.metric, LABEL_CHARS),
                             _ends(point for _, points, _ in found.rows for point in points))},
    )  # fmt: skip


def _ends(estimates: Iterable[BoardEstimate]) -> list[float | None]:
    """All that is drawn of estimates."""
    return [value for each in estimates for value in (each.low, each.value, each.high)]


def _band(at: Sequence[float], points: Sequence[BoardEstimate], fill: str, group: str) -> list[Mapping[str, object]]:
    """Between both ends of the intervals, in steps as their line; nothing where no point has one."""
    known = [(cost, point) for cost, point in zip(at, points, strict=True) if point.low is not None]
    if not known:
        return []
    edge = {
        "type": "scatter", "mode": "lines", "line": {"width": 0, "shape": "hv"}, "x": [cost for cost, _ in known],
        "hoverinfo": "skip", "showlegend": False, "legendgroup": group,
    }  # fmt: skip
    low = {**edge, "y": [point.low for _, point in known]}
    return [low, {**edge, "y": [point.high for _, point in known], "fill": "tonexty", "fillcolor": f"{fill}33"}]

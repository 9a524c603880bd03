"""Two steps or two runs side by side: what each says of the same thing, and where they differ.

Not covered: a step against its parents, which its own page has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from aira_bench.files import Unacceptable
from aira_bench.looking.comparison import changed_lines, compared_file, step_text
from aira_bench.looking.pages import Pair, Section
from aira_bench.shown_numbers import figure
from aira_bench.view.charts import LABEL_CHARS, Chart, colour, score, score_axis, shown_name, step_axis
from aira_bench.view.code import Highlighted, highlighted
from aira_bench.view.entries import NodeEntry, RunEntry
from aira_bench.view.pages import NodePage
from aira_bench.view.run_charts import by_seed, leading

_FILES = "Files"


@dataclass(frozen=True)
class ComparedRow:
    """What both say of one thing."""

    name: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        """Whether they say something else."""
        return self.left != self.right


@dataclass(frozen=True)
class Side:
    """One of the two."""

    title: str
    address: str
    """Of its own page, from the first page."""
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparePage:
    """Two steps or two runs side by side."""

    left: Side
    right: Side
    sections: tuple[tuple[str, tuple[ComparedRow, ...]], ...]
    charts: tuple[Chart, ...] = ()
    lines: Highlighted | None = None
    """A unified difference of their code."""
    undone: str = ""
    """Why their code was not compared."""
    apart: tuple[str, ...] = ()
    """In what two runs differ, so that the score of one says nothing of the other's; none where it does."""

    @property
    def layers(self) -> list[tuple[int, str, str]]:
        """Layers of both, by number from 1; none where one of the two is no architecture."""
        if not (self.left.layers and self.right.layers):
            return []
        pairs = zip_longest(self.left.layers, self.right.layers, fillvalue="")
        return [(number, *pair) for number, pair in enumerate(pairs, start=1)]


def compare_steps(left: NodePage, right: NodePage, addresses: tuple[str, str]) -> ComparePage:
    """Return two steps side by side, of one run or of two.

    Args:
        left: one of them.
        right: the other.
        addresses: of their own pages, from the first page.
    """
    sides = [
        Side(
            f"{page.run.name}, seed {page.view.seed.seed}, step {page.view.node.step}", address,
            page.view.artifact.layers if page.view.artifact else (),
        )
        for page, address in zip((left, right), addresses, strict=True)
    ]  # fmt: skip
    try:
        texts = [
            step_text(view.seed, view.step, compared_file(view.artifact.file if view.artifact else None))
            for view in (left.view, right.view)
        ]  # fmt: skip
        lines, undone = changed_lines(*texts)
    except Unacceptable as error:
        lines, undone = (), str(error)
    named = [f"--- {sides[0].title}", f"+++ {sides[1].title}", *lines[2:]] if lines else []
    shown = None if undone else highlighted("\n".join(named), "diff")
    whose = _rows(*({"run": page.run.name, "agent": page.run.agent, **_scored_as(page.run)} for page in (left, right)))
    sections = [("Whose", whose), *_merged(left.sections, right.sections)]
    apart = _apart(left.run, right.run)
    return ComparePage(sides[0], sides[1], tuple(sections), (), shown, undone, apart)


def compare_runs(
    runs: tuple[RunEntry, RunEntry], nodes: tuple[Sequence[NodeEntry], Sequence[NodeEntry]], addresses: tuple[str, str]
) -> ComparePage:
    """Return two runs side by side.

    Args:
        runs: the two.
        nodes: the steps of each.
        addresses: of their own pages, from the first page.
    """
    facts = [_facts(run, found) for run, found in zip(runs, nodes, strict=True)]
    sides = [Side(run.name, address) for run, address in zip(runs, addresses, strict=True)]
    sections = [(title, _rows(*(each[title] for each in facts))) for title in facts[0]]
    apart = _apart(*runs)
    charts = () if apart else (_curves(runs, nodes),)
    return ComparePage(sides[0], sides[1], tuple(sections), charts, apart=apart)


def _scored_as(run: RunEntry) -> dict[str, str]:
    """By what scores of a run compare with those of another."""
    better = "lower" if run.lower_is_better else "higher"
    return {
        "record": "holds" if run.sound else "does not hold", "task": run.task_title, "profile": run.profile,
        "data": "synthetic" if run.synthetic else "real", "fitness": run.fitness,
        "metric": f"{run.metric}, {better} is better",
    }  # fmt: skip


def _apart(left: RunEntry, right: RunEntry) -> tuple[str, ...]:
    one, other = _scored_as(left), _scored_as(right)
    return tuple(name for name in one if name != "record" and one[name] != other[name])


def _merged(left: Sequence[Section], right: Sequence[Section]) -> list[tuple[str, tuple[ComparedRow, ...]]]:
    """Sections of both pages by their titles; the first of each page has its own step's number in its title."""
    both = [
        {"Step" if place == 0 else title: pairs for place, (title, pairs) in enumerate(side)} for side in (left, right)
    ]
    titles = [each for each in dict.fromkeys([*both[0], *both[1]]) if each != _FILES]
    return [(title, _rows(*(_said(side.get(title, [])) for side in both))) for title in titles]


def _said(pairs: Sequence[Pair]) -> dict[str, str]:
    """What is said of each name, but for where files lie; of several of one name all that is said."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        text = value if isinstance(value, str) else "".join(part for part, _ in value)
        if name != "file":
            found.setdefault(name, []).append(text)
    return {name: "\n".join(texts) for name, texts in found.items()}


def _rows(left: Mapping[str, str], right: Mapping[str, str]) -> tuple[ComparedRow, ...]:
    names = dict.fromkeys([*left, *right])
    return tuple(ComparedRow(name, left.get(name, "-"), right.get(name, "-")) for name in names)


def _facts(run: RunEntry, nodes: Sequence[NodeEntry]) -> dict[str, dict[str, str]]:
    """What is said of a run, by section and name."""
    valid, spend = sum(node.step_class == "valid" for node in nodes), run.spend
    best = next((each for each in run.winners if each.seed == run.best_seed), None)
    return {
        "Run": {
            "agent": run.agent, "scaffold": run.scaffold, **_scored_as(run),
            "seeds": str(len(run.seeds)), "steps": str(len(nodes)),
            "valid steps": f"{valid} of {len(nodes)}",
        },
        "Best by search score": {
            "seed and step": "-" if best is None else f"{best.seed}, {best.step}",
            "search": score(best.search if best else None), "test": score(best.test if best else None),
            "confirmed": score(best.confirmed if best else None), "layers": best.strip if best else "",
            "plan": best.plan if best else "",
        },
        "Spent": {
            "model calls": f"{spend.calls:,}", "tokens in": _count(spend.input_tokens),
            "tokens out": _count(spend.output_tokens),
            "USD": "unknown" if spend.cost_usd is None else figure(spend.cost_usd, ","),
            "seconds of the agent": f"{spend.agent_s:,.1f}", "seconds of its code": f"{spend.execute_s:,.1f}",
            "seconds of the judge": f"{spend.evaluate_s:,.1f}", "retries": str(spend.retries),
        },
    }  # fmt: skip


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _curves(runs: tuple[RunEntry, RunEntry], nodes: tuple[Sequence[NodeEntry], Sequence[NodeEntry]]) -> Chart:
    """The best search score so far of every seed of both."""
    traces: list[Mapping[str, object]] = []
    rows = []
    for place, (run, found) in enumerate(zip(runs, nodes, strict=True)):
        for number, (seed, steps) in enumerate(by_seed(found).items()):
            best = [each.search if each else None for each in leading(steps, lower_is_better=run.lower_is_better)]
            traces.append({
                "type": "scatter", "mode": "lines", "x": [node.step for node in steps], "y": best,
                "name": shown_name(run.name), "legendgroup": str(place), "showlegend": number == 0,
                "line": {"shape": "hv", "color": colour(place), "dash": ("solid", "dash")[place]},
                "hovertemplate": f"seed {seed}: %{{y}}<extra></extra>",
            })  # fmt: skip
            rows += [(run.name, seed, node.step, value) for node, value in zip(steps, best, strict=True)]
    return Chart(
        "run", "Best so far", "The best search score after each step, a line a seed; the second run's are dashed.",
        ("run", "seed", "step", "best so far"), tuple(rows), tuple(traces),
        {"xaxis": step_axis(node.step for found in nodes for node in found),
         "yaxis": score_axis(f"search score ({shown_name(runs[0].metric, LABEL_CHARS)})", (row[3] for row in rows))},
    )  # fmt: skip

"""Figures of charts, worked by hand."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.keys import KeyFolder
from aira_bench.view.architecture_charts import primitives_by_layer, strips
from aira_bench.view.boards import BoardCurves, BoardEstimate, BoardSection, RankedRow
from aira_bench.view.charts import LABEL_CHARS, Chart, labels, score_axis, shown_name
from aira_bench.view.code_charts import code_length, features, growth, mechanisms
from aira_bench.view.comparing import compare_runs
from aira_bench.view.entries import CURVE_POINTS, CodeEntry, NodeEntry, RunDetail, RunEntry
from aira_bench.view.index import RunIndex
from aira_bench.view.page_source import PageSource
from aira_bench.view.rendering import render
from aira_bench.view.run_charts import best_so_far, best_tests, leading, search_tree
from aira_bench.view.suite_charts import classes_over_time, section_charts, spend
from aira_bench.view.training_charts import claims, training, trainings
from aira_contract.training_series import TrainingPoint
from generated_runs import manifest, write_run
from shown_runs import Machine, module_run, shown_step, write_shown


@pytest.fixture
def run(machine: Machine) -> tuple[RunEntry, RunDetail]:
    """Three steps of one seed: 0.5, 0.75 and one that failed, drafts all."""
    folder = write_run(
        machine.runs, manifest("worked", seeds=(0,), steps=3), key=machine.key,
        scores={0: [(0.5, 0.9), (0.75, 0.7), None]}, claims={0: 0.125}, public=0.25,
    )  # fmt: skip
    return RunIndex(machine.runs, machine.home, KeyFolder(machine.home / "keys")).detail(folder)


def node(detail: RunDetail, **changes: object) -> NodeEntry:
    return replace(detail.nodes[0], **changes)  # type: ignore[arg-type]


def no_link(node: NodeEntry) -> str:
    return f"{node.seed}-{node.step}.html"


def traces(chart: Chart) -> list[dict[str, Any]]:
    return [dict(trace) for trace in chart.traces]


def test_best_so_far_is_the_best_search_score_and_the_test_of_that_step(run: tuple[RunEntry, RunDetail]) -> None:
    chart = best_so_far(run[0], run[1].nodes, no_link)
    assert chart is not None
    assert [row[4:] for row in chart.rows] == [(0.5, 0.5, 0.9), (0.75, 0.75, 0.7), (None, 0.75, 0.7)]
    assert traces(chart)[0]["y"] == [0.5, 0.75, 0.75]
    assert traces(chart)[1]["customdata"] == ["0-1.html", "0-2.html"]
    lower = best_so_far(replace(run[0], lower_is_better=True), run[1].nodes, no_link)
    assert lower is not None
    assert [row[5] for row in lower.rows] == [0.5, 0.5, 0.5]


def test_a_search_without_any_score_has_no_empty_curve(run: tuple[RunEntry, RunDetail]) -> None:
    nodes = [replace(each, search=None, step_class="buggy") for each in run[1].nodes]
    assert best_so_far(run[0], nodes, no_link) is None


def test_names_along_an_axis_are_short_and_never_have_the_place_of_another() -> None:
    found = labels(["a" * 40, "a" * 50, "b", "b"])
    assert len(set(found)) == 4
    assert all(len(each) <= LABEL_CHARS + len(" (2)") for each in found)


def test_an_axis_of_one_score_is_about_as_wide_as_it_is_large() -> None:
    assert score_axis("x", [0.5, None, 0.5])["range"] == pytest.approx([0.45, 0.55])
    assert score_axis("x", [0.0])["range"] == pytest.approx([-0.1, 0.1])
    assert "range" not in score_axis("x", [0.5, 0.6])
    assert "range" not in score_axis("x", [])


def test_columns_of_numbers_are_told_from_those_of_words() -> None:
    rows = (("one", 1, None, None), ("two", "mean", 0.5, None))
    assert Chart("x", "x", "x", ("a", "b", "c", "d"), rows, ()).numeric == (False, True, True, True)


def test_rows_of_a_board_say_how_many_of_their_seeds_failed_and_curves_are_drawn_in_steps() -> None:
    known, bare = BoardEstimate(0.5, 0.4, 0.6), BoardEstimate(0.5, None, None)
    curves = BoardCurves("steps", (1.0, 2.0), (("one", (known, known), known), ("two", (bare, bare), bare)), ())
    ranked = (RankedRow("one", "1", known, 3, 0), RankedRow("two", "2", bare, 2, 2))
    section = BoardSection("h", "task", "Accuracy", False, "", (), (), (), "test", ranked, 1 / 3, (curves,))
    scores, over = section_charts(1, section)
    assert traces(scores)[0]["y"] == ["1  one", "2  two, 2 of 2 failed"]
    assert "worst score of any row" in scores.said
    assert "counts 0.3333." in over.said
    drawn = traces(over)
    assert [each.get("fill") for each in drawn] == [None, "tonexty", None, None], "one band, of who has intervals"
    assert all(each["line"]["shape"] == "hv" for each in drawn)


def test_the_best_test_is_never_one_that_ranks_nothing(run: tuple[RunEntry, RunDetail]) -> None:
    nodes = run[1].nodes
    assert best_tests(nodes, lower_is_better=False) == {(0, 1)}
    assert best_tests(nodes, lower_is_better=True) == {(0, 2)}
    flagged = (replace(nodes[0], unranked=("custom_gradient",)), *nodes[1:])
    assert best_tests(flagged, lower_is_better=False) == {(0, 2)}


def test_the_tree_marks_what_was_submitted_and_what_was_best_by_test(run: tuple[RunEntry, RunDetail]) -> None:
    nodes = (
        node(run[1], step=1), node(run[1], step=2, parents=(1,), operator="improve"),
        node(run[1], step=3, parents=(1,), operator="improve"), node(run[1], step=4, parents=(2, 3), operator="crossover"),
    )  # fmt: skip
    chart = search_tree(run[0], nodes, no_link)
    found = {trace["name"]: trace for trace in traces(chart)[1:]}
    assert set(found) == {"draft, valid", "improve, valid", "crossover, valid", "submitted", "best by test"}
    assert found["submitted"]["customdata"] == ["0-2.html"]
    # Steps 1, 2 and 4 go on in one line; step 3 is a second child and begins another. Four edges, each of three numbers.
    lines = traces(chart)[0]
    assert list(zip(lines["x"], lines["y"], strict=True)) == [
        (1, 0), (2, 0), (None, None), (1, 0), (3, 1), (None, None), (2, 0), (4, 0), (None, None), (3, 1), (4, 0), (None, None),
    ]  # fmt: skip


def test_a_step_whose_parent_is_not_known_has_no_edge(run: tuple[RunEntry, RunDetail]) -> None:
    chart = search_tree(run[0], (node(run[1], step=1, parents=(7,)),), no_link)
    assert traces(chart)[0]["x"] == []


def test_shares_of_primitives_are_of_the_architectures_that_have_the_layer(run: tuple[RunEntry, RunDetail]) -> None:
    nodes = [
        node(run[1], step=1, canonical="mA,M"), node(run[1], step=2, canonical="mA,mA"),
        node(run[1], step=3, canonical="M,M,M"),
    ]  # fmt: skip
    chart = primitives_by_layer(run[0], nodes)
    assert chart is not None
    found = {(row[0], row[1], row[2]): row[3] for row in chart.rows}
    assert found["the whole search", 1, "A attention"] == pytest.approx(2 / 3)
    assert found["the whole search", 2, "M MLP"] == pytest.approx(2 / 3)
    assert found["the whole search", 3, "M MLP"] == 1.0
    assert found["its first third", 1, "A attention"] == 1.0
    assert found["its last third", 1, "A attention"] == 0.0
    drawn = strips(run[0], nodes, no_link)
    assert drawn is not None
    assert [row[3] for row in drawn.rows] == ["AM", "AA", "MMM"]
    assert traces(drawn)[0]["y"] == ["0:1", "0:2", "0:3"]


@pytest.mark.parametrize(
    ("task", "rows"),
    [
        ("mad-2p", ["A attention", "M MLP"]),
        ("mad-3p", ["A attention", "M MLP", "S Mamba-2"]),
        ("a task of nobody here", ["A attention"]),
    ],
)
def test_architectures_are_drawn_in_the_space_of_their_task(
    run: tuple[RunEntry, RunDetail], task: str, rows: list[str]
) -> None:
    nodes = [node(run[1], step=1, canonical="mA,mA")]
    heat, strip = (
        primitives_by_layer(replace(run[0], task=task), nodes),
        strips(replace(run[0], task=task), nodes, no_link),
    )
    assert heat is not None
    assert strip is not None
    assert traces(heat)[0]["y"] == rows
    assert traces(strip)[0]["colorbar"]["ticktext"] == rows


def test_growth_by_length_is_the_judges_by_what_it_is_at_the_training_s_length(machine: Machine) -> None:
    folder = module_run(machine.runs, machine.key)
    index = RunIndex(machine.runs, machine.home, KeyFolder(machine.home / "keys"))
    work, seconds = growth(index.detail(folder)[1].nodes, no_link)
    drawn = {trace.get("text", [trace["name"]])[0]: (trace["x"], trace["y"]) for trace in traces(work)}
    shown = [trace["name"] for trace in traces(work) if trace.get("showlegend", True)]
    assert shown == ["linear", "quadratic", "seed 0"], "a name for each seed, not one for each step"
    assert drawn["linear"] == ([1, 2, 4], [1, 2, 4])
    assert drawn["quadratic"] == ([1, 2, 4], [1, 4, 16])
    assert drawn["0:1"] == ([1, 2, 4], [1.0, 2.0, 4.0])
    assert drawn["0:2"] == ([1, 2, 4], [1.0, 4.0, 16.0])
    assert {trace.get("text", [""])[0]: trace["x"] for trace in traces(seconds)}["0:2"] == [1, 2], (
        "four times the length was not run"
    )
    assert (0, 2, 4, 16e6, None, 32.0) in {row[:6] for row in work.rows}


@pytest.mark.parametrize(
    "growth_said",
    [None, [], "x", {"x1": None}, {"x1": {"work": "beyond 1e300", "seconds": True}}, {"x1": {"work": -1}, "x2": {"work": 1e999}},
     {"x1": {"work": 0}, "x2": {"work": 0}, "x4": {}}],
)  # fmt: skip
def test_a_report_that_says_no_growth_has_no_chart_of_it(machine: Machine, growth_said: object) -> None:
    module = b"class Mixer: pass\n"
    report = {"details": {"growth": growth_said}} if growth_said is not None else {}
    step = shown_step(1, artifact=("model.py", module), report=report)
    folder = write_shown(machine.runs, manifest("odd", seeds=(0,), steps=1), {0: [step]}, key=machine.key)
    index = RunIndex(machine.runs, machine.home, KeyFolder(machine.home / "keys"))
    assert growth(index.detail(folder)[1].nodes, no_link) == []


def test_growth_is_taken_from_no_report_that_was_replaced(machine: Machine) -> None:
    folder = module_run(machine.runs, machine.key)
    (folder.path / "seeds" / "0" / "hidden" / "0001" / "report.json").write_text(
        '{"details": {"growth": {"x1": {"work": 9}}}}'
    )
    index = RunIndex(machine.runs, machine.home, KeyFolder(machine.home / "keys"))
    first, second = index.detail(folder)[1].nodes[:2]
    assert (first.growth, len(second.growth)) == ((), 3)


def test_what_a_run_has_not_has_no_chart(run: tuple[RunEntry, RunDetail]) -> None:
    nodes = run[1].nodes
    assert strips(run[0], nodes, no_link) is None
    assert primitives_by_layer(run[0], nodes) is None
    assert mechanisms(nodes, {}, no_link) is None
    assert code_length(nodes, {}, no_link) is None
    assert features(nodes, {}, no_link) is None
    assert trainings(nodes, no_link) == []


def test_claims_stand_against_the_number_on_the_same_rows(run: tuple[RunEntry, RunDetail]) -> None:
    chart = claims(run[0], run[1].nodes, no_link)
    assert chart is not None
    # Claimed 0.125 more than validation; the judge's number on public rows is 0.25 more: the claim is too small by 0.125.
    assert [(row[2], row[3], row[5]) for row in chart.rows] == [(0.625, 0.75, -0.125), (0.875, 1.0, -0.125)]


def test_mechanisms_and_length_are_those_of_each_steps_code(run: tuple[RunEntry, RunDetail]) -> None:
    nodes = [node(run[1], step=1, artifact_sha256="a"), node(run[1], step=2, artifact_sha256="b")]
    codes = {"a": CodeEntry(("attention",), {}, 30, 2), "b": CodeEntry(("attention", "gating"), {}, 90, 5)}
    chart, length = mechanisms(nodes, codes, no_link), code_length(nodes, codes, no_link)
    assert chart is not None
    assert length is not None
    assert traces(chart)[0]["y"] == ["attention", "gating"]
    assert traces(chart)[0]["z"] == [[1, 1], [0, 1]]
    assert [row[2:4] for row in length.rows] == [(2, 30), (5, 90)]


def test_features_of_any_value_are_drawn(run: tuple[RunEntry, RunDetail]) -> None:
    wild = {"depth": float("nan"), "head_dim": 10**400, "batch_size": float("inf"), "mlp_type": "<b>", "agc": True}
    nodes = [node(run[1], step=1, artifact_sha256="a"), node(run[1], step=2, artifact_sha256="b")]
    chart = features(nodes, {"a": CodeEntry((), wild), "b": CodeEntry((), {"depth": 8, "agc": False})}, no_link)
    assert chart is not None
    heat = traces(chart)[0]
    assert all(value is None or 0 <= value <= 1 for row in heat["z"] for value in row)
    assert "<" not in str(heat["text"])
    assert heat["z"][heat["y"].index("agc")] == [1.0, 0.0]


def test_classes_over_time_are_shares_of_the_seeds_that_got_so_far(run: tuple[RunEntry, RunDetail]) -> None:
    one = replace(run[0], agent="a", classes={"valid": (2, 1, 1), "buggy": (0, 1, 0)})
    other = replace(run[0], agent="b", classes={"valid": (1,), "timeout": (1,)})
    chart = classes_over_time([one, other])
    assert chart is not None
    found = {(row[0], row[1], row[2]): row[3] for row in chart.rows}
    assert found["all agents", 1, "valid"] == 3
    assert found["a", 2, "buggy"] == 1
    by_name = {trace["name"]: trace for trace in traces(chart)[:7]}
    assert by_name["valid"]["y"] == [0.75, 0.5, 1.0]
    assert by_name["timeout"]["y"] == [0.25, 0.0, 0.0]
    assert classes_over_time([]) is None


def test_money_that_is_unknown_in_part_is_unknown(run: tuple[RunEntry, RunDetail]) -> None:
    priced = replace(run[0], spend=replace(run[0].spend, cost_usd=1.5, total_s=7200.0, agent_s=3600.0))
    chart = spend([priced, replace(priced, spend=replace(priced.spend, cost_usd=None))])
    assert chart is not None
    (row,) = chart.rows
    assert dict(zip(chart.columns, row, strict=True)) | {"USD": "unknown", "runs": 2, "hours: agent": 2.0} == dict(
        zip(chart.columns, row, strict=True)
    )


@pytest.mark.parametrize(
    ("seconds", "unit", "value"), [(7200.0, "hours", 2.0), (90.0, "minutes", 1.5), (0.5, "seconds", 0.5)]
)
def test_what_runs_took_is_drawn_in_a_unit_that_it_has_one_of(
    run: tuple[RunEntry, RunDetail], seconds: float, unit: str, value: float
) -> None:
    took = replace(run[0].spend, agent_s=seconds, execute_s=0.0, evaluate_s=0.0, waited_s=0.0, total_s=seconds)
    chart = spend([replace(run[0], spend=took)])
    assert chart is not None
    assert chart.layout["xaxis"]["title"]["text"] == unit  # type: ignore[index]
    assert traces(chart)[0]["x"] == pytest.approx([value])


def test_an_axis_of_few_steps_has_no_halves(run: tuple[RunEntry, RunDetail]) -> None:
    nodes = [node(run[1], step=step) for step in range(1, 31)]
    few, many = (search_tree(run[0], some, no_link).layout["xaxis"] for some in (nodes[:20], nodes))
    assert few["dtick"] == 1  # type: ignore[index]
    assert "dtick" not in many  # type: ignore[operator]


def test_trainings_of_which_nobody_counted_tokens_are_drawn(machine: Machine) -> None:
    points = tuple(TrainingPoint(step + 1, 1.0 / (step + 1), None, None) for step in range(50))
    steps = [shown_step(1, of_score={"series": points, "claimed_series": points[:2]})]
    folder = write_shown(machine.runs, manifest("curved", seeds=(0,), steps=1), {0: steps}, key=machine.key)
    index = RunIndex(machine.runs, machine.home, KeyFolder(machine.home / "keys"))
    charts = trainings(index.detail(folder)[1].nodes, no_link)
    assert [chart.name for chart in charts] == ["training-losses"], "of tokens there is nothing to draw"
    assert len(charts[0].rows) == CURVE_POINTS
    assert charts[0].rows[0] == (0, 1, "judge", 1, 1.0, None, None)
    assert charts[0].rows[-1] == (0, 1, "judge", 50, 0.02, None, None)
    page = PageSource(index, lambda: 0.0, follows=False).node_page(folder, 0, 1)
    assert page is not None
    assert [(chart.name, len(chart.rows)) for chart in page.charts] == [("loss", 52)]
    assert render("node.html.j2", page=page, root="../../", follows=False, policy="", quote=str)


def test_trainings_that_scripts_tell_of_themselves_are_drawn_and_said_to_be_claimed(machine: Machine) -> None:
    told = (TrainingPoint(1, 9.0, 100, None), TrainingPoint(5, 3.0, 500, None))
    judged = (TrainingPoint(2, 2.0, 64, 0.5), TrainingPoint(4, 1.0, 128, 1.0))
    steps = [
        shown_step(1, of_score={"claimed_series": told}),
        shown_step(2, of_score={"series": judged, "claimed_series": told}),
    ]
    folder = write_shown(machine.runs, manifest("told", seeds=(0,), steps=2), {0: steps}, key=machine.key)
    index = RunIndex(machine.runs, machine.home, KeyFolder(machine.home / "keys"))
    losses, tokens = trainings(index.detail(folder)[1].nodes, no_link)
    assert [trace["name"] for trace in traces(losses)] == ["0:1, claimed", "0:2"]
    assert [row[2] for row in losses.rows] == ["agent's own, claimed"] * 2 + ["judge"] * 2
    assert "nobody has checked it" in losses.said
    assert [trace["name"] for trace in traces(tokens)] == ["0:2"], "the script counted tokens, no seconds"
    (loss,) = training((), told)
    assert (loss.name, [trace["name"] for trace in traces(loss)]) == ("loss", ["agent's own, claimed"])
    assert training((), ()) == ()


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=20))
def test_what_leads_is_the_earliest_of_the_best(steps: list[tuple[bool, float]]) -> None:
    base = NodeEntry(0, 0, "draft", (), "valid", "", None, None, None, None, None, None, 0, None, None, None, (), (), None, "",
                     None, 0, 0, 0, 0.0, 0, 0, 0, 0, 0, 0, False, 1, False)  # fmt: skip
    nodes = [
        replace(base, step=place + 1, step_class="valid" if valid else "buggy", search=value if valid else None)
        for place, (valid, value) in enumerate(steps)
    ]
    for place, best in enumerate(leading(nodes, lower_is_better=True)):
        known = [(each.search, each.step) for each in nodes[: place + 1] if each.search is not None]
        assert (None if best is None else (best.search, best.step)) == min(known, default=None)


def test_names_of_strangers_hold_no_tag_of_plotly() -> None:
    assert not {"<", ">", "&"} & set(shown_name("<a href='javascript:x'>&lt;b"))


def test_curves_of_runs_that_do_not_compare_are_in_no_one_chart(run: tuple[RunEntry, RunDetail]) -> None:
    entry, nodes = run[0], run[1].nodes
    places = ("runs/a/index.html", "runs/b/index.html")
    alike = compare_runs((entry, replace(entry, name="other", sound=False)), (nodes, nodes), places)
    assert len(alike.charts) == 1
    assert alike.apart == ()
    said = {row.name: (row.left, row.right) for _, rows in alike.sections for row in rows}
    assert said["record"] == ("holds", "does not hold")
    for change, name in (({"task_title": "x"}, "task"), ({"profile": "x"}, "profile"), ({"synthetic": True}, "data"),
                         ({"fitness": "claimed"}, "fitness"), ({"lower_is_better": True}, "metric")):  # fmt: skip
        other = replace(entry, **change)
        found = compare_runs((entry, other), (nodes, nodes), places)
        assert (found.charts, found.apart) == ((), (name,))

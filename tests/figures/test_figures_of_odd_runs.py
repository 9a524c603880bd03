"""What figures make of runs that fill few of them, of hostile names, and of the same runs elsewhere."""

import csv
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.figures import drawing
from aira_bench.figures.charts import Dot, DotChart, DotPanel, PaperTable, SearchChart, SearchPanel, Series
from aira_bench.figures.latex_table import latex_table
from figures.drawn_runs import Scores, write
from hostile_text import HOSTILE
from typesetting import typeset

NAME = "a_b%&\\{}$x^2$ #~\u00e9\u4e2d\u202e<script>"
SCORES: dict[int, Scores] = {0: [(0.4, 0.5), (0.6, 0.55)], 1: [(0.3, 0.35), None]}


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda fd: None)
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def figures(*arguments: str) -> int:
    return run_command_line(["figures", *arguments])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def require_latex(text: str) -> None:
    """Whether a table can be typeset: braces match, rows have as many cells as columns, and nothing else is active."""
    plain = re.sub(r"\\(?:[{}$&#_%]|\\)", "", re.sub(r"^%.*\n", "", text))
    assert plain.count("{") == plain.count("}")
    assert not re.search(r"[$#^~%]", plain)
    columns = re.search(r"\\begin\{tabular\}\{((?:[lr]|p\{[0-9.]+cm\})+)\}", text)
    assert columns is not None
    count = len(re.findall(r"[lr]|p\{", columns[1]))
    body = text[columns.end() : text.index(r"\end{tabular}")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert rows
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {count}
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    assert commands <= {
        "usepackage", "begin", "end", "centering", "footnotesize", "caption", "label", "toprule", "midrule", "bottomrule",
        "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar", "char",
    }  # fmt: skip


def test_hostile_names_are_text_in_every_file_and_the_bytes_are_the_same_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "one" / "suite", tmp_path / "home", NAME, "lra-text", SCORES)
    assert figures("suite", "--runs", "one", "--out", "out") == 0
    shutil.copytree(tmp_path / "one" / "suite", tmp_path / "elsewhere" / "runs")
    assert figures("--runs", "elsewhere/runs", "--out", "deep/er") == 0
    found = files(tmp_path / "out")
    assert found == files(tmp_path / "deep" / "er")
    assert {"figure08_best_test.svg", "table14_best_modules.tex"} <= found.keys()
    for name, data in found.items():
        if name.endswith(".svg"):
            assert ET.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
            assert b"<script" not in data
            assert b"<dc:date>" not in data
        elif name.endswith(".pdf"):
            assert data.startswith(b"%PDF")
            assert b"CreationDate" not in data
        else:
            assert "\u202e" not in data.decode()
        if name.endswith(".tex"):
            require_latex(data.decode())
    assert b"<script" not in found["README.md"]
    assert r"a\_b\%\&\textbackslash{}\{\}\$x\textasciicircum{}2\$" in found["table14_best_modules.tex"].decode()


def test_tables_of_hostile_text_can_be_typeset(tmp_path: Path) -> None:
    harm = (
        [text for text in HOSTILE if text.isascii()]
        + [chr(code) * 3 for code in range(128)]
        + [r"\input{/etc/passwd}", "%", "&&"]
    )
    table = PaperTable(("name", "value"), tuple((text, text) for text in harm), (1,))
    paper = latex_table(table, " ".join(harm), "a-label")
    require_latex(paper)
    typeset([paper], tmp_path / "ascii")
    named = PaperTable(("name",), (("\u00e9\u00e8\u00fc\u4e2d\u6587",),))
    typeset([latex_table(named, "Names of others", "named")], tmp_path / "others", "lualatex")


def test_what_runs_cannot_fill_is_named_and_old_files_of_it_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "runs", tmp_path / "home", "gpt5", "mad-2p", SCORES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "table04_normalized_scores.tex").write_text("somebody's own")
    assert figures("--out", "out") == 0
    said = capsys.readouterr()
    assert "not drawn: figure12_best_bpb (Figure 12): no run is on an autoresearch task" in said.out
    assert "not drawn: figure08_best_test (Figure 8): no run is on a task of the Long Range Arena" in said.out
    assert "HIDDEN TEST SCORES" in said.err
    assert (tmp_path / "out" / "table04_normalized_scores.tex").exists(), "the folder was not ours"
    assert figures("--out", "out") == 0
    assert not (tmp_path / "out" / "table04_normalized_scores.tex").exists()


def test_too_few_seeds_have_no_distribution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "runs", tmp_path / "home", "gpt5", "autoresearch", {0: [(1.0, 1.01)], 1: [(1.0, 1.01)]})
    assert figures("--out", "out") == 0
    out = capsys.readouterr().out
    assert "too few seeds: a distribution needs 3 scored seeds of an agent, the most is 2" in out
    assert "no step improved on the first valid one of its seed" in out
    assert "  figure13_trajectories  (Figure 13, 1 run)" in out


def test_runs_that_share_no_board_share_no_figure(tmp_path: Path) -> None:
    write(tmp_path / "a", tmp_path / "home", "gpt5", "mad-2p", SCORES)
    write(tmp_path / "b", tmp_path / "home", "gpt5", "mad-2p", SCORES, profile="cpu")
    assert figures("a", "b", "--out", "out") == 0
    folders = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name.split("-")[1] for name in folders] == ["cpu", "paper"]
    assert "profile cpu" in (tmp_path / "out" / folders[0] / "README.md").read_text()


def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "matplotlib" else object())
    assert figures("--out", "out") == 3
    assert capsys.readouterr().err == (
        "aira-bench: error: Figures need matplotlib. Try: pip install 'aira-bench[figures]'\n"
    )


def test_names_do_not_repeat_whose_records_all_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for agent in ("gpt5", "cwm"):
        write(tmp_path / "runs", tmp_path / "home", agent, "mad-2p", SCORES)
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "other"))
    assert figures("--out", "out") == 0
    with (tmp_path / "out" / "figure08_best_test_other_tasks.csv").open(newline="") as stream:
        assert {row["agent"] for row in csv.DictReader(stream)} == {"gpt5, greedy", "cwm, greedy"}
    assert "(unknown key)" in (tmp_path / "out" / "README.md").read_text()


def test_values_that_a_spreadsheet_would_run_are_text(tmp_path: Path) -> None:
    write(tmp_path / "runs", tmp_path / "home", "=1+1", "mad-2p", SCORES)
    assert figures("--out", "out") == 0
    with (tmp_path / "out" / "figure08_best_test_other_tasks.csv").open(newline="") as stream:
        assert {row["agent"][0] for row in csv.DictReader(stream)} == {"'"}


def test_a_table_keeps_its_columns_whatever_is_in_it() -> None:
    table = PaperTable(("A & B", "n"), ((r"\input{x} & y \\ [2pt]", "--"), ("*", "1")), wide=(0,))
    require_latex(latex_table(table, "100 % of $x_1$ & more", "tab:x"))


def test_names_are_cut_and_spelt_and_stay_apart() -> None:
    assert drawing.shown("a" * 50) == "a" * 17 + "..." + "a" * 17
    assert drawing.shown("x\u4e2d") == "x\\u4e2d"
    dots = tuple(Dot("a" * 50 + end + "a" * 20, 0.5, None, None, 1) for end in "xy")
    chart = DotChart(tuple(dot.agent for dot in dots), (DotPanel("p", "m", (Series("s", dots),)),))
    assert drawing._labels(chart.agents)[1].endswith(" (2)")
    assert drawing.draw(chart, "t", ("svg",))["svg"]


def test_a_share_is_drawn_on_its_whole_scale() -> None:
    dots = (Dot("a", 0.9, 0.8, 1.0, 5), Dot("b", 0.95, None, None, 5))
    figure = drawing._dots(DotChart(("a", "b"), (DotPanel("p", "rate", (Series("s", dots),), ends=(0.0, 1.0)),)))
    low, high = figure.axes[0].get_xlim()
    assert low < 0.0 < 1.0 < high, "an axis that begins at 0.8 makes much of little"


@pytest.mark.parametrize("panels", [1, 3, 4])
def test_what_an_axis_of_steps_says_is_whole_and_has_no_halves(panels: int) -> None:
    scored = tuple(("run", 0, step, 0.5) for step in (1, 2, 3))
    said = "test Accuracy (share of examples, higher is better)"
    chart = SearchChart(said, tuple(SearchPanel(f"agent {each}", 1, scored, ()) for each in range(panels)))
    with drawing._style():
        figure = drawing._searches(chart)
        figure.draw_without_rendering()
        ticks = [tick for axes in figure.axes if axes.get_visible() for tick in axes.get_xticks()]
        (beside,) = [text for text in figure.texts if "Accuracy" in text.get_text()]
        assert beside.get_window_extent().y0 >= 0
        assert beside.get_window_extent().y1 <= figure.bbox.y1
        assert all(float(tick).is_integer() for tick in ticks)

"""Files of a board: every format says what the board says, whatever strangers called things, and pages need nothing."""

import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.boards.board import Section, Table, tables_of
from aira_bench.boards.formats import parts, records, shown_cells
from aira_bench.boards.order import with_ranks
from aira_bench.escaping import latex, one_line
from aira_bench.keys import KeyRing
from aira_bench.publication.drawing import MARGIN, WIDTH, picture_of
from aira_bench.publication.files import PARQUET, board_files, write_published
from aira_bench.publication.latex import to_latex
from aira_bench.publication.pages import INDEX, site
from aira_bench.record.folder import list_runs
from aira_bench.record.run_record import RunRecord, read_runs
from aira_bench.tasks.measured_noise import MeasuredNoise
from boards.made_boards import MAD, made_tables, recorded_tables
from cli.test_hostile_text import hostile_run
from generated_runs import manifest, write_run
from hostile_text import HOSTILE, is_raw
from typesetting import typeset

VOID = {"meta", "link", "br", "img", "input", "hr", "line", "circle"}


class Page(HTMLParser):
    """Every element of a page in order, with the ones it stands in; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.texts.append(data)

    def attributes(self, name: str) -> Iterator[str]:
        yield from (values[name] for _, values in self.elements if name in values)


def hostile_board(path: Path) -> tuple[list[Table], list[RunRecord]]:
    hostile_run(path)
    write_run(path, manifest("other", seeds=(0, 1), steps=3))
    found, faults = read_runs(list_runs(path), KeyRing())
    assert not faults
    return tables_of(found, KeyRing()), found


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[list[Table], list[RunRecord]]:
    return hostile_board(tmp_path)


def test_pages_are_whole_html_with_nothing_of_a_strangers_in_it(
    hostile: tuple[list[Table], list[RunRecord]],
) -> None:
    pages = site(*hostile, downloads=["board.json"])
    assert len(pages) == 3
    for name, text in pages.items():
        page = Page(text)
        assert re.fullmatch(r"[a-z0-9-]{1,80}\.html", name)
        assert not is_raw(text.replace("\n", ""))
        tags = {tag for tag, _ in page.elements}
        assert not tags & {"script", "iframe", "object", "embed", "img", "form", "base", "i", "red"}
        assert not [key for _, values in page.elements for key in values if key.startswith("on")]
        assert "<script>alert(1)</script>" not in text
    assert any("<script>alert(1)</script>" in "".join(Page(text).texts) for text in pages.values()), "it is shown"


def test_pages_load_nothing_and_link_to_each_other_alone(hostile: tuple[list[Table], list[RunRecord]]) -> None:
    files = board_files(*hostile, KeyRing(), {}, with_parquet=True)
    for name in (name for name in files if name.endswith(".html")):
        page = Page(files[name].decode())
        assert not list(page.attributes("src"))
        linked = [link for link in page.attributes("href") if not link.startswith("#")]
        assert linked
        assert set(linked) <= {PARQUET, *files}
        assert "url(" not in files[name].decode()
        policies = [values["content"] for tag, values in page.elements if values.get("http-equiv")]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_every_file_is_reached_from_the_index(hostile: tuple[list[Table], list[RunRecord]]) -> None:
    files = board_files(*hostile, KeyRing(), {}, with_parquet=True)
    assert {INDEX, *Page(files[INDEX].decode()).attributes("href")} == {PARQUET, *files}


def test_pages_can_be_read_by_ear_and_by_keyboard(hostile: tuple[list[Table], list[RunRecord]]) -> None:
    for text in site(*hostile).values():
        page = Page(text)
        assert ("html", {"lang": "en"}) in page.elements
        headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
        assert headings[0] == 1
        assert headings.count(1) == 1
        assert all(later <= before + 1 for before, later in itertools.pairwise(headings))
        assert all(values.get("scope") in ("col", "row") for tag, values in page.elements if tag == "th")
        assert all("tabindex" in values for _, values in page.elements if values.get("role") == "region")
        ids = list(page.attributes("id"))
        assert len(set(ids)) == len(ids)
        assert {*page.attributes("aria-labelledby")} <= set(ids)
        assert all("aria-labelledby" in values for tag, values in page.elements if tag == "svg")


def luminance(colour: str) -> float:
    """By WCAG 2."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_on_light_and_on_dark() -> None:
    """At least 4.5 to 1 (WCAG AA) for every colour of text on both backgrounds of each scheme."""
    text = site(recorded_tables(), [])[INDEX]
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", found)) for found in re.findall(r":root \{([^}]*)\}", text)]
    assert len(schemes) == 2
    for scheme in schemes:
        for ink in ("ink", "soft", "mark"):
            for paper in ("paper", "band"):
                light, dark = sorted((luminance(scheme[ink]), luminance(scheme[paper])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper, scheme)


def test_a_page_has_every_cell_of_its_board() -> None:
    tables = made_tables()
    pages = site(tables, [])
    for table in tables:
        text = "".join(Page(pages[f"{table.section.task}.html"]).texts)
        for row in shown_cells(table):
            assert all(one_line(value) in text for value in row)


def test_tasks_whose_names_would_be_one_file_have_one_each() -> None:
    titles = ("a b", "a-b", "index", "///", "\ud800", "a" * 200, "A" * 200)
    tables = [Table(Section(title, *list(vars(MAD).values())[1:]), made_tables()[0].rows) for title in titles]
    pages = site(tables, [])
    assert len(pages) == 1 + len(titles)
    assert all(re.fullmatch(r"[a-z0-9-]{1,80}\.html", name) for name in pages)


def test_a_picture_has_each_seed_once_at_its_place() -> None:
    (table, _) = made_tables()
    found = picture_of(table)
    assert found is not None
    assert found.basis == "confirmed"
    # Three rows have confirmed seeds: 0.2 and 0.5, 0.2, 0.29; the scale goes from the least to the greatest.
    first, last = float(MARGIN), WIDTH - 20.0
    at = first + 0.3 * (last - first)
    assert [(row.points, row.mean) for row in found.rows] == [
        ((first, last), (first + last) / 2), ((first,), first), ((at,), at),
    ]  # fmt: skip
    assert [tick.text for tick in found.ticks][:2] == ["0.2", "0.3"]
    noise = MeasuredNoise(deviation=0.1, artifacts=3, trainings=30, measured="2026-01-01", hardware="a processor")
    drawn = picture_of(replace(table, noise=noise))
    assert drawn is not None
    assert drawn.noise is not None
    assert drawn.noise.x == pytest.approx(first + (last - first) / 3, abs=0.06), "0.1 of a scale that is 0.3 long"
    wide = picture_of(replace(table, noise=noise.model_copy(update={"deviation": 9.0})))
    assert wide is not None
    assert wide.noise is not None
    assert wide.noise.x == last
    assert picture_of(Table(MAD, (table.rows[3],))) is None


def test_parquet_has_the_records_of_the_board_with_their_types() -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="of the extra aira-bench[stats]")
    tables = made_tables()
    content = board_files(tables, [], KeyRing(), {}, with_parquet=True)[PARQUET]
    read = parquet.read_table(io.BytesIO(content))
    wanted = records(with_ranks(tables))
    assert read.to_pylist() == wanted
    assert str(read.schema.field("test_mean").type) == "double"
    assert str(read.schema.field("seeds").type) == "int64"
    assert str(read.schema.field("agent").type) == "string"


@given(text=st.text(max_size=60) | st.sampled_from(HOSTILE))
def test_nothing_in_a_value_is_latex(text: str) -> None:
    """What is left of an escaped value without the escapes of ours has no character that TeX acts on."""
    shown = latex(text)
    ours = r"\\text(?:backslash|asciicircum|asciitilde|less|greater|bar)\{\}|\{\\char\d\d\}|\{[][*]\}|\\[{}$&#_%]"
    assert not set(re.sub(ours, "", shown)) & set("\\{}$&#^_%~<>|\"'`[]*")
    assert not is_raw(shown)


def test_values_of_latex_by_hand() -> None:
    assert latex("a_b & 50% of $3 {x} #1 ~y^2 \\end") == (
        r"a\_b \& 50\% of \$3 \{x\} \#1 \textasciitilde{}y\textasciicircum{}2 \textbackslash{}end"
    )
    assert latex("[0] *") == "{[}0{]} {*}"


def test_boards_can_be_typeset(hostile: tuple[list[Table], list[RunRecord]], tmp_path: Path) -> None:
    typeset([to_latex(made_tables())], tmp_path / "made")
    typeset([to_latex(hostile[0])], tmp_path / "hostile", "lualatex")


def test_every_row_of_a_latex_table_has_as_many_cells(hostile: tuple[list[Table], list[RunRecord]]) -> None:
    for tables in (made_tables(), hostile[0]):
        text = to_latex(tables)
        found = re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n\\toprule\n(.*?)\\bottomrule", text, re.DOTALL)
        shown = [part for table in tables for _, part in parts(table)]
        for (columns, body), table in zip(found, shown, strict=True):
            lines = [line for line in body.splitlines() if line != r"\midrule"]
            assert len(lines) == 1 + len(table.rows)
            assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {len(columns)}
            assert all(line.endswith(r" \\") for line in lines)
    assert r"0.4500 \(\pm\) 0.0707" in to_latex(made_tables())


def test_a_page_of_a_task_that_is_gone_is_removed_and_nothing_else(tmp_path: Path) -> None:
    write_published(made_tables(), [], KeyRing(), {}, tmp_path)
    (tmp_path / "notes.html").write_text("mine")
    write_published(made_tables()[:1], [], KeyRing(), {}, tmp_path)
    assert {path.name for path in tmp_path.glob("*.html")} == {INDEX, "mad-2p.html", "notes.html"}
    (tmp_path / INDEX).write_text('<th scope="row"><a href="notes.html">')
    write_published(made_tables()[:1], [], KeyRing(), {}, tmp_path)
    assert (tmp_path / "notes.html").read_text() == "mine"


def test_a_board_of_nothing_has_files_too() -> None:
    files = board_files([], [], KeyRing(), {}, with_parquet=True)
    assert Page(files[INDEX].decode()).texts
    assert b'"runs": []' in files["board.json"]

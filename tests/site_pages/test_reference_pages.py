"""What the site says of commands, records, exit statuses and variables is whole, and comes from the code."""

import argparse
import json
import re
from pathlib import Path

import pytest

from aira_bench.cli.main import build_parser
from site_build import commands, record_types
from site_build.exit_codes import exit_codes_in_markdown
from site_build.filling import MAKERS, filled
from site_build.printed_shapes import FROZEN, shapes_in_markdown
from site_build.tables import code, text

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RECORDED = ROOT / "tests" / "recorded"


def sections(markdown: str) -> dict[str, str]:
    """The text of each section by its heading."""
    return {part.split("\n", 1)[0]: part for part in re.split(r"^## ", markdown, flags=re.MULTILINE)[1:]}


def sub_parsers() -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices)


def test_every_command_has_a_section_with_every_option() -> None:
    found = sections(commands.commands_in_markdown())
    assert len(found) > 20
    for name, parser in sub_parsers().items():
        section = found[f"aira-bench {name}"]
        options = {option for action in parser._actions for option in action.option_strings}
        assert options == set(commands.options_of(section)), name
        places = [action for action in parser._actions if not action.option_strings]
        words = [str(action.metavar or "|".join(action.choices or [action.dest])) for action in places]
        assert all(word.replace("|", "\\|") in section for word in words), name
        for action in parser._actions:
            deeper = isinstance(action, argparse._SubParsersAction)
            for choice in map(str, action.choices or ()):
                assert f"aira-bench {name} {choice}" in found if deeper else choice in section, (name, choice)


def test_an_option_that_is_added_appears(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser(prog="aira-bench")
    inner = parser.add_subparsers().add_parser("look", help="look at a|b", description="Looks <hard>.")
    inner.add_argument("--far", type=int, default=3, metavar="KM", help="how far; 100%% is *all*")
    monkeypatch.setattr(commands, "build_parser", lambda: parser)
    made = commands.commands_in_markdown()
    assert "| `--far KM` | how far; 100% is \\*all\\* | `3` |" in made
    assert "- [`look`](#aira-bench-look): look at a\\|b" in made
    assert "Looks &lt;hard&gt;." in made


def test_nothing_of_this_machine_is_on_the_page_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = commands.commands_in_markdown()
    monkeypatch.setenv("AIRA_RUNTIME", "runsc-of-mine")
    monkeypatch.setenv("AIRA_RUNS", "/runs/of/mine")
    monkeypatch.setenv("COLUMNS", "40")
    assert commands.commands_in_markdown() == plain


def test_every_exit_status_that_help_names_has_a_row_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", exit_codes_in_markdown(), re.MULTILINE)
    epilog = (build_parser().epilog or "").partition("exit status:")[2]
    assert [int(status) for status, _ in rows] == [int(status) for status in re.findall(r"\b\d+\b", epilog)]
    assert all(meaning.strip() for _, meaning in rows)


@pytest.mark.parametrize("file", record_types.FILES, ids=lambda file: file.name)
def test_every_field_of_a_record_has_a_row(file: record_types.RecordFile) -> None:
    section = sections(record_types.records_in_markdown())[file.place]
    for each in file.types:
        table = section.partition(f"### {each.__name__} ")[2].partition("\n### ")[0]
        named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
        assert set(named) == set(each.__annotations__), each
    assert not re.search(r"\| anything \|", section.replace("| object of anything |", "")), "a type nobody spelt"


def test_meanings_come_from_docstrings_of_fields() -> None:
    made = record_types.records_in_markdown()
    assert "One line for a failed step, empty for a valid one." in made
    schema = json.loads(record_types.schema_files()["journal.schema.json"])
    assert schema["$defs"]["Node"]["properties"]["reason"]["description"].startswith("One line for a failed step")


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*/seeds/*/journal.jsonl")), ids=lambda path: path.parts[-4])
def test_recorded_journals_are_of_the_schema(path: Path) -> None:
    """Each body has the keys that the schema asks for, and none that it does not know."""
    schema = json.loads(record_types.schema_files()["journal.schema.json"])
    kinds = {found["properties"]["event"]["const"]: found for found in schema["$defs"].values()
             if "event" in found["properties"]}  # fmt: skip
    for line in path.read_text(encoding="utf-8").splitlines():
        body = json.loads(line)["body"]
        known = kinds[body["event"]]
        assert set(known.get("required", ())) <= set(body) <= set(known["properties"])
        if "node" in body:
            node = schema["$defs"]["Node"]
            assert set(node["required"]) <= set(body["node"]) <= set(node["properties"])


def test_every_frozen_shape_is_on_the_page() -> None:
    found = sections(shapes_in_markdown())
    assert set(found) == {path.stem for path in FROZEN.glob("*.shape")}
    assert "| `[].step` | int |" in found["status-run"]


def test_every_variable_that_the_code_names_is_on_its_page() -> None:
    page = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    named = {
        name
        for folder in ("harness", "evaluator", "images")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".sh", ".toml", ".dockerfile")
        for name in re.findall(r"\bAIRA_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8"))
    }
    named = {name for name in named if not name.startswith(("AIRA_BASE_URL_", "AIRA_API_KEY_"))}
    named |= {"AIRA_BASE_URL_NAME", "AIRA_API_KEY_NAME"}
    assert len(named) > 10
    assert not {name for name in named if f"`{name}`" not in page}
    assert set(re.findall(r"`(AIRA_[A-Z_]+)`", page)) == named | {"AIRA_FREEZE"}


def places() -> list[str]:
    """The patterns of the files that the page of the run folder lists."""
    page = (DOCS / "reference" / "run_folder.md").read_text(encoding="utf-8").partition("## What lies elsewhere")[0]
    found = []
    for cell in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", cell)
        folder = first.rpartition("/")[0]
        found += [first, *(other if "/" in other else f"{folder}/{other}".strip("/") for other in others)]
    return found


def pattern(place: str) -> str:
    spelt = re.escape(place).replace("S", r"\d{4}").replace("N", r"\d+").replace("K", r"\d+")
    return spelt + (".*" if place.endswith("/") else "")


@pytest.mark.parametrize(
    "name", [path.name for path in sorted(RECORDED.iterdir()) if (path / "manifest.json").exists()]
)
def test_every_file_of_a_recorded_run_is_on_the_page(name: str) -> None:
    known = [pattern(place) for place in places()]
    assert len(known) > 20
    files = [path.relative_to(RECORDED / name).as_posix() for path in (RECORDED / name).rglob("*") if path.is_file()]
    assert not [file for file in files if not any(re.fullmatch(each, file) for each in known)]


def test_every_page_asks_for_what_is_made_and_everything_made_is_asked_for() -> None:
    asked = {
        what for path in DOCS.rglob("*.md") for what in re.findall(r"<!-- made: ([a-z ]+) -->", path.read_text("utf-8"))
    }
    assert asked == set(MAKERS)


@pytest.mark.parametrize("page", ["commands", "records", "json", "exit_codes"])
def test_a_filled_page_has_no_place_left_and_its_links_within_itself_hold(page: str) -> None:
    made = filled((DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8"))
    assert "<!--" not in made
    headings = {
        re.sub(r"[^\w\- ]", "", found.lower()).replace(" ", "-") for found in re.findall(r"^#+ (.*)$", made, re.M)
    }
    assert not set(re.findall(r"\]\(#([\w-]+)\)", made)) - headings


def test_a_page_that_asks_for_what_nobody_makes_is_refused() -> None:
    with pytest.raises(KeyError):
        filled("<!-- made: coffee -->")


@pytest.mark.parametrize(
    ("plain", "spelt"),
    [
        ("a|b", "a\\|b"),
        ("<script>*x*_y_", "&lt;script&gt;\\*x\\*\\_y\\_"),
        ("see `a|b` and `x`", "see `a\\|b` and `x`"),
        ("[not](a link)", "\\[not\\](a link)"),
        ("two\n  lines", "two lines"),
    ],
)
def test_text_is_shown_as_it_is(plain: str, spelt: str) -> None:
    assert text(plain) == spelt


def test_code_with_backquotes_stays_code() -> None:
    assert code("a`b|c") == "`` a`b\\|c ``"

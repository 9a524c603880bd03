"""The journal under crashes at any byte, and under edits."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.errors import RunStateError
from aira_bench.record.journal import Event, JournalFile, SeedEnded, StepEnded, StepStarted, open_journal
from aira_bench.record.node import Node, Timings


def node(step: int, text: str = "") -> Node:
    return Node(step, "draft", (), "valid", text, 0.5, None, "a" * 64, None, plan=text, timings=Timings(1, 2, 3, 6))


def write(path: Path, events: list[Event]) -> None:
    journal = JournalFile(path)
    for event in events:
        journal.append(event)
    journal.close()


EVENTS: list[Event] = [
    StepStarted(1, "t"),
    StepEnded(node(1, 'quote " newline \n escape \x1b[31m snowman \u2603'), "t"),
    StepStarted(2, "t"),
    StepEnded(node(2), "t"),
    SeedEnded("steps", 2, "t"),
]


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    write(tmp_path / "j", EVENTS)
    assert open_journal(tmp_path / "j").events == EVENTS


@given(cut=st.integers(0, 2000))
@settings(max_examples=150, deadline=None)
def test_a_crash_at_any_byte_loses_at_most_the_torn_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    write(path, EVENTS)
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    whole = data[:cut].count(b"\n")
    journal = JournalFile(path)
    assert journal.events == EVENTS[:whole]
    for event in EVENTS[whole:]:
        journal.append(event)
    journal.close()
    assert path.read_bytes() == data, "going on after a crash gives the journal of an undisturbed run"


def test_an_edited_line_is_recognised(tmp_path: Path) -> None:
    write(tmp_path / "j", EVENTS)
    data = (tmp_path / "j").read_text()
    (tmp_path / "j").write_text(data.replace('"fitness":0.5', '"fitness":0.9', 1))
    with pytest.raises(RunStateError, match="line 2 was changed"):
        JournalFile(tmp_path / "j")


def test_a_removed_line_is_recognised(tmp_path: Path) -> None:
    write(tmp_path / "j", EVENTS)
    lines = (tmp_path / "j").read_text().splitlines(keepends=True)
    (tmp_path / "j").write_text("".join(lines[:1] + lines[2:]))
    with pytest.raises(RunStateError, match="chain"):
        open_journal(tmp_path / "j")


def test_non_finite_numbers_never_reach_the_journal(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "j")
    broken = Node(1, "draft", (), "valid", "", float("nan"), None, "a" * 64, None)
    with pytest.raises(ValueError, match="JSON compliant"):
        journal.append(StepEnded(broken, "t"))
    journal.close()
    assert (tmp_path / "j").read_bytes() == b""


@given(text=st.text(st.characters(), max_size=40))
@settings(max_examples=150, deadline=None)
def test_whatever_a_model_says_can_be_read_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    write(path, [StepStarted(1, "t"), StepEnded(node(1, text), "t")])
    ended = open_journal(path).events[1]
    assert isinstance(ended, StepEnded)
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    spelt = "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in whole)
    assert ended.node.plan == spelt, "halves of surrogate pairs are no characters and are spelt out"

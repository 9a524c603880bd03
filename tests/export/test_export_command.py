"""`aira-bench export`: what leaves a run, and in which form. CSV, Parquet and ATIF here; others in `test_other_readers`."""

import csv
import io
import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exported import ANSWER, HIDDEN, PROMPT, Machine, exchange, machine  # noqa: F401
from pyarrow import parquet, types  # type: ignore[import-untyped]

from aira_bench.boards.board import tables_of
from aira_bench.boards.formats import record_kinds, records
from aira_bench.export.columns import COLUMNS
from aira_bench.export.texts import MOST_CHARS, bounded
from aira_bench.files import write_json
from aira_bench.keys import KeyRing
from aira_bench.llm.model import Completion, CompletionRequest, Message
from aira_bench.llm.recording import Exchange
from aira_bench.parquet import table_bytes
from aira_bench.record.folder import SeedFolder
from aira_bench.record.node import ModelUse
from aira_bench.record.run_record import read_run
from generated_runs import manifest, write_run
from hostile_text import WHOLE

HOST_FORMATS = {"csv": "steps.csv", "parquet": "steps.parquet", "atif": "trajectories"}


def contents(paths: list[Path]) -> bytes:
    """All that files hold, Parquet as text."""
    return b"".join(
        json.dumps(parquet.read_table(path).to_pylist()).encode() if path.suffix == ".parquet" else path.read_bytes()
        for path in paths
    )


def holds(data: bytes, number: float) -> bool:
    """Whether a number stands in bytes: as text, to five decimals or more, or as a double or a float."""
    whole = re.escape(f"{number:.5f}"[:-1])
    return any(
        (re.search(whole.encode() + rb"\d", data) is not None, struct.pack("<d", number) in data,
         struct.pack("<f", number) in data)
    )  # fmt: skip


@pytest.mark.parametrize("form", list(HOST_FORMATS))
def test_hidden_scores_leave_only_when_they_are_asked_for(machine: Machine, form: str) -> None:  # noqa: F811
    machine.run()
    out = HOST_FORMATS[form]
    told = contents(machine.export(form, out))
    assert [number for number in HIDDEN if holds(told, number)] == []
    assert b"0.7123" in told, "the search was told it"
    asked = contents(machine.export(form, out, "--with-hidden"))
    assert [number for number in HIDDEN[3:6] if not holds(asked, number)] == []


def test_a_row_a_step_says_what_the_journal_says(machine: Machine) -> None:  # noqa: F811
    machine.run()
    (path,) = machine.export("csv", "steps.csv", "--with-hidden")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [(row["seed"], row["step"]) for row in rows] == [(s, n) for s in "01" for n in "123"]
    two = rows[1]
    assert (two["class"], two["search_score"], two["best_search_score"]) == ("valid", "0.7123", "0.7123")
    assert (two["submitted"], two["test"], two["validation"]) == ("true", "0.612345673", "0.712345678")
    assert float(two["confirmed_mean"]) == pytest.approx((0.587654321 + 0.567654329 + 0.577654323) / 3)
    assert float(two["confirmed_sd"]) == pytest.approx(0.01, rel=1e-3)  # of three trainings 0.01 apart
    assert (two["model_calls"], two["input_tokens"], two["cost_usd"], two["models"]) == ("2", "2000", "0.5", "m-1")
    assert rows[2]["best_search_score"] == "0.7123", "the best so far stays through a step that failed"
    assert (rows[2]["class"], rows[2]["search_score"], rows[2]["test"]) == ("buggy", "", "")
    assert rows[4]["best_search_score"] == "0.6123"


def test_a_column_has_one_type_whether_or_not_it_has_values(machine: Machine) -> None:  # noqa: F811
    """Without any number in it a column of numbers was one of text, so that files of two runs did not fit."""
    machine.run("full")
    machine.run("empty", scores={0: [None] * 3, 1: [None] * 3}, of_nodes={}, confirmed=False)
    full, empty = (
        machine.export("parquet", f"{run}.parquet", "--with-hidden", run=run)[0] for run in ("full", "empty")
    )
    assert parquet.read_schema(full) == parquet.read_schema(empty)
    schema = parquet.read_schema(empty)
    assert types.is_float64(schema.field("test").type)
    assert types.is_int64(schema.field("cores").type)
    assert types.is_string(schema.field("canonical").type)
    assert types.is_boolean(schema.field("cached").type)


def test_a_board_has_one_type_a_column(machine: Machine) -> None:  # noqa: F811
    """The same of boards: a board without any score, and one with all."""
    scored = [machine.run("full")]
    none = [machine.run("none", scores={0: [None] * 3, 1: [None] * 3}, confirmed=False)]
    ring = KeyRing(machine.key.public)
    found = [records(tables_of([read_run(folder, ring) for folder in folders], ring)) for folders in (scored, none)]
    tables = [parquet.read_table(io.BytesIO(table_bytes(record_kinds(), each))) for each in found]
    assert tables[0].schema == tables[1].schema
    assert list(record_kinds()) == list(found[0][0]), "kinds stand in the order of records"
    of_python = {"text": str, "int": int, "float": int | float, "bool": bool}
    for name, kind in record_kinds().items():
        for row in (*found[0], *found[1]):
            value = row[name]
            assert value is None or (isinstance(value, of_python[kind]) and isinstance(value, bool) == (kind == "bool"))
    assert tables[0].to_pylist()[0]["confirmed_mean"] == found[0][0]["confirmed_mean"]


@pytest.mark.parametrize("form", list(HOST_FORMATS))
def test_the_same_run_makes_the_same_bytes(machine: Machine, form: str) -> None:  # noqa: F811
    machine.run()
    first = [path.read_bytes() for path in machine.export(form, HOST_FORMATS[form])]
    assert [path.read_bytes() for path in machine.export(form, HOST_FORMATS[form])] == first


def test_several_runs_are_one_table(machine: Machine) -> None:  # noqa: F811
    machine.run("one")
    machine.run("two")
    machine.said("export", "one", "two", "--format", "parquet", "--out", "both.parquet")
    names = parquet.read_table("both.parquet").column("run").to_pylist()
    assert names == ["one"] * 6 + ["two"] * 6


def test_a_trajectory_tells_question_answer_and_run(machine: Machine) -> None:  # noqa: F811
    machine.run()
    paths = machine.export("atif", "out")
    assert [path.relative_to(machine.path).as_posix() for path in paths] == [
        "out/one/seed-0.json", "out/one/seed-1.json",
    ]  # fmt: skip
    told = json.loads(paths[0].read_text())
    check_atif(told)
    assert (told["schema_version"], told["agent"]["name"]) == ("ATIF-v1.7", "evolution")
    assert [step["source"] for step in told["steps"][:6]] == ["system", "user", "agent", "user", "agent", "agent"]
    assert told["steps"][1]["message"] == PROMPT
    assert told["steps"][2]["message"] == ANSWER
    assert told["steps"][2]["metrics"] == {
        "prompt_tokens": 1000, "completion_tokens": 50, "cached_tokens": 200, "cost_usd": 0.25,
        "extra": {"reasoning_tokens": 10, "latency_s": 1.5, "attempts": 2},
    }  # fmt: skip
    ran = told["steps"][5]
    assert ran["tool_calls"][0]["arguments"] == {"code": "print('hello')\n"}
    assert [each["content"] for each in ran["observation"]["results"]] == ["hello\n", "valid"]
    assert (ran["llm_call_count"], ran["extra"]["scores"]) == (0, {"search_score": 0.5123})
    assert told["final_metrics"] == {
        "total_steps": 18, "total_prompt_tokens": 6000, "total_completion_tokens": 300, "total_cost_usd": 1.5,
        "extra": {"search_steps": 3},
    }  # fmt: skip


def check_atif(told: dict[str, Any]) -> None:
    """The rules of the format, as its specification has them (version 1.7)."""
    assert told["steps"], "at least one step"
    for number, step in enumerate(told["steps"], start=1):
        assert step["step_id"] == number
        assert step["source"] in ("system", "user", "agent")
        assert isinstance(step["message"], str)
        of_agents = {"model_name", "reasoning_content", "tool_calls", "metrics", "reasoning_effort"}
        assert step["source"] == "agent" or not of_agents & set(step)
        if step.get("llm_call_count") == 0:
            assert not {"metrics", "reasoning_content"} & set(step)
        calls = {call["tool_call_id"] for call in step.get("tool_calls", ())}
        for result in step.get("observation", {}).get("results", ()):
            assert result["source_call_id"] in calls
        assert set(step) <= of_agents | {
            "step_id", "timestamp", "source", "message", "observation", "is_copied_context", "llm_call_count", "extra",
        }  # fmt: skip
    assert {"name", "version"} <= set(told["agent"])


def test_a_call_has_its_time_and_its_reasoning_where_they_were_recorded(machine: Machine) -> None:  # noqa: F811
    """Asked at 03:04:05 and answered 1.5 s later; the calls of `exchange` are of a version that kept neither."""

    def leave(place: SeedFolder, step: int) -> None:
        known = exchange()
        thought = replace(known.completion, asked_at="2026-01-02T03:04:05+00:00", reasoning="Attention recalls.")
        write_json(place.calls(step) / "propose" / "call_000.json", Exchange(known.request, thought).to_json())
        write_json(place.calls(step) / "analyze" / "call_000.json", known.to_json())

    machine.run(leave=leave)
    told = json.loads(machine.export("atif", "out")[0].read_text())
    check_atif(told)
    question, answer, _, old = told["steps"][1:5]
    assert question["timestamp"] == "2026-01-02T03:04:05+00:00"
    assert (answer["timestamp"], answer["reasoning_content"]) == (
        "2026-01-02T03:04:06.500000+00:00", "Attention recalls.",
    )  # fmt: skip
    assert not {"timestamp", "reasoning_content"} & set(old)


def test_an_agent_without_a_model_has_a_trajectory(machine: Machine) -> None:  # noqa: F811
    machine.run(leave=None, of_nodes={"model_use": ModelUse()})
    told = json.loads(machine.export("atif", "out")[0].read_text())
    check_atif(told)
    assert [step["llm_call_count"] for step in told["steps"]] == [0, 0, 0]
    assert "model_name" not in told["agent"]


def hostile_leaves(place: SeedFolder, step: int) -> None:
    """Text of an agent that is out to break whoever reads it."""
    answer = Completion(WHOLE + "\x00" + "x" * (10 * 2**20), "stop", WHOLE)
    request = CompletionRequest(WHOLE.encode("utf-8", "backslashreplace").decode(), (Message("user", "\x1b[2J"),))
    write_json(place.calls(step) / "propose" / "call_000.json", Exchange(request, answer).to_json())
    place.node(step).mkdir(parents=True, exist_ok=True)
    (place.node(step) / "solution.py").write_bytes(b"\xff\xfe\x00 = '\xed\xa0\x80'\n" + b"#" * (10 * 2**20))
    (place.node(step) / "stdout.txt").write_bytes(b"\x9b31m\xf0\x28\x8c\x28" * 100_000)


@pytest.mark.parametrize("form", list(HOST_FORMATS))
def test_hostile_text_breaks_no_export(machine: Machine, form: str) -> None:  # noqa: F811
    said = WHOLE.encode("utf-8", "ignore").decode()
    machine.run(leave=hostile_leaves, of_nodes={"plan": said, "reason": said, "summary": said})
    paths = machine.export(form, HOST_FORMATS[form])
    assert sum(path.stat().st_size for path in paths) < 80 * 2**20
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(paths[0].read_text())))
        assert len(rows) == 6
        assert not [cell for row in rows for cell in row.values() if cell.lstrip().startswith(("=", "+", "@", "-"))]
    elif form == "atif":
        for path in paths:
            check_atif(json.loads(path.read_text("ascii")))
    else:
        assert parquet.read_table(paths[0]).column("plan")[0].as_py() == said, (
            "a table for programs keeps what was said"
        )


def test_a_long_text_keeps_both_ends() -> None:
    text = bounded("a" * MOST_CHARS + "b" * MOST_CHARS)
    assert text.startswith("aaa")
    assert text.endswith("bbb")
    assert f"[... {MOST_CHARS} characters left out ...]" in text
    assert bounded("\ud800x") == "\\ud800x"


def test_a_file_that_was_replaced_is_refused(machine: Machine) -> None:  # noqa: F811
    folder = machine.run()
    write_json(folder.seed(0).calls(2) / "propose" / "call_000.json", exchange("another answer").to_json())
    _, err = machine.said("export", "one", "--format", "atif", "--out", "out", status=6)
    assert "calls/0002/propose/call_000.json: it was replaced" in err
    machine.said("export", "one", "--format", "csv", "--out", "steps.csv")  # which reads no such file


def test_a_damaged_run_is_refused(machine: Machine) -> None:  # noqa: F811
    folder = machine.run()
    journal = folder.seed(1).journal
    journal.write_bytes(journal.read_bytes().replace(b"Try more", b"Try less", 1))
    _, err = machine.said("export", "one", "--format", "csv", "--out", "steps.csv", status=6)
    assert "seed 1" in err
    assert "--from-last-good" in err
    assert not Path("steps.csv").exists()


@pytest.mark.parametrize("form", list(HOST_FORMATS))
def test_a_run_that_goes_on_and_one_of_old_are_exported(machine: Machine, form: str) -> None:  # noqa: F811
    machine.run("going", end=False, confirmed=False)
    assert machine.export(form, HOST_FORMATS[form], run="going")
    write_run(machine.runs, manifest("old", seeds=(0,), steps=2))  # of schema 1, unsigned
    assert machine.export(form, HOST_FORMATS[form], run="old")


def test_what_cannot_be_is_one_line(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    machine.run()
    Path("folder").mkdir()
    Path("file").write_text("")
    _, err = machine.said("export", "one", "--format", "csv", "--out", "folder", status=2)
    assert "is a folder, and format csv writes one file" in err
    _, err = machine.said("export", "one", "--format", "atif", "--out", "file", status=2)
    assert "is a file, and format atif writes a folder" in err
    _, err = machine.said("export", "none", "--format", "csv", "--out", "x.csv", status=2)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    _, err = machine.said("export", "one", "--format", "inspect", "--out", "logs", status=3)
    assert err == (
        "aira-bench: error: Format inspect needs inspect_ai, which is not installed. "
        "Try: pip install 'aira-bench[inspect]'\n"
    )


def test_names_of_columns_are_one_each() -> None:
    names = [column.name for column in COLUMNS]
    assert len(names) == len(set(names))

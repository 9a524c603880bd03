"""Rows are experiments: what tells them apart is shown in the fewest words, and what is left out is printed."""

import html
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import aira_bench
from aira_bench.boards.board import build_tables
from aira_bench.boards.formats import print_tables, records, to_csv, to_json, to_markdown
from aira_bench.boards.rows import row_of
from aira_bench.boards.telling import tell_apart
from aira_bench.cli.main import run_command_line
from aira_bench.extensions import ExtensionRecord
from aira_bench.keys import KeyFolder
from aira_bench.record.folder import RunFolder
from aira_bench.record.identity import Identity
from boards.made_boards import ENTRY
from generated_runs import manifest, write_run

DECLARED = {"evaluator": "module", "version": 3, "flavour": "cpu", "libraries": 1, "search": 1, "shipped": True}


def searched(runs: Path, name: str, seeds: tuple[int, ...] = (0,), plan: dict[str, Any] | None = None,
             **changes: Any) -> RunFolder:  # noqa: ANN401  # fmt: skip
    record = manifest(name, seeds=seeds, steps=2, **changes)
    record = record.model_copy(update={"plan": record.plan.model_copy(update=plan or {})})
    return write_run(runs, record, invalid_share=0.0)


@pytest.mark.parametrize(
    ("plan", "changes", "said"),
    [
        ({"memory": "none"}, {}, ("memory paper", "memory none")),
        ({"step_timeout_s": 90.0}, {}, ("step timeout 60 s", "step timeout 90 s")),
        ({"max_tokens": 500}, {}, ("max tokens -", "max tokens 500 among 1 seeds")),
        ({"hours": 2.0}, {}, ("hours 1", "hours 2")),
        ({"score_cache": False}, {}, ("score cache on", "score cache off")),
        ({}, {"prompts": {"draft": "1" * 64}}, ("prompt draft -", f"prompt draft {'1' * 12}")),
        ({}, {"agent_file_sha256": "2" * 64}, ("agent file -", f"agent file {'2' * 12}")),
        ({}, {"card": {"model": "gpt", "sampling": {"temperature": 0.5}}}, None),
        ({}, {"limits": {"memory_mib": 512.0}}, ("memory mib -", "memory mib 512")),
    ],
)
def test_runs_that_differ_in_one_thing_are_two_rows_that_show_it(
    tmp_path: Path, plan: dict[str, Any], changes: dict[str, Any], said: tuple[str, str] | None
) -> None:
    """Before, the later of the two took the earlier one's place, or mixed with it, by date."""
    runs = [searched(tmp_path, "here"), searched(tmp_path, "there", plan=plan, **changes)]
    (table,) = build_tables(runs)
    assert len(table.rows) == 2
    shown = sorted(row.differs_in for row in table.rows)
    assert shown == sorted(said) if said else shown == ["model - (and 1 more)", "model gpt (and 1 more)"]
    assert "| differs in |" in to_markdown([table])
    assert len({record["identity"] for record in records([table])}) == 2


def test_the_same_experiment_is_one_row_whatever_is_free(tmp_path: Path) -> None:
    runs = [
        searched(tmp_path, "here"),
        searched(tmp_path, "there", (1, 2), {"gpus": 2}, host="other", created="2027-01-01T00:00:00+00:00",
                 packages={"pydantic": "9"}, source_revision="f" * 40, python="3.13"),
    ]  # fmt: skip
    ((row,),) = (table.rows for table in build_tables(runs))
    assert (row.seeds, row.differs_in) == ((0, 1, 2), "")


def test_the_fewest_facts_that_tell_rows_apart_are_shown_and_the_others_counted() -> None:
    def row(**facts: str) -> Any:  # noqa: ANN401
        return row_of(replace(ENTRY, identity=Identity(tuple(facts.items()))), {}, {})

    rows = [row(memory="paper", hours="1", card="a"), row(memory="paper", hours="2", card="b"),
            row(memory="none", hours="1", card="c")]  # fmt: skip
    assert [each.differs_in for each in tell_apart(rows)] == [f"card {card} (and 2 more)" for card in "abc"]
    square = [row(memory=memory, hours=hours) for memory in ("paper", "none") for hours in "12"]
    assert next(each.differs_in for each in tell_apart(square)) == "memory paper, hours 1"
    assert [each.differs_in for each in tell_apart(rows[:1])] == [""]
    other = replace(rows[1], entry=replace(rows[1].entry, agent="other"))
    assert [each.differs_in for each in tell_apart([rows[0], other])] == ["", ""], "their names tell them apart"
    long = [row(card="x" * 500 + end) for end in "ab"]
    cells = [each.differs_in for each in tell_apart(long)]
    assert len(set(cells)) == 2
    assert max(map(len, cells)) < 60


def test_what_is_left_out_is_in_no_figure_and_on_every_form_of_the_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [searched(tmp_path, "good"), searched(tmp_path, "bad", (1,)), searched(tmp_path, "alone", agent="random")]
    ids = {run.path.name: json.loads((run.path / "manifest.json").read_text())["run_id"] for run in runs}
    why = {ids["bad"]: "a wrong | card", ids["alone"]: "power cut"}
    (table,) = build_tables(runs, left_out=why)
    by_agent = {row.entry.agent: row for row in table.rows}
    assert by_agent["evolution"].seeds == (0,)
    assert (by_agent["random"].seeds, by_agent["random"].test) == ((), None)
    records = {row["agent"]: row for row in json.loads(to_json([table]))}
    assert {row["left_out"] for row in records.values()} == {"bad: a wrong | card", "alone: power cut"}
    assert records["random"]["standing"] == "left out"
    assert "bad: a wrong | card" in to_csv([table])
    assert "Left out: bad (evolution, greedy): a wrong | card" in html.unescape(to_markdown([table])).replace("\\", "")
    print_tables([table])
    assert "Left out: alone (random, greedy): power cut" in capsys.readouterr().out


def test_the_command_leaves_out_what_it_is_told_with_a_reason_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    key = KeyFolder(tmp_path / "home" / "keys").machine_key()
    for name, seed in (("good", 0), ("bad", 1)):
        write_run(tmp_path / "runs", manifest(name, seeds=(seed,), steps=2), key=key)
    board = ["leaderboard", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert run_command_line([*board, "--exclude", "bad", "--why", "it ran on battery", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["seeds"], row["left_out"]) == (1, "bad: it ran on battery")
    assert "it ran on battery" in (tmp_path / "out" / "leaderboard.md").read_text()
    for wrong in (["--exclude", "bad"], ["--exclude", "bad", "--why", " "], ["--why", "for fun"],
                  ["--exclude", "bad", "--exclude", "bad", "--why", "a", "--why", "b"]):  # fmt: skip
        assert run_command_line([*board, *wrong]) == 2
        assert "--why TEXT" in capsys.readouterr().err
    assert run_command_line([*board, "--exclude", "nobody", "--why", "x"]) == 2
    assert run_command_line([*board, "good", "--exclude", "bad", "--why", "x", "--json"]) == 0
    assert "bad: x" in capsys.readouterr().out, "named although it was not asked for"


def test_a_run_is_left_out_however_its_place_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a link to the folder of runs the excluded run stayed on the board, and another line called it a copy."""
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    key = KeyFolder(tmp_path / "home" / "keys").machine_key()
    for name, seed in (("good", 0), ("bad", 1)):
        write_run(tmp_path / "disk", manifest(name, seeds=(seed,), steps=2), key=key)
    (tmp_path / "linked").symlink_to("disk")
    (tmp_path / "disk" / "alias").symlink_to("bad")
    for runs in ("disk", "linked"):
        for bad in ("bad", "alias", "disk/bad", "linked/bad", f"{tmp_path}/linked/alias"):
            wish = ["--runs", runs, "--exclude", bad, "--why", "it ran on battery", "--json"]
            for wanted in ([], ["good", "linked/good"], ["bad", "good", "linked/bad"]):
                assert run_command_line(["leaderboard", *wanted, *wish]) == 0, (runs, bad, wanted)
                printed = capsys.readouterr()
                (row,) = json.loads(printed.out)
                assert row["seeds"] == 1
                assert row["left_out"].endswith(": it ran on battery")
                assert "copy" not in printed.err
        twice = ["--exclude", "bad", "--why", "a", "--exclude", "linked/alias", "--why", "b"]
        assert run_command_line(["leaderboard", "--runs", runs, *twice]) == 2
        assert "two are one run" in capsys.readouterr().err
        found = aira_bench.leaderboard(runs=Path(runs), exclude={"linked/bad": "it ran on battery"})
        assert [row.seeds for table in found.tables for row in table.rows] == [(0,)]
        assert found.left_out == ()


def pair(runs: Path, *, seeds: tuple[int, ...], other_seeds: tuple[int, ...], **other: Any) -> list[RunFolder]:  # noqa: ANN401
    fixed = {"task_title": "lra-listops", "task_name": "Fixed", "pair": {"task": "lra-listops-conf"},
             "description_sha256": "1" * 64, "trainings": 0}  # fmt: skip
    conf = {"task_title": "lra-listops-conf", "task_name": "Configurable", "description_sha256": "2" * 64,
            "trainings": 0,
            "pair": {"task": "lra-listops", "difference": "configurable - fixed"}}  # fmt: skip
    return [
        searched(runs, "fixed", seeds, compatibility=DECLARED, **fixed),
        searched(runs, "conf", other_seeds, **{"compatibility": DECLARED, **conf, **other}),
    ]


def test_tasks_of_a_pair_stand_beside_each_other_by_their_common_seeds(tmp_path: Path) -> None:
    runs = pair(tmp_path, seeds=(0, 1, 2), other_seeds=(1, 2, 3))
    tables = {table.section.task: table for table in build_tables(runs)}
    (row,), (of_fixed,) = tables["lra-listops-conf"].rows, tables["lra-listops"].rows
    tests = [{each.seed: each.test or 0.0 for each in found.results} for found in (row, of_fixed)]
    assert row.paired is not None
    assert row.paired.scores.mean == pytest.approx(statistics.fmean(tests[0][s] - tests[1][s] for s in (1, 2)))
    assert row.paired.scores.count == 2
    assert of_fixed.paired is None, "the difference is said once"
    flat = {record["task"]: record for record in records(list(tables.values()))}
    assert flat["lra-listops-conf"]["paired_seeds"] == 2
    assert flat["lra-listops-conf"]["configurable_less_fixed_mean"] == row.paired.scores.mean
    assert flat["lra-listops-conf"]["with_less_without_literature_mean"] is None
    assert flat["lra-listops"]["shares_hidden_data_with"] == "lra-listops-conf"
    shown = to_markdown([tables["lra-listops-conf"]])
    assert "hidden data shared with lra-listops" in shown
    assert "| configurable - fixed |" in shown.replace("\\", "")
    assert "(n 2)" in shown


@pytest.mark.parametrize(
    "other",
    [
        {"hardware_class": "another"},
        {"data": {"hidden": {"sha256": "b" * 64}, "hidden_key": "c" * 64}},
        {"compatibility": {**DECLARED, "version": 4}},
        {"agent": "random"},
        {"limits": {"memory_mib": 9.0}},
    ],
)
def test_what_is_not_the_same_experiment_on_the_same_data_is_no_pair(tmp_path: Path, other: dict[str, Any]) -> None:
    tables = build_tables(pair(tmp_path, seeds=(0, 1), other_seeds=(0, 1), **other))
    assert [row.paired for table in tables for row in table.rows] == [None, None]


def test_a_pair_without_a_common_seed_has_no_difference(tmp_path: Path) -> None:
    tables = build_tables(pair(tmp_path, seeds=(0, 1), other_seeds=(2,)))
    assert [row.paired for table in tables for row in table.rows] == [None, None]


def extension(sha256: str, folder: str = "") -> ExtensionRecord:
    return ExtensionRecord(f"{folder}x.py:X", f"{folder}x.py:X", None, None, sha256)


@pytest.mark.parametrize("kind", ["agent", "scaffold", "provider", "evaluator"])
def test_where_a_file_of_code_lies_is_nobody_s_business(tmp_path: Path, kind: str) -> None:
    for name, folder in (("here", "/home/a/"), ("there", "/srv/b/")):
        plan = {kind: f"{folder}x.py:X"}
        searched(tmp_path, name, plan=plan, extensions={kind: extension("1" * 64, folder)})
    (table,) = build_tables([RunFolder(tmp_path / "here"), RunFolder(tmp_path / "there")])
    assert len(table.rows) == 1
    assert "/srv" not in to_json([table]) + to_markdown([table])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"plan": {"max_tokens": 1_234_567}}, {"plan": {"max_tokens": 1_234_568}}),
        ({"plan": {"seed_max_cost_usd": 1.0}}, {"plan": {"seed_max_cost_usd": 1.0000001}}),
        ({"plan": {"step_timeout_s": 1_000_000.0}}, {"plan": {"step_timeout_s": 1_000_000.5}}),
        ({"plan": {"hours": 24.0}}, {"plan": {"hours": 23.999999}}),
        ({"limits": {"memory_mib": 1_048_576.0}}, {"limits": {"memory_mib": 1_048_580.0}}),
        ({"prompts": {"draft": "1" * 64}}, {"prompts": {"draft": "1" * 12 + "2" * 52}}),
        ({"description_sha256": "1" * 64}, {"description_sha256": "1" * 12 + "2" * 52}),
        ({"agent_file_sha256": "1" * 64}, {"agent_file_sha256": "1" * 12 + "2" * 52}),
        ({"card": {"sampling": {"top": "1"}}}, {"card": {"sampling": {"top": 1}}}),
        ({"card": {"sampling": {"a b": 1}}}, {"card": {"sampling": {"a_b": 1}}}),
        *(
            ({"extensions": {kind: extension("1" * 64)}}, {"extensions": {kind: extension("1" * 12 + "2" * 52)}})
            for kind in ("agent", "scaffold", "provider", "evaluator")
        ),
    ],
)
def test_what_is_cut_off_of_a_number_or_a_hash_is_nobody_s_to_share(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Six digits of a number and 12 of a hash were compared; 2 ** 24 texts suffice to find two whose 12 are the same."""
    rows = [row for table in build_tables([searched(tmp_path, "here", **one), searched(tmp_path, "there", **other)])
            for row in table.rows]  # fmt: skip
    assert len(rows) == 2
    assert rows[0].entry.identity != rows[1].entry.identity or "evaluator" in one.get("extensions", {})
    assert all(row.differs_in for row in rows) or "evaluator" in one.get("extensions", {})

"""Code made to hang or crash whoever reads it: every reader gives up in time, and the next text is read all the same."""

import ast
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.agent_code import reading
from aira_bench.agent_code.code_extraction import extract_code
from aira_bench.agent_code.edits import parse_edits
from aira_bench.agent_code.features import extract_features
from aira_bench.agent_code.reading import NotRead, read_for_a_while, read_in_process, read_once
from aira_bench.agent_code.syntax import DEEPEST, LONGEST_CODE_BYTES, UnreadableCode, parse, parse_any
from aira_bench.agents.searchers.architectures import written_architecture
from aira_bench.agents.searchers.modules import read_genome
from aira_bench.agents.searchers.script_hyperparameters import read_hyperparameters
from aira_bench.agents.searchers.scripts import submitted_script
from aira_bench.cli.main import run_command_line
from generated_runs import manifest, write_run

SQUARING = "A = 3\n" + "A = A * A\n" * 200
HOSTILE_CODE = {
    "repeated squaring": SQUARING,
    "a product of 700": "A = " + "*".join(["9"] * 700),
    "powers of powers": "A = 9\n" + "A = A ** 60\n" * 60,
    "a sum of 50,000": "A = " + "+".join(["1"] * 50_000),
    "signs": "A = " + "-" * 100_000 + "1",
    "nots": "A = " + "not " * 40_000 + "1",
    "brackets": "A = " + "(" * 190 + ")" * 190,
    "2 MB of parentheses": "(" * 1_000_000 + ")" * 1_000_000,
    "attributes": "a" + ".b" * 100_000,
    "calls": "f" + "()" * 100_000,
    "subscripts": "a" + "[0]" * 60_000,
    "lambdas": "lambda: " * 30_000 + "1",
    "elifs": "if 1:\n  pass\n" + "elif 1:\n  pass\n" * 15_000,
    "classes": "".join(f"class C{number}:\n  A{number} = 1\n" for number in range(10_000)),
    "keywords": "f(" + ",".join(f"k{number}=1" for number in range(20_000)) + ")",
    "5,000 digits": "A = " + "9" * 5_000,
    "60,000 hexadecimal digits": "A = 0x" + "f" * 60_000,
    "infinity": "A = 1e999\nB = A - A",
    "halves of pairs": "A = '\ud800'\n\udfff = 1",
    "null bytes": "A = 1\0",
    "one long name": "memory_emb_" * 20_000 + " = 1",
    "one long text": "WINDOW_PATTERN = '" + "S" * 200_000 + "'",
    "quotes in no program": "def\n" + "'\\" * 100_000,
    "three quotes in no program": "def\n" + "'''x" * 50_001,
    "blanks in no program": "def\nA" + " " * 200_000 + "=" + " " * 40_000,
    "format strings": "f'" + "{1}" * 60_000 + "'",
}  # fmt: skip
LIMIT_S = 10.0


@pytest.mark.parametrize("name", HOSTILE_CODE)
def test_every_reader_of_code_gives_up_in_time(name: str) -> None:
    code, started_s = HOSTILE_CODE[name], time.process_time()
    extract_features(code)
    read_hyperparameters(code)
    assert (read_genome(code), submitted_script(code), written_architecture(code)) == (None, None, None)
    extract_code(f"Here.\n```python\n{code}\n```\n")
    assert time.process_time() - started_s < LIMIT_S


@pytest.mark.parametrize(
    "genome",
    ["{}", "[1]", "{'mixers': []}", "{1: [2]}", "9" * 5000, "(" * 90 + ")" * 90, "1 + 1", "f(1)",
     "{'mixers': ['x'], 'feedforward': 'gelu', 'positions': 'none', 'pooling': 'max', 'factors': {}}"],
)  # fmt: skip
def test_a_genome_that_is_none_is_none(genome: str) -> None:
    assert read_genome(f"GENOME = {genome}\n") is None


def test_a_tree_that_is_given_out_can_be_walked_recursively() -> None:
    tree = parse("A = " + "+".join(["1"] * (DEEPEST - 5)))
    ast.unparse(tree)
    with pytest.raises(UnreadableCode):
        parse("A = " + "+".join(["1"] * (DEEPEST + 5)))
    parse_any("A = " + "+".join(["1"] * (DEEPEST + 5)))
    with pytest.raises(UnreadableCode):
        parse_any("#" * (LONGEST_CODE_BYTES + 1))


def test_what_a_script_says_in_warnings_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    parse("A = '\\d'\nB = 1 is 1\n")
    assert capfd.readouterr() == ("", "")


def test_a_text_that_takes_too_long_costs_its_deadline_and_no_other_text(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = "~~~ " + "` " * 200_000 + "```\n"  # slow in any order: what matters is that the process is killed
    good = "```python\nprint(1)\n```"
    monkeypatch.setattr(reading, "_PROCESS", "slow_reader")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    found = read_in_process("extract", [good, slow, good], deadline_s=3.0)
    assert [isinstance(answer, NotRead) for answer in found] == [False, True, False]


def test_each_text_of_a_process_has_all_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PROCESS", "slow_reader")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    assert read_in_process("extract", ["half a second"] * 6, deadline_s=1.0) == [{}] * 6


def test_reading_for_a_while_returns_what_was_read_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PROCESS", "slow_reader")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    began_s = time.monotonic()
    assert read_for_a_while("extract", ["quick", "~~~", "quick"], patience_s=2.0, deadline_s=60.0) == [{}]
    assert time.monotonic() - began_s < 20
    assert read_for_a_while("extract", ["quick"], patience_s=0.0) == []


def test_a_reader_has_no_key_and_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    monkeypatch.setattr(reading, "_PROCESS", "slow_reader")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    (told, eaten) = read_in_process("extract", ["environment", "memory"])
    assert not isinstance(told, NotRead)
    assert "sk-secret" not in json.dumps(dict(told))
    assert "ANTHROPIC_API_KEY" not in told["names"]
    assert isinstance(eaten, NotRead)


def test_answers_are_the_same_from_the_process() -> None:
    answer = "Plan.\n```python\nprint('ä')\n```\n"
    (found,) = read_in_process("extract", [answer])
    assert not isinstance(found, NotRead)
    assert found["code"] == extract_code(answer).code == "print('ä')\n"


def test_many_texts_keep_their_order() -> None:
    texts = [f"DEPTH = {number}\n" for number in range(45)]
    found = read_in_process("features", texts)
    assert [answer["values"]["depth"] for answer in found if not isinstance(answer, NotRead)] == list(range(45))


@given(st.text(max_size=300))
def test_any_text_is_extracted_from_or_refused(answer: str) -> None:
    found = extract_code(answer)
    assert bool(found.code) != bool(found.problem)
    parse_edits(answer)


def test_marks_of_edits_and_fences_are_looked_for_once(tmp_path: Path) -> None:
    started_s = time.process_time()
    parse_edits(" \t" * 300_000 + "change")
    parse_edits("### change:" + " " * 300_000 + "x")
    extract_code("```" + " " * 300_000 + "`")
    extract_code("`" * 300_000)
    assert time.process_time() - started_s < 3


def test_analyze_says_how_many_scripts_it_could_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = [code.encode("utf-8", "surrogatepass") for code in ["DEPTH = 1\n", *HOSTILE_CODE.values()]]
    write_run(tmp_path, manifest("run", seeds=(0,), steps=30), invalid_share=0.0, codes=codes)
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path))
    assert run_command_line(["analyze", "run"]) == 0
    shown = capsys.readouterr()
    assert "improvement steps:" in shown.out
    assert os.getpid()  # this process is still here
    assert run_command_line(["analyze", "run", "--json"]) == 0
    json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))


def test_pages_have_a_text_read_once_even_one_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = json.dumps(["\n".join(map(str, range(9000))), "\n".join(str(each // 3) for each in range(9000))])
    first = read_once("diff", slow, deadline_s=1.0), read_once("describe", "A = 1")
    assert first[0] == NotRead("reading it takes longer than 1 s", by_itself=True)
    monkeypatch.setattr(reading, "_PROCESS", "aira_bench.no_such_module")
    assert (read_once("diff", slow, deadline_s=1.0), read_once("describe", "A = 1")) == first
    failed = read_once("describe", "B = 1")
    assert isinstance(failed, NotRead)
    assert not failed.by_itself
    monkeypatch.undo()
    assert not isinstance(read_once("describe", "B = 1"), NotRead), "what was not the text's fault is tried again"

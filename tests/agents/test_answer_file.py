"""A user's file as an agent: which kind it is, and that its exceptions say where they are and halt, never judge."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from aira_bench.agents.agent import Brief, Situation, StepReport
from aira_bench.agents.answer_file import defines_answer
from aira_bench.agents.catalog import find_agent, told_of
from aira_bench.agents.fixed_code import SolutionFileAgent
from aira_bench.agents.llm.llm_agent import LlmAgent
from aira_bench.errors import AiraError, BudgetExceeded, PrerequisiteError, UsageError
from aira_bench.record.folder import StepFiles
from aira_bench.scaffolds.policy import Draft
from aira_bench.tasks.artifact_spec import ArtifactSpec

BRIEF = Brief("t", "Find it.", ArtifactSpec(name="model.py", kind="module"), "A", False, "cpu", "hidden", 60.0, 1024)
GIVES = "'```python\\nprint(1)\\n```'"


def file(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "mine.py"
    path.write_text(text, encoding=encoding)
    return path


def situation(folder: Path) -> Situation:
    return Situation(Draft(), (), lambda step: StepFiles("", "", ""), random.Random(0), 3, 60.0, 0, 1, folder / "calls")


@pytest.mark.parametrize(
    "text",
    [
        f"def answer(request):\n    return {GIVES}\n",
        f"answer = lambda request: {GIVES}\n",
        f"class A:\n    def __call__(self, request):\n        return {GIVES}\ndef answer(request, more=1):\n    return A()(request)\n",
        f"import json\ndef answer(*requests):\n    return {GIVES}\n",
        f"from collections.abc import Callable\nanswer: Callable = lambda request: {GIVES}\n",
        f"if True:\n    def answer(request):\n        return {GIVES}\n",
        f"try:\n    def answer(request):\n        return {GIVES}\nfinally:\n    pass\n",
        f"import contextlib\nwith contextlib.suppress(ImportError):\n    answer = lambda request: {GIVES}\n",
        f"(answer := lambda request: {GIVES})\n",
        f"x = answer = lambda request: {GIVES}\n",
        f"for _ in range(2):\n    def answer(request):\n        return {GIVES}\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_that_defines_answer_is_asked_and_says_so(tmp_path: Path, text: str, encoding: str) -> None:
    found = find_agent(f"script:{file(tmp_path, text, encoding)}")
    assert isinstance(found, LlmAgent)
    assert found.propose(BRIEF, situation(tmp_path)).code == "print(1)\n"
    assert told_of(found) == "script:mine.py defines answer(request): it is asked in place of a model, in this process"


@pytest.mark.parametrize(
    "text",
    [
        "print(1)\n",
        "",
        "def f(x):\n    answer = 3\n    def answer(request): ...\n    return lambda answer: answer\n",
        "class A:\n    answer = 3\n    def answer(self, request): ...\n",
        "print([answer for answer in range(3)])\n",
        "answer: int\n",
        "A.answer = B['answer'] = 3\nprint(answer)\n",
        "import answer.part as part\nfrom answer import f\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_any_other_program_is_a_solution_and_says_so(tmp_path: Path, text: str, encoding: str) -> None:
    found = find_agent(f"script:{file(tmp_path, text, encoding)}")
    assert isinstance(found, SolutionFileAgent)
    assert found.code == text, "without a mark of byte order"
    assert told_of(found).startswith("script:mine.py is a solution")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def answer(request)\n    return 1\n", "mine.py is no Python: line 1: expected ':'"),
        ("A = 1\0\n", "mine.py is no Python: source code string cannot contain null bytes"),
        ("x = (\n", "line 1: '(' was never closed"),
        ("async def answer(request):\n    return 'x'\n", "mine.py, line 1: answer is async"),
        ("if 1:\n    async def answer(request):\n        return 'x'\n", "mine.py, line 2: answer is async"),
        ("if 0:\n    def answer(request): ...\n", "answer is no plain function"),
        (
            "import nothing_of_this_name\ndef answer(request): ...\n",
            "mine.py, line 1, does not run: ModuleNotFoundError",
        ),
        ("def answer(request): ...\n1/0\n", "mine.py, line 2, does not run: ZeroDivisionError: division by zero"),
        ("def answer(request): ...\nraise SystemExit(3)\n", "mine.py, line 2, does not run: SystemExit: 3"),
        ("def answer(): ...\n", "answer cannot be called with one request"),
        ("def answer(a, b): ...\n", "answer cannot be called with one request"),
        ("def answer(request): ...\nanswer = 3\n", "answer is no plain function"),
        ("def f(r): ...\ndef answer(r): ...\nasync def g(r): ...\nanswer = g\n", "answer is no plain function"),
    ],
)
def test_a_file_that_can_be_neither_is_one_line_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_agent(f"script:{file(tmp_path, text)}")
    assert words in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "answer = 42\n",
        "answer: int = 42\n",
        "class A: ...\nanswer = A()\n",
        "class answer:\n    def __call__(self, request): ...\n",
        "import functools\nanswer = functools.partial(print)\n",
        "from json import loads as answer\n",
        "import answer\n",
        "import answer.part\n",
        "try:\n    x = 1\nexcept ImportError:\n    answer = None\n",
        "try:\n    x = 1\nexcept ImportError as answer:\n    pass\n",
        "with open('/dev/null') as (x, answer): ...\n",
        "for answer in (): ...\n",
        "while (answer := 0): ...\n",
        "print([answer := 1 for x in (1,)])\n",
        "def f(x=(answer := 3)): ...\n",
        "match 1:\n    case answer: ...\n",
        "answer += 1\n",
    ],
)
def test_a_name_answer_that_is_no_function_on_sight_is_refused_and_never_run(tmp_path: Path, text: str) -> None:
    """It may be a solution, which runs in a container alone, or an answer file, which one word makes one."""
    ran = tmp_path / "ran"
    with pytest.raises(UsageError, match=r"mine\.py, line \d+: answer is bound, but to no function") as caught:
        find_agent(f"script:{file(tmp_path, f'open({str(ran)!r}, chr(119)){chr(10)}{text}')}")
    assert "\n" not in str(caught.value)
    assert "def answer(request)" in (caught.value.hint or "")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    raise ValueError('no\\nidea')", "mine.py, line 2, failed: ValueError: no idea"),
        ("    raise SystemExit", "mine.py, line 2, failed: SystemExit"),
        ("    return None", "mine.py gave None, not text or a Completion"),
        ("    return 42", "mine.py gave a int, not text or a Completion: 42"),
        ("    return b'x'", "gave a bytes"),
        ("    async def f(): ...\n    return f()", "gave a coroutine"),
        ("    from aira_bench.llm.model import Completion\n    return Completion(5, 'stop', 'm')", "that no record holds"),
        ("    from aira_bench.llm.model import Completion\n    return Completion('x', 'why', 'm')", "that no record holds"),
        ("    from aira_bench.llm.model import Completion\n    return Completion('x', 'stop', 'm', cost_usd=-1.0)",
         "that no record holds"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:coroutine")
def test_what_an_answer_raises_or_gives_halts_with_its_place_and_leaves_no_record(
    tmp_path: Path, body: str, words: str
) -> None:
    found = find_agent(f"script:{file(tmp_path, f'def answer(request):{chr(10)}{body}{chr(10)}')}")
    for asked in (
        lambda: found.propose(BRIEF, situation(tmp_path)),
        lambda: found.analyze(BRIEF, situation(tmp_path), StepReport("", "exit status 0", 1.0, "", "")),
    ):
        with pytest.raises(PrerequisiteError) as caught:
            asked()
        assert words in caught.value.message
        assert "\n" not in caught.value.message
    assert not list(tmp_path.rglob("call_*.json"))


def test_the_line_is_told_of_a_file_that_is_named_by_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(tmp_path, "def answer(request):\n    raise ValueError('no')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrerequisiteError, match=r"agent file mine\.py, line 2, failed: ValueError: no"):
        find_agent("script:mine.py").propose(BRIEF, situation(tmp_path))
    file(tmp_path, "def answer(request): ...\n1 / 0\n")
    with pytest.raises(UsageError, match=r"agent file mine\.py, line 2, does not run: ZeroDivisionError"):
        find_agent("script:mine.py")


def test_a_file_without_a_word_before_it_is_told_which_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Unknown agent '\./mine\.py'") as caught:
        find_agent("./mine.py")
    assert caught.value.hint == "aira-bench run --agent script:./mine.py"


def test_what_the_protocol_provides_for_passes(tmp_path: Path) -> None:
    text = "from aira_bench.errors import BudgetExceeded\ndef answer(request):\n    raise BudgetExceeded('mine')\n"
    with pytest.raises(BudgetExceeded, match="mine"):
        find_agent(f"script:{file(tmp_path, text)}").propose(BRIEF, situation(tmp_path))


def test_a_program_too_large_for_the_reader_is_a_solution(tmp_path: Path) -> None:
    assert not defines_answer(tmp_path / "x.py", "x = 1\n" * 100_000)


def test_the_command_line_says_which_kind_a_file_is(tmp_path: Path) -> None:
    """Before it asks for an engine, so that nothing else has to be there."""
    path = file(tmp_path, "def answer(request)\n    return 'x'\n")
    done = subprocess.run(
        [sys.executable, "-m", "aira_bench", "run", "--agent", f"script:{path}", "--task", "mad-2p", "--print-config"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (UsageError.exit_code, "")
    assert "Traceback" not in done.stderr
    assert "line 1: expected ':'" in done.stderr
    assert issubclass(PrerequisiteError, AiraError)

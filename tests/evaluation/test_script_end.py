"""What a judge's ending is worth: every way a task's `evaluate.py` can end, in a container or in one that stays."""

import builtins
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.deadline import Deadline, Owner
from aira_bench.errors import EvaluationFailed, SandboxError
from aira_bench.evaluation.judge import run_judge, timed_out, verdict_of
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, Scored, ScriptEnd, Unexplained, read_verdict
from aira_bench.images.ensure import ImageSet
from aira_bench.sandbox.sandbox import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    EndReason,
    RejectedArtifact,
    StepOutcome,
)
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import Task, find_task, load_task
from aira_bench.testing import Call, Done, InMemorySandbox, captured
from aira_contract.reports import RESULT_MARKER

OURS = find_task("mad-2p")
UPSTREAM = load_task(Path(__file__).resolve().parents[1] / "folders" / "ParityClassificationAccuracy")
REPORT: dict[str, Any] = {"schema": 1, "canonical": "M", "validation": 0.25, "test": 0.5, "evaluator_version": "7",
                          "seed_set": "search", "seconds": 3.5}  # fmt: skip


def printed(score: float, metric: str = "Accuracy") -> str:
    return f"training\n{RESULT_MARKER}\n{json.dumps({metric: score})}\n"


def end(status: int = 0, stdout: str = "", last_words: str = "", report: object = None) -> ScriptEnd:
    data = report if isinstance(report, bytes) or report is None else json.dumps(report).encode()
    return ScriptEnd(status, stdout, last_words, data, 9.0)


def test_a_good_end_is_a_score_with_all_that_the_report_says() -> None:
    more = {
        "claimed": 0.75,
        "flags": ["looks_ahead", "slow"],
        "unranked": ["slow"],
        "remarks": ["0.5 against 0.6"],
        "details": {"epochs": 3},
        "validation_standard_error": 0.01,
        "test_standard_error": 0.02,
    }
    verdict = read_verdict(OURS, end(stdout=printed(0.5), report=REPORT | more))
    assert verdict == Scored(
        0.5, 0.25, "M", "7", 3.5, {"epochs": 3}, False, 0.75, ("looks_ahead", "slow"), ("slow",), 0.01, 0.02,
        ("0.5 against 0.6",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (end(1, last_words="CUDA error"), "exit status 1: CUDA error"),
        (end(139), "exit status 139: no message"),
        (end(stdout="nothing", report=REPORT), "gave no score: no score block"),
        (end(stdout=printed(0.5, "Loss"), report=REPORT), "gave no score"),
        (end(stdout=printed(0.5)), "left no report \\(missing\\)"),
        (end(stdout=printed(0.5), report=b"{}"), "report is broken"),
        (end(stdout=printed(0.4), report=REPORT), "printed 0.4 and reported 0.5"),
        (end(stdout=printed(0.5), report=REPORT | {"validation": None}), "no hidden validation score"),
    ],
)
def test_what_our_own_evaluators_cannot_do_is_infrastructure_s_failure(wrong: ScriptEnd, why: str) -> None:
    with pytest.raises(SandboxError, match=why):
        read_verdict(OURS, wrong)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("evaluate: error: line 2 has 3 layers", "line 2 has 3 layers"),
        ("usage: error: a: error: b", "a: error: b"),
        ("plain words", "plain words"),
        ("", "the submission cannot be read"),
    ],
)
def test_status_2_refuses_in_the_evaluator_s_own_words(words: str, reason: str) -> None:
    assert read_verdict(OURS, end(2, last_words=words)) == Refused(reason, 9.0)


@pytest.mark.parametrize("task", [OURS, UPSTREAM], ids=["ours", "upstream"])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, 40])
def test_a_judge_that_was_killed_has_no_verdict_and_is_no_broken_evaluation(task: Task, by: int) -> None:
    with pytest.raises(SandboxError, match=f"ended by signal {int(by)}; there is no verdict") as caught:
        read_verdict(task, end(128 + by, printed(0.5), "refused", REPORT))
    assert not isinstance(caught.value, EvaluationFailed | Unexplained)


@pytest.mark.parametrize("by", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL])
def test_an_upstream_script_that_crashes_is_run_again_before_its_submission_is_refused(by: int) -> None:
    """What crashes it may be the submission, and such a step must not end as infrastructure's failure for ever."""
    with pytest.raises(Unexplained, match=f"ended by signal {int(by)}") as caught:
        read_verdict(UPSTREAM, end(128 + by))
    assert "crashes on the submission" in caught.value.verdict.reason


@given(status=st.one_of(st.integers(1, 128), st.integers(193, 255)), words=st.text(max_size=40))
def test_upstream_scripts_that_fail_refuse_and_their_words_stay_here(status: int, words: str) -> None:
    """They crash on bad submissions, and their tracebacks may quote labels."""
    verdict = read_verdict(UPSTREAM, end(status, last_words=words))
    assert isinstance(verdict, Refused)
    cause = verdict.reason.removeprefix("the task's evaluate.py refused the submission: ").removesuffix(
        " (see its output)"
    )
    assert cause == f"exit status {status}" or issubclass(getattr(builtins, cause), BaseException)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("ValueError: could not convert 'a label'", "ValueError"),
        ("ModuleNotFoundError: No module named 'sktime'", "ModuleNotFoundError"), ("AssertionError", "AssertionError"),
        ("pandas.errors.ParserError: Error tokenizing data", "ParserError"), ("Label7Error: x", "exit status 1"),
        ("the labels are 1 0 1", "exit status 1"), ("", "exit status 1"), ("label.7: ValueError", "exit status 1"),
    ],
)  # fmt: skip
def test_a_refusal_of_an_upstream_script_names_its_cause_and_the_file_to_read(
    tmp_path: Path, words: str, cause: str
) -> None:
    upstream = replace(setting(tmp_path), task=UPSTREAM)
    kept = tmp_path / "hidden" / "0003"
    ended = outcome(status=1, stderr=f"Traceback\n{words}\n")
    verdict = verdict_of(upstream, ended, Deadline.after(9, "evaluation"), kept)
    assert isinstance(verdict, Refused)
    assert verdict.reason == f"the task's evaluate.py refused the submission: {cause} (see hidden/0003/stderr.txt)"


def test_upstream_scripts_print_a_score_and_nothing_else() -> None:
    assert read_verdict(UPSTREAM, end(stdout=printed(0.5))) == Scored(0.5, None, None, "task", 9.0)
    refused = read_verdict(UPSTREAM, end(stdout="nothing"))
    assert refused == Refused("no score block was printed (see its output)", 9.0)


def setting(folder: Path) -> EvaluationSetting:
    return EvaluationSetting(OURS, "cpu", TaskData(folder), ImageSet("agent:1", "judge:1"), "r", draw_secret="00")


def outcome(ended: EndReason = "exited", status: int | None = 0, stdout: str = "", stderr: str = "") -> StepOutcome:
    return StepOutcome(
        ended, status, 9.0, captured(stdout.encode()), captured(stderr.encode()), {}, None, above="7 MiB of memory"
    )


@pytest.mark.parametrize("owner", ["hours", "remainder", "step"])
def test_only_an_evaluation_s_own_time_is_the_submission_s_to_keep(tmp_path: Path, owner: Owner) -> None:
    own = Deadline.after(300, "evaluation")
    assert verdict_of(setting(tmp_path), outcome("timeout", None), own) == Refused(
        "its evaluation did not end within 300 s", 300
    )
    late = Deadline.after(300, owner)
    with pytest.raises(SandboxError, match="time of the run ended"):
        timed_out(OURS, late)
    with pytest.raises(SandboxError, match="time of the run ended"):
        verdict_of(setting(tmp_path), outcome("timeout", None), late)


@pytest.mark.parametrize("ended", ["out_of_memory", "output_flood"])
def test_what_the_kernel_or_the_host_ends_is_refused_by_what_it_exceeded(tmp_path: Path, ended: EndReason) -> None:
    verdict = verdict_of(setting(tmp_path), outcome(ended, None), Deadline.after(9, "hours"))
    assert verdict == Refused("its evaluation was killed above 7 MiB of memory", 9.0)


def test_a_container_that_ended_by_itself_without_a_status_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="without an exit status"):
        verdict_of(setting(tmp_path), outcome(status=None), Deadline.after(9, "evaluation"))


def test_the_end_of_a_container_is_read_like_that_of_a_script_that_stays(tmp_path: Path) -> None:
    """The same words, report and status give the same verdict wherever the script ran."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps(REPORT))
    found = Artifact("report.json", path, 1, "0")
    for status, stdout, stderr in ((0, printed(0.5), ""), (2, "", "x\nerror: no\n\n"), (2, "", "error: a\rerror: b")):
        container = replace(outcome("exited", status, stdout, stderr), artifacts={"report.json": found})
        words = [line for line in stderr.replace("\r", "\n").splitlines() if line]
        stayed = end(status, stdout, words[-1] if words else "", REPORT)
        assert verdict_of(setting(tmp_path), container, Deadline.after(9, "hours")) == read_verdict(OURS, stayed)


def test_why_a_report_was_not_copied_out_is_told(tmp_path: Path) -> None:
    large = replace(
        outcome(stdout=printed(0.5)), artifacts={"report.json": RejectedArtifact("report.json", "too large")}
    )
    with pytest.raises(SandboxError, match=r"left no report \(too large\)"):
        verdict_of(setting(tmp_path), large, Deadline.after(9, "evaluation"))


@pytest.mark.parametrize(("task", "reports"), [(OURS, True), (UPSTREAM, False)])
def test_a_judge_is_told_of_the_submission_its_report_and_what_its_task_adds(
    tmp_path: Path, task: Task, reports: bool
) -> None:
    calls: list[Call] = []

    def judge(call: Call) -> Done:
        calls.append(call)
        return Done({"more.tar": b"left"}, stdout=b"\x1b[31mred\n", stderr=b"words")

    sandbox = InMemorySandbox({"judge": judge})
    container = sandbox.prepare(ContainerSpec("judge:1", "judge", "r"))
    kept = run_judge(
        replace(setting(tmp_path), task=task), {"data/s.csv": b"first", "other": b"second"}, container,
        timeout_s=5, destination=tmp_path / "verdict", options=["--more", "more.tar"],
        artifacts=[ArtifactRequest("more.tar", 64)], training=3,
    )  # fmt: skip
    (call,) = calls
    given = ["3", "--submission-file", "./data/s.csv", *(["--report-file", "report.json"] if reports else [])]
    assert list(call.command[3:]) == [*given, "--more", "more.tar"]
    assert call.files == {"data/s.csv": b"first", "other": b"second"}
    assert isinstance(kept.artifacts["more.tar"], Artifact)
    assert (tmp_path / "verdict" / "stderr.txt").read_text() == "words"
    assert "\x1b" not in (tmp_path / "verdict" / "stdout.txt").read_text(), "escaped for those who read it"

"""Workflows run the steps of `.ci/run` and nothing else, so that what passes there passes anywhere."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / ".ci" / "run"
ASKED_FOR = {"test-long", "test-pythons"}
"""Steps that take long, or what a fresh machine has not, and run where they are named (docs/decisions/0076)."""
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps_of_run() -> set[str]:
    found = re.search(r"^ +([a-z| -]+)\) ;;$", RUN.read_text(), re.MULTILINE)
    assert found
    return set(found.group(1).split(" | "))


def test_every_step_is_a_job_and_no_job_does_anything_else() -> None:
    steps = set()
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            commands = [step["run"] for step in job["steps"] if "run" in step]
            (step,) = re.findall(r"^\.ci/run (.+)$", "\n".join(commands), re.MULTILINE)
            assert commands == [f".ci/run {step}"], path
            steps |= set(job["strategy"]["matrix"]["step"]) if step == "${{ matrix.step }}" else {step}
    assert steps == steps_of_run()


def test_every_step_is_a_target_of_make_and_all_run_by_default() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for step in steps_of_run():
        assert re.search(rf"^{step}:", makefile, re.MULTILINE), step
    default = re.search(r"set -- ([a-z -]+)$", RUN.read_text(), re.MULTILINE)
    assert default
    assert set(default.group(1).split()) == steps_of_run() - ASKED_FOR


def test_workflows_may_read_the_code_and_no_more() -> None:
    assert WORKFLOWS
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}, path


@pytest.mark.parametrize("steps", [("tset",), ("check", "all")])
def test_an_unknown_step_runs_none(steps: tuple[str, ...]) -> None:
    done = subprocess.run([RUN, *steps], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no step {steps[-1]}, expected check, docs, test, test-long, test-pythons or reproduce" in done.stderr

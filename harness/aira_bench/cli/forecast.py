"""What a run will do, printed before it does it, and the question whether it may.

Profile `paper` takes GPU-days and, with a model, dollars: on a terminal it asks. Where nobody can answer, as in a batch
job, `--yes` stands in for the answer, and without it the run stops before it costs anything. Smaller profiles begin
without a word.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from aira_bench.docker_engine import connect_engine
from aira_bench.errors import PrerequisiteError, SandboxError, UsageError
from aira_bench.hardware import Hardware
from aira_bench.paths import HostPaths
from aira_bench.runs.expense import cap_usd
from aira_bench.runs.forecast import EngineView, Forecast, foresee
from aira_bench.runs.resolve import ResolvedRun
from aira_bench.tasks.data_source import offered_sizes
from aira_bench.terminal import answer, say, say_json, tell

_WIDTH = 10


def show_forecast(
    run: ResolvedRun, machine: Hardware, paths: HostPaths, *, as_json: bool, containers: str | None = None
) -> int:
    """Print what a run will do, and nothing else.

    Raises:
        PrerequisiteError, UsageError: it could not begin on this machine; the forecast is printed all the same.
    """
    found = foresee(run, machine, paths, _engine(containers), offered_sizes)
    if as_json:
        say_json(_record(run, found))
    else:
        for line in _lines(found.lines):
            say(line)
    if found.obstacle is not None:
        raise found.obstacle
    return 0


def require_consent(
    run: ResolvedRun, machine: Hardware, paths: HostPaths, *, yes: bool, containers: str | None = None
) -> None:
    """Print what a run will do on stderr and go on if the user says so, by `--yes` or to the question.

    Raises:
        PrerequisiteError, UsageError: it cannot begin on this machine.
        UsageError: the user said no, or nobody can be asked.
    """
    found = foresee(run, machine, paths, _engine(containers), offered_sizes)
    if found.obstacle is not None:
        raise found.obstacle
    for line in _lines(found.lines):
        tell(line)
    if yes:
        return
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise UsageError(
            "A run of profile paper takes GPU-hours as told above, and nobody is at a terminal to be asked.",
            hint="the same command with --yes",
        )
    if answer("Begin? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("Not begun: nothing was built, downloaded or paid for.", hint="aira-bench run --help")


def _engine(containers: str | None) -> EngineView:
    try:
        engine = connect_engine(containers)
        return EngineView(engine.image_exists, Path(engine.info().root_dir))
    except (PrerequisiteError, SandboxError):
        return EngineView(None)


def _lines(lines: Sequence[tuple[str, str]]) -> list[str]:
    """One line each; a name is printed once for all that it says."""
    named = [
        (name if index == 0 or lines[index - 1][0] != name else "", text) for index, (name, text) in enumerate(lines)
    ]
    return [f"{name:{_WIDTH}}  {text}" for name, text in named]


def _record(run: ResolvedRun, found: Forecast) -> dict[str, object]:
    said: dict[str, list[str]] = {}
    for name, text in found.lines:
        said.setdefault(name, []).append(text)
    guess = found.expense
    return {
        "plan": run.plan.model_dump(mode="json"),
        "lines": said,
        "estimate": {
            "steps_a_seed": guess.steps,
            "gpu_hours": [guess.gpu_hours.low, guess.gpu_hours.high],
            "usd": None if guess.usd is None else [guess.usd.low, guess.usd.high],
            "cap_usd": cap_usd(run.plan),
        },
        "stops_with": None if found.obstacle is None else found.obstacle.message,
    }

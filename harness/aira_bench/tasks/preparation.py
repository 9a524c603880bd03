"""Runs a task's `prepare.py` and `evaluate_prepare.py` in containers and stores what they make.

Both scripts are the task author's and trusted, but they run fenced all the same: no network, and only the folder
they write is writable. `evaluate_prepare.py` copies a submission beside the labels, which at this time does not
exist: it gets an empty one, and judges put the real one in its place.

Not covered: downloading raw data. An upstream task finds it under `<raw>/<dataset id>/<config>`.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from aira_bench.errors import PrerequisiteError, TaskError
from aira_bench.output import last_line
from aira_bench.sandbox.protocol import ContainerSpec, Limits, Mount, Sandbox
from aira_bench.tasks.store import TaskData, hash_tree
from aira_bench.tasks.task import Task
from aira_bench.world import World

CONTAINER_UID = 10001
TIMEOUT_S = 3600.0
LOGS = "/workspace/logs"


def prepare_task(
    task: Task,
    profile: str,
    data: TaskData,
    *,
    raw: Path,
    sandbox: Sandbox,
    image: str,
    world: World,
    note: Callable[[str], None],
) -> bool:
    """Make public and hidden data unless they are there; return whether anything was made.

    Raises:
        PrerequisiteError: the raw data an upstream task needs is absent.
        TaskError: a script of the task failed.
        SandboxError: the container engine failed.
    """
    if data.ready:
        return False
    raw.mkdir(parents=True, exist_ok=True)
    _check_raw_data(task, raw)
    staging = data.folder.with_name(f".{data.folder.name}.{world.new_id()}")
    try:
        shutil.copytree(task.folder, staging / "task", ignore=shutil.ignore_patterns("__pycache__", ".git"))
        _make_readable(staging / "task")
        halves = {"public": "prepare.py", "hidden": "evaluate_prepare.py"}
        for half, script in halves.items():
            note(f"running {script}")
            _make_half(task, profile, script, staging, half, raw, sandbox, image, world.new_id())
        artifact = task.metadata.aira.artifact.name
        (staging / "hidden" / artifact).unlink(missing_ok=True)
        marker = {half: dict(zip(("sha256", "bytes"), hash_tree(staging / half), strict=True)) for half in halves}
        (staging / "ready.json").write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        staging.chmod(0o700)
        data.folder.parent.mkdir(parents=True, exist_ok=True)
        if data.folder.exists():
            shutil.rmtree(data.folder)
        staging.rename(data.folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return True


def _check_raw_data(task: Task, raw: Path) -> None:
    if task.metadata.aira.report:
        return
    info = task.metadata.logging_info
    folder = raw / info.dataset
    if not folder.is_dir():
        raise PrerequisiteError(
            f"Raw data of task {task.title} is missing: expected {folder}/<config>.",
            hint=f"aira-bench prepare {task.title} --raw DIR",
        )
    closed = next((path for path in (raw, folder, *folder.rglob("*")) if not _readable(path)), None)
    if closed is not None:
        raise PrerequisiteError(
            f"Raw data {closed} is not readable for containers, which run as user {CONTAINER_UID}.",
            hint=f"chmod -R a+rX {raw}",
        )


def _readable(path: Path) -> bool:
    """Containers run as the host's user, or as an unprivileged one where the host's is root."""
    if os.geteuid() != 0:
        return os.access(path, os.R_OK)
    wanted = 0o005 if path.is_dir() else 0o004
    return path.stat().st_mode & wanted == wanted


def _make_half(
    task: Task,
    profile: str,
    script: str,
    staging: Path,
    half: str,
    raw: Path,
    sandbox: Sandbox,
    image: str,
    run_id: str,
) -> None:
    output = staging / half
    output.mkdir()
    if os.geteuid() == 0:
        os.chown(output, CONTAINER_UID, CONTAINER_UID)
    spec = ContainerSpec(
        image=image,
        role="prepare",
        run_id=f"prepare-{run_id}",
        limits=Limits(memory_mib=task.profile(profile).memory_mib),
        mounts=(
            Mount(staging / "task", PurePosixPath("/task")),
            Mount(raw, PurePosixPath("/raw")),
            Mount(output, PurePosixPath("/output"), writable=True),
        ),
        environment={"AIRA_PROFILE": profile},
    )
    container = sandbox.prepare(spec)
    try:
        outcome = container.run(
            ["python3", f"/task/{script}", "--global-shared-data-dir", "/raw",
             "--agent-data-mount-dir", "/output", "--agent-log-dir", LOGS],
            files={f"logs/{task.metadata.aira.artifact.name}": b""},
            timeout_s=TIMEOUT_S,
            artifacts=(),
            destination=output,
        )  # fmt: skip
    finally:
        container.close()
    if outcome.ended != "exited" or outcome.exit_code != 0:
        ended = f"exit status {outcome.exit_code}" if outcome.ended == "exited" else outcome.ended.replace("_", " ")
        raise TaskError(f"{task.name}/{script} failed ({ended}): {last_line(outcome.stderr) or 'no message'}")
    _make_readable(output)


def _make_readable(folder: Path) -> None:
    """Containers run as another user than the host's: let them read what was made."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink() and (os.geteuid() == 0 or path.stat().st_uid == os.geteuid()):
            path.chmod(0o755 if path.is_dir() else 0o644)

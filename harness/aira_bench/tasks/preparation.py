"""Runs a task's `prepare.py` and `evaluate_prepare.py` in containers and stores what they make.

Both scripts are the task author's and trusted, but they run fenced all the same: no network, and only the folder
they write is writable. `evaluate_prepare.py` copies a submission beside the labels, which at this time does not
exist: it gets an empty one, and judges put the real one in its place.

Not covered: where raw data comes from (`sources`).
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from aira_bench.errors import PrerequisiteError, SandboxError, TaskError, UsageError
from aira_bench.hidden_keys import HiddenKey
from aira_bench.output import last_line
from aira_bench.sandbox.hardening import TRUSTED_UID
from aira_bench.sandbox.sandbox import ContainerSpec, Mount, PreparedContainer, Sandbox
from aira_bench.tasks.data_source import DataSource, RawData
from aira_bench.tasks.folder_check import IGNORED, check_folder
from aira_bench.tasks.store import TaskData, hash_tree
from aira_bench.tasks.task import Task
from aira_bench.unfinished import only_one, staging_folder, sweep_staging
from aira_bench.world import World
from aira_contract.containers import LOGS, OUTPUT, RAW, TASK, WORKSPACE
from aira_contract.files import EVALUATE_SCRIPT, HIDDEN_SCRIPT, PREPARE_SCRIPT
from aira_contract.invocation import LOGS_OPTION, MOUNT_OPTION, RAW_OPTION
from aira_contract.settings import HIDDEN_KEY_VARIABLE, PROFILE_VARIABLE, SOURCE_VARIABLE

HALVES = (("public", PREPARE_SCRIPT), ("hidden", HIDDEN_SCRIPT))
_IMPORT_TIMEOUT_S = 300.0
_NO_NETWORK = re.compile(
    r"name resolution|name or service not known|network is unreachable|getaddrinfo|ConnectionError|MaxRetryError"
    r"|offline mode|couldn't connect to",
    re.IGNORECASE,
)


def prepare_task(
    task: Task,
    profile: str,
    data: TaskData,
    *,
    source: DataSource,
    provide: Callable[[Path], RawData],
    sandbox: Sandbox,
    image: str,
    world: World,
    note: Callable[[str], None],
    gpu_uuid: str | None = None,
    hidden_key: HiddenKey | None = None,
    public_only: bool = False,
) -> bool:
    """Make public and hidden data unless they are there; return whether anything was made.

    Args:
        task: the task, whose scripts are run.
        profile: sizes of the data.
        data: where it goes.
        source: where raw data comes from; recorded.
        provide: brings the raw data to disk; gets an empty folder to show where there is none.
        sandbox: where the scripts run.
        image: the evaluator image.
        world: source of identifiers.
        note: told about each stage.
        gpu_uuid: lent where hidden data needs models of ours to be trained.
        hidden_key: what hidden data is derived from; None for the seeds that the task publishes.
        public_only: make no hidden data, which is another machine's.

    Raises:
        PrerequisiteError: the raw data is absent and cannot be had.
        TaskError: a script of the task failed.
        SandboxError: the container engine failed.
    """
    if data.ready:
        return False
    _require_usable(task, hidden_key)
    data.folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_staging(data.folder.parent)

    def waiting() -> None:
        note(f"another process prepares the data of {task.title} ({profile}); waiting")

    with only_one(data.folder.with_name(f".{data.folder.name}.lock"), waiting):
        if data.ready:  # by whoever was waited for; a store that is ready may be in use, and is never touched again
            return False
        with staging_folder(data.folder, world.new_id()) as staging:
            halves = HALVES[:1] if public_only else HALVES
            _make(task, profile, staging, source, provide, sandbox, image, world, note, gpu_uuid, hidden_key, halves)
            if data.folder.exists():
                shutil.rmtree(data.folder)
            staging.rename(data.folder)
    return True


def _require_usable(task: Task, hidden_key: HiddenKey | None) -> None:
    """Raises UsageError or PrerequisiteError where hidden data cannot be derived from the key that is asked for."""
    if hidden_key is None:
        return
    if not task.metadata.aira.hidden_key:
        raise UsageError(
            f"Task {task.title} derives its hidden data from no key; its metadata.yaml has no aira.hidden_key: true."
        )
    if hidden_key.secret is None:
        raise PrerequisiteError(
            f"The hidden data of {task.title} under key {hidden_key.sha256[:12]} is not here, and neither is the key.",
            hint=f"aira-bench prepare {quote(task.title)} --hidden-key FILE   (with the run's --profile and --source)",
        )


def _make(
    task: Task,
    profile: str,
    staging: Path,
    source: DataSource,
    provide: Callable[[Path], RawData],
    sandbox: Sandbox,
    image: str,
    world: World,
    note: Callable[[str], None],
    gpu_uuid: str | None,
    hidden_key: HiddenKey | None,
    halves: Sequence[tuple[str, str]],
) -> None:
    """Fill a folder that nobody else can enter: labels lie in it long before it is finished."""
    empty = staging / "no-raw-data"
    empty.mkdir()
    raw = provide(empty)
    check_folder(task.folder)
    shutil.copytree(task.folder, staging / "task", symlinks=True, ignore=shutil.ignore_patterns(*IGNORED))
    _make_readable(staging / "task")
    for half, script in halves:
        note(f"running {script}")
        spec = half_spec(task, profile, staging, half, source, raw, image, world.new_id(), gpu_uuid, hidden_key)
        _make_half(task, profile, script, staging / half, spec, sandbox)
    has_hidden = tuple(halves) == HALVES
    if has_hidden and not task.metadata.aira.report:
        _try_evaluate(
            task, half_spec(task, profile, staging, "hidden", source, raw, image, world.new_id(), None), sandbox
        )
    artifact = task.metadata.aira.artifact.name
    (staging / "hidden" / artifact).unlink(missing_ok=True)
    empty.rmdir()
    marker: dict[str, Any] = {
        half: dict(zip(("sha256", "bytes"), hash_tree(staging / half), strict=True)) for half, _ in halves
    }
    marker |= {"synthetic": source.synthetic, "files": raw.files}
    if has_hidden:
        marker["hidden_key"] = (hidden_key and hidden_key.sha256) if task.metadata.aira.hidden_key else ""
    (staging / "ready.json").write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def half_spec(
    task: Task,
    profile: str,
    staging: Path,
    half: str,
    source: DataSource,
    raw: RawData,
    image: str,
    run_id: str,
    gpu_uuid: str | None,
    hidden_key: HiddenKey | None = None,
) -> ContainerSpec:
    """Return the container of one half. Only the hidden half of a task with scripts trains anything, so only it gets a
    GPU; and no other is told the key.
    """
    secret = hidden_key.secret if hidden_key is not None and half == "hidden" else None
    trains = half == "hidden" and task.metadata.aira.artifact.kind == "script"
    return ContainerSpec(
        image=image,
        role="prepare",
        run_id=f"prepare-{run_id}",
        limits=task.profile(profile).limits(gpu_uuid=gpu_uuid if trains else None),
        mounts=(
            Mount(staging / "task", TASK),
            *raw.mounts,
            Mount(staging / half, OUTPUT, writable=True),
        ),
        environment={PROFILE_VARIABLE: profile, SOURCE_VARIABLE: source.kind}
        | ({} if secret is None else {HIDDEN_KEY_VARIABLE: secret}),
    )


@contextlib.contextmanager
def _container(sandbox: Sandbox, spec: ContainerSpec) -> Iterator[PreparedContainer]:
    """A container of one script, removed in the end: a stopped process does not wait for what is removed behind its
    back, and scripts that train references would compute for hours.
    """
    container = sandbox.prepare(spec)
    try:
        yield container
    except KeyboardInterrupt:
        with contextlib.suppress(SandboxError):  # what is left has the labels by which the next command finds it
            sandbox.sweep(spec.run_id)
        raise
    finally:
        container.close()


def _make_half(task: Task, profile: str, script: str, output: Path, spec: ContainerSpec, sandbox: Sandbox) -> None:
    timeout_s = task.profile(profile).prepare_timeout_s
    output.mkdir()
    if os.geteuid() == 0:
        os.chown(output, TRUSTED_UID, TRUSTED_UID)
    options = {RAW_OPTION: RAW, MOUNT_OPTION: OUTPUT, LOGS_OPTION: WORKSPACE / LOGS}
    with _container(sandbox, spec) as container:
        outcome = container.run(
            ["python3", str(TASK / script), *(str(word) for option in options.items() for word in option)],
            files={f"{LOGS}/{task.metadata.aira.artifact.name}": b""},
            timeout_s=timeout_s,
            artifacts=(),
            destination=output,
        )  # fmt: skip
    if outcome.ended == "timeout":
        raise TaskError(
            f"{task.name}/{script} did not end within {timeout_s:g} s; "
            f"aira.profiles.{profile}.prepare_timeout_s in {task.folder / 'metadata.yaml'} says how long it may take."
        )
    if outcome.ended != "exited" or outcome.exit_code != 0:
        ended = f"exit status {outcome.exit_code}" if outcome.ended == "exited" else outcome.ended.replace("_", " ")
        words = last_line(outcome.stderr) or "no message"
        raise TaskError(f"{task.name}/{script} failed ({ended}): {words}", hint=_remedy(task, words))
    _make_readable(output)


def _try_evaluate(task: Task, spec: ContainerSpec, sandbox: Sandbox) -> None:
    """Have an upstream folder's script import what it needs, before a submission can be blamed for what it lacks.

    Such a script's every failure counts as a refusal, and of this one no submission is the cause.
    """
    with _container(sandbox, spec) as container:
        outcome = container.run(
            ["python3", str(TASK / EVALUATE_SCRIPT), "--help"],
            files={}, timeout_s=_IMPORT_TIMEOUT_S, artifacts=(), destination=Path(),
        )  # fmt: skip
    words = last_line(outcome.stderr)
    if outcome.exit_code != 0 and words.startswith(("ModuleNotFoundError", "ImportError", "SyntaxError")):
        metadata = quote(str(task.folder / "metadata.yaml"))
        raise TaskError(
            f"{task.folder / EVALUATE_SCRIPT} cannot be run: {words}",
            hint=f"add what is missing to evaluate_container_python_requirements in {metadata}",
        )


def _remedy(task: Task, words: str) -> str | None:
    """What to type where a script's last words show that it looked for a network."""
    if not _NO_NETWORK.search(words):
        return None
    command = f"aira-bench prepare {quote(str(task.folder))} --source DIR"
    return f"{command}   (preparation has no network; files in aira.sources are downloaded before)"


def _make_readable(folder: Path) -> None:
    """Containers run as another user than the host's: let them read what was made."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink() and (os.geteuid() == 0 or path.stat().st_uid == os.geteuid()):
            path.chmod(0o755 if path.is_dir() else 0o644)

"""Whether the judge nodes that a user names can judge for a run, and whether this machine may search for it then.

Hidden data and the hidden key are to be on judge nodes alone, so a machine that has them as well is refused.

Not covered: what is said to nodes (`aira_bench.remote_judging`).
"""

from shlex import quote

from aira_bench.errors import PrerequisiteError, RunStateError, UsageError
from aira_bench.hardware import Hardware
from aira_bench.hidden_keys import machine_hidden_key
from aira_bench.images.ensure import ImageSet
from aira_bench.paths import HostPaths
from aira_bench.record.manifest import JudgesRecord, Manifest
from aira_bench.record.run_record import RunRecord
from aira_bench.remote_judging.messages import PROTOCOL, HiddenHalf, Opening
from aira_bench.remote_judging.nodes import OPTION, JudgeNodes, Note
from aira_bench.remote_judging.remote_judge import AgreedJudges
from aira_bench.runs.declared import declared
from aira_bench.runs.resolve import ResolvedTask
from aira_bench.sandbox.owner import boot_id
from aira_bench.tasks.store import TaskData, hidden_at
from aira_bench.version import __version__


def agree(
    nodes: JudgeNodes,
    found: ResolvedTask,
    data: TaskData,
    images: ImageSet,
    run_id: str,
    hardware: Hardware,
    paths: HostPaths,
    note: Note,
    record: RunRecord | None = None,
    *,
    confirms: bool = False,
) -> AgreedJudges:
    """Have judge nodes prepare a task and compare what they have; return those that will judge.

    Args:
        nodes: as the user named them.
        found: the run's plan and task, whose submissions are data (`require_data`).
        data: of the task, its public half.
        images: of the run.
        run_id: of the run.
        hardware: of this machine, with the devices of the run.
        paths: of this machine, where no hidden data may be.
        note: told what nodes do.
        record: of a run that goes on.
        confirms: no search goes on, so that the hidden data may be of another key than the search's.

    Raises:
        UsageError: a hidden key was named here.
        PrerequisiteError: no node answers, one is not what the run expects, or this machine has what it must not.
        RunStateError: the run's judges are of another hardware class, or were elsewhere or here.
    """
    if found.hidden_key is not None and found.hidden_key.secret and found.hidden_key != machine_hidden_key(paths):
        raise UsageError(f"--hidden-key: with {OPTION} hidden data is derived on judge nodes, from their own key.")
    compatibility = declared(hardware, found)
    assert compatibility is not None, "submissions that are data are judged by this package"
    opening = Opening(
        protocol=PROTOCOL,
        aira_bench=__version__,
        run_id=run_id,
        machine=boot_id(),
        plan=found.plan.model_copy(update={"task": found.task.name}),
        task_sha256=found.task.sha256,
        compatibility=compatibility,
        evaluator_image=images.evaluator,
        public_sha256=str(data.hashes()["public"]["sha256"]),
        hidden=None if record is None or confirms else _recorded(record.manifest),
        hardware_class=None if record is None else record.manifest.scored_on,
        seed_set=found.plan.seed_set,
        probe=True,
    )
    agreed = AgreedJudges(nodes, opening, nodes.agreed(opening, note))
    _require_absent(agreed.opened.hidden, found, paths)
    return agreed


def _recorded(manifest: Manifest) -> HiddenHalf:
    """The hidden half that a run began with."""
    half = manifest.data["hidden"]
    return HiddenHalf(sha256=half["sha256"], size_bytes=half["bytes"], key=manifest.data.get("hidden_key", ""))


def hashes_with(data: TaskData, hidden: HiddenHalf) -> dict[str, object]:
    """Return what a record says of data whose hidden half is on other machines."""
    half = {"sha256": hidden.sha256, "bytes": hidden.size_bytes}
    return data.hashes() | {"hidden": half, "hidden_key": hidden.key}


def judges_record(agreed: AgreedJudges) -> JudgesRecord:
    """Return what a manifest says of judges elsewhere."""
    opened, nodes = agreed.opened, agreed.nodes
    return JudgesRecord(
        by=nodes.by, nodes=len(nodes.nodes) if nodes.by == "ssh" else None, hardware_class=opened.hardware_class,
        missing_walls=opened.missing_walls,
    )  # fmt: skip


def require_same_place(manifest: Manifest, nodes: JudgeNodes | None, *, confirms: bool, command: str) -> None:
    """Whether a run that goes on is judged where it was, here or elsewhere. A run that was judged here may be confirmed
    elsewhere.

    Raises:
        RunStateError: it is not.
    """
    if manifest.judges is not None and nodes is None:
        raise RunStateError(
            f"Run {quote(manifest.plan.name)} is judged on other machines, which have its hidden data; name them.",
            hint=f"{command} {OPTION} ssh:HOST,HOST or ray:RESOURCE",
        )
    if manifest.judges is None and nodes is not None and not confirms:
        raise RunStateError(
            f"Run {quote(manifest.plan.name)} was judged on this machine when it began, so {OPTION} is refused.",
            hint=command,
        )


def _require_absent(hidden: HiddenHalf, found: ResolvedTask, paths: HostPaths) -> None:
    """Raises PrerequisiteError where this machine has the hidden data or the key that judge nodes have."""
    own = machine_hidden_key(paths)
    if own is not None and own.sha256 == hidden.key:
        raise PrerequisiteError(
            f"This machine has the hidden key of the judge nodes, in {paths.keys}, and with it their hidden data.",
            hint=f"move hidden.key away from {quote(str(paths.keys))}, or another key on the judge nodes",
        )
    if (place := hidden_at(paths, found.task, hidden.sha256)) is not None:
        raise PrerequisiteError(
            f"This machine has the hidden data of {found.task.title} that the judge nodes have, in {place}.",
            hint=f"rm -r {quote(str(place))}, or a hidden key on the judge nodes (aira-bench key hidden FILE there)",
        )

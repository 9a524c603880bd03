"""Which scores may be compared: those that were made under the same conditions.

Two questions, two answers. `conditions_of` names everything by its content, to the byte: the score cache asks it, since
a score may only be used again where nothing at all has changed. `comparable_with` asks what was *declared* to compare
(`aira_contract.compatibility`): boards and the datasets of `aggregate` ask it, since a comment in an image makes no
other experiment. What nobody declared, a folder or an evaluator of somebody else's, compares by content there too.

Not covered: who made the scores, and how (`aira_bench.record.identity`).
"""

import hashlib
import json
from dataclasses import astuple, dataclass

from aira_bench.record.manifest import Manifest

PUBLIC_SEEDS = "public seeds"
"""What is said of hidden data that anybody can draw again from the seeds in a published task folder."""


@dataclass(frozen=True)
class Conditions:
    """Everything that a score depends on, but for what was submitted and the luck of its training."""

    task_sha256: str
    """Of the task folder: its scripts, its metric, and what it admits."""
    public_sha256: str
    """Of the data that submissions are trained on; empty in a manifest that does not name it."""
    hidden_sha256: str
    """Of the data that they are scored on."""
    profile: str
    seed_set: str
    evaluator: str
    """Image of the judge, whose tag is a hash of its content; behind it the extension that scored, if one did."""
    hardware: str
    """Class of the machine (`Hardware.label`): within a fixed time another one trains more or less, and it rounds
    otherwise."""

    @property
    def key(self) -> tuple[str, ...]:
        """The conditions as plain texts, to be part of a name or a hash."""
        return astuple(self)


def conditions_of(manifest: Manifest) -> Conditions:
    """Return the conditions of a run's scores, by content."""
    plan, public = manifest.plan, manifest.data.get("public")
    return Conditions(
        task_sha256=manifest.task_sha256,
        public_sha256=str(public.get("sha256", "")) if isinstance(public, dict) else "",
        hidden_sha256=manifest.data["hidden"]["sha256"],
        profile=plan.profile,
        seed_set=plan.seed_set,
        evaluator=manifest.images["evaluator"] + _extension(manifest),
        hardware=manifest.scored_on,
    )


@dataclass(frozen=True)
class Comparable:
    """What scores must share to stand in one table."""

    task: str
    """Its name, and the hash of its folder where that is nobody's declared version."""
    data: str
    """What the task's data was made from: hashes, or for shipped tasks those of the public files alone."""
    hidden_key: str
    """Hash of the key behind the hidden data; `public seeds` without one; empty where a task knows no keys."""
    profile: str
    seed_set: str
    evaluator: str
    """Its declared number and that of its libraries; else what `Conditions` has."""
    hardware: str
    anchors: str
    """What normalized scores are measured against."""

    @property
    def key(self) -> tuple[str, ...]:
        """The conditions as plain texts, to be part of a name or a hash."""
        return astuple(self)


def comparable_with(manifest: Manifest) -> Comparable:
    """Return what a score must share with those of a manifest's run to be compared with them."""
    exact, declared = conditions_of(manifest), manifest.compatibility
    by_name = declared is not None and declared.shipped and not _extension(manifest)
    task = manifest.task_name if by_name else f"{manifest.task_name} {exact.task_sha256}"
    evaluator = exact.evaluator
    if declared is not None and not _extension(manifest):
        evaluator = f"{declared.evaluator} {declared.version}, {declared.flavour} {declared.libraries}"
    return Comparable(
        task=task,
        data=_made_from(manifest) if by_name else f"{exact.public_sha256} {exact.hidden_sha256}",
        hidden_key=hidden_key_of(manifest),
        profile=exact.profile,
        seed_set=exact.seed_set,
        evaluator=evaluator,
        hardware=exact.hardware,
        anchors="" if manifest.anchors is None else manifest.anchors.model_dump_json(),
    )


def hidden_key_of(manifest: Manifest) -> str:
    """Return the hash of the key behind a run's hidden data, or what is said where there is none.

    Runs of versions that knew no keys have public seeds where the task is named, and say nothing where it is a folder.
    """
    recorded = manifest.data.get("hidden_key", "")
    if isinstance(recorded, str) and recorded:
        return recorded
    known = recorded is None or ("hidden_key" not in manifest.data and not manifest.plan.task.startswith("/"))
    return PUBLIC_SEEDS if known else ""


def _made_from(manifest: Manifest) -> str:
    """The source of a shipped task's data; what its own scripts make of that, their declared number stands for."""
    files = manifest.data.get("files") or {}
    if manifest.synthetic or not files:
        return "synthetic" if manifest.synthetic else "its own"
    return f"files {hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()}"


def _extension(manifest: Manifest) -> str:
    """What code of others scored, if any did."""
    scorer = manifest.extensions.get("evaluator")
    return "" if scorer is None else f" by {scorer.code}"

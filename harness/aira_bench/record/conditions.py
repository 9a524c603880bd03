"""Which scores may be compared: those that were made under the same conditions.

The score cache, the sections of boards and the datasets of `aggregate` all ask here.

Not covered: who made the scores. Agents, budgets and signers tell rows of a board apart, not scores.
"""

from dataclasses import astuple, dataclass

from aira_bench.record.manifest import Manifest


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


def comparable_with(manifest: Manifest) -> Conditions:
    """Return the conditions that a score must share with those of a manifest's run to be compared with them."""
    plan, public = manifest.plan, manifest.data.get("public")
    scorer = manifest.extensions.get("evaluator")
    by = "" if scorer is None else f" by {scorer.target} {scorer.sha256[:12]}"
    return Conditions(
        task_sha256=manifest.task_sha256,
        public_sha256=str(public.get("sha256", "")) if isinstance(public, dict) else "",
        hidden_sha256=manifest.data["hidden"]["sha256"],
        profile=plan.profile,
        seed_set=plan.seed_set,
        evaluator=manifest.images["evaluator"] + by,
        hardware=manifest.hardware_class,
    )

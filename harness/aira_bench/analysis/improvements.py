"""Improvement steps of a run, and which features each of them changed.

An improvement step is a valid step with a better fitness than every earlier one of its seed; the first valid step of a
seed is its start and no improvement. `parent`: a step is compared with the step it was made from, and a draft, which
has none, with the best step before it. `best`: always with the best step before it, as the paper does.

Not covered: noise. A script trained twice gives two scores, so small differences may be luck.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from aira_bench.agent_code.evidence import Scalar
from aira_bench.agent_code.features import FeatureVector, changed_features
from aira_bench.agent_code.reading import NotRead, read_in_process
from aira_bench.agent_code.syntax import LONGEST_CODE_BYTES
from aira_bench.errors import RunStateError, UsageError
from aira_bench.files import Unacceptable, read_recorded
from aira_bench.record.folder import SeedFolder
from aira_bench.record.node import Node
from aira_bench.record.run_record import RunRecord
from aira_contract.files import SCRIPT_FILE

Against = Literal["parent", "best"]
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Improvement:
    """One improvement step: what it is compared with, how much better it is, and which features differ."""

    run: str
    seed: int
    step: int
    against: int
    """The step it is compared with."""
    delta: float
    """How much better its fitness is; above 0 whichever way the metric points."""
    changed: dict[str, tuple[Scalar, Scalar]]
    """Features that differ, with the value before and after."""
    parsed: bool
    """Whether both scripts were read by their syntax trees."""
    read: bool = True
    """Whether both scripts could be read at all, in time and within bounds."""

    @property
    def solo(self) -> bool:
        """Whether a single feature changed, so that the gain is that feature's alone."""
        return len(self.changed) == 1


def run_improvements(run: RunRecord, against: Against) -> list[Improvement]:
    """Return all improvement steps of a run, in order.

    Raises:
        UsageError: the run's submissions are no training scripts.
        RunStateError: a script of a valid step is missing, or is not the one that was scored.
    """
    manifest, found = run.manifest, []
    for seed in run.seeds:
        valid = [node for node in seed.nodes if node.is_valid]
        if valid and not (seed.folder.node(valid[0].step) / SCRIPT_FILE).is_file():
            raise UsageError(
                f"Run {run.name} is a search on {manifest.task_title}, whose submissions are no {SCRIPT_FILE}.",
                hint="aira-bench tasks",
            )
        pairs = list(improvement_steps(seed.nodes, lower_is_better=manifest.lower_is_better, against=against))
        compared = {node.step: node for pair in pairs for node in pair}
        vectors = _vectors(seed.folder, [compared[step] for step in sorted(compared)])
        for node, other in pairs:
            assert node.fitness is not None
            assert other.fitness is not None
            before, after = vectors[other.step], vectors[node.step]
            delta = other.fitness - node.fitness if manifest.lower_is_better else node.fitness - other.fitness
            changed = changed_features(before, after)
            parsed = before.parsed and after.parsed
            read = bool(before.values and after.values)
            found.append(Improvement(run.name, seed.seed, node.step, other.step, delta, changed, parsed, read))
    return found


def improvement_steps(nodes: Sequence[Node], *, lower_is_better: bool, against: Against) -> Iterator[tuple[Node, Node]]:
    """Each improvement step with the step it is compared with.

    A parent without a fitness of its own cannot be compared with: the best step before stands in.
    """
    sign = -1.0 if lower_is_better else 1.0
    by_step = {node.step: node for node in nodes}
    best: Node | None = None
    for node in nodes:
        if not node.is_valid or node.fitness is None:
            continue
        if best is None or best.fitness is None:
            best = node
        elif sign * node.fitness > sign * best.fitness:
            parent = by_step.get(node.parents[0]) if node.parents and against == "parent" else None
            usable = parent is not None and parent.is_valid and parent.fitness is not None
            yield node, parent if usable and parent is not None else best
            best = node


def _vectors(folder: SeedFolder, nodes: Sequence[Node]) -> dict[int, FeatureVector]:
    """Features of the scripts of these steps; no values where one could not be read."""
    answers = read_in_process("features", [_script(folder, node) for node in nodes])
    unread = FeatureVector(False, {})
    vectors = (unread if isinstance(answer, NotRead) else FeatureVector(**answer) for answer in answers)
    return dict(zip((node.step for node in nodes), vectors, strict=True))


def _script(folder: SeedFolder, node: Node) -> str:
    """The script that was scored; of one that is too long, only so much that its reader sees that it is."""
    path = folder.node(node.step) / SCRIPT_FILE
    try:
        recorded = node.artifact_sha256 or "none"
        data = read_recorded(folder.path, str(path.relative_to(folder.path)), MOST_BYTES, recorded)
    except Unacceptable as error:
        raise RunStateError(f"{path} of a valid step cannot be read: {error}.") from error
    return data[: LONGEST_CODE_BYTES + 1].decode("utf-8", "replace")

"""What steps of earlier runs took: seconds, tokens, dollars and bytes, by agent, task and profile.

Read from the records of runs that are at hand, whoever made them; a run that cannot be read tells nothing here.

Not covered: other machines. A run counts only where its hardware class is this machine's, but for tokens and dollars,
which hang on no machine.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aira_bench.keys import KeyRing
from aira_bench.record.folder import list_runs
from aira_bench.record.node import ModelUse
from aira_bench.record.run_record import RunRecord, read_runs

Experiment = tuple[str, str, str]
"""Agent, title of the task, and profile."""


@dataclass
class StepPace:
    """What finished steps of an experiment took, summed."""

    steps: int = 0
    seconds: float = 0.0
    timed_steps: int = 0
    """Those of this machine's class."""
    use: ModelUse = field(default_factory=ModelUse)
    files_bytes: int = 0

    @property
    def step_s(self) -> float | None:
        """Seconds of a seed's hours that a step took on average; None where none was taken on such a machine."""
        return self.seconds / self.timed_steps if self.timed_steps else None

    @property
    def step_usd(self) -> float | None:
        """Dollars of a step on average; None where a price or a count is unknown."""
        return self.use.cost_usd / self.steps if self.use.cost_usd is not None and self.steps else None

    @property
    def step_tokens(self) -> float | None:
        """Tokens of a step on average, prompts and answers; None where a provider did not count."""
        both = (self.use.input_tokens, self.use.output_tokens)
        return None if None in both or not self.steps else sum(each or 0 for each in both) / self.steps

    @property
    def step_bytes(self) -> float | None:
        """Bytes on disk of a step on average."""
        return self.files_bytes / self.steps if self.steps else None


def past_paces(folders: Iterable[Path], ring: KeyRing, hardware_class: str) -> Mapping[Experiment, StepPace]:
    """Return what steps of runs took, by experiment.

    Args:
        folders: of run folders.
        ring: the keys this machine knows.
        hardware_class: of this machine, as manifests name it.
    """
    found: defaultdict[Experiment, StepPace] = defaultdict(StepPace)
    for folder in folders:
        records, _ = read_runs(list_runs(folder), ring, "records")
        for run in records:
            plan = run.manifest.plan
            _add(found[plan.agent, run.manifest.task_title, plan.profile], run, hardware_class)
    return found


def _add(pace: StepPace, run: RunRecord, hardware_class: str) -> None:
    nodes = [node for seed in run.seeds for node in seed.nodes if not node.is_lost]
    pace.steps += len(nodes)
    pace.use = sum((node.model_use for node in nodes), pace.use)
    if run.manifest.hardware_class == hardware_class:
        pace.timed_steps += len(nodes)
        pace.seconds += sum(node.timings.total_s for node in nodes)
    weighed = next((seed for seed in run.seeds if seed.nodes), None)
    if weighed is not None:  # one seed stands for all: a suite's runs have millions of files
        found = sum(path.lstat().st_size for path in weighed.folder.path.rglob("*") if path.is_file())
        pace.files_bytes += round(found / len(weighed.nodes) * len(nodes))

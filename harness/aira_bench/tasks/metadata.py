"""The schema of a task folder's `metadata.yaml`.

The upstream AIRS-Bench keys are read with all the variation the published folders show: a requirement list given
as one string, a scoring column that is a string or a list, a shape written as text. On top comes one optional
`aira:` block for what is ours. Unknown keys are errors, so that a misspelt budget cannot pass silently.

Not covered: whether the scripts beside the file work; `aira_bench.tasks.preparation` finds that out by running them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    model_validator,
)

from aira_bench.errors import TaskError, UsageError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.extensions import find_extension, is_reference
from aira_bench.requirement import read_requirement
from aira_bench.sandbox.sandbox import Limits
from aira_bench.tasks.folder_check import read_text
from aira_bench.tasks.plain_yaml import read_plain_yaml
from aira_contract.containers import DATA, HIDDEN, LOGS, TASK
from aira_contract.files import ARCHITECTURE_FILE, NOT_FOR_SUBMISSIONS
from aira_contract.flags import AdmittedFlag
from aira_contract.primitives import SYMBOLS
from aira_contract.settings import LEAST_TRAININGS, PROFILES, ProfileName
from aira_contract.training_arithmetic import toy_parameters

MOST_HOURS = 87_600
"""Ten years."""
_SHAPE = re.compile(r"[\s(\[]*\d{1,12}(?:\s*,\s*\d{1,12})*[\s,)\]]*", re.ASCII)
_MOST_SHAPE_CHARS = 200


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _as_list(value: Any) -> Any:  # noqa: ANN401
    return [value] if isinstance(value, str) else value


def _as_requirements(value: Any) -> Any:  # noqa: ANN401
    """A published folder has `-sktime` where a list was meant: YAML reads that as one text."""
    if not isinstance(value, str):
        return value
    return [name for name in re.split(r"\s+-\s*", value.strip().removeprefix("-").strip()) if name]


def _a_requirement(text: str) -> str:
    return str(read_requirement(text))


def _as_shape(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        if len(value) > _MOST_SHAPE_CHARS or not _SHAPE.fullmatch(value):
            raise ValueError(f"not a shape: {value[:VALUE_CHARS]!r}")
        return [int(size) for size in re.findall(r"\d+", value, re.ASCII)]
    return [value] if isinstance(value, int) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
SomeNames = Annotated[Names, Field(min_length=1)]
Requirements = Annotated[tuple[Annotated[str, AfterValidator(_a_requirement)], ...], BeforeValidator(_as_requirements)]
"""Packages, each with versions it may have."""
Positive = Annotated[int, Field(gt=0, lt=1 << 62)]
Count = Annotated[int, Field(gt=0, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=10_000_000)]
"""At most 115 days."""
Mib = Annotated[int, Field(gt=0, le=1 << 24)]
Year = Annotated[int, Field(ge=1900, le=2200)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
Shape = Annotated[tuple[Positive, ...], BeforeValidator(_as_shape)]


class StateOfTheArt(_Schema):
    """A published score to compare with."""

    sota_paper_title: str | None = None
    sota_paper_url: str
    sota_score: float
    sota_year: Year | None = None
    sota_venue: str | None = None
    sota_notes: str | None = None


class LoggingInfo(_Schema):
    """What the task is about, and how its score is read."""

    name: str
    dataset: str
    config: SomeNames
    category: str
    research_problem: str
    output_type: str | None = None
    train_split: str
    test_split: str
    input_columns: Names
    scoring_column: SomeNames
    shape: Shape | None = None
    metric: str
    additional_metrics: str | None = None
    custom_gold_labels: StrictBool
    custom_rad_class: StrictBool
    sota: tuple[StateOfTheArt, ...]
    dataset_paper_url: str
    estimated_worst_score: float | None = None
    optimal_score: float | None = None


ARTIFACT_KINDS = ("csv", "architecture", "module", "script")
"""What the evaluators of this package score."""
NAMES_OF_OURS = frozenset(
    {"solution.py", "stdout.txt", "stderr.txt", "scores.jsonl", DATA, LOGS, TASK.name, HIDDEN.name, "metadata.yaml",
     "project_description.md", *NOT_FOR_SUBMISSIONS}
)  # fmt: skip
"""Files that we, or the task's scripts, keep beside a submission."""


def _not_ours(name: str) -> str:
    if name.lower() in NAMES_OF_OURS:
        raise ValueError(f"{name} is a file of the harness; name the artifact otherwise")
    return name


def _a_primitive(symbol: str) -> str:
    if symbol not in SYMBOLS:
        raise ValueError(f"expected one of {', '.join(SYMBOLS)}")
    return symbol


def _scored_by_something(kind: str) -> str:
    if is_reference(kind):
        raise ValueError("a task names no code of the host; name an installed evaluator, or give it with --evaluator")
    try:
        find_extension("evaluator", kind, ARTIFACT_KINDS)
    except UsageError as error:
        raise ValueError(error.message) from None
    return kind


class ArtifactSpec(_Schema):
    """The file a solution has to leave behind."""

    name: Annotated[str, AfterValidator(_not_ours)] = Field(
        default=ARCHITECTURE_FILE, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
    )
    kind: Annotated[str, AfterValidator(_scored_by_something)] = "csv"
    """One of `ARTIFACT_KINDS`, or the name of an installed evaluator that scores it."""
    max_kib: int = Field(default=65536, gt=0, le=1 << 20)
    layers: int = Field(default=16, gt=0, le=1024)
    """Of an `architecture`."""
    primitives: tuple[Annotated[str, AfterValidator(_a_primitive)], ...] = ()
    """What each layer of an `architecture` may be."""
    most_parameters: int | None = Field(default=None, gt=0)
    """Of an `architecture` at toy widths, without embedding (`training_arithmetic.toy_parameters`)."""
    module_layers: dict[ProfileName, Annotated[int, Field(gt=0, le=1024)]] = Field(default_factory=dict)
    """Of a `module` by default, in each profile; searchers over modules need it."""
    hyperparameters: StrictBool = False
    """A `module` may set the task's hyperparameters."""

    def admits(self, architecture: Sequence[str]) -> bool:
        """Whether an architecture has as many layers, of the primitives and within the parameters, as are asked for."""
        return (
            len(architecture) == self.layers
            and set(architecture) <= set(self.primitives)
            and (self.most_parameters is None or toy_parameters(architecture) <= self.most_parameters)
        )


class FitClock(_Schema):
    """The clocks outside a submitted script: at `budget_s` + `start_up_s` its container is killed."""

    budget_s: Seconds
    """Seconds of training, which the script is told."""
    start_up_s: Seconds
    """One allowance for imports, compilation and handing the model over, equal for all."""
    handover_mib: Mib = 2048
    """Largest handed-over model."""
    serving_s: Seconds = 1800
    """For loading the model and answering a judge, in all containers that do together."""
    predictors: int = Field(default=1, gt=0, le=64)
    """How many containers that is: rows that share source files are asked in different ones."""


class Profile(_Schema):
    """Budgets and caps of one profile. Sizes of data and models are the task scripts' own business."""

    steps: Count = 500
    hours: float = Field(default=24.0, gt=0, le=MOST_HOURS)
    step_timeout_s: Seconds = 14400
    evaluation_timeout_s: Seconds = 14400
    prepare_timeout_s: Seconds = 14400
    """For each of the two preparing scripts; it only has to end what hangs."""
    memory_mib: Mib = 8192
    """Of processes; what the next three may hold is granted on top."""
    workspace_mib: Mib = 2048
    shm_mib: Mib = 1024
    """Of /dev/shm, through which workers of a DataLoader hand batches over: 8 that were two batches of 38.5 MiB ahead
    held 654 MiB there, and 64 MiB, the engine's own default, ended them."""
    tmp_mib: Mib = 1024
    """Of /tmp, where assemblers and linkers of kernels work."""
    pids: Annotated[int, Field(ge=64, le=1 << 20)] = 8192
    """Processes and threads. A worker of a DataLoader took 4, or 6 where it was spawned; libraries start as many
    compiling workers, and threads in each process, as there are cores, and CUDA some in each."""
    fit: FitClock | None = None
    """For artifacts of kind `script`."""
    trainings: int = Field(default=LEAST_TRAININGS, ge=LEAST_TRAININGS, le=100)
    """How many trainings with fresh seeds confirm what a search submitted."""

    def limits(self, cpus: tuple[int, ...] | None = None, gpu_uuid: str | None = None) -> Limits:
        """Return the caps of this profile's containers on some cores, and a device."""
        return Limits(
            memory_mib=self.memory_mib, workspace_mib=self.workspace_mib, shm_mib=self.shm_mib, tmp_mib=self.tmp_mib,
            pids=self.pids, cpus=cpus, gpu_uuid=gpu_uuid,
        )  # fmt: skip

    @model_validator(mode="after")
    def _a_script_has_the_time_it_is_told_of(self) -> "Profile":
        if self.fit is not None:
            needed_s = self.fit.budget_s + self.fit.start_up_s + self.fit.serving_s
            if self.evaluation_timeout_s < needed_s:
                raise ValueError(
                    f"evaluation_timeout_s: {self.evaluation_timeout_s:g} is less than fit's budget_s, start_up_s and "
                    f"serving_s together, {needed_s:g}"
                )
        return self


class PublicFile(_Schema):
    """One file of public data, which preparation containers see as `/raw/<name>`."""

    name: FileName
    url: str = Field(pattern=r"^https?://[^\s]+$")
    bytes: Positive | None = None
    """Expected size; None where no trustworthy figure is known."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Expected hash; without one, the file is pinned to what the first download brought."""
    profiles: tuple[ProfileName, ...] = PROFILES
    """Profiles that need the file."""


_UPSTREAM_PROFILES: dict[ProfileName, Profile] = {"paper": Profile(), "cpu": Profile(steps=8, hours=1.0)}


RANKS_WELL = 0.80
"""The rank correlation that scores of a task should have with scores of other trainings."""


class MeasuredRanking(_Schema):
    """How one training ranks random artifacts as another training does, where that was measured."""

    spearman: float = Field(ge=-1, le=1)
    """Rank correlation of one training with another."""
    low: float = Field(ge=-1, le=1)
    high: float = Field(ge=-1, le=1)
    """Of its interval of 95 %."""
    trainings: Count
    """Of how many trainings a score must be the mean to reach RANKS_WELL."""
    training_s: float = Field(gt=0)
    """Seconds of one core that a training takes."""


class MeasuredNoise(_Schema):
    """The noise floor of a task in one profile: how far trainings of one artifact lie apart (`aira-bench noise`)."""

    deviation: float = Field(gt=0)
    """Standard deviation of the hidden test score of one training, pooled within artifacts, in the task's unit."""
    artifacts: Count
    """How many were trained."""
    trainings: Count
    """Of all of them together."""
    measured: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    """The day."""
    hardware: str = Field(min_length=1, max_length=100)
    """The class of the machine, as boards name it."""
    ranks: MeasuredRanking | None = None
    """None where only trainings of few artifacts were measured."""

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the deviation."""
        return self.trainings - self.artifacts

    @model_validator(mode="after")
    def _some_artifact_was_trained_twice(self) -> "MeasuredNoise":
        if self.trainings <= self.artifacts:
            raise ValueError(f"trainings: {self.trainings} of {self.artifacts} artifacts leave no degree of freedom")
        return self


Difference = Literal["configurable - fixed", "with - without literature"]


class PairedTask(_Schema):
    """A task that is scored on the same hidden data, and what the difference of the two is called."""

    task: Annotated[str, Field(min_length=1, max_length=100)]
    """Its shortest name."""
    difference: Difference | None = None
    """What this task's score less that one's is; None where the other's metadata name it."""


class AiraBlock(_Schema):
    """What aira-bench adds to the upstream format; every field has a default that fits an upstream folder."""

    aliases: tuple[str, ...] = ()
    origin: str | None = Field(default=None, max_length=60)
    """Who made a shipped task that is none of the paper's."""
    artifact: ArtifactSpec = ArtifactSpec()
    report: bool = False
    """`evaluate.py` takes `--report-file` and writes validation and test scores there."""
    hidden_validation: bool = False
    """The report's `validation` comes from data no agent sees, so it may drive a search."""
    evaluator: Literal["torch", "jax", "any"] = "any"
    fitness_decimals: int = Field(default=4, ge=1, le=12)
    """Digits of the hidden validation score that a search gets to see."""
    profiles: dict[ProfileName, Profile] = Field(default_factory=lambda: dict(_UPSTREAM_PROFILES))
    admits: tuple[AdmittedFlag, ...] = ()
    """Flags that would keep a score out of search and ranking, and do not in this task."""
    sources: tuple[PublicFile, ...] = ()
    """Public files the data is made from. Without any, the task makes its data itself, or is an upstream folder."""
    unpacked: Annotated[tuple[FileName, ...], BeforeValidator(_as_list)] = ()
    """Names in a `--source` folder that stand in for all of `sources`, such as what the archives hold."""
    synthetic: bool = False
    """The scripts can generate a stand-in for `sources` (`--source synthetic`)."""
    hidden_key: bool = False
    """`evaluate_prepare.py` derives its seeds from a key where it is told one (`--hidden-key`)."""
    pair: PairedTask | None = None
    noise: dict[ProfileName, MeasuredNoise] = Field(default_factory=dict)
    """Noise floors by profile; of one that is not there nobody has measured it."""
    synthetic_noise: dict[ProfileName, MeasuredNoise] = Field(default_factory=dict)
    """The same on the generated stand-in, for runs on it alone: how training scatters depends on the data."""

    def noise_floor(self, profile: str, *, synthetic: bool) -> MeasuredNoise | None:
        """Return the noise floor of a profile on real data or on the generated stand-in; None: not measured."""
        measured = self.synthetic_noise if synthetic else self.noise
        return next((noise for name, noise in measured.items() if name == profile), None)

    @model_validator(mode="after")
    def _sources_are_distinct(self) -> "AiraBlock":
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("sources: two files have one name")
        if not self.sources and (self.synthetic or self.unpacked):
            raise ValueError("synthetic and unpacked stand in for sources, and there are none")
        if self.synthetic_noise and not self.synthetic:
            raise ValueError("synthetic_noise: the task has no generated stand-in (synthetic: true)")
        return self

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "AiraBlock":
        if self.hidden_validation and not self.report:
            raise ValueError("hidden_validation: true needs report: true")
        if not self.profiles:
            raise ValueError("profiles: at least one is needed")
        unclocked = [name for name, profile in self.profiles.items() if profile.fit is None]
        if self.artifact.kind == "script" and unclocked:
            raise ValueError(f"profiles.{unclocked[0]}.fit: an artifact of kind script needs budget_s and start_up_s")
        return self


class TaskMetadata(_Schema):
    """The content of a task folder's `metadata.yaml`, checked."""

    metric_lower_is_better: StrictBool
    file_export_globs: SomeNames
    container_python_requirements: Requirements = ()
    evaluate_container_python_requirements: Requirements = ()
    prepare_code_python_requirements: Requirements = ()
    logging_info: LoggingInfo
    aira: AiraBlock = AiraBlock()

    @model_validator(mode="after")
    def _one_exported_artifact(self) -> "TaskMetadata":
        if self.aira.artifact.name not in self.file_export_globs:
            raise ValueError(
                f"file_export_globs {list(self.file_export_globs)} does not name the artifact "
                f"{self.aira.artifact.name!r} (set aira.artifact.name)"
            )
        return self


def read_metadata(path: Path) -> TaskMetadata:
    """Parse and check one `metadata.yaml`.

    Raises:
        TaskError: the file is missing, is not YAML, or breaks the schema; the message names key and value.
    """
    text = read_text(path)
    try:
        raw = read_plain_yaml(text)
    except ValueError as error:
        raise TaskError(f"{path} is not YAML as task folders use it: {error}.") from error
    if not isinstance(raw, dict):
        raise TaskError(f"{path} holds {type(raw).__name__}, expected a mapping of keys.")
    try:
        return TaskMetadata.model_validate(raw)
    except ValidationError as error:
        raise TaskError(f"{path}: {describe_validation_error(error)}.") from error


def describe_validation_error(error: ValidationError) -> str:
    """One line for a pydantic error: where, what is wrong, what was seen."""
    parts = []
    for item in error.errors(include_url=False)[:3]:
        where = ".".join(str(part) for part in item["loc"]) or "the whole file"
        seen = "" if item["type"] == "missing" or not item["loc"] else f" (seen: {str(item['input'])[:VALUE_CHARS]!r})"
        parts.append(f"{where}: {item['msg'].removeprefix('Value error, ')}{seen}")
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")

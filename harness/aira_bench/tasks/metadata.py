"""The schema of a task folder's `metadata.yaml`.

The upstream AIRS-Bench keys are read with all the variation the published folders show: a requirement list given
as one string, a scoring column that is a string or a list, a shape written as text. On top comes one optional
`aira:` block for what is ours. Unknown keys are errors, so that a misspelt budget cannot pass silently.

Not covered: whether the scripts beside the file work; `aira_bench.tasks.preparation` finds that out by running them.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    ValidationError,
    model_validator,
)

from aira_bench.errors import TaskError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.requirement import read_requirement
from aira_bench.tasks.artifact_spec import ArtifactSpec
from aira_bench.tasks.folder_check import read_text
from aira_bench.tasks.measured_noise import MeasuredNoise
from aira_bench.tasks.plain_yaml import read_plain_yaml
from aira_bench.tasks.profile import UPSTREAM_PROFILES, Profile
from aira_bench.tasks.schema import Positive, Schema, describe_validation_error
from aira_contract.flags import AdmittedFlag
from aira_contract.settings import PROFILES, ProfileName

_SHAPE = re.compile(r"[\s(\[]*\d{1,12}(?:\s*,\s*\d{1,12})*[\s,)\]]*", re.ASCII)
_MOST_SHAPE_CHARS = 200


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
Year = Annotated[int, Field(ge=1900, le=2200)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
Shape = Annotated[tuple[Positive, ...], BeforeValidator(_as_shape)]


class StateOfTheArt(Schema):
    """A published score to compare with."""

    sota_paper_title: str | None = None
    sota_paper_url: str
    sota_score: float
    sota_year: Year | None = None
    sota_venue: str | None = None
    sota_notes: str | None = None


class LoggingInfo(Schema):
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


class PublicFile(Schema):
    """One file of public data, which preparation containers see as `/raw/<name>`."""

    name: FileName
    url: str = Field(pattern=r"^https?://[^\s]+$")
    bytes: Positive | None = None
    """Expected size; None where no trustworthy figure is known."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Expected hash; without one, the file is pinned to what the first download brought."""
    profiles: tuple[ProfileName, ...] = PROFILES
    """Profiles that need the file."""


Difference = Literal["configurable - fixed", "with - without literature"]


class PairedTask(Schema):
    """A task that is scored on the same hidden data, and what the difference of the two is called."""

    task: Annotated[str, Field(min_length=1, max_length=100)]
    """Its shortest name."""
    difference: Difference | None = None
    """What this task's score less that one's is; None where the other's metadata name it."""


class AiraBlock(Schema):
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
    profiles: dict[ProfileName, Profile] = Field(default_factory=lambda: dict(UPSTREAM_PROFILES))
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


class TaskMetadata(Schema):
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

"""A run's plan, and the manifest that records what it ran with.

The plan is what the user asked for; the manifest adds everything that could change a number: hashes of task and data,
image tags, package versions, hardware, source revision. It is written once, before the first step, and a resumed run
must still match it.
"""

import hashlib
import json
from collections.abc import Set
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from aira_bench.extensions import ExtensionRecord, Kind
from aira_bench.files import Unacceptable, naming, parse_json, read_file, spell_half_surrogates
from aira_bench.record.normalized import Anchors
from aira_bench.record.schema import SCHEMA, UNNAMED, ManifestSchema, require_known
from aira_bench.sandbox.isolation import weakest
from aira_bench.sandbox.sandbox import Isolation, IsolationWord, Role
from aira_bench.tasks.measured_noise import MeasuredNoise
from aira_bench.tasks.metadata import PairedTask
from aira_bench.tasks.profile import Profile
from aira_bench.tasks.schema import describe_validation_error
from aira_contract.settings import ProfileName, SeedSet

MOST_BYTES = 4 * 2**20
MOST_SEEDS = 1_000
MOST_STEPS = 1_000_000
MOST_HOURS = 1e6
MOST_SECONDS = 3600 * MOST_HOURS
"""More than any run takes, and less than what the timers of the machine refuse."""


def _once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ValueError("seeds are distinct and not below 0")
    return seeds


def _with_hidden_hash(data: dict[str, Any]) -> dict[str, Any]:
    hidden = data.get("hidden")
    if not isinstance(hidden, dict) or not isinstance(hidden.get("sha256"), str):
        raise ValueError("it names no hash of hidden data")
    return data


def _with_evaluator(images: dict[str, str]) -> dict[str, str]:
    if "evaluator" not in images:
        raise ValueError("it names no evaluator image")
    return images


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


_OF_THE_MACHINE = frozenset({"name", "cores", "gpus", "gpus_per_seed"})


class RunPlan(_Record):
    """What one `aira-bench run` is to do."""

    name: str
    agent: str
    task: str
    """A task name, or the absolute path of a task folder."""
    profile: ProfileName
    scaffold: str
    fitness: Literal["hidden", "claimed"]
    seeds: Annotated[tuple[int, ...], Field(min_length=1, max_length=MOST_SEEDS), AfterValidator(_once)]
    steps: int = Field(gt=0, le=MOST_STEPS)
    hours: float = Field(gt=0, le=MOST_HOURS)
    step_timeout_s: float = Field(gt=0, le=MOST_SECONDS)
    evaluation_timeout_s: float = Field(gt=0, le=MOST_SECONDS)
    concurrency: int = Field(gt=0)
    seed_set: SeedSet = "search"
    score_cache: bool = True
    source: str | None = None
    """Where raw data comes from, as `--source` names it; None for the task's own way."""
    memory: Literal["paper", "none"] = "paper"
    cores: Annotated[int, Field(gt=0)] | tuple[int, ...] | None = None
    """How many cores it leases at most, or which it may; None for all that it can use."""
    gpus: Annotated[int, Field(gt=0)] | tuple[str, ...] | None = None
    """The same for GPUs, which are named by their number or UUID."""
    gpus_per_seed: Literal[1] | None = None
    """How many GPUs a step has, if the user said it."""
    exclusive: bool = False
    """Whether a seed keeps its GPU, or its cores, until it ends."""
    evaluator: str | None = None
    """What scores submissions, if the user named it; None for the evaluator that fits the task's artifact."""
    provider: str | None = None
    """What serves the agent's card, if the user named it; None for the provider that the card names."""
    max_cost_usd: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)
    seed_max_cost_usd: float | None = Field(default=None, gt=0)
    seed_max_tokens: int | None = Field(default=None, gt=0)
    confirm: bool = False
    """Whether the run trains what it submitted once more at its end (`aira_bench.runs.confirm`)."""
    hidden_key: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Hash of the key that the hidden data is derived from; None for the seeds that task folders publish."""
    protocol: Literal["aira", "paper"] = "aira"
    """What set all that its user did not."""
    bugs: Literal["judge", "analysis"] | None = None
    """Who says that a step is a bug; None in records of versions in which the fitness decided that."""

    @property
    def bugs_named_by(self) -> Literal["judge", "analysis"]:
        """Who says that a step is a bug: the engine and the judge alone, or also the agent's own analysis."""
        return self.bugs or ("analysis" if self.fitness == "claimed" else "judge")

    def first_difference(self, other: "RunPlan", but: Set[str] = frozenset()) -> tuple[str, str, str] | None:
        """Return the first thing that another plan has otherwise than this one: its name, and both values in words.

        Names and places are none: a run goes on where there is room.

        Args:
            other: a plan.
            but: more names that may differ.
        """
        for name in RunPlan.model_fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs and name not in _OF_THE_MACHINE | but:
                return name, _in_words(mine), _in_words(theirs)
        return None


class Compatibility(_Record):
    """What the product declared of its own code when the run began (`aira_contract.compatibility`)."""

    evaluator: str
    """Which evaluator scored, by the kind of artifact."""
    version: int
    """Its number."""
    flavour: str
    """Of the images."""
    libraries: int
    """The number of their pinned libraries."""
    search: int
    """The number of the agents and scaffolds of this package."""
    shipped: bool
    """The task's folder came with the product, so that the evaluator's number stands for its scripts and data too."""


class JudgesRecord(_Record):
    """That judges ran on other machines, where no agent's code ran. Which machines is not recorded."""

    by: Literal["ssh", "ray"]
    """The way to them."""
    nodes: int | None = Field(default=None, gt=0)
    """How many there were; None where the engine chose among its own."""
    hardware_class: str
    """Of each."""
    missing_walls: tuple[str, ...] = ()
    """Walls that did not stand there, as of `Manifest.missing_walls`."""


class Manifest(_Record):
    """The plan and all that a reader needs to trust or repeat it."""

    schema_version: ManifestSchema = SCHEMA
    """Of all that the run began with (`aira_bench.record.schema`); 1 is a run without signatures."""
    run_id: str = Field(pattern=r"^[0-9a-f]{1,32}$")
    created: str
    aira_bench: str
    plan: RunPlan
    task_name: str
    task_title: str
    metric: str
    lower_is_better: bool
    anchors: Anchors | None = None
    """What normalized scores are measured against, as the task's metadata had it."""
    task_sha256: str
    data: Annotated[dict[str, Any], AfterValidator(_with_hidden_hash)]
    images: Annotated[dict[str, str], AfterValidator(_with_evaluator)]
    packages: dict[str, str]
    python: str
    host: str
    hardware: dict[str, Any]
    hardware_class: str
    source_revision: str | None
    agent_file_sha256: str | None = None
    """Of the copy of a `script:` agent's file."""
    prompts: dict[str, str] = {}
    """Hash of each prompt file of an agent that has prompts."""
    card: dict[str, Any] | None = None
    """The agent card as it was used."""
    extensions: dict[Kind, ExtensionRecord] = {}
    """What code of others the run stands on, by kind; none where everything named is built in."""
    isolation: dict[str, bool]
    """Checks of the probe container before the first step; every one held but those of `missing_walls`."""
    compatibility: Compatibility | None = None
    """None in runs of versions that declared nothing: those compare by hashes and image tags."""
    pair: PairedTask | None = None
    """The task that is scored on the same hidden data, if there is one."""
    limits: dict[str, float] = {}
    """Of a step and its evaluation, by the task's profile: what the plan does not name, such as memory in MiB."""
    description_sha256: str | None = None
    """Of the task's text that agents may read."""
    trainings: int | None = Field(default=None, ge=0, le=100)
    """How many trainings confirm a submission, as the task's profile had it; 0 where the task has one set of hidden
    data and nothing can be confirmed. None in runs of versions that confirmed by one training."""
    noise: MeasuredNoise | None = None
    """The task's noise floor in this profile, as its metadata had it; None where it was not measured."""
    isolation_of: dict[Role, Isolation] = {}
    """What separated containers of each untrusted role from others. Runs of versions that did not know have none."""
    missing_walls: tuple[str, ...] = ()
    """Walls that did not stand, by their names (`aira_bench.sandbox.walls`): the engine cannot build them, and the user
    accepted that of each."""

    judges: JudgesRecord | None = None
    """Where submissions were judged, if not on the machine of the search: the hidden data was there alone."""

    @property
    def scored_on(self) -> str:
        """The hardware class of the machines that scored."""
        return self.hardware_class if self.judges is None else self.judges.hardware_class

    @property
    def isolation_word(self) -> IsolationWord:
        """The least that separated this run's containers of untrusted code from others."""
        return weakest(self.isolation_of.values()).word if self.isolation_of else "shared"

    @property
    def isolation_told(self) -> str:
        """`isolation_word`, missing walls and judges elsewhere: `own trees, without memory, judges elsewhere (ssh)`."""
        lacking = f", without {', '.join(self.missing_walls)}" if self.missing_walls else ""
        return f"{self.isolation_word}{lacking}{self._judges_told}"

    @property
    def _judges_told(self) -> str:
        if self.judges is None:
            return ""
        lacking = f", without {', '.join(self.judges.missing_walls)}" if self.judges.missing_walls else ""
        return f", judges elsewhere ({self.judges.by}{lacking})"

    def named(self, kind: Kind, name: str) -> str:
        """Return a name of the plan as boards show it: an extension's with what tells its code from another of that
        name; of a file's without its folder, which differs from machine to machine.
        """
        found = self.extensions.get(kind)
        return name if found is None else f"{name.rpartition('/')[2]} [{found.sha256[:8]}]"

    @property
    def synthetic(self) -> bool:
        """Whether the data is a generated stand-in, whose scores say nothing about the real data."""
        return bool(self.data.get("synthetic", False))


def _in_words(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def limits_of(profile: Profile) -> dict[str, float]:
    """Return the limits of a task's profile that no plan names, those of inner blocks under dotted names."""
    named = {*RunPlan.model_fields, "prepare_timeout_s", "trainings"}
    flat: dict[str, float] = {}
    for name, value in profile.model_dump().items():
        parts = {f"{name}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {name: value}
        flat |= {part: float(each) for part, each in parts.items() if each is not None and name not in named}
    return flat


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of a run's `manifest.json`."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=2, allow_nan=False) + "\n").encode()


def load_manifest(run: Path) -> tuple[Manifest, str]:
    """Read the manifest in the folder of a run; return it and the SHA-256 of its file.

    Raises:
        Unacceptable: missing or damaged.
        LaterSchema: a later version wrote it.
    """
    with naming("manifest.json"):
        try:
            data = read_file(run, "manifest.json", MOST_BYTES)
            value = parse_json(data)  # refuses what pydantic takes: keys twice, numbers without bounds
            named = isinstance(value, dict) and "schema_version" in value
            if named:
                require_known(value["schema_version"], value.get("aira_bench"))
            manifest = Manifest.model_validate_json(spell_half_surrogates(data))
            found = manifest if named else manifest.model_copy(update={"schema_version": UNNAMED})
            return found, hashlib.sha256(data).hexdigest()
        except FileNotFoundError as error:
            raise Unacceptable("it is missing") from error
        except ValidationError as error:
            raise Unacceptable(f"it is damaged: {describe_validation_error(error)}") from error

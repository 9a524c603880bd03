"""A run's plan, and the manifest that records what it ran with.

The plan is what the user asked for; the manifest adds everything that could change a number: hashes of task and data,
image tags, package versions, hardware, source revision. It is written once, before the first step, and a resumed run
must still match it.
"""

import platform
import subprocess
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aira_bench import __version__
from aira_bench.errors import RunStateError
from aira_bench.evaluation.normalized import Anchors
from aira_bench.hardware import Hardware
from aira_bench.sandbox.isolation import weakest
from aira_bench.sandbox.protocol import Isolation, IsolationWord, Role
from aira_bench.tasks.metadata import describe_validation_error

_RECORDED_PACKAGES = (
    "docker",
    "pydantic",
    "rich",
    "anthropic",
    "google-genai",
    "openai",
    "tenacity",
    "jinja2",
    "botorch",
    "gpytorch",
    "torch",
)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunPlan(_Record):
    """What one `aira-bench run` is to do."""

    name: str
    agent: str
    task: str
    """A task name, or the absolute path of a task folder."""
    profile: Literal["paper", "cpu"]
    scaffold: str
    fitness: Literal["hidden", "claimed"]
    seeds: tuple[int, ...]
    steps: int = Field(gt=0)
    hours: float = Field(gt=0)
    step_timeout_s: float = Field(gt=0)
    evaluation_timeout_s: float = Field(gt=0)
    concurrency: int = Field(gt=0)
    seed_set: Literal["search", "final"] = "search"
    score_cache: bool = True
    source: str | None = None
    """Where raw data comes from, as `--source` names it; None for the task's own way."""
    memory: Literal["paper", "none"] = "paper"
    max_cost_usd: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)
    seed_max_cost_usd: float | None = Field(default=None, gt=0)
    seed_max_tokens: int | None = Field(default=None, gt=0)


class Manifest(_Record):
    """The plan and all that a reader needs to trust or repeat it."""

    schema_version: Literal[1] = 1
    run_id: str
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
    data: dict[str, Any]
    images: dict[str, str]
    packages: dict[str, str]
    python: str
    host: str
    hardware: dict[str, Any]
    hardware_class: str
    source_revision: str | None
    prompts: dict[str, str] = {}
    """Hash of each prompt file of an agent that has prompts."""
    card: dict[str, Any] | None = None
    """The agent card as it was used."""
    isolation: dict[str, bool]
    """Checks of the probe container before the first step; every one must hold."""
    isolation_of: dict[Role, Isolation] = {}
    """What separated containers of each untrusted role from others. Runs of versions that did not know have none."""

    @property
    def isolation_word(self) -> IsolationWord:
        """The least that separated this run's containers of untrusted code from others."""
        return weakest(self.isolation_of.values()).word if self.isolation_of else "shared"

    @property
    def synthetic(self) -> bool:
        """Whether the data is a generated stand-in, whose scores say nothing about the real data."""
        return bool(self.data.get("synthetic", False))


def read_manifest(path: Path) -> Manifest:
    """Load `manifest.json`.

    Raises:
        RunStateError: missing, damaged, or written by another version.
    """
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunStateError(f"{path.parent} is no run: {path.name} is missing.", hint="aira-bench status") from error
    except ValidationError as error:
        raise RunStateError(f"{path} is damaged or of another version: {describe_validation_error(error)}") from error


def software_versions() -> dict[str, str]:
    """Versions of the packages a run stands on; a package that is not installed is left out."""
    versions = {"aira-bench": __version__}
    for name in _RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def source_revision() -> str | None:
    """The commit this code was run from, with `+changes` if edited; None outside a checkout."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def describe_hardware(hardware: Hardware) -> dict[str, Any]:
    """Hardware as plain JSON values."""
    return asdict(hardware)


def python_version() -> str:
    """The host interpreter's version."""
    return platform.python_version()

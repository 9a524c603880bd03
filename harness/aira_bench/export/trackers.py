"""Trackers that a run can be mirrored to, each through its maker's own client: MLflow and Weights & Biases.

Both get the same: names and settings of the run, and for each step of each seed what the search itself knows of it.
They are told of nothing hidden, no code, no prompt and no file.

Runs in the mirror's process alone (`aira_bench.export.mirror`): a client may hang, print, change signals or end the
process. Not covered: reading anything back but how many steps a tracker has already.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aira_bench.export.steps import epoch_s
from aira_bench.export.texts import bounded
from aira_bench.record.manifest import Manifest

PROJECT = "aira-bench"
"""The experiment or project, where its variable names no other: MLFLOW_EXPERIMENT_NAME, WANDB_PROJECT."""
PACKAGES = {"mlflow": "mlflow", "wandb": "wandb"}
"""What each tracker's client is called, as a module and as an extra."""
_PARAMETER_CHARS = 250


class Tracker(Protocol):
    """A run as a tracker has it."""

    def sent(self, seed: int) -> int:
        """Return how many steps of a seed it has already, of a mirror before this one."""
        ...

    def step(self, seed: int, step: int, at: str, values: Mapping[str, float]) -> None:
        """Send what is known of one step.

        Args:
            seed: whose step it is.
            step: its number.
            at: when it ended; ISO 8601.
            values: by tag.
        """
        ...

    def close(self, *, ended: bool) -> None:
        """Say that nothing more comes; `ended` where all seeds have ended."""
        ...


class MlflowTracker:
    """A run of MLflow, below MLFLOW_TRACKING_URI."""

    def __init__(self, name: str, manifest: Manifest) -> None:
        """Find the run by its id, or make it."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client: Any = MlflowClient()
        project = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(project)
        place = experiment.experiment_id if experiment else self._client.create_experiment(project)
        found = self._client.search_runs([place], f"tags.aira_run_id = '{manifest.run_id}'", max_results=1)
        self._run: Any = found[0] if found else None
        if self._run is None:
            tags = {"aira_run_id": manifest.run_id, "mlflow.source.name": "aira-bench"}
            self._run = self._client.create_run(place, run_name=bounded(name, _PARAMETER_CHARS), tags=tags)
            settings = [Param(key, value) for key, value in settings_of(manifest).items()]
            self._client.log_batch(self._run.info.run_id, params=settings)
        self._tags: Mapping[str, str] = self._run.data.tags

    def sent(self, seed: int) -> int:
        """Return how many steps of a seed it has already."""
        return int(self._tags.get(f"aira_sent_{seed}", 0))

    def step(self, seed: int, step: int, at: str, values: Mapping[str, float]) -> None:
        """Send the values of a step, all at once."""
        from mlflow.entities import Metric, RunTag

        moment_ms = int(epoch_s(at) * 1000)
        metrics = [Metric(f"seed_{seed}/{name}", value, moment_ms, step) for name, value in values.items()]
        tags = [RunTag(f"aira_sent_{seed}", str(step))]
        self._client.log_batch(self._run.info.run_id, metrics=metrics, tags=tags)

    def close(self, *, ended: bool) -> None:
        """Say how the run stands."""
        self._client.set_terminated(self._run.info.run_id, "FINISHED" if ended else "KILLED")


class WandbTracker:
    """A run of Weights & Biases, in its online or its offline mode (WANDB_MODE)."""

    def __init__(self, name: str, manifest: Manifest) -> None:
        """Go on with the run of that id, or make it."""
        import wandb

        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=manifest.run_id,
            name=bounded(name, _PARAMETER_CHARS),
            resume="allow",
            config=settings_of(manifest),
            settings=wandb.Settings(
                console="off", disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True
            ),
        )
        for seed in manifest.plan.seeds:
            self._run.define_metric(f"seed_{seed}/*", step_metric=f"seed_{seed}/step")

    def sent(self, seed: int) -> int:
        """Return how many steps of a seed it has already."""
        return int(self._run.summary.get(f"seed_{seed}/step") or 0)

    def step(self, seed: int, step: int, at: str, values: Mapping[str, float]) -> None:
        """Send the values of a step, all at once."""
        told = {f"seed_{seed}/{name}": value for name, value in values.items()}
        self._run.log({f"seed_{seed}/step": step, **told})

    def close(self, *, ended: bool) -> None:
        """Send what is left, and wait for the client's own process, which writes after it says that it is done."""
        import wandb

        self._run.finish(exit_code=0 if ended else 1)
        wandb.teardown()


def settings_of(manifest: Manifest) -> dict[str, str]:
    """Return what a tracker is told of a run before its steps."""
    plan = manifest.plan
    told = {
        "run_id": manifest.run_id,
        "task": manifest.task_title,
        "metric": manifest.metric,
        "lower_is_better": str(manifest.lower_is_better).lower(),
        "profile": plan.profile,
        "agent": plan.agent,
        "scaffold": plan.scaffold,
        "fitness": plan.fitness,
        "seeds": " ".join(map(str, plan.seeds)),
        "steps": str(plan.steps),
        "aira_bench": manifest.aira_bench,
    }
    return {name: bounded(value, _PARAMETER_CHARS) for name, value in told.items()}


TRACKERS: Mapping[str, Callable[[str, Manifest], Tracker]] = {"mlflow": MlflowTracker, "wandb": WandbTracker}

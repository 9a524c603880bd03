"""Trainings of a plan as folders: where each lies, how far it came, and the command that begins it or goes on.

    DIR/ARCHITECTURE-SCALE-RECIPE-sSEED/     what the trainer writes (`aira_contract.pretraining`)
        training.json                        what it was begun for (`aira_bench.scaling.trained_folders`)
        RECIPE-published.toml                where the published steps are not those of the pattern's layers

Not covered: several machines, and whether a training that goes on elsewhere is alive.
"""

import fcntl
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast

from aira_bench.errors import UsageError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.files import write_atomically, write_json
from aira_bench.scaling.corpus.made import MadeTokens
from aira_bench.scaling.notation import write_pattern
from aira_bench.scaling.plan.planned import Plan, PlannedTraining
from aira_bench.scaling.trained_folders import BEGUN, BegunTraining, TrainingFolder, training_folders
from aira_contract.pretraining import LOCK, RECORD
from aira_contract.recipes import Recipe, write_recipe

State = Literal["done", "begun", "missing"]
TRAINER = "aira_evaluator.pretrain.train"
_NAME_CHARS = 150


@dataclass(frozen=True)
class SeedTraining:
    """One run: a training of a plan with one of its seeds."""

    planned: PlannedTraining
    seed: int
    folder: Path
    found: TrainingFolder | None
    """What is in its folder; None where it has not begun."""

    @property
    def state(self) -> State:
        """Whether it is done, was begun, or is missing."""
        if self.found is None:
            return "missing"
        return "done" if self.found.record.finished else "begun"

    @property
    def steps_done(self) -> int:
        """The number of steps that its last record tells of."""
        return 0 if self.found is None else self.found.record.steps_done


def seed_trainings(plan: Plan, folder: Path) -> tuple[SeedTraining, ...]:
    """Return every run of a plan, with what its folder holds.

    Raises:
        UsageError: a folder holds another training than its name says.
        RunStateError: a record cannot be read.
    """
    runs: dict[Path, SeedTraining] = {}
    for planned in plan.trainings:
        for seed in range(planned.training.seeds):
            place = folder / _name(planned, seed)
            other = runs.get(place)
            if other is not None and _trained(other.planned, seed) != _trained(planned, seed):
                raise UsageError(
                    f"{_said(other.planned)} and {_said(planned)} are two trainings with one folder, {place.name}.",
                    hint="one of them with another --out, or its recipe under another name",
                )
            found = next(iter(training_folders(place)), None) if (place / RECORD).exists() else None
            if found is not None:
                _require_same(planned, seed, found)
            runs.setdefault(place, SeedTraining(planned, seed, place, found))
    return tuple(runs.values())


def _name(planned: PlannedTraining, seed: int) -> str:
    """Patterns that differ in brackets alone differ in underscores; `(Stretched)` behind a title is a word of it."""
    words = f"{planned.model.name}-{planned.model.scale}-{planned.training.recipe.name}".lower()
    marked = re.sub(r" \((\w+)\)", r"-\1", words).translate(str.maketrans("()", "__"))
    name = re.sub(r"[^a-z0-9._]+", "-", marked).strip("-")
    if len(name) > _NAME_CHARS:
        name = f"{name[:_NAME_CHARS]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
    return f"{name}-s{seed}"


def _said(planned: PlannedTraining) -> str:
    return f"{write_pattern(planned.model.pattern)} at {planned.model.scale} by {planned.training.named}"[:_NAME_CHARS]


def _trained(planned: PlannedTraining, seed: int) -> dict[str, object]:
    """What a training's numbers follow from, as its record has it; what its recipe is called is none of that."""
    recipe = asdict(_recipe(planned))
    settings = {f"{key} of its recipe": recipe[key] for key in recipe if key not in ("name", "title", "scales")}
    pattern = write_pattern(planned.model.pattern)
    found = {"pattern": pattern, "scale": planned.model.scale, "seed": seed, "steps": planned.steps.steps, **settings}
    return cast("dict[str, object]", json.loads(json.dumps(found)))


def _require_same(planned: PlannedTraining, seed: int, found: TrainingFolder) -> None:
    identity = found.record.identity
    there: dict[str, object] = {f"{key} of its recipe": value for key, value in identity.recipe.items()}
    there |= {"pattern": write_pattern(found.pattern), "scale": identity.scale, "seed": identity.seed}
    there |= {"steps": identity.steps}
    for name, expected in _trained(planned, seed).items():
        if there.get(name) != expected:
            raise UsageError(
                f"{found.folder} holds another training than is planned: {name} {_value(there.get(name))}, "
                f"expected {_value(expected)}.",
                hint="--out DIR   (another folder)",
            )


def _value(value: object) -> str:
    said = f"{value:,}" if isinstance(value, int) else str(value)
    return said[:VALUE_CHARS]


def require_same_tokens(runs: Sequence[SeedTraining], tokens: MadeTokens) -> None:
    """Refuse tokens that are not those on which a training was begun.

    Raises:
        UsageError: they are others.
    """
    for run in runs:
        if run.found is not None and run.found.record.identity.data.get("sha256") != tokens.sha256:
            raise UsageError(
                f"{run.folder} was trained on other tokens than those in {tokens.folder}.",
                hint="--out DIR   (another folder)",
            )


def is_trained_elsewhere(run: SeedTraining) -> bool:
    """Whether a process on this machine trains in the run's folder, such as ranks that outlived what started them."""
    try:
        with (run.folder / LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def prepare(run: SeedTraining) -> None:
    """Write what a run is begun for, and its recipe where that is not the shipped one."""
    training, steps = run.planned.training, run.planned.steps
    recipe = _recipe(run.planned)
    budget = training.recipe.flop_budget
    begun = BegunTraining(
        1, run.planned.model.name, training.scale, training.recipe.name, run.seed, steps.steps,
        None if budget is None else float(budget),
    )  # fmt: skip
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / BEGUN, asdict(begun))
    if steps.note:
        write_atomically(_published_recipe(run), write_recipe(recipe).encode())


def _published_recipe(run: SeedTraining) -> Path:
    return run.folder / f"{run.planned.training.recipe.name}-published.toml"


def _recipe(planned: PlannedTraining) -> Recipe:
    """By which it is trained: with the published steps in place of the budget, where those are not what it buys."""
    recipe, steps = planned.training.recipe, planned.steps
    return replace(recipe, steps=steps.steps, flop_budget=None) if steps.note else recipe


def command(run: SeedTraining, data: Path, python: str, options: Sequence[str] = ()) -> list[str]:
    """Return the command line that begins a run or goes on with it, on the GPUs of this machine.

    Args:
        run: which.
        data: folder of tokens.
        python: whose torch it is.
        options: passed to the trainer as they are.
    """
    planned = run.planned
    training, layout = planned.training, planned.layout
    compiled = [] if "cpu" in options else ["--compile"]  # as what plans know of throughput was measured
    gpus = planned.settings.gpus
    # One rank needs nobody to start the others, and hears SIGTERM itself.
    # Without an address torchrun looks for one by the machine's name, and where none knows it waits without end.
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    ranks = [] if gpus == 1 else [*torchrun, "--nproc-per-node", str(gpus)]
    return [
        python, *ranks, "-m", TRAINER,
        "--pattern", write_pattern(planned.model.pattern), "--scale", training.scale,
        "--recipe", str(_published_recipe(run)) if planned.steps.note else training.named,
        "--data", str(data), "--out", str(run.folder), "--seed", str(run.seed),
        "--microbatch", str(layout.sequences), "--recompute", layout.recompute, *compiled, *options,
    ]  # fmt: skip


def run_record(run: SeedTraining) -> dict[str, object]:
    """Return a run and how far it came as JSON values."""
    record = None if run.found is None else run.found.record
    return {
        "training": run.folder.name,
        "state": run.state,
        "steps_done": run.steps_done,
        "steps": run.planned.steps.steps,
        "validation_loss": None if record is None else record.validation_loss,
        "hours": None if record is None else record.seconds / 3600,
        "marks": "" if run.found is None else ", ".join(run.found.marks),
    }

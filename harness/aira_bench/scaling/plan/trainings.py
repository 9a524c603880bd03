"""Trainings of a plan as folders: where each lies, how far it came, and the command that begins it or goes on.

    DIR/ARCHITECTURE-SCALE-RECIPE-sSEED/     what the trainer writes (`aira_contract.pretraining`)
        training.json                        what it was begun for (`aira_bench.scaling.trained_folders`)
        RECIPE-published.toml                where the published steps are not those of the pattern's layers

Not covered: several machines, and whether a training that goes on elsewhere is alive.
"""

import fcntl
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from aira_bench.errors import UsageError
from aira_bench.files import write_atomically, write_json
from aira_bench.scaling.notation import write_pattern
from aira_bench.scaling.plan.planned import Plan, PlannedTraining
from aira_bench.scaling.trained_folders import BEGUN, BegunTraining, TrainingFolder, training_folders
from aira_contract.pretraining import LOCK, RECORD
from aira_contract.recipes import FOLDER

State = Literal["done", "begun", "missing"]
TRAINER = "aira_evaluator.pretrain.train"
_BUDGET = re.compile(r"^flop_budget\s*=.*$", re.MULTILINE)
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
    runs = []
    for planned in plan.trainings:
        for seed in range(planned.training.seeds):
            place = folder / _name(planned, seed)
            found = next(iter(training_folders(place)), None) if (place / RECORD).exists() else None
            if found is not None:
                _require_same(planned, seed, found)
            runs.append(SeedTraining(planned, seed, place, found))
    return tuple(runs)


def _name(planned: PlannedTraining, seed: int) -> str:
    words = f"{planned.model.name}-{planned.model.scale}-{planned.training.recipe.name}"
    return f"{re.sub(r'[^a-z0-9.]+', '-', words.lower()).strip('-')[:_NAME_CHARS]}-s{seed}"


def _require_same(planned: PlannedTraining, seed: int, found: TrainingFolder) -> None:
    identity = found.record.identity
    expected = (planned.model.pattern, planned.model.scale, seed, planned.steps.steps)
    if (found.pattern, identity.scale, identity.seed, identity.steps) != expected:
        raise UsageError(
            f"{found.folder} holds another training than is planned: {write_pattern(found.pattern)} at "
            f"{identity.scale} with seed {identity.seed}, {identity.steps:,} steps; expected {planned.steps.steps:,}.",
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
    budget = training.recipe.flop_budget
    begun = BegunTraining(
        1, run.planned.model.name, training.scale, training.recipe.name, run.seed, steps.steps,
        None if budget is None else float(budget),
    )  # fmt: skip
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / BEGUN, asdict(begun))
    if steps.note:
        write_atomically(_published_recipe(run), _with_steps(training.recipe.name, steps.steps).encode())


def _published_recipe(run: SeedTraining) -> Path:
    return run.folder / f"{run.planned.training.recipe.name}-published.toml"


def _with_steps(recipe: str, steps: int) -> str:
    text = (FOLDER / f"{recipe}.toml").read_text(encoding="utf-8")
    return _BUDGET.sub(f"steps = {steps}", text)


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

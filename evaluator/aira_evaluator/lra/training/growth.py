"""How a module's work, time and memory grow over one, two and four times the length it is trained at.

A module is called quadratic where, over four times the length, at least a tenth of its counted work grew at least as
L ** 1.5 does (`superlinear_share`), or its measured time grew so. Counting sees the passes of the training too, and
does not depend on the machine; measuring sees what counting cannot. The compiled evaluation's intermediate memory never
decides alone, since how a compiler lays out and keeps the arrays of a linear module may by itself grow more than
eightfold. Where work does not tell all, in loops of unknown length, it bears out a time that grew as L ** 1.25 or more.
Where four times the length needs more memory than there is, twice the length is measured.

Not covered: modules that change their algorithm beyond four times the length.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from aira_evaluator.lra.contract.bundle import SCALES
from aira_evaluator.lra.graphs.cost import Work, superlinear_share, work_of
from aira_evaluator.lra.graphs.functions import Parameters, Scaled
from aira_evaluator.lra.training.heads import Head, HeadParameters
from aira_evaluator.lra.training.predictions import Evaluator, Inputs, rounded
from aira_evaluator.lra.training.trainer import Weights

QUADRATIC_SHARE = 0.1
QUADRATIC_POWER = 1.5
"""Of the length; halfway from linear to quadratic."""
SUPERLINEAR_POWER = 1.25
"""Of the length; more than linear work takes, and L log L."""
_TELLING_S = 0.02
_TELLING_BYTES = 1 << 20
"""Below these, overheads and padding decide ratios."""
_RUNS = 3


@dataclass(frozen=True)
class ScaledModule:
    """The evaluation at one multiple of the length, compiled."""

    scale: int
    work: Work
    weights: Weights
    """Of the training, with zeros where longer inputs have more parameters."""
    evaluator: Evaluator | None
    """None where its parameters do not contain the training's, or it would need more memory than there is."""
    seconds: float | None
    """Of one batch, the fastest of three; None where it was not run."""

    @property
    def took(self) -> tuple[float, int] | None:
        """Seconds of a batch and bytes of its intermediate results, where it was run."""
        return (
            None if self.evaluator is None or self.seconds is None else (self.seconds, self.evaluator.temporary_bytes)
        )


@dataclass(frozen=True)
class Growth:
    """What was found over all multiples of the length."""

    modules: Sequence[ScaledModule]

    @property
    def measured(self) -> bool:
        """Whether the module could be traced at every multiple."""
        return len(self.modules) == len(SCALES)

    @property
    def quadratic(self) -> bool:
        """Whether the module grows quadratically, as the docstring of this module defines it."""
        if not self.measured:
            return False
        return self._superlinear_share() >= QUADRATIC_SHARE or self._measured_quadratic()

    def details(self) -> dict[str, object]:
        """Return what was counted and measured at each length, as plain values for a report."""
        rows = {
            f"x{module.scale}": {
                "work": module.work.total if math.isfinite(module.work.total) else "beyond 1e300",
                "loops_of_unknown_length": module.work.unknown_loops,
                "temporary_mib": rounded(module.evaluator.temporary_bytes / 2**20) if module.evaluator else None,
                "seconds": None if module.seconds is None else rounded(module.seconds),
            }
            for module in self.modules
        }
        return {"superlinear_share": rounded(self._superlinear_share()) if self.measured else None, **rows}

    def _measured_quadratic(self) -> bool:
        """Whether it took so much more time, or time and memory, over the lengths at which it was run."""
        ran = [(each.scale, *each.took) for each in self.modules if each.took is not None]
        if len(ran) < 2:
            return False
        (short, before_s, bytes_before), (long, after_s, bytes_after) = ran[0], ran[-1]
        length = long / short
        # Scores of attention kept whole are L x L numbers.
        bytes_telling = max(_TELLING_BYTES, math.pow(length, QUADRATIC_POWER) * bytes_before)
        borne_out = self.modules[-1].work.unknown_loops > 0 and bytes_after >= bytes_telling
        power = SUPERLINEAR_POWER if borne_out else QUADRATIC_POWER
        return after_s >= max(_TELLING_S, math.pow(length, power) * before_s)

    def _superlinear_share(self) -> float:
        short, middle, long = (module.work for module in self.modules)
        return superlinear_share(short, middle, long)


def measure_growth(
    scaled: Sequence[Scaled],
    weights: Weights,
    head: Head,
    *,
    batch: tuple[int, int, int],
    vocab_size: int,
    memory_bytes: float,
    rng: np.random.Generator,
) -> Growth:
    """Count, compile and time a module at every multiple of the length.

    Args:
        scaled: its graphs.
        weights: of the training.
        head: on top of the module.
        batch: examples, documents and tokens at the training's length.
        vocab_size: token ids to draw inputs from.
        memory_bytes: what the evaluation of a batch may need to be run.
        rng: draws the inputs.
    """
    modules = []
    for each in scaled:
        work = work_of(each.graphs)
        extended = _extended(weights[0], each)
        if extended is None:
            modules.append(ScaledModule(each.scale, work, weights, None, None))
            continue
        values: tuple[Parameters, HeadParameters] = (extended, weights[1])
        shape = (batch[0], batch[1], batch[2] * each.scale)
        evaluator = Evaluator(each.evaluate, head, values, shape)
        fits = evaluator.temporary_bytes <= memory_bytes
        inputs = rng.integers(1, vocab_size, shape, dtype=np.uint16)
        seconds = min(_seconds(evaluator, values, inputs) for _ in range(_RUNS)) if fits else None
        modules.append(ScaledModule(each.scale, work, values, evaluator if fits else None, seconds))
    return Growth(modules)


def _seconds(evaluator: Evaluator, weights: Weights, inputs: Inputs) -> float:
    # A busy machine delays a process, but does not lengthen the time it computes.
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    started_s = clock()
    evaluator.logits(weights, inputs)
    return clock() - started_s


def _extended(parameters: Parameters, scaled: Scaled) -> Parameters | None:
    """The parameters with zeros up to the shapes of longer inputs; None where a shape shrinks or changes its rank.

    What is added belongs to positions beyond the training's length, which hold only padding in what is compared.
    """
    if len(parameters) != len(scaled.parameters):
        return None
    extended: list[jax.Array] = []
    for value, wanted in zip(parameters, scaled.parameters, strict=True):
        missing = [longer - size for longer, size in zip(wanted.shape, value.shape, strict=False)]
        if len(wanted.shape) != value.ndim or any(size < 0 for size in missing):
            return None
        extended.append(jnp.pad(value, [(0, size) for size in missing]) if any(missing) else value)
    return tuple(extended)

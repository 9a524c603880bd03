"""One module made ready to be trained, and its trainings: on the task, and on controls with the same programs.

What is compiled here is compiled once a submission: the drawing of parameters, the pass for evaluation, and the loop of
the training. Not covered: what trained weights are worth (`module_score`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from aira_contract.training_series import TrainingPoint
from aira_evaluator.lra.contract.bundle import Bundle
from aira_evaluator.lra.contract.profiles import LraProfile
from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.graphs.functions import CheckedModule
from aira_evaluator.lra.training.gradients import TOLERANCES, GradientReport, choose_gradient, moved
from aira_evaluator.lra.training.heads import head_of
from aira_evaluator.lra.training.limits import EvaluationClock, JudgeLimits
from aira_evaluator.lra.training.material import Material, token_inputs
from aira_evaluator.lra.training.predictions import Evaluator, NotFiniteError, accuracy, require_finite, rounded
from aira_evaluator.lra.training.trainer import (
    DeviceExamples,
    Span,
    Trainer,
    TrainingState,
    Weights,
    optimizer_of,
    stretches,
)

Curve = list[dict[str, float]]
"""Step, mean loss since the step before, and accuracy on some held-out examples, at every evaluation."""


@dataclass(frozen=True)
class Trained:
    """What one training came to."""

    weights: Weights
    curve: Curve
    points: list[TrainingPoint]
    """Of the same evaluations: the mean loss since the one before, tokens and seconds."""


_PROBE_STEPS = 5
"""Timed before the rest of the first stretch is begun."""


@dataclass(frozen=True)
class Watched:
    """What an evaluation may use, what it has used, and who is told what is going on."""

    limits: JudgeLimits
    clock: EvaluationClock
    note: Callable[[str], None]


class ModuleTraining:
    """A submission's module with what the judge trains it by."""

    def __init__(
        self,
        bundle: Bundle,
        profile: LraProfile,
        module: CheckedModule,
        keys: NDArray[np.uint32],
        order: NDArray[np.int32],
        watched: Watched,
    ) -> None:
        """Compile what draws parameters and what evaluates them.

        Args:
            bundle: of the fit container.
            profile: of the task.
            module: the bundle's graphs, checked.
            keys: of the training and of its dropout, uint32 (2 or more, 2).
            order: examples of every step, int32 (steps, B).
            watched: limits and clock.

        Raises:
            RefusedError: the pass for evaluation cannot fit.
        """
        self.profile, self.module, self.wanted = profile, module, bundle.hyperparameters
        self._limits, self._clock, self._note = watched.limits, watched.clock, watched.note
        self._contract = CONTRACTS[profile.task]
        self.platform = bundle.platform
        self._reduced = any(word in bundle.graphs["forward"] for word in (b"xbf16>", b"xf16>"))
        self._keys, self._order = jnp.asarray(keys), jnp.asarray(order)
        self._optimizer = optimizer_of(self.wanted)
        self.head = head_of(self._contract, self.wanted)
        self._trainer = Trainer(module.functions, self.head)
        # Drawing parameters runs a few times and compiles longer than it runs: optimizing it would cost more.
        options = {"xla_backend_optimization_level": 0} if self.platform == "cpu" else None
        self._start = jax.jit(self._trainer.start, compiler_options=options)
        batch = (profile.eval_batch_size, self._contract.documents, self.wanted.seq_len)
        self.evaluator = Evaluator(module.functions.evaluate, self.head, self.untrained(0), batch)
        self._limits.require_memory(self.evaluator.temporary_bytes, "to be evaluated")
        self._clock.lap("compiling")

    def untrained(self, key: int) -> Weights:
        """Weights before the first step, by the number of the key they are drawn with; 0 is the training's."""
        return self._begun(key).weights

    def _begun(self, key: int) -> TrainingState:
        state: TrainingState = self._start(self._keys[key])
        return state

    def compile(self, material: Material) -> GradientReport:
        """Choose the gradient and compile the loop, for this material and any other of the same sizes.

        Raises:
            RefusedError: memory will not do.
        """
        examples = self._on_device(material)
        self._gradient = self._chosen_gradient(examples)
        self._note(f"compiling the training of {self.module.parameter_count:,} parameters")
        self._program = self._compiled(examples)
        self._clock.lap("compiling")
        return self._gradient

    def _chosen_gradient(self, examples: DeviceExamples) -> GradientReport:
        """Compare the judge's derivative with the submission's, near the initial parameters, and choose."""
        weights = moved(self.untrained(0), self._keys[0])
        tolerance = TOLERANCES["half" if self._reduced else "float32"]
        gradient = choose_gradient(
            self._trainer, weights, self._order, examples, self._keys[1], tolerance,
            fast=self.platform == "cpu", memory_bytes=self._limits.array_bytes,
        )  # fmt: skip
        self._trainer = replace(self._trainer, derived=gradient.derived)
        self._clock.lap("checking")
        return gradient

    def _compiled(self, examples: DeviceExamples) -> jax.stages.Compiled:
        """The loop of the training; by the submission's gradient where the judge's needs more memory than there is."""
        loop = jax.jit(self._trainer.run, donate_argnums=0)
        span = Span(jnp.int32(0), jnp.int32(0), self._order)
        program = loop.lower(self._begun(0), span, examples, self._keys[1], self._optimizer).compile()
        planned = program.memory_analysis()
        needed = 0 if planned is None else planned.temp_size_in_bytes + planned.argument_size_in_bytes
        if needed > self._limits.array_bytes and self._gradient.derived:
            self._gradient = GradientReport(derived=False, reason=f"deriving needs {needed / 2**20:,.0f} MiB")
            self._trainer = replace(self._trainer, derived=False)
            return self._compiled(examples)
        self._limits.require_memory(needed, "to be trained")
        return program

    def train(self, material: Material, watch: Callable[[int, Weights], None]) -> Trained:
        """Train once from the start; `compile` has been called.

        Args:
            material: of the sizes that were compiled for.
            watch: told the last step and the weights, at the first evaluation and at the end.

        Returns:
            The weights, and how it went, at every evaluation.

        Raises:
            NotFiniteError: the loss or an output is not finite.
            RefusedError: time will not do.
        """
        wanted = self.wanted
        examples = self._on_device(material)
        subset = token_inputs(material.held_out, wanted.seq_len, material.ids, self.profile.eval_subset)
        labels = material.held_out.labels[: self.profile.eval_subset]
        step_tokens = self._order.shape[1] * self._contract.documents * wanted.seq_len
        state, curve, points, begun_s = self._begun(0), Curve(), list[TrainingPoint](), time.monotonic()
        for first, stop in stretches(wanted.train_steps, wanted.eval_frequency):
            state, loss = self._stretch(state, first, stop, examples)
            points.append(TrainingPoint(stop, loss, stop * step_tokens, time.monotonic() - begun_s))
            logits = require_finite(self.evaluator.logits(state.weights, subset))
            curve.append({"step": stop, "loss": rounded(loss), "accuracy": rounded(accuracy(logits, labels))})
            self._clock.lap("evaluating")
            if first == 0 or stop == wanted.train_steps:
                watch(stop - 1, state.weights)
                self._clock.lap("checking")
            self._note(f"step {stop} of {wanted.train_steps}: loss {loss:.4f}, accuracy {curve[-1]['accuracy']:.4f}")
        return Trained(state.weights, curve, points)

    def _stretch(
        self, state: TrainingState, first: int, stop: int, examples: DeviceExamples
    ) -> tuple[TrainingState, float]:
        """The steps from `first` to the one before `stop`, and their mean loss.

        The very first steps are run by themselves: what they take tells whether all can be done in time.
        """
        spans = [(first, stop)] if first else [(0, min(_PROBE_STEPS, stop)), (min(_PROBE_STEPS, stop), stop)]
        for begin, end in spans:
            span = Span(jnp.int32(begin), jnp.int32(end), self._order)
            state = self._program(state, span, examples, self._keys[1], self._optimizer)
            loss = float(state.loss_sum) / (stop - first)
            step_s = self._clock.lap("training") / max(1, end - begin)
            self._clock.require(step_s * (self.wanted.train_steps - end))
        if not np.isfinite(loss):
            raise NotFiniteError(f"the training diverged: the loss is {loss} at step {stop}")
        return state._replace(loss_sum=jnp.zeros((), jnp.float32)), loss

    def _on_device(self, material: Material) -> DeviceExamples:
        split, ids = material.train, material.ids[material.train.sequences.token_ids(self.wanted.seq_len)]
        narrow = ids.astype(np.uint8) if self._contract.vocab_size <= 256 else ids
        return DeviceExamples(jnp.asarray(narrow), jnp.asarray(split.rows), jnp.asarray(split.labels, dtype=jnp.int32))

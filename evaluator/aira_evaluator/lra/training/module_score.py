"""From the graphs of a submission to its scores: checks, training, evaluation, in the judge's process.

The trained module answers under secret token ids where the task has them (`material`). The untrained module is checked
with the public ids, where rules written against them would show.

Not covered: reading files and printing results (`judge.evaluate`), and the training itself (`module_training`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from aira_contract.flags import ABOVE_PUBLISHED_BEST, CUSTOM_GRADIENT
from aira_contract.training_series import Series, series_of
from aira_evaluator.lra.contract.bundle import Bundle
from aira_evaluator.lra.contract.profiles import LraProfile
from aira_evaluator.lra.contract.splits import LabelledSplit
from aira_evaluator.lra.contract.submission import CONTRACTS, PADDING_ID
from aira_evaluator.lra.graphs.functions import missing_scales, read_module
from aira_evaluator.lra.training import controls
from aira_evaluator.lra.training.checks import (
    DRAWS,
    check_chance,
    check_company,
    other_company,
    padding_changes,
    padding_dependent,
)
from aira_evaluator.lra.training.controls import Control, ControlResult, ControlVerdict, controls_of
from aira_evaluator.lra.training.gradients import GradientReport
from aira_evaluator.lra.training.growth import Growth, measure_growth
from aira_evaluator.lra.training.limits import EvaluationClock, JudgeLimits, NeighbourClock
from aira_evaluator.lra.training.material import Material, own_rng, renaming, token_inputs
from aira_evaluator.lra.training.module_training import ModuleTraining, Trained, Watched
from aira_evaluator.lra.training.predictions import Inputs, NotFiniteError, accuracy, require_finite, rounded
from aira_evaluator.lra.training.trainer import Weights, draw_order

PUBLISHED_BEST = {"text": 0.9053, "listops": 0.6379, "retrieval": 0.9176}
"""On the real data; a better score deserves a look at what was submitted, in whatever profile."""
_CHECKED_EXAMPLES = 256
_PUBLIC_SLACK, _ENDING_S = 2.0, 10.0
"""Time that must be left to score public rows: a multiple of what the hidden ones took, and seconds to end in."""


@dataclass(frozen=True)
class Splits:
    """The train split, the two hidden splits that a module is scored on, and the public one that a claim is made on."""

    train: LabelledSplit
    validation: LabelledSplit
    test: LabelledSplit
    public: LabelledSplit | None = None


@dataclass
class ModuleScore:
    """The scores of a valid submission, and what the checks noticed about it."""

    validation: float
    test: float
    canonical: str
    flags: list[str]
    unranked: list[str]
    """Flags for which the score takes no part in search and ranking."""
    details: dict[str, object] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    """The figures that controls compared, in words."""
    public: float | None = None
    """On the public rows; None where there are none, or the module has no finite answer to one."""
    series: Series = ()
    """How the training went, controls not included."""


def score_module(
    bundle: Bundle,
    profile: LraProfile,
    splits: Splits,
    *,
    seed: int,
    limits: JudgeLimits,
    started_s: float,
    note: Callable[[str], None],
    draw_secret: bytes = b"",
    synthetic: bool = False,
    controls: bool = False,
    training_deviation: float = 0.0,
) -> ModuleScore:
    """Train a submission once and score it on both hidden splits.

    Args:
        bundle: of the fit container.
        profile: of the task.
        splits: train, hidden validation, hidden test and, where a claim is held against it, public validation.
        seed: of everything random.
        limits: refuse what cannot fit, rather than be killed.
        started_s: when the evaluation began, by `time.monotonic`.
        note: told what is going on.
        draw_secret: of the machine, which token ids and control tasks are drawn by besides the seed.
        synthetic: whether the data stands in for the real one, of which scores are published.
        controls: train on control tasks as well.
        training_deviation: of a score over trainings of one module, as measured; controls allow for it.

    Raises:
        RefusedError: the submission breaks its contract, cannot fit, diverges, or fails a control.
    """
    clock = EvaluationClock(limits, started_s, NeighbourClock().taken_s)
    module = read_module(bundle, CONTRACTS[profile.task], profile.eval_batch_size)
    clock.lap("reading")
    # Independent streams, so that more draws for one purpose change nothing of another.
    order_rng, check_rng, key_rng = (np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(3))
    wanted = bundle.hyperparameters
    order = draw_order(order_rng, len(splits.train), wanted.batch_size, wanted.train_steps)
    keys = key_rng.integers(0, 2**32, (DRAWS + 2, 2), dtype=np.uint32)
    real = Material(splits.train, splits.validation, renaming(profile, seed, draw_secret, module))
    training = ModuleTraining(bundle, profile, module, keys, order, Watched(limits, clock, note))
    judge = _Judge(training, splits, real, check_rng, Watched(limits, clock, note))
    untrained = judge.untrained_checks()
    gradient = training.compile(real)
    trained = training.train(real, gradient.compare)
    score = judge.score(trained, gradient, untrained, synthetic=synthetic)
    if controls:
        judge.control(score, own_rng(seed, draw_secret, module, 1), training_deviation)
    score.public = judge.public(trained.weights)
    return score


class _Judge:
    """The checks of one evaluation, and its score."""

    def __init__(
        self,
        training: ModuleTraining,
        splits: Splits,
        real: Material,
        check_rng: np.random.Generator,
        watched: Watched,
    ) -> None:
        self._training, self._splits, self._real, self._check_rng = training, splits, real, check_rng
        self._limits, self._clock, self._note = watched.limits, watched.clock, watched.note
        self._profile, self._module, self._wanted = training.profile, training.module, training.wanted
        self._contract = CONTRACTS[self._profile.task]
        self._flags: list[str] = []
        self._example_s = 0.0
        """What scoring one example took."""

    def untrained_checks(self) -> Mapping[str, object]:
        """Controls that need no training.

        Raises:
            RefusedError: one fails.
        """
        self._note("checking the untrained module")
        split = self._splits.validation
        public = np.arange(self._contract.vocab_size, dtype=np.uint16)
        inputs = token_inputs(split, self._wanted.seq_len, public, _CHECKED_EXAMPLES)
        labels = split.labels[:_CHECKED_EXAMPLES]
        drawn = (self._training.untrained(2 + draw) for draw in range(DRAWS))  # one at a time: they may be large
        chance = check_chance(
            [require_finite(self._training.evaluator.logits(weights, inputs)) for weights in drawn], labels
        )
        chance.refuse_knowledge()
        if chance.off_chance:
            self._flags.append("informed_at_init")
        self._check_company(self._training.untrained(0), inputs)
        self._clock.lap("checking")
        return chance.details()

    def _check_company(self, weights: Weights, inputs: Inputs) -> None:
        mixed, rows = other_company(inputs, self._profile.eval_batch_size, self._check_rng)
        together = self._training.evaluator.logits(weights, inputs)[rows]
        if (
            check_company(together, self._training.evaluator.logits(weights, mixed))
            and "batch_sensitive" not in self._flags
        ):
            self._flags.append("batch_sensitive")

    def score(
        self,
        trained: Trained,
        gradient: GradientReport,
        untrained: Mapping[str, object],
        *,
        synthetic: bool,
    ) -> ModuleScore:
        """Score trained weights, and check them.

        Raises:
            RefusedError: a control fails.
        """
        weights, scores = trained.weights, dict[str, float]()
        for name, split in (("validation", self._splits.validation), ("test", self._splits.test)):
            inputs = token_inputs(split, self._wanted.seq_len, self._real.ids)
            scores[name] = accuracy(require_finite(self._training.evaluator.logits(weights, inputs)), split.labels)
        scored = len(self._splits.validation) + len(self._splits.test)
        self._example_s = self._clock.lap("evaluating") / scored
        inputs = token_inputs(self._splits.validation, self._wanted.seq_len, self._real.ids, _CHECKED_EXAMPLES)
        self._check_company(weights, inputs)
        growth = self._growth(weights)
        padding = self._padding_changes(weights, growth, inputs)
        found = {
            "fixed_length": bool(missing_scales(self._module)),
            "quadratic": growth.quadratic,
            "padding_dependent": padding is not None and padding_dependent(padding),
            ABOVE_PUBLISHED_BEST: not synthetic and scores["test"] > PUBLISHED_BEST[self._profile.task],
            CUSTOM_GRADIENT: gradient.custom,
        }
        self._flags += [name for name, noticed in found.items() if noticed]
        self._clock.lap("checking")
        details = {
            "platform": self._training.platform,
            "parameters": self._module.parameter_count,
            "hyperparameters": asdict(self._wanted),
            "curve": trained.curve,
            "untrained": untrained,
            "gradient": gradient.details(),
            "padding_changes": None if padding is None else rounded(padding),
            "growth": growth.details(),
            "seconds": {name: round(used_s, 2) for name, used_s in self._clock.used_s.items()},
        }
        unranked: list[str] = [CUSTOM_GRADIENT] if gradient.custom else []
        remarks = [gradient.remark] if gradient.custom else []
        return ModuleScore(
            scores["validation"], scores["test"], self._module.sha256, self._flags, unranked, details, remarks,
            series=series_of(trained.points),
        )  # fmt: skip

    def public(self, weights: Weights) -> float | None:
        """Accuracy on the public rows. It has no say in the verdict: no number where an answer is not finite, or where
        the time that scoring them takes is not there.
        """
        split = self._splits.public
        if split is None or not self._clock.allows(_PUBLIC_SLACK * self._example_s * len(split) + _ENDING_S):
            return None
        logits = self._training.evaluator.logits(weights, token_inputs(split, self._wanted.seq_len, self._real.ids))
        return accuracy(logits, split.labels) if np.isfinite(logits).all() else None

    def control(self, score: ModuleScore, rng: np.random.Generator, training_deviation: float) -> None:
        """Train on the control tasks, and flag a score that stands on the real one alone.

        Raises:
            RefusedError: time will not do.
        """
        train, test = self._real.train, self._splits.test
        results = []
        for control in controls_of(self._profile, train, test, self._contract.vocab_size, rng):
            self._note(f"control: {control.told}")
            results.append(self._controlled(control))
        verdict = ControlVerdict(score.test, len(test), results, training_deviation)
        score.details["controls"] = verdict.details()
        score.remarks += verdict.remarks
        score.details["seconds"] = {name: round(used_s, 2) for name, used_s in self._clock.used_s.items()}
        if verdict.hard_wired:
            score.flags.append(controls.FLAG)
            score.unranked.append(controls.FLAG)

    def _controlled(self, control: Control) -> ControlResult:
        material = Material(control.train, control.held_out, control.ids)
        inputs = token_inputs(control.held_out, self._wanted.seq_len, control.ids)
        try:
            weights = self._training.train(material, lambda step, weights: None).weights
            logits = require_finite(self._training.evaluator.logits(weights, inputs))
        except NotFiniteError:  # were it a refusal, a module could have no control by having no answer to it
            return ControlResult.without_answers(control)
        return ControlResult.of(control, logits)

    def _growth(self, weights: Weights) -> Growth:
        scaled = self._module.scaled
        batch = scaled[0].graphs[2].arguments[-1].shape[0] if scaled else 1
        return measure_growth(
            scaled,
            weights,
            self._training.head,
            batch=(batch, self._contract.documents, self._wanted.seq_len),
            vocab_size=self._contract.vocab_size,
            memory_bytes=self._limits.array_bytes,
            rng=self._check_rng,
        )

    def _padding_changes(self, weights: Weights, growth: Growth, inputs: Inputs) -> float | None:
        """Share of answers that twice the length, all of it padding, changes; None where it cannot be run."""
        double = next((module for module in growth.modules if module.scale == 2), None)
        if double is None or double.evaluator is None:
            return None
        longer = np.pad(inputs, [(0, 0), (0, 0), (0, inputs.shape[2])], constant_values=PADDING_ID)
        return padding_changes(
            self._training.evaluator.logits(weights, inputs), double.evaluator.logits(double.weights, longer)
        )

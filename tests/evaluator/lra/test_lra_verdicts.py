"""What the judge makes of honest and dishonest modules: traced, sent as a bundle, trained and scored for real."""

from dataclasses import replace

import pytest
from cheats import COUNTING, GENUINE, INTERPRETER, MUTE
from small_modules import (
    ATTENTION,
    DOCUMENT_ENCODER,
    EMBED,
    GOOD,
    HEAD,
    POOL,
    encoder,
    judged,
    small_profile,
    small_splits,
    traced,
)

from aira_evaluator.lra.contract.bundle import scaled_names
from aira_evaluator.lra.contract.refusal import RefusedError
from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.graphs.functions import read_module
from aira_evaluator.lra.training.controls import ControlResult, ControlVerdict
from aira_evaluator.lra.training.limits import JudgeLimits
from aira_evaluator.lra.training.material import renaming
from aira_evaluator.lra.training.module_score import ModuleScore

SOLVER = (
    HEAD
    + INTERPRETER
    + encoder("SCALE\nreturn scale * jax.nn.one_hot(jax.vmap(_value)(inputs), self.num_classes)").removeprefix(HEAD)
)
OPEN_SOLVER = SOLVER.replace("SCALE", 'scale = self.param("scale", nn.initializers.ones, ())')
# Says nothing before training, since all its logits are equal; any gradient opens the gate.
GATED_SOLVER = SOLVER.replace("SCALE", 'scale = self.param("scale", nn.initializers.zeros, ())')


@pytest.fixture(scope="module")
def good() -> ModuleScore:
    profile = small_profile()
    return judged(traced(GOOD, profile), profile)


def refusal(source: str, **changes: int) -> str:
    profile = small_profile("listops", **changes)
    bundle = traced(source, profile)
    with pytest.raises(RefusedError) as refused:
        judged(bundle, profile)
    return str(refused.value)


def test_an_honest_module_is_trained_and_scored(good: ModuleScore) -> None:
    # Always answering the commonest digit is right for about a fifth of the examples.
    assert good.validation > 0.28
    assert good.test > 0.28
    assert good.flags == []
    curve = good.details["curve"]
    assert isinstance(curve, list)
    assert [point["step"] for point in curve] == [100, 200, 250]
    assert curve[-1]["loss"] < curve[0]["loss"]
    tokens = 32 * 16  # sequences of a step, and their length
    assert [point[:3:2] for point in good.series] == [(100, 100 * tokens), (200, 200 * tokens), (250, 250 * tokens)]
    assert [point.loss for point in good.series] == pytest.approx([point["loss"] for point in curve], abs=1e-4)
    times = [point.seconds or 0.0 for point in good.series]
    assert 0 < times[0] < times[1] < times[2]


def test_public_rows_are_scored_by_the_same_weights_and_move_no_hidden_score(good: ModuleScore) -> None:
    profile, splits = small_profile(), small_splits()
    again = judged(traced(GOOD, profile), profile, public=splits.test)
    assert again.public == again.test, "the same rows, under the same secret ids"
    assert good.public is None, "who has no public rows"
    assert (again.validation, again.test, again.flags) == (good.validation, good.test, good.flags)


def test_the_same_module_in_other_words_has_the_same_canonical_form(good: ModuleScore) -> None:
    profile = small_profile()
    again = read_module(
        traced("# A comment.\n" + GOOD.replace("pooled", "mean_of_all"), profile), CONTRACTS["listops"], 32
    )
    other = read_module(traced(GOOD.replace("gelu", "relu"), profile), CONTRACTS["listops"], 32)
    assert again.sha256 == good.canonical != other.sha256


def test_attention_is_called_quadratic_and_a_linear_module_is_not(good: ModuleScore) -> None:
    profile = small_profile(train_steps=5)
    assert "quadratic" in judged(traced(ATTENTION, profile), profile).flags
    assert "quadratic" not in good.flags


def test_a_retrieval_module_is_applied_to_either_document() -> None:
    profile = small_profile("retrieval", train_steps=150)
    score = judged(traced(DOCUMENT_ENCODER, profile), profile)
    assert score.test > 0.75
    assert score.flags == (["above_published_best"] if score.test > 0.9176 else [])


def test_an_interpreter_written_into_the_module_is_refused() -> None:
    assert "more often than chance" in refusal(OPEN_SOLVER, train_steps=5)


def test_an_interpreter_that_training_switches_on_finds_other_token_ids() -> None:
    profile = small_profile(train_steps=30)
    score = judged(traced(GATED_SOLVER, profile), profile)
    assert score.test < 0.4


def test_an_interpreter_whose_backward_counts_is_flagged_and_unranked() -> None:
    profile = small_profile(train_steps=100)
    score = judged(traced(COUNTING, profile), profile)
    assert score.test > 0.95
    assert {"custom_gradient", "above_published_best"} <= set(score.flags)
    assert score.unranked == ["custom_gradient"]


def test_an_interpreter_that_learns_ids_by_its_own_derivative_stands_on_the_real_task_alone() -> None:
    profile = small_profile(train_steps=100)
    score = judged(traced(GENUINE, profile), profile, controls=True)
    assert score.test > 0.95
    assert "custom_gradient" not in score.flags
    assert score.unranked == ["hard_wired"]
    controls = score.details["controls"]
    assert isinstance(controls, dict)
    assert max(training["accuracy"] for training in controls["trainings"]) < 0.5
    assert controls["comparisons"][0].startswith("test ")


def test_having_no_answer_on_a_control_task_is_no_way_around_it() -> None:
    # It tells the control by the number of arguments, and gives NaN there.
    profile = small_profile(train_steps=100)
    score = judged(traced(MUTE, profile), profile, controls=True)
    assert score.test > 0.95
    assert score.unranked == ["hard_wired"]
    controls = score.details["controls"]
    assert isinstance(controls, dict)
    mute = [training for training in controls["trainings"] if training["task"].endswith("its output was not finite")]
    assert [training["accuracy"] for training in mute] == [0.0]


def test_an_honest_module_learns_the_control_tasks_as_well() -> None:
    profile = small_profile()
    score = judged(traced(GOOD, profile), profile, controls=True)
    assert score.unranked == []
    assert score.details["controls"]["hard_wired"] is False  # type: ignore[index]


@pytest.mark.parametrize(
    ("renamed", "shuffled", "hard_wired"),
    [(0.88, 0.52, False), (0.70, 0.50, True), (0.90, 0.80, True), (0.90, 0.20, True), (0.99, 0.42, False)],
)
def test_bytes_renamed_must_cost_nothing_and_shuffled_labels_must_teach_nothing(
    renamed: float, shuffled: float, hard_wired: bool
) -> None:
    results = [
        ControlResult("renamed", "byte values renamed", renamed, 0.5, 500),
        ControlResult("shuffled", "train labels shuffled", shuffled, 0.5, 500),
    ]
    verdict = ControlVerdict(0.9, 500, results)
    assert verdict.hard_wired == hard_wired
    assert len(verdict.remarks) == 2


@pytest.mark.parametrize(
    ("deviation", "renamed", "allowed", "hard_wired"),
    [
        (0.0, 0.70, 0.1, True),
        (0.0078, 0.70, 0.1, True),  # 3 sqrt(0.000420 + 0.000180 + 0.000122) = 0.081
        (0.1025, 0.70, 0.4410, False),  # 3 sqrt(0.000420 + 0.000180 + 0.021013)
        (0.1025, 0.45, 0.4418, True),  # 3 sqrt(0.000495 + 0.000180 + 0.021013)
    ],
)
def test_what_two_trainings_of_one_module_differ_by_is_no_rule_written_into_it(
    deviation: float, renamed: float, allowed: float, hard_wired: bool
) -> None:
    """Honest modules differ by 0.14 (a standard deviation) between two trainings on the stand-in for Retrieval."""
    verdict = ControlVerdict(0.9, 500, [ControlResult("renamed", "byte values renamed", renamed, 0.5, 500)], deviation)
    ((_, excess, margin),) = verdict.comparisons
    assert (excess, margin) == (pytest.approx(0.9 - renamed), pytest.approx(allowed, abs=1e-4))
    assert verdict.hard_wired == hard_wired


def test_controls_of_one_kind_share_the_luck_of_the_scored_training() -> None:
    """One score less the mean of two: 0.06 sqrt(1 + 1/2), and 1e6 examples leave no other error; three times that."""
    alike = [ControlResult("variant", "other operators", share, 0.2, 10**6) for share in (0.30, 0.32)]
    ((_, _, margin),) = ControlVerdict(0.5, 10**6, alike, 0.06).comparisons
    assert margin == pytest.approx(3 * 0.06 * 1.5**0.5, abs=1e-4)


def test_every_submission_has_a_renaming_of_its_own() -> None:
    profile = small_profile(train_steps=5)
    first, second = (read_module(traced(source, profile), CONTRACTS["listops"], 32) for source in (GOOD, ATTENTION))
    drawn = [renaming(profile, 11, b"machine", module) for module in (first, first, second)]
    assert drawn[0].tolist() == drawn[1].tolist() != drawn[2].tolist()
    assert renaming(profile, 12, b"machine", first).tolist() != drawn[0].tolist()
    assert renaming(profile, 11, b"another", first).tolist() != drawn[0].tolist(), "published seeds do not tell it"


def test_a_module_that_looks_at_its_batch_is_refused() -> None:
    assert "other examples are in the batch" in refusal(
        encoder(EMBED + "x = 3.0 * (x - x.mean(axis=0))" + POOL), train_steps=5
    )


def test_a_module_that_looks_at_its_batch_only_once_trained_is_refused() -> None:
    gate = 'x = x + 100.0 * self.param("gate", nn.initializers.zeros, ()) * x.mean(axis=0)'
    assert "other examples are in the batch" in refusal(encoder(EMBED + gate + POOL))


def test_a_module_that_counts_its_padding_is_flagged() -> None:
    profile = small_profile()
    counting = encoder(EMBED + "mask = jnp.ones_like(mask)\nx = 4.0 * x + (inputs == 0)[:, :, None]" + POOL)
    assert "padding_dependent" in judged(traced(counting, profile), profile).flags


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (EMBED + "x = x / jnp.zeros(())" + POOL, "not finite"),
        # Finite at first: the loss is what diverges.
        (EMBED + "x = jnp.log(jax.nn.relu(x) + 1e-3 - jnp.where(train, 1.0, 0.0))" + POOL, "diverged"),
    ],
)
def test_values_that_are_not_finite_are_refused(call: str, reason: str) -> None:
    assert reason in refusal(encoder(call), train_steps=5)


def test_equal_logits_earn_nothing_and_a_fixed_length_is_flagged() -> None:
    profile = small_profile(train_steps=5)
    silent = "assert inputs.shape[1] == 16\nreturn jnp.zeros((inputs.shape[0], 10)) + 0.0 * x.sum()"
    score = judged(traced(encoder(EMBED + silent), profile), profile)
    assert (score.test, score.validation) == (0.0, 0.0)
    assert score.flags == ["fixed_length"]


def test_what_cannot_end_in_time_is_refused_after_the_first_steps() -> None:
    profile = small_profile(train_steps=4800, eval_frequency=5)
    with pytest.raises(RefusedError, match="would take about"):
        judged(traced(GOOD, profile), profile, JudgeLimits(timeout_s=0.01))


def test_what_cannot_fit_is_refused_before_it_runs() -> None:
    profile = small_profile(train_steps=5)
    with pytest.raises(RefusedError, match="MiB to be"):
        judged(traced(GOOD, profile), profile, JudgeLimits(memory_mib=768))


def test_graphs_of_another_shape_are_refused() -> None:
    profile = small_profile(train_steps=5)
    bundle = traced(GOOD, profile)
    double = {name: bundle.graphs[longer] for name, longer in zip(("forward", "backward", "evaluate"), scaled_names(2), strict=True)}  # fmt: skip
    with pytest.raises(RefusedError, match=r"forward: arguments \d+ is int32\[32,32\], expected int32\[32,16\]"):
        judged(replace(bundle, graphs={**bundle.graphs, **double}), profile)


def test_gradients_of_another_shape_are_refused() -> None:
    profile = small_profile(train_steps=5)
    bundle = traced(GOOD, profile)
    with pytest.raises(RefusedError, match="backward: "):
        judged(replace(bundle, graphs={**bundle.graphs, "backward": bundle.graphs["forward"]}), profile)

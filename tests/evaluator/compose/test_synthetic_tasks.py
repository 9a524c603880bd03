"""The six generators against the properties of MAD's tasks, at the paper's setting and at others."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_evaluator.compose.mad.copying import Compression, Memorization, SelectiveCopying
from aira_evaluator.compose.mad.profiles import CPU, PAPER, PROFILES
from aira_evaluator.compose.mad.recall import FuzzyInContextRecall, InContextRecall
from aira_evaluator.compose.mad.synthetic_task import SyntheticTask
from aira_evaluator.compose.training.examples import IGNORED, Examples

seeds = st.integers(0, 2**32)


def _draw(task: SyntheticTask, seed: int = 0, examples: int = 40, probing: bool = True) -> Examples:
    return task.generate(examples, np.random.default_rng(seed), probing=probing)


def _full_rows(examples: Examples) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Undo the shift: the sequences before they became inputs and next tokens."""
    return np.concatenate((examples.inputs, examples.targets[:, -1:]), axis=1).astype(np.int64)


PAPER_LENGTHS = {
    "in-context-recall": 127,
    "noisy-in-context-recall": 127,
    "fuzzy-in-context-recall": 128,
    "selective-copying": 256,
    "compression": 32,
    "memorization": 32,
}
PAPER_SCORED = {
    "in-context-recall": (56.0, 0.3),
    "noisy-in-context-recall": (43.7, 0.6),
    "fuzzy-in-context-recall": (4.5, 0.5),
    "selective-copying": (16, 0),
    "compression": (32, 0),
    "memorization": (16, 0),
}


@pytest.mark.parametrize("name", PAPER.tasks)
def test_the_paper_setting_has_the_published_lengths_and_scored_positions(name: str) -> None:
    task = PAPER.tasks[name]
    drawn = _draw(task, examples=1280)
    assert drawn.inputs.shape == (1280, PAPER_LENGTHS[name])
    assert task.model_length == PAPER_LENGTHS[name]
    expected, tolerance = PAPER_SCORED[name]
    assert (drawn.scored != IGNORED).sum(axis=1).mean() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_task_stays_in_its_vocabulary_and_labels_something(profile: object) -> None:
    tasks = (CPU if profile is CPU else PAPER).tasks
    for task in tasks.values():
        for probing in (False, True):
            drawn = _draw(task, probing=probing)
            assert drawn.inputs.min() >= 0
            assert drawn.inputs.max() < task.vocabulary
            for labels in (drawn.targets, drawn.scored):
                assert labels[labels != IGNORED].min() >= 0
                assert labels.max() < task.vocabulary
            assert ((drawn.scored != IGNORED).sum(axis=1) > 0).all()
            # What is scored is also trained on, with the same label.
            mask = drawn.scored != IGNORED
            assert (drawn.scored[mask] == drawn.targets[mask]).all()


@pytest.mark.parametrize("name", PAPER.tasks)
def test_the_generator_decides_everything(name: str) -> None:
    state = repr(np.random.get_state())
    first, again, other = (_draw(PAPER.tasks[name], seed) for seed in (3, 3, 4))
    assert (first.inputs == again.inputs).all()
    assert (first.scored == again.scored).all()
    assert (first.inputs != other.inputs).any()
    assert repr(np.random.get_state()) == state


@settings(max_examples=40, deadline=None)
@given(
    seeds,
    st.integers(2, 24).map(lambda half: 2 * half),
    st.integers(2, 20),
    st.integers(1, 6),
    st.sampled_from((0.0, 0.2, 0.9)),
)
def test_recall_scores_exactly_the_values_of_keys_seen_before(
    seed: int, length: int, informative: int, noise: int, fraction: float
) -> None:
    task = InContextRecall(informative + noise, length, noise, fraction)
    drawn = _draw(task, seed, examples=8)
    for row, scored in zip(_full_rows(drawn), drawn.scored, strict=True):
        value_of: dict[int, int] = {}
        for slot in range(length // 2):
            key, value = int(row[2 * slot]), int(row[2 * slot + 1])
            due = scored[2 * slot]
            if slot:
                assert scored[2 * slot - 1] == IGNORED
            if key >= informative:
                assert value >= informative
                assert due == IGNORED
                continue
            assert key < informative // 2 <= value < informative
            assert value_of.setdefault(key, value) == value
            assert due == (value if key in [int(k) for k in row[: 2 * slot : 2]] else IGNORED)
        assert scored[-1] == row[-1]


@pytest.mark.parametrize("name", [name for name in CPU.tasks if "recall" in name])
def test_a_masked_loss_counts_what_is_scored_and_changes_nothing_else(name: str) -> None:
    masked = replace(CPU.tasks[name], masked_loss=True)  # type: ignore[type-var]
    plain = replace(CPU.tasks[name], masked_loss=False)  # type: ignore[type-var]
    ours, theirs = _draw(masked, probing=False), _draw(plain, probing=False)
    assert (ours.targets == ours.scored).all()
    assert (ours.inputs == theirs.inputs).all()
    assert (ours.scored == theirs.scored).all()
    assert (theirs.targets != IGNORED).all()


def test_a_noisy_sequence_keeps_at_least_one_pair_to_recall() -> None:
    task = InContextRecall(vocabulary=8, length=6, noise_vocabulary=4, noise_fraction=1.0)
    assert (_draw(task, examples=500).scored[:, -1] != IGNORED).all()


def test_the_share_of_noise_is_the_one_asked_for() -> None:
    task = PAPER.tasks["noisy-in-context-recall"]
    rows = _full_rows(_draw(task, examples=1280))
    # Of 63 slots before the probe, one is protected unless the protection fell on the probe's own slot.
    assert (rows[:, :-2:2] >= 16).mean() == pytest.approx(0.2 * (1 - 1 / 64), abs=0.005)


def _motif_reader(task: FuzzyInContextRecall) -> Callable[[list[int]], list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    keys = (task.vocabulary - 1) // 2

    def read(tokens: list[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        pairs: list[tuple[list[int], list[int]]] = []
        previous_is_value = True
        for token in tokens:
            if token < keys and previous_is_value:
                pairs.append(([], []))
            pairs[-1][token >= keys].append(token)
            previous_is_value = token >= keys
        return [(tuple(key), tuple(value)) for key, value in pairs]

    return read


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(19, 60), st.integers(7, 20), st.booleans())
def test_fuzzy_recall_shows_its_probe_and_scores_whole_values(
    seed: int, length: int, vocabulary: int, probing: bool
) -> None:
    task = FuzzyInContextRecall(vocabulary, length)
    drawn = _draw(task, seed, examples=4, probing=probing)
    padding = vocabulary - 1
    for row, scored in zip(_full_rows(drawn), drawn.scored, strict=True):
        tokens = [int(token) for token in row]
        content = tokens[tokens.index(next(token for token in tokens if token != padding)) :]
        assert padding not in content
        pairs = _motif_reader(task)(content)
        for key, value in pairs:
            assert len(set(key)) == len(key) <= 3
            assert len(set(value)) == len(value) <= 3
            assert len(key) == 3 or not probing
        probe = pairs[-1]
        assert probe in pairs[:-1]
        seen: dict[tuple[int, ...], tuple[int, ...]] = {}
        due: list[int] = []
        for key, value in pairs:
            due += [IGNORED] * len(key) + (list(value) if key in seen else [IGNORED] * len(value))
            assert seen.setdefault(key, value) == value
        assert list(scored[length - len(content) + 1 :]) == due[1:]
        assert (scored[: length - len(content) + 1] == IGNORED).all()


def test_fuzzy_training_counts_the_padding_as_targets() -> None:
    drawn = _draw(FuzzyInContextRecall(), probing=False)
    assert (drawn.targets != IGNORED).all()
    assert (drawn.inputs[:, 0] == 15).any()


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(3, 20), st.integers(1, 9), st.integers(0, 40))
def test_selective_copying_asks_for_the_content_in_order(seed: int, vocabulary: int, copies: int, blanks: int) -> None:
    task = SelectiveCopying(vocabulary, 2 * copies + 1 + blanks, copies)
    drawn = _draw(task, seed, examples=8)
    blank, copy = vocabulary - 2, vocabulary - 1
    for row, targets in zip(drawn.inputs, drawn.targets, strict=True):
        shown = row[: copies + blanks]
        assert list(shown[shown != blank]) == list(targets[-copies:])
        assert shown[-1] != blank
        assert row[copies + blanks] == copy
        assert (row[-copies:] == blank).all()
        assert (targets[:-copies] == IGNORED).all()


def test_blanks_fall_before_every_content_token_alike() -> None:
    drawn = _draw(SelectiveCopying(vocabulary=16, length=256, copies=16), examples=500)
    content = drawn.inputs[:, :239] != 14
    gaps = np.stack([np.diff(np.flatnonzero(row), prepend=-1) - 1 for row in content])
    assert gaps.mean(axis=0) == pytest.approx(np.full(16, 223 / 16), abs=0.8)


def test_compression_asks_for_its_input() -> None:
    drawn = _draw(Compression())
    assert (drawn.inputs == drawn.targets).all()
    assert (drawn.inputs[:, -1] == 15).all()
    assert drawn.inputs[:, :-1].max() == 14


def test_memorization_uses_one_map_for_all_sequences() -> None:
    task = Memorization()
    value_of = task.value_of_key()
    assert len(value_of) == 127
    assert len(set(value_of.tolist())) == 127
    assert value_of.min() >= 127
    assert value_of.max() <= 254
    drawn = _draw(task, seed=9)
    assert (drawn.inputs[:, 1::2] == 255).all()
    assert (drawn.targets[:, 1::2] == value_of[drawn.inputs[:, 0::2]]).all()
    assert (drawn.targets[:, 0::2] == IGNORED).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: InContextRecall(length=7),
        lambda: InContextRecall(vocabulary=4, noise_vocabulary=3),
        lambda: InContextRecall(noise_fraction=0.1),
        lambda: FuzzyInContextRecall(vocabulary=6),
        lambda: FuzzyInContextRecall(length=18),
        lambda: SelectiveCopying(length=32, copies=16),
        lambda: Memorization(length=7),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        make()

"""Scores of texts against each text computed alone, whole, with plain products: batches, padding, cuts and all."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_contract.model_sizes import ModelSize
from aira_evaluator.downstream.scoring import Ids, TextScorer
from aira_kernels.large import LargeLanguageModel

TINY = ModelSize("tiny", "3-primitive", 0, 64, 4, 16, 2, 96, 8, mamba_head_dim=32, mamba_chunk=4)
FAMILIES = {"attention": ("mA", "M", "mA", "M"), "mamba": ("Mb", "M", "Mb"), "hybrid": ("Mb", "mA", "M", "Mb", "mA")}
VOCABULARY, LENGTH = 23, 12


def made(family: str) -> LargeLanguageModel:
    generator = torch.Generator().manual_seed(0)
    model = LargeLanguageModel(FAMILIES[family], TINY, generator=generator, vocabulary=VOCABULARY)
    with torch.no_grad():
        for parameter in model.parameters():  # 0.02 leaves every layer next to nothing to say
            parameter.mul_(4) if parameter.ndim > 1 else parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=generator)
            )
    return model


MODELS = {family: made(family) for family in FAMILIES}


def by_hand(model: LargeLanguageModel, context: Ids, continuation: Ids) -> tuple[float, bool]:
    """One text alone, token by token: the last positions that the length leaves, in float64."""
    total, greedy, whole = 0.0, True, [*context, *continuation]
    with torch.no_grad():
        for at in range(len(context), len(whole)):
            first = max(0, len(whole) - (LENGTH + 1))
            logits = model(torch.tensor([whole[first:at]]))[0, -1].double()
            total += float(torch.log_softmax(logits, 0)[whole[at]])
            greedy = greedy and int(logits.argmax()) == whole[at]
    return total, greedy


def written_by_hand(
    model: LargeLanguageModel, prompt: Ids, most: int, ended: Callable[[Ids], bool], last: int | None
) -> list[int]:
    """The likeliest token each time, from the whole text each time."""
    text, written = list(prompt[-(LENGTH - most) :]), list[int]()
    while len(written) < most and not (written and ended(written)):
        with torch.no_grad():
            token = int(model(torch.tensor([text]))[0, -1].argmax())
        if token == last:
            break
        text.append(token)
        written.append(token)
    return written


def texts(least: int, most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, VOCABULARY - 1), min_size=least, max_size=most)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(texts(1, 16), texts(1, 5)), min_size=1, max_size=7), st.sampled_from([1, 30, 1000]))
def test_scores_are_those_of_each_text_alone(
    family: str, pairs: list[tuple[list[int], list[int]]], batch_tokens: int
) -> None:
    scorer = TextScorer(MODELS[family], length=LENGTH, batch_tokens=batch_tokens)
    found = scorer.log_likelihoods(pairs)
    assert len(found) == len(pairs)
    for score, (context, continuation) in zip(found, pairs, strict=True):
        total, greedy = by_hand(MODELS[family], context, continuation)
        assert score.log_likelihood == pytest.approx(total, abs=2e-4)
        assert score.greedy == greedy


@pytest.mark.parametrize("family", FAMILIES)
def test_what_stands_behind_a_text_changes_nothing_in_it(family: str) -> None:
    """Right padding is right for a state that is carried on: a short text beside a long one scores as it does alone."""
    model, short, long = MODELS[family], ([3, 1, 4], [1, 5]), ([2] * 11, [7])
    together = TextScorer(model, length=LENGTH, batch_tokens=1000).log_likelihoods([short, long])
    alone = TextScorer(model, length=LENGTH, batch_tokens=1000).log_likelihoods([short])
    assert together[0].log_likelihood == pytest.approx(alone[0].log_likelihood, abs=1e-5)


def test_the_likeliest_continuation_is_greedy_and_no_other_is() -> None:
    model, context = MODELS["hybrid"], [5, 9, 2]
    best = written_by_hand(model, context, 4, lambda _: False, None)
    other = [*best[:3], (best[3] + 1) % VOCABULARY]
    scorer = TextScorer(model, length=LENGTH, batch_tokens=64)
    assert [score.greedy for score in scorer.log_likelihoods([(context, best), (context, other)])] == [True, False]


def test_answers_that_differ_in_their_last_token_are_computed_once() -> None:
    model, seen = MODELS["attention"], list[tuple[int, ...]]()
    hook = model.embed.register_forward_hook(lambda _module, inputs, _out: seen.append(tuple(inputs[0].shape)))
    scorer = TextScorer(model, length=LENGTH, batch_tokens=1000)
    found = scorer.log_likelihoods([([1, 2, 3], [answer]) for answer in range(VOCABULARY)])
    hook.remove()
    assert seen == [(1, 3)]
    assert sum(math.exp(score.log_likelihood) for score in found) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(st.lists(texts(1, 14), min_size=1, max_size=5), st.integers(1, 6), st.sampled_from([1, 1000]))
def test_what_is_written_is_what_each_prompt_gets_alone(
    family: str, prompts: list[list[int]], most: int, batch_tokens: int
) -> None:
    model = MODELS[family]
    last = 7

    def ended(ids: Ids) -> bool:
        return ids[-1] % 5 == 0

    found = TextScorer(model, length=LENGTH, batch_tokens=batch_tokens).generate(prompts, most, ended, last)
    assert found == [written_by_hand(model, prompt, most, ended, last) for prompt in prompts]


def test_products_in_bfloat16_score_nearly_alike_with_weights_in_float32() -> None:
    pairs = [([1, 2, 3, 4], [5, 6]), ([8] * 9, [1])]
    for family in FAMILIES:
        exact = TextScorer(MODELS[family], length=LENGTH, batch_tokens=64).log_likelihoods(pairs)
        scorer = TextScorer(MODELS[family], length=LENGTH, batch_tokens=64, dtype=torch.bfloat16)
        found = scorer.log_likelihoods(pairs)
        assert [score.log_likelihood for score in found] == pytest.approx([s.log_likelihood for s in exact], rel=0.05)
        assert found != exact
        assert len(scorer.generate([[1, 2], [3]], 3, lambda _: False)[0]) == 3


@pytest.mark.parametrize(
    ("pair", "said"),
    [(([], [1]), "1 tokens behind 0"), (([1], []), "0 tokens behind 1"), (([1], [2] * 13), "13 tokens")],
)
def test_what_cannot_be_scored_is_refused(pair: tuple[list[int], list[int]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TextScorer(MODELS["mamba"], length=LENGTH, batch_tokens=64).log_likelihoods([pair])


@pytest.mark.parametrize(("prompts", "most"), [([[1]], 0), ([[1]], LENGTH), ([[]], 3)])
def test_what_leaves_no_room_to_write_is_refused(prompts: list[list[int]], most: int) -> None:
    with pytest.raises(ValueError, match="expected both to have some"):
        TextScorer(MODELS["mamba"], length=LENGTH, batch_tokens=64).generate(prompts, most, lambda _: False)

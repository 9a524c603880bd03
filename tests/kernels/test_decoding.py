"""Texts read in pieces: the same logits as read at once, for every primitive, type and way to cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_contract.model_sizes import ModelSize
from aira_kernels.large import LargeLanguageModel
from aira_kernels.reference import cached_attention, causal_attention
from aira_kernels.ssd import ssd_sequential, state_after, state_read, state_step

TINY = ModelSize("tiny", "3-primitive", 0, 64, 4, 16, 2, 96, 8, mamba_head_dim=32, mamba_chunk=4)
ONE_HEAD = ModelSize("tiny", "3-primitive", 0, 16, 1, 16, 1, 24, 8, mamba_head_dim=32, mamba_convolution=1)
FAMILIES = {"attention": ("mA", "M", "mA", "M"), "mamba": ("Mb", "M", "Mb"), "hybrid": ("Mb", "mA", "M", "Mb", "mA")}
VOCABULARY = 23


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _model(architecture: tuple[str, ...], sizes: ModelSize = TINY) -> LargeLanguageModel:
    model = LargeLanguageModel(architecture, sizes, generator=_generator(), vocabulary=VOCABULARY)
    with torch.no_grad():
        for parameter in model.parameters():  # 0.02 leaves every layer next to nothing to say
            parameter.mul_(4) if parameter.ndim > 1 else parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=_generator(3))
            )
    return model


def _in_pieces(model: LargeLanguageModel, tokens: torch.Tensor, pieces: list[int]) -> torch.Tensor:
    state = model.empty_state(tokens.shape[0], tokens.shape[1])
    with torch.no_grad():
        found = [model.extend(piece, state) for piece in tokens.split(pieces, dim=1)]
    assert state.filled == tokens.shape[1]
    return torch.cat(found, dim=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pieces", [[1] * 21, [13] + [1] * 8, [1, 2, 3, 15], [9, 9, 1, 2], [21]], ids=str)
def test_a_text_in_pieces_has_the_logits_of_the_whole(family: str, dtype: torch.dtype, pieces: list[int]) -> None:
    model = _model(FAMILIES[family]).to(dtype)
    tokens = torch.randint(0, VOCABULARY, (3, 21), generator=_generator(1))
    whole = model(tokens).detach()
    assert whole.std() > 0.1
    torch.testing.assert_close(_in_pieces(model, tokens, pieces), whole, rtol=0, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 99))
def test_any_way_to_cut_a_text_gives_the_same(pieces: list[int], batch: int, seed: int) -> None:
    model = _model(FAMILIES["hybrid"]).double()
    tokens = torch.randint(0, VOCABULARY, (batch, sum(pieces)), generator=_generator(seed))
    torch.testing.assert_close(_in_pieces(model, tokens, pieces), model(tokens).detach(), rtol=0, atol=1e-5)


def test_one_head_and_a_convolution_of_one_tap_have_no_window_to_keep() -> None:
    model = _model(FAMILIES["hybrid"], ONE_HEAD).double()
    tokens = torch.randint(0, VOCABULARY, (2, 7), generator=_generator(1))
    torch.testing.assert_close(_in_pieces(model, tokens, [3, 1, 1, 2]), model(tokens).detach(), rtol=0, atol=1e-5)


def test_texts_of_a_batch_keep_apart_and_room_left_over_is_not_read() -> None:
    model = _model(FAMILIES["hybrid"]).double()
    tokens = torch.randint(0, VOCABULARY, (2, 8), generator=_generator(1))
    state = model.empty_state(2, 100)
    for kept in state.layers:
        if kept is not None and hasattr(kept, "key_BGSP"):
            kept.key_BGSP[:, :, 8:], kept.value_BGSP[:, :, 8:] = torch.nan, torch.nan
    with torch.no_grad():
        both = torch.cat([model.extend(tokens[:, at : at + 1], state) for at in range(8)], dim=1)
    for text in range(2):
        torch.testing.assert_close(both[text], model(tokens[text : text + 1])[0].detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pieces", [[9], [1] * 9], ids=str)
def test_a_state_that_was_used_is_begun_anew_by_its_count_alone(pieces: list[int]) -> None:
    model = _model(FAMILIES["hybrid"]).double()
    tokens = torch.randint(0, VOCABULARY, (2, 9), generator=_generator(1))
    state = model.empty_state(2, 9)
    with torch.no_grad():
        model.extend(torch.flip(tokens, (1,)), state)
        state.filled = 0
        again = torch.cat([model.extend(piece, state) for piece in tokens.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(again, model(tokens).detach(), rtol=0, atol=1e-5)


def test_a_state_that_is_full_or_of_other_texts_is_refused_and_stays_as_it_was() -> None:
    model = _model(("mA", "Mb"))
    state = model.empty_state(2, 4)
    model.extend(torch.zeros(2, 3, dtype=torch.long), state)
    before = [part.clone() for part in (state.layers[0].key_BGSP, state.layers[1].state_BHPN)]
    with pytest.raises(ValueError, match="2 texts and at most 1 tokens"):
        model.extend(torch.zeros(2, 2, dtype=torch.long), state)
    with pytest.raises(ValueError, match="1 texts go on by 1 tokens"):
        model.extend(torch.zeros(1, 1, dtype=torch.long), state)
    assert state.filled == 3
    assert torch.equal(before[0], state.layers[0].key_BGSP)
    assert torch.equal(before[1], state.layers[1].state_BHPN)


def test_a_state_in_16_bits_is_summed_in_32() -> None:
    model = _model(FAMILIES["hybrid"])
    tokens = torch.randint(0, VOCABULARY, (1, 300), generator=_generator(1))
    exact = model(tokens).detach()
    rounded = model.bfloat16()
    state = rounded.empty_state(1, 300)
    assert state.layers[0].state_BHPN.dtype == torch.float32
    with torch.no_grad():
        rounded.extend(tokens[:, :290], state)
        last = torch.cat([rounded.extend(tokens[:, at : at + 1], state) for at in range(290, 300)], dim=1)
    assert last.dtype == torch.bfloat16
    # As near as the whole text read at once in bfloat16 is.
    at_once = (rounded(tokens)[:, 290:].float() - exact[:, 290:]).abs().max()
    assert (last.float() - exact[:, 290:]).abs().max() < 2 * at_once + 0.02 * exact.abs().max()


def test_the_state_of_a_scan_is_that_of_the_recurrence() -> None:
    generator, double = _generator(2), torch.float64
    x, b, c = (torch.randn(2, 11, *more, generator=generator, dtype=double) for more in ((3, 4), (5,), (5,)))
    dt = torch.rand(2, 11, 3, generator=generator, dtype=double) * 2
    a = torch.tensor([-0.1, -3.0, -400.0], dtype=double)
    state = torch.zeros(2, 3, 4, 5, dtype=double)
    outputs = [state_step(state, x[:, t], dt[:, t], a, b[:, t], c[:, t], torch.zeros(3)) for t in range(11)]
    torch.testing.assert_close(torch.stack(outputs, dim=1), ssd_sequential(x, dt, a, b, c))
    empty = torch.zeros_like(state)
    torch.testing.assert_close(state_after(empty, x, dt, a, b), state)
    half = state_after(empty, x[:, :6], dt[:, :6], a, b[:, :6])
    torch.testing.assert_close(state_after(half, x[:, 6:], dt[:, 6:], a, b[:, 6:]), state)
    alone = ssd_sequential(x[:, 6:], dt[:, 6:], a, b[:, 6:], c[:, 6:])
    torch.testing.assert_close(alone + state_read(half, dt[:, 6:], a, c[:, 6:]), torch.stack(outputs, dim=1)[:, 6:])


def test_a_long_text_of_strong_decays_leaves_a_state_with_its_digits_in_float32() -> None:
    generator = _generator(4)
    x, b = (torch.randn(1, 4096, *more, generator=generator) for more in ((1, 4), (5,)))
    dt, a = torch.full((1, 4096, 1), 0.5), torch.tensor([-7.0])  # a running sum of -14,336
    exact = state_after(torch.zeros(1, 1, 4, 5).double(), x.double(), dt.double(), a.double(), b.double())
    found = state_after(torch.zeros(1, 1, 4, 5), x, dt, a, b)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [1, 3, 7])
def test_attention_to_what_is_kept_equals_the_last_rows_of_causal_attention(length: int) -> None:
    generator = _generator(5)
    query, key, value = (torch.randn(2, heads, 7, 16, generator=generator, dtype=torch.float64) for heads in (6, 2, 2))
    whole = causal_attention(query, key, value)
    torch.testing.assert_close(cached_attention(query[:, :, 7 - length :], key, value), whole[:, :, 7 - length :])

"""Decoder-only language models of attention, SwiGLU and Mamba-2 layers in any order, for transformers.

This file goes with a model's weights and needs torch and transformers alone. `layers` in the configuration has a letter
for each layer: A attention with grouped keys and rotary positions, M SwiGLU, S Mamba-2 (Dao and Gu, 2024). Pre-norm
residual layers, RMS norms, output tied to the embedding.

Shape suffixes: B batch, L length, S positions so far, D width, H heads, G key-value heads, P features of a head, E
convolved channels, N state. Not covered: texts of unlike lengths in a batch that are padded on the left, beam search
with the cache, fused kernels.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

EPSILON = 1e-5
ROTARY_BASE = 500_000.0


class AiraConfig(PretrainedConfig):
    """Layers and sizes of a model; `sizes` has the fields of the package that wrote it."""

    model_type = "aira"

    def __init__(self, layers: str = "", sizes: dict[str, Any] | None = None, vocab_size: int = 1, **more: Any) -> None:  # noqa: ANN401
        self.layers, self.sizes, self.vocab_size = layers, dict(sizes or {}), vocab_size
        super().__init__(**more)


@dataclass
class AiraCache:
    """What a model keeps of the tokens so far: of each layer tensors, or nothing."""

    layers: list[tuple[Tensor, ...]]
    filled: int = field(default=0)
    is_linear: tuple[bool, ...] = (True,)
    """Says to transformers that what was seen is cut off here, not there."""

    def get_seq_length(self, _layer: int = 0) -> int:
        """Return how many tokens there were."""
        return self.filled


class AiraNorm(nn.Module):
    """RMS norm: x / sqrt(mean(x^2) + epsilon) times a weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight_D = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis."""
        return _normed(x, self.weight_D)


class AiraAttention(nn.Module):
    """Causal attention with grouped keys; its cache is keys, turned by their positions, and values."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.heads, self.groups, self.head_dim = sizes["query_heads"], sizes["kv_heads"], sizes["head_dim"]
        width = sizes["width"]
        self.project_in = nn.Linear(width, width + 2 * self.groups * self.head_dim, bias=False)
        self.project_out = nn.Linear(width, width, bias=False)

    def forward(self, x_BLD: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map the next positions, and return what to keep."""
        batch, length, _ = x_BLD.shape
        packed = self.project_in(x_BLD).view(batch, length, -1, self.head_dim).transpose(1, 2)
        rotated, value = packed.split([self.heads + self.groups, self.groups], dim=1)
        first = before[0].shape[2] if before else 0
        query, key = self._turned(rotated, first).split([self.heads, self.groups], dim=1)
        if before:
            key, value = torch.cat((before[0], key), dim=2), torch.cat((before[1], value), dim=2)
        read_LS = torch.ones(length, first + length, dtype=torch.bool, device=x_BLD.device).tril(first)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=read_LS if first and length > 1 else None, is_causal=not first,
            enable_gqa=self.heads != self.groups,
        )  # fmt: skip
        out: Tensor = self.project_out(mixed.transpose(1, 2).flatten(2))
        return out, (key, value)

    def _turned(self, x_BHLP: Tensor, first: int) -> Tensor:
        exponent = torch.arange(0, self.head_dim, 2, dtype=torch.float64, device=x_BHLP.device) / self.head_dim
        positions = torch.arange(first, first + x_BHLP.shape[2], dtype=torch.float64, device=x_BHLP.device)
        angle = positions[:, None] * ROTARY_BASE**-exponent
        cosine, sine = angle.cos().float(), angle.sin().float()
        u, v = x_BHLP.float().chunk(2, dim=-1)
        return torch.cat((u * cosine - v * sine, v * cosine + u * sine), dim=-1).to(x_BHLP.dtype)


class AiraMlp(nn.Module):
    """SwiGLU: down(silu(gate) * up); keeps nothing."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.expand = nn.Linear(sizes["width"], 2 * sizes["mlp_hidden"], bias=False)
        self.contract = nn.Linear(sizes["mlp_hidden"], sizes["width"], bias=False)

    def forward(self, x_BLD: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map each position by itself."""
        gate, up = self.expand(x_BLD).chunk(2, dim=-1)
        return self.contract(functional.silu(gate) * up), before


class AiraConvolution(nn.Module):
    """Taps and biases of a causal depthwise convolution."""

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        self.weight_TE, self.bias_E = nn.Parameter(torch.zeros(taps, channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, seen_BLE: Tensor) -> Tensor:
        """Convolve, for the positions that have all taps before them, and apply SiLU."""
        taps = len(self.weight_TE)
        length = seen_BLE.shape[1] - taps + 1
        parts = (seen_BLE[:, tap : tap + length] * self.weight_TE[tap] for tap in range(taps))
        return functional.silu(sum(parts, self.bias_E))


class AiraMamba2(nn.Module):
    """Mamba-2 with one group; its cache is the convolution's latest inputs and the scan's state."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        width, self.state, self.chunk = sizes["width"], sizes["mamba_state"], sizes["mamba_chunk"]
        self.inner, self.head_dim, self.taps = 2 * width, sizes["mamba_head_dim"], sizes["mamba_convolution"]
        self.heads, self.channels = self.inner // self.head_dim, self.inner + 2 * self.state
        self.project_in = nn.Linear(width, self.inner + self.channels + self.heads, bias=False)
        self.convolution = AiraConvolution(self.channels, self.taps)
        self.step_bias_H, self.log_rate_H, self.skip_H = (nn.Parameter(torch.zeros(self.heads)) for _ in range(3))
        self.norm_weight = nn.Parameter(torch.ones(self.inner))
        self.project_out = nn.Linear(self.inner, width, bias=False)

    def forward(self, x_BLD: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map the next positions, and return what to keep."""
        gate, convolved, step = self.project_in(x_BLD).split([self.inner, self.channels, self.heads], dim=-1)
        wide = torch.promote_types(x_BLD.dtype, torch.float32)
        window, state_BHPN = before or (
            convolved.new_zeros(len(x_BLD), self.taps - 1, self.channels),
            convolved.new_zeros(len(x_BLD), self.heads, self.head_dim, self.state, dtype=wide),
        )
        seen = torch.cat((window, convolved), dim=1)
        inner, b_BLN, c_BLN = self.convolution(seen).split([self.inner, self.state, self.state], dim=-1)
        x_BLHP = inner.unflatten(-1, (self.heads, self.head_dim)).to(wide)
        dt_BLH = functional.softplus(step + self.step_bias_H).to(wide)
        outputs = []
        for at in range(0, x_BLD.shape[1], self.chunk):
            here = slice(at, at + self.chunk)
            y, state_BHPN = self._chunk(
                x_BLHP[:, here], dt_BLH[:, here], b_BLN[:, here].to(wide), c_BLN[:, here].to(wide), state_BHPN
            )
            outputs.append(y)
        y_BLHP = torch.cat(outputs, dim=1) + x_BLHP * self.skip_H[:, None].to(wide)
        y_BLE = y_BLHP.flatten(2).to(x_BLD.dtype) * functional.silu(gate)
        out: Tensor = self.project_out(_normed(y_BLE, self.norm_weight))
        return out, (seen[:, seen.shape[1] - self.taps + 1 :], state_BHPN)

    def _chunk(
        self, x_BLHP: Tensor, dt_BLH: Tensor, b_BLN: Tensor, c_BLN: Tensor, state_BHPN: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs of some positions behind a state, and the state behind them."""
        rate_H = -self.log_rate_H.to(dt_BLH.dtype).exp()
        # Sums of dt a up to each position: the decay from j to i is the exponential of their difference.
        log_BHL = (dt_BLH * rate_H).cumsum(1).transpose(1, 2)
        span_BHLL = log_BHL[..., :, None] - log_BHL[..., None, :]
        future = torch.ones(span_BHLL.shape[-2:], dtype=torch.bool, device=x_BLHP.device).triu(1)
        decay_BHLL = span_BHLL.masked_fill(future, float("-inf")).exp()
        weighted_BHLP = (x_BLHP * dt_BLH[..., None]).transpose(1, 2)
        y_BHLP = ((c_BLN @ b_BLN.transpose(1, 2))[:, None] * decay_BHLL) @ weighted_BHLP
        y_BHLP = y_BHLP + (c_BLN[:, None] @ state_BHPN.transpose(2, 3)) * log_BHL.exp()[..., None]
        to_end_BHL = (log_BHL[..., -1:] - log_BHL).exp()
        added = (weighted_BHLP * to_end_BHL[..., None]).transpose(2, 3) @ b_BLN[:, None]
        return y_BHLP.transpose(1, 2), state_BHPN * log_BHL[..., -1].exp()[..., None, None] + added


LAYERS = {"A": AiraAttention, "M": AiraMlp, "S": AiraMamba2}


class AiraForCausalLM(PreTrainedModel, GenerationMixin):
    """A stack of layers between tied embeddings."""

    config_class = AiraConfig
    base_model_prefix = ""
    _no_split_modules = ["AiraAttention", "AiraMlp", "AiraMamba2"]
    _supports_sdpa = True
    _is_stateful = True

    def __init__(self, config: AiraConfig) -> None:
        super().__init__(config)
        width = config.sizes["width"]
        self.embed = nn.Embedding(config.vocab_size, width)
        self.norms = nn.ModuleList(AiraNorm(width) for _ in config.layers)
        self.layers = nn.ModuleList(LAYERS[letter](config.sizes) for letter in config.layers)
        self.norm = AiraNorm(width)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """The cache is made here: transformers' own knows keys and values alone."""
        return False

    def get_input_embeddings(self) -> nn.Module:
        """Return the embedding, which is the output's weight too."""
        return self.embed

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Take another embedding, for the output as well."""
        self.embed = value

    def get_output_embeddings(self) -> None:
        """Return nothing: the head has no weight of its own."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: AiraCache | None = None,
        cache: AiraCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **_more: Any,  # noqa: ANN401
    ) -> CausalLMOutputWithPast:
        """Map the tokens behind those of the cache to logits (B, L, V), and to the mean loss where labels are given."""
        _refuse_left_padding(attention_mask)
        x_BLD = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        caching = not self.training if use_cache is None else use_cache
        kept_before = cache if cache is not None else past_key_values
        cache = kept_before if kept_before is not None else AiraCache([()] * len(self.layers))
        for index, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=True)):
            added, kept = layer(norm(x_BLD), cache.layers[index])
            x_BLD = x_BLD + added
            if caching:
                cache.layers[index] = kept
        cache.filled += x_BLD.shape[1]
        logits = functional.linear(self.norm(x_BLD[:, -logits_to_keep:]), self.embed.weight)
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        # Newer releases of transformers take this name for `cache`, which they call it.
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=cache if caching else None)

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        """Leave out the tokens that the cache has seen.

        transformers 4 reads from the name `kwargs` that arguments of `forward`, such as a mask, are taken, too.
        """
        cache = kwargs.get("cache") if kwargs.get("cache") is not None else kwargs.get("past_key_values")
        return {
            "input_ids": input_ids if cache is None else input_ids[:, cache.filled :],
            "cache": cache,
            "use_cache": kwargs.get("use_cache"),
            "attention_mask": kwargs.get("attention_mask"),
            "logits_to_keep": 1,
        }

    def _reorder_cache(self, past_key_values: AiraCache, beam_idx: Tensor) -> AiraCache:
        layers = [tuple(part.index_select(0, beam_idx) for part in kept) for kept in past_key_values.layers]
        return AiraCache(layers, past_key_values.filled)


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON)).to(x.dtype) * weight


def _refuse_left_padding(mask: Tensor | None) -> None:
    """A state that is carried over padding would be another one; behind the text padding does no harm."""
    if mask is not None and mask.ndim == 2 and bool((mask[:, 1:] > mask[:, :-1]).any()):
        raise ValueError("texts padded on the left are not covered: give texts of one length, or one at a time")

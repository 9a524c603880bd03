"""The model as it is trained: blocks that can be compiled, recomputed and sharded one by one, and a loss in pieces.

The modules and their names are those of `aira_kernels.large.LargeLanguageModel`, so a checkpoint of one is one of the
other. A block is its norm, its layer and the residual sum. The residual path is float32; products are bfloat16 where
the recipe says so.

What is compiled: blocks of attention and of MLP, and the loss's softmax. Blocks of Mamba-2 never are: one release of
torch differentiated them wrongly on a GPU, and nobody knows why (docs/decisions/0037-a-device-that-is-not-there.md).
Shape suffixes: B batch, L length, D width. Not covered: sharding (`sharding`).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from aira_contract.primitives import MAMBA
from aira_evaluator.pretrain.head_loss import PIECE_POSITIONS, Pieces, head_loss, loss_and_gradient
from aira_kernels.attention import RotaryTable
from aira_kernels.large import LargeLanguageModel
from aira_kernels.norm import RmsNorm

Recompute = Literal["none", "selective", "full"]

_CUDNN_FIRST = (
    SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH,
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """How the work is done; it changes speed, memory and rounding, not what is computed."""

    compile: bool = False
    recompute: Recompute = "none"
    """`full`: a block keeps its input alone. `selective`: it keeps what products, attention, scan and convolution gave,
    and computes the rest again; a compiled block decides that by itself."""
    dtype: torch.dtype = torch.float32
    """Of products."""
    piece: int = PIECE_POSITIONS
    """Positions of the loss at a time."""
    backend: str = "inductor"
    """Of the compiler."""
    cudnn_attention: bool = False
    """On a GPU: cuDNN's attention before the others that torch has. Rounds otherwise; on an H200 it was no faster."""


class Block(nn.Module):
    """One residual layer: x + layer(norm(x)), with the sum in float32."""

    def __init__(self, norm: nn.Module, layer: nn.Module, layout: Layout, *, compiled: bool) -> None:
        super().__init__()
        self.norm, self.layer, self.compiled = norm, layer, compiled
        if compiled and isinstance(norm, RmsNorm):
            # Our own norm would be opaque to the compiler, which else reads and writes the residual path once for all.
            norm.backend = "reference"
        self.run: Callable[[Tensor], Tensor] = (
            torch.compile(self.residual, backend=layout.backend, fullgraph=True, dynamic=False)
            if compiled
            else self.residual
        )
        self._recompute = "none" if compiled and layout.recompute == "selective" else layout.recompute
        self._cudnn_attention = layout.cudnn_attention

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        if self._recompute == "none" or not torch.is_grad_enabled():
            return self.run(x_BLD)
        # Nothing in a block draws random numbers, so no state of a generator need be kept.
        out: Tensor = checkpoint(
            self.run, x_BLD, use_reentrant=False, preserve_rng_state=False, context_fn=self._contexts
        )
        return out

    def _contexts(self) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        """Around the first computation, and around the second, which must choose the same attention."""
        first, again = nullcontext(), nullcontext()
        if self._recompute == "selective":
            first, again = create_selective_checkpoint_contexts(_policy)  # type: ignore[no-untyped-call]
        return first, _within(attention_choice(self._cudnn_attention), again)

    def residual(self, x_BLD: Tensor) -> Tensor:
        """Compute the block as it is written; `run` is this or its compiled form."""
        out: Tensor = x_BLD + self.layer(self.norm(x_BLD))
        return out


class TrainedModel(nn.Module):
    """A `LargeLanguageModel` with its loss.

    Args:
        model: whose modules these become.
        layout: how the work is done.
        length: positions of a training sequence.
        z_loss: as of `head_loss`.
    """

    def __init__(self, model: LargeLanguageModel, layout: Layout, *, length: int, z_loss: float = 0.0) -> None:
        super().__init__()
        self.layout, self.z_loss, self.architecture = layout, z_loss, model.architecture
        self.embed, self.norm = model.embed, model.norm
        for module in model.modules():
            if isinstance(module, RotaryTable):
                # Before anything is traced: a table that grows is no constant.
                module.tables(length, self.embed.weight.new_empty(0, dtype=torch.float32))
        self.blocks = nn.ModuleList(
            Block(norm, layer, layout, compiled=layout.compile and symbol != MAMBA.symbol)
            for symbol, norm, layer in zip(model.architecture, model.norms, model.layers, strict=True)
        )
        self._pieces: Pieces = loss_and_gradient
        if layout.compile:
            self._pieces = torch.compile(loss_and_gradient, backend=layout.backend, fullgraph=True, dynamic=False)

    def forward(self, tokens_BL: Tensor, targets_BL: Tensor) -> Tensor:
        """Return the summed loss in nats over all positions, in float32."""
        device = tokens_BL.device.type
        with (
            torch.autocast(device, self.layout.dtype, enabled=self.layout.dtype != torch.float32),
            attention_choice(self.layout.cudnn_attention),
        ):
            x_BLD: Tensor = self.embed(tokens_BL).float()
            for block in self.blocks:
                x_BLD = block(x_BLD)
            hidden_TD = self.norm(x_BLD).flatten(0, 1)
            return head_loss(
                hidden_TD, self.embed.weight, targets_BL.flatten(),
                z_loss=self.z_loss if self.training else 0.0, piece=self.layout.piece, dtype=self.layout.dtype,
                compute=self._pieces,
            )  # fmt: skip

    def matrices(self) -> list[nn.Parameter]:
        """Weights of linear layers and the embedding: nearly all numbers; sharded, computed with in `layout.dtype`."""
        kinds = (nn.Linear, nn.Embedding)
        return [module.get_parameter("weight") for module in self.modules() if isinstance(module, kinds)]

    def vectors(self) -> list[nn.Parameter]:
        """Every other parameter: norms, Mamba-2's convolution, rates, steps and skips; float32 on every rank."""
        matrices = {id(weight) for weight in self.matrices()}
        return [parameter for parameter in self.parameters() if id(parameter) not in matrices]


def attention_choice(cudnn_first: bool) -> AbstractContextManager[Any]:
    """Make a context in which torch's attention is chosen, cuDNN's first where asked for."""
    return sdpa_kernel(list(_CUDNN_FIRST), set_priority=True) if cudnn_first else nullcontext()


@contextmanager
def _within(*contexts: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for each in contexts:
            stack.enter_context(each)
        yield


_KEPT_BY_NAME = (
    "aten::mm", "aten::addmm", "aten::bmm", "aten::_scaled_dot_product", "aira_kernels::", "flash_attn", "mamba_ssm",
    "causal_conv1d", "DaoAILab::",
)  # fmt: skip
"""Beginnings of the names of operators whose results are dear: products, attention, and our own kernels."""


def _policy(_context: object, operator: Any, *_args: object, **_kwargs: object) -> CheckpointPolicy:  # noqa: ANN401
    name = getattr(operator, "name", lambda: str(operator))()
    return CheckpointPolicy.MUST_SAVE if name.startswith(_KEPT_BY_NAME) else CheckpointPolicy.PREFER_RECOMPUTE

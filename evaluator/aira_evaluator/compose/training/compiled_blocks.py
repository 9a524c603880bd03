"""Residual blocks compiled once a primitive and shape, and shared by every layer of every candidate.

Compiling a whole model costs half a minute, and every candidate is another model. But all of them are made of the same
few blocks, x + layer(norm(x)), at the task's few shapes. So the block is compiled as a function of its tensors: all
weights come in as arguments, and a second layer, or the next candidate, finds the code ready. Inductor keeps what it
made in TORCHINDUCTOR_CACHE_DIR; a judge that stays keeps it in memory.

Blocks of Mamba-2 are never compiled: torch 2.11 was seen to differentiate a traced one wrongly on a GPU, without a word
(docs/kernels.md). Their scan, convolution and norm are kernels of ours there, to which a compiler adds little.

Off unless asked for: compiled blocks round differently than the plain ones, so they give other scores, and whether they
pay has not been measured on a GPU. On a CPU they do not (docs/performance.md). Not covered: prediction, which uses the
plain blocks; embedding, head and loss, which are single operations.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aira_kernels.backbone import ResidualStack
from aira_kernels.mamba2 import Mamba2

MOST_SHAPES = 64
"""Different shapes one block may be compiled for; torch's own default of 8 is fewer than a profile's."""
Block = Callable[[Mapping[str, Tensor], Tensor], Tensor]


class CompiledBlocks:
    """The compiled blocks of one profile's sizes. Make one a process and give it every candidate."""

    def __init__(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """`backend` as `torch.compile` takes it. Changes the process's limit of compiled variants."""
        import torch._dynamo

        self._backend = backend
        self._blocks: dict[type[nn.Module], Block] = {}
        torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, MOST_SHAPES)

    def adopt(self, model: nn.Module, example_BL: Tensor) -> None:
        """Have the stack of `model` use compiled blocks in training.

        Args:
            model: one of `aira_kernels.backbone`, on its device.
            example_BL: ids of the length to come; one forward pass makes tables that depend on the length.

        Raises:
            TypeError: the model's stack is not a `ResidualStack`.
        """
        stack = model.stack
        if not isinstance(stack, ResidualStack):
            raise TypeError(f"{type(stack).__name__} is not a stack of residual blocks")
        with torch.no_grad():
            model(example_BL)
        model.stack = CompiledStack(
            stack, [self._block(layer, norm) for layer, norm in zip(stack.layers, stack.norms, strict=True)]
        )

    def _block(self, layer: nn.Module, norm: nn.Module) -> Block | None:
        if isinstance(layer, Mamba2):
            return None
        if type(layer) not in self._blocks:
            # A copy without data: the compiled code must not hold on to one candidate's weights.
            template = copy.deepcopy(nn.ModuleDict({"norm": norm, "layer": layer})).to("meta")

            def block(tensors: Mapping[str, Tensor], x_BLD: Tensor) -> Tensor:
                normed = torch.func.functional_call(template["norm"], _under(tensors, "norm."), (x_BLD,))
                mixed: Tensor = torch.func.functional_call(template["layer"], _under(tensors, "layer."), (normed,))
                return x_BLD + mixed

            self._blocks[type(layer)] = torch.compile(block, fullgraph=True, dynamic=False, backend=self._backend)
        return self._blocks[type(layer)]


class CompiledStack(nn.Module):
    """A stack whose blocks run compiled while gradients are wanted, and plainly otherwise; None runs plainly always."""

    def __init__(self, plain: ResidualStack, blocks: list[Block | None]) -> None:
        super().__init__()
        self.plain = plain
        self._blocks = blocks
        self._tensors = [_tensors(norm, layer) for norm, layer in zip(plain.norms, plain.layers, strict=True)]

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        if not (self.training and torch.is_grad_enabled()):
            out: Tensor = self.plain(x_BLD)
            return out
        layers = zip(self.plain.norms, self.plain.layers, strict=True)
        for block, tensors, (norm, layer) in zip(self._blocks, self._tensors, layers, strict=True):
            x_BLD = x_BLD + layer(norm(x_BLD)) if block is None else block(tensors, x_BLD)
        return x_BLD


def _tensors(norm: nn.Module, layer: nn.Module) -> dict[str, Tensor]:
    both = nn.ModuleDict({"norm": norm, "layer": layer})
    return {**dict(both.named_parameters()), **dict(both.named_buffers())}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

"""Maximal update parametrization (Yang et al., "Tensor Programs V", arXiv 2203.03466).

Idea: scale initial values and learning rates with width so that every layer's output changes by the same amount a step
at any width; hyper-parameters tuned on a narrow model then hold for a wide one. For Adam, with r = width / base width:

    kind                     initial deviation        rate
    embedding, vectors       as at base width         as at base width
    hidden matrix            base / sqrt(r)           base / r
    output matrix            as at base width         base, with logits divided by r

and attention scores are divided by head_dim instead of its square root.

Use in train.py: `apply_mup` after the model is made, `mup_groups` for the optimizer; divide attention scores by
head_dim. Tune on a depth that fits into seconds, then widen.

Left out: SGD's rules, convolutions, automatic detection of shapes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Widths:
    """The width of the model at hand and the one its hyper-parameters were tuned at."""

    width: int
    base: int

    @property
    def ratio(self) -> float:
        """How many times wider."""
        return self.width / self.base


class MupOutput(nn.Linear):
    """An output matrix whose logits are divided by the ratio of widths."""

    def __init__(self, width: int, vocabulary: int, widths: Widths) -> None:
        super().__init__(width, vocabulary, bias=False)
        self.widths = widths

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return super().forward(x) / self.widths.ratio


def kind_of(module: nn.Module) -> str:
    """`output`, `hidden` or `vector` (embeddings and everything that is no matrix of two widths)."""
    if isinstance(module, MupOutput):
        return "output"
    return "hidden" if isinstance(module, nn.Linear) else "vector"


def apply_mup(model: nn.Module, widths: Widths, generator: torch.Generator, *, deviation: float = 0.02) -> None:
    """Draw all weights anew with the deviations of the table; biases become zero."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            scale = widths.ratio**-0.5 if kind_of(module) == "hidden" else 1.0
            with torch.no_grad():
                module.weight.normal_(0.0, deviation * scale, generator=generator)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    module.bias.zero_()


def mup_groups(model: nn.Module, widths: Widths, lr: float) -> list[dict[str, object]]:
    """Parameter groups for Adam: hidden matrices at lr / ratio, everything else at lr."""
    hidden = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Linear) and kind_of(m) == "hidden"}
    others = [parameter for parameter in model.parameters() if id(parameter) not in hidden]
    return [{"params": list(hidden.values()), "lr": lr / widths.ratio}, {"params": others, "lr": lr}]

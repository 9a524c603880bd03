"""Compiled blocks: one compilation a primitive and shape, whatever the number of layers and candidates."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aira_evaluator.compose.mad.fitting import Candidate
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.compiled_blocks import CompiledBlocks
from aira_evaluator.compose.training.devices import make_deterministic
from aira_evaluator.compose.training.schedule import run_epochs
from aira_kernels.layers import LAYERS

SMALL = replace(
    CPU, tasks={"in-context-recall": CPU.tasks["in-context-recall"]}, train_examples=40, epochs=2
)  # batches of 32 and 8


class Counting:
    """Stands in for Inductor: runs the traced graph as it is and counts how many there were."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:  # noqa: ANN401
        self.graphs += 1
        return graph.forward


def trained(layers: tuple[str, ...], blocks: CompiledBlocks | None, seed: int = 0) -> list[Tensor]:
    candidate = Candidate(layers, SMALL, draw_corpus(SMALL, "train", 1), seed, torch.device("cpu"), blocks)
    training = candidate.begin("in-context-recall")
    run_epochs(training.step, training.epochs, training.epochs.epochs)
    return [parameter.detach() for parameter in training.model.parameters()]


def test_the_next_candidate_compiles_nothing() -> None:
    make_deterministic()
    torch._dynamo.reset()
    backend = Counting()
    blocks = CompiledBlocks(backend)
    trained(("M", "mA"), blocks)
    assert backend.graphs == 2 * 2, "each primitive at the full and at the last batch"
    for seed, layers in enumerate([("M", "M", "mA", "Mb", "mA"), ("mA", "M", "Mb", "M")]):
        trained(layers, blocks, seed)
    assert backend.graphs == 4


def test_mamba_blocks_are_never_compiled() -> None:
    """torch 2.11 differentiates a traced one wrongly on a GPU, and nothing says so."""
    make_deterministic()
    backend = Counting()
    plain, ours = trained(("Mb", "Mb"), None), trained(("Mb", "Mb"), CompiledBlocks(backend))
    assert backend.graphs == 0
    assert all(torch.equal(left, right) for left, right in zip(plain, ours, strict=True))


@pytest.mark.parametrize("symbol", ["M", "mA", "Mb"])
def test_what_a_compiler_is_given_has_the_right_gradients(symbol: str) -> None:
    """Traced, decomposed and cut into a forward and a backward graph, as for Inductor, but run as it is: were a gradient
    wrong here, the fault would be ours. In float64, so that nothing hides in rounding."""
    generator = torch.Generator().manual_seed(0)
    layer = LAYERS[symbol].searched(SMALL.sizes, generator=generator, backend="reference").double()
    x = torch.randn(2, 40, SMALL.sizes.width, generator=generator, dtype=torch.float64, requires_grad=True)
    leaves = [x, *layer.parameters()]
    plain = layer(x)
    direction = torch.linspace(-1, 1, plain.numel(), dtype=torch.float64).view(plain.shape)
    torch._dynamo.reset()
    traced = torch.compile(layer, fullgraph=True, dynamic=False, backend="aot_eager_decomp_partition")(x)
    right, ours = (torch.autograd.grad(out, leaves, direction) for out in (plain, traced))
    for one, other in zip((traced, *ours), (plain, *right), strict=True):
        assert (one - other).abs().max() <= 1e-12 * other.abs().max()


def test_traced_blocks_compute_what_the_plain_ones_do() -> None:
    make_deterministic()
    layers = ("mA", "M", "Mb", "M")
    plain, traced = trained(layers, None), trained(layers, CompiledBlocks(Counting()))
    for left, right in zip(plain, traced, strict=True):
        assert torch.allclose(left, right, rtol=1e-4, atol=1e-5)


def test_a_model_of_another_make_is_refused() -> None:
    other = nn.ModuleDict({"stack": nn.Linear(2, 2)})
    with pytest.raises(TypeError, match="Linear is not a stack"):
        CompiledBlocks(Counting()).adopt(other, torch.zeros(1, 2))

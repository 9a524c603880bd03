"""A training step on the Triton backend inside a CUDA graph, and the selector's refusal to probe inside one."""

import pytest
import torch

from aira_kernels import backend
from aira_kernels.backbone import LanguageModel
from aira_kernels.backend import BackendError, choose
from aira_kernels.sizes import BlockSizes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device"),
]


def test_a_captured_step_gives_the_digits_of_an_eager_one() -> None:
    generator = torch.Generator().manual_seed(0)
    model = LanguageModel(("Mb", "M"), 16, BlockSizes(), generator=generator, backend="triton").cuda()
    first, second = (torch.randint(0, 16, (8, 127), generator=generator).cuda() for _ in range(2))
    parameters = list(model.parameters())

    def step(tokens: torch.Tensor) -> list[torch.Tensor]:
        loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        return [loss, *torch.autograd.grad(loss, parameters)]

    static = first.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            step(static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(static)
    for tokens in (first, second):
        static.copy_(tokens)
        graph.replay()
        for ours, eager in zip(captured, step(tokens), strict=True):
            assert torch.equal(ours, eager)


def test_a_first_use_inside_a_capture_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_made", {})
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(BackendError, match="run the model once before capturing it"), torch.cuda.graph(graph):
        choose("scan", "auto", "cuda", torch.float32)

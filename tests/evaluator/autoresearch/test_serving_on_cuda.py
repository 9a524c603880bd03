"""The program of a predict container on a CUDA device that is played: numbers, types, places and locked memory."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from numbers_on_cuda import CUDA, HOST, OnDevice, computing
from served_models import TOKENS, VOCABULARY, Bigram, draw_rows
from test_logit_serving import LONG_PATIENCE, meet
from torch import nn

from aira_contract.files import HANDOVER_FILE
from aira_evaluator.autoresearch.handover.model_file import Ambience, Handed, hand_over, load
from aira_evaluator.autoresearch.judge.asking import ask
from aira_evaluator.autoresearch.predict.serving import Server, serve
from aira_evaluator.autoresearch.wire import connection as conversation
from aira_evaluator.autoresearch.wire.shared_memory import MemoryShape, SharedMemory, create

SHAPE = MemoryShape(rows=4, tokens=TOKENS, vocabulary=VOCABULARY)
PLAIN = Ambience(autocast=False, autocast_dtype=torch.bfloat16, matmul_precision="highest")
AT = [3, 0, 31, 7]


@pytest.fixture
def memory() -> SharedMemory:
    """With four windows of the language, and a position asked for in each."""
    descriptor = create(SHAPE)
    made = SharedMemory(descriptor, SHAPE)
    os.close(descriptor)
    made.windows(4, TOKENS).copy_(torch.from_numpy(draw_rows(4, 1)[:, :TOKENS].astype(np.int32)))
    made.positions(4).copy_(torch.tensor(AT, dtype=torch.int32))
    return made


def answered(model: nn.Module, memory: SharedMemory, device: torch.device, ambience: Ambience = PLAIN) -> torch.Tensor:
    """The logits that stand in the memory after a request, [4, vocabulary]."""
    memory.logits(4).fill_(torch.nan)
    Server(Handed(model.to(device).eval(), ambience), memory, device).answer(4, TOKENS)
    return memory.logits(4).clone()


class Product(nn.Module):
    """Logits by a matrix product, which autocast makes in fewer bits."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, 16)
        self.head = nn.Linear(16, VOCABULARY, bias=False)
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(x, OnDevice)
        logits: torch.Tensor = self.head(self.table(x))
        return logits


class WithoutAPlace(Bigram):
    """Makes a tensor as its script did under a default device, and says no device itself."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return super().logits(x) + torch.zeros(x.shape[1], 1)


class KeptOnTheHost(Bigram):
    """Holds a tensor that moves nowhere with the model, as no buffer does."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.zeros(VOCABULARY)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return super().logits(x) + self.bias


def test_logits_of_a_device_stand_in_the_memory_as_those_of_the_host_do(memory: SharedMemory) -> None:
    expected = answered(Bigram(), memory, HOST)
    with computing() as locked:
        assert torch.equal(answered(Bigram(), memory, CUDA), expected)
    assert locked == [(memory.address, SHAPE.size_bytes)], "all of it, and a driver that refuses costs nothing else"
    assert torch.equal(expected, Bigram().table[memory.windows(4, TOKENS)[range(4), AT].long()].detach())


def test_products_under_autocast_have_the_bits_that_the_script_had(memory: SharedMemory) -> None:
    model, autocast = Product(), Ambience(autocast=True, autocast_dtype=torch.bfloat16, matmul_precision="highest")
    x = memory.windows(4, TOKENS)[range(4), AT].long()
    in_fewer_bits = (model.table(x).bfloat16() @ model.head.weight.bfloat16().T).float()
    with computing():
        assert torch.equal(answered(model, memory, CUDA, autocast), in_fewer_bits)
    with computing():
        plain = answered(Product().requires_grad_(False), memory, CUDA)
    assert plain.isfinite().all()
    assert not torch.equal(plain, plain.bfloat16().float()), "and without it all of them"


def test_a_default_device_of_the_script_is_one_of_the_served_model_too(memory: SharedMemory) -> None:
    with computing():
        with pytest.raises(RuntimeError, match="same device"):
            answered(WithoutAPlace(), memory, CUDA)
        there = Ambience(autocast=False, autocast_dtype=torch.bfloat16, matmul_precision="highest",
                         default_device=str(CUDA))  # fmt: skip
        logits = answered(WithoutAPlace(), memory, CUDA, there)
    assert torch.equal(logits, answered(Bigram(), memory, HOST))


def test_a_judge_is_answered_from_a_device_and_told_what_stayed_on_the_host(tmp_path: Path) -> None:
    """The whole conversation, with a file that was handed over."""
    rows, positions = draw_rows(12, 3), np.arange(1, 13)
    nats: list[np.ndarray] = []
    for name, model in (("sound", Bigram()), ("kept", KeptOnTheHost())):
        folder = tmp_path / name
        folder.mkdir()
        hand_over(model, folder)

        def behave(stream: socket.socket, handover: Path = folder / HANDOVER_FILE) -> None:
            with computing():
                serve(stream, handover, CUDA)

        meet(folder / "here", behave)
        with conversation.accepted(folder / "here", SHAPE, LONG_PATIENCE) as connection:
            if name == "kept":
                with pytest.raises(conversation.ModelRaised, match="raised an exception"):
                    ask(connection, rows, positions, 8)
            else:
                nats.append(ask(connection, rows, positions, 8))
    table = torch.log_softmax(Bigram().table.double(), dim=1)
    before, after = rows[range(12), positions - 1].astype(int), rows[range(12), positions].astype(int)
    assert nats[0] == pytest.approx(-table[before, after].detach().numpy(), abs=1e-5)
    assert load(tmp_path / "kept" / HANDOVER_FILE, HOST).model(torch.zeros(1, 2, dtype=torch.int64)) is not None

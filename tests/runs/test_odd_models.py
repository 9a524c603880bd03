"""A search whose model is served oddly ends in the tree that it has behind a proper server: no step lost or blamed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aira_bench.agents.llm.llm_agent import LlmAgent
from aira_bench.agents.llm.model_sources import ProviderSource
from aira_bench.agents.llm.spending import Budgets
from aira_bench.cards.card import Card
from aira_bench.record.node import Node
from llm.wire_server import Brain, Fault, Misbehaviour, WireRequest, WireServer
from played_host import played_sandbox
from runs.test_phases import played

CARD = Card.model_validate(
    {"name": "odd", "title": "Odd", "provider": "openai-compatible", "model": "m", "max_output_tokens": 1000}
)
ANSWERS = [
    'Attention first.\n```python\nARCHITECTURE = "mA,M,M,M,M,M,M,M,M,M,M,M,M,M,M,M"\n```',
    'Attention last.\n```python\nARCHITECTURE = "M,M,M,M,M,M,M,M,M,M,M,M,M,M,M,mA"\n```',
]


def program_of(request: WireRequest) -> str:
    return ANSWERS["Step 1" in request.messages[0][1]]


def chat(content: object, usage: object = None, **choice: object) -> Misbehaviour:
    message = {"role": "assistant", "content": content}
    body = {"model": "m", "id": "x", "choices": [{"index": 0, "message": message, **choice}], "usage": usage}
    return Misbehaviour("raw", json.dumps(body).encode())


ODD: dict[str, Callable[[str], Misbehaviour]] = {
    "no reason": lambda text: chat(text),
    "null reason": lambda text: chat(text, finish_reason=None),
    "empty reason": lambda text: chat(text, finish_reason=""),
    "another provider's word": lambda text: chat(text, finish_reason="end_turn"),
    "a shout": lambda text: chat(text, finish_reason="STOP"),
    "a limit, though whole": lambda text: chat(text, finish_reason="max_tokens"),
    "parts": lambda text: chat([{"type": "text", "text": part} for part in (text[:9], text[9:])]),
    "a thought and a text": lambda text: chat([{"type": "thinking", "thinking": "x"}, {"type": "text", "text": text}]),
    "reasoning between tags": lambda text: chat(f"<think>\n```python\nprint('draft')\n```\n</think>\n{text}"),
    "reasoning without its first tag": lambda text: chat(f"```python\nprint('draft')\n```\n</think>\n{text}"),
    "a mark of byte order": lambda text: chat(f"\ufeff{text}"),
    "a glued tag": lambda text: chat(text.replace("```python\n", "```python")),
    "a list": lambda text: chat("1. " + text.replace("\n", "\n     ")),
    "half a surrogate": lambda text: chat(f"\ud800{text}"),
    "counts as text": lambda text: chat(text, {"prompt_tokens": "5", "completion_tokens": "2"}),
    "counts below zero": lambda text: chat(text, {"prompt_tokens": -5, "completion_tokens": -2}),
    "a count without end": lambda text: chat(text, {"prompt_tokens": 1e400, "completion_tokens": float("nan")}),
    "usage in words": lambda text: chat(text, "12 tokens"),
}


def tree(folder: Path, brain: Brain) -> list[tuple[Any, ...]]:
    with WireServer(brain) as server:
        environ = {CARD.url_override_variable: server.base_url("openai-compatible")}
        agent = LlmAgent("odd", ProviderSource.open(CARD, environ, Budgets()))
        nodes, ended = played(folder, played_sandbox(), agent)
        assert ended.why == "steps"
        assert {node.model_use.calls for node in nodes} == {1}, "nothing had to be asked again"
        assert len(server.requests) == len(nodes)
    return [shape(node) for node in nodes]


def shape(node: Node) -> tuple[Any, ...]:
    return (node.operator, node.parents, node.step_class, node.canonical, node.fitness, node.code_sha256)


@pytest.fixture(scope="module")
def proper(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The tree behind a proper server."""
    return tree(tmp_path_factory.mktemp("proper"), program_of)


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_server_gives_the_tree_of_a_proper_one(tmp_path: Path, kind: str, proper: list[tuple[Any, ...]]) -> None:
    assert [each[2] for each in proper] == ["valid", "valid"]
    assert tree(tmp_path / "odd", lambda request: ODD[kind](program_of(request))) == proper


def test_a_server_that_fails_in_between_costs_calls_and_no_step(tmp_path: Path, proper: list[tuple[Any, ...]]) -> None:
    """Passing trouble is waited for and asked again; the tree is the same."""
    troubled: list[int] = []

    def brain(request: WireRequest) -> Fault | Misbehaviour | str:
        troubled.append(1)
        if len(troubled) % 2:
            return chat(None, finish_reason=None)
        return program_of(request)

    with WireServer(brain) as server:
        environ = {CARD.url_override_variable: server.base_url("openai-compatible")}
        agent = LlmAgent("odd", ProviderSource.open(CARD, environ, Budgets()))
        nodes, _ = played(tmp_path / "odd", played_sandbox(), agent)
    assert [shape(node) for node in nodes] == proper
    assert len(troubled) == 4

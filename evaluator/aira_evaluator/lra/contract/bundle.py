"""The one file that passes from a fit container to the judge: graphs end to end behind a line of JSON.

    {"schema": 1, "platform": "cpu", "hyperparameters": {"seq_len": 48, ...}, "graphs": [["init", 4711], ...]}\\n
    <4711 bytes of init> <bytes of the next graph> ...

The file was written in a process that had imported the submission, so all of it is the submission's word: sizes are
bounded before anything is read, names must be exactly the expected ones, and hyperparameters are checked again, as the
submission could have set any admitted value in its text as well.

Not covered: what the graphs say (`graph`), and whether they fit the task (`functions`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aira_contract.files import MAX_GRAPHS_BYTES
from aira_contract.invocation import PLATFORMS
from aira_evaluator.lra.contract.hyperparameters import CONSTANTS, Hyperparameters
from aira_evaluator.lra.contract.profiles import LraProfile
from aira_evaluator.lra.contract.refusal import RefusedError

MAX_GRAPH_BYTES = 40 << 20
"""Of one graph, in which constants take two characters a byte. Weights are parameters; what is left is small."""
SCALES = (1, 2, 4)
"""Multiples of the length at which growth is measured."""
_MAX_HEADER_BYTES = 64 << 10
_SCALED_TOKENS = 4096
"""Of a batch at the training's length."""
_SCHEMA = 1


@dataclass(frozen=True)
class Bundle:
    """What a fit container made of a submission."""

    platform: str
    hyperparameters: Hyperparameters
    graphs: Mapping[str, bytes]
    """StableHLO text by name: the `TRAINED`, and of `scaled_names(n)` those that could be traced."""


TRAINED = ("init", "forward", "backward", "evaluate")
"""Graphs at the length and the batch sizes of the training."""


def scaled_names(scale: int) -> tuple[str, str, str]:
    """Names of the graphs at `scale` times the length."""
    return f"forward_x{scale}", f"backward_x{scale}", f"evaluate_x{scale}"


def scaled_batch_size(hyperparameters: Hyperparameters) -> int:
    """Examples in a batch where growth is measured: the training's, or fewer where its sequences are long."""
    return max(1, min(hyperparameters.batch_size, _SCALED_TOKENS // hyperparameters.seq_len))


def write_bundle(bundle: Bundle) -> bytes:
    """Return the bytes that a fit container leaves for the judge; `read_bundle` reads them."""
    header = {
        "schema": _SCHEMA,
        "platform": bundle.platform,
        "hyperparameters": asdict(bundle.hyperparameters),
        "graphs": [[name, len(graph)] for name, graph in bundle.graphs.items()],
    }
    return json.dumps(header).encode("ascii") + b"\n" + b"".join(bundle.graphs.values())


def read_bundle(data: bytes, profile: LraProfile, *, configurable: bool) -> Bundle:
    """Check and take apart a stored bundle.

    Raises:
        RefusedError: it is not one, or its hyperparameters are not admitted.
    """
    end = data[:_MAX_HEADER_BYTES].find(b"\n")
    if len(data) > MAX_GRAPHS_BYTES or end < 0:
        raise RefusedError("the traced module has no readable header")
    try:
        header = json.loads(data[:end].decode("ascii"))
    except (ValueError, RecursionError):
        raise RefusedError("the header of the traced module is not JSON") from None
    if not isinstance(header, dict) or set(header) != {"schema", "platform", "hyperparameters", "graphs"}:
        raise RefusedError("the header of the traced module has other keys than expected")
    if header["schema"] != _SCHEMA or header["platform"] not in PLATFORMS:
        raise RefusedError("the traced module is of another schema or platform")
    hyperparameters = _hyperparameters(header["hyperparameters"], profile, configurable=configurable)
    return Bundle(header["platform"], hyperparameters, _graphs(header["graphs"], memoryview(data)[end + 1 :]))


def _graphs(listed: object, blobs: memoryview) -> Mapping[str, bytes]:
    expected = (*TRAINED, *(name for scale in SCALES for name in scaled_names(scale)))
    graphs: dict[str, bytes] = {}
    start = 0
    for entry in listed if isinstance(listed, list) else []:
        match entry:
            case [str(name), int(size)] if name in expected and name not in graphs and 0 < size <= MAX_GRAPH_BYTES:
                graphs[name] = bytes(blobs[start : start + size])
                start += size
            case _:
                raise RefusedError("the traced module lists a graph that is unknown, repeated or too large")
    if start != len(blobs):
        raise RefusedError("the traced module is shorter or longer than its header says")
    if missing := [name for name in TRAINED if name not in graphs]:
        raise RefusedError(f"the traced module lacks {', '.join(missing)}")
    return graphs


def _hyperparameters(values: object, profile: LraProfile, *, configurable: bool) -> Hyperparameters:
    fields = {constant.field: constant.kind for constant in CONSTANTS}
    if not isinstance(values, dict) or set(values) != set(fields):
        raise RefusedError("the traced module names other hyperparameters than the task has")
    for name, kind in fields.items():
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
            raise RefusedError(f"hyperparameter {name} is not a number of type {kind.__name__}")
        low, high = profile.ranges[name]
        if not low <= value <= high:  # nor is a NaN; integers of JSON may be beyond any float
            raise RefusedError(f"hyperparameter {name} is {str(value)[:20]}, expected {low:g} to {high:g}")
    typed: dict[str, Any] = {name: kind(values[name]) for name, kind in fields.items()}
    chosen = Hyperparameters(**typed)
    if not configurable and chosen != profile.defaults:
        raise RefusedError("the traced module changes hyperparameters that this task fixes")
    if chosen.train_tokens > profile.max_train_tokens:
        raise RefusedError(
            f"{chosen.train_tokens:,} tokens would be trained on, at most {profile.max_train_tokens:,} may be"
        )
    return chosen

"""The hyperparameters of a training script: literals assigned to top-level names, found and set by its syntax tree.

A hyperparameter is a name of `HYPERPARAMETERS` that the script assigns exactly once, at the top level, to a literal on
one line. Setting one replaces that literal and nothing else: comments, layout and everything unknown stay as they are.

Not covered: whether the new values make sense together; a script that fails for it is a failed step.
"""

import ast
import math
import random
from collections.abc import Callable, Mapping

from aira_bench.agent_code.syntax import UnreadableCode, parse
from aira_contract.script_constants import Value, assigned_values, is_settable, with_values

Values = Mapping[str, Value]
Draw = Callable[[random.Random, Value], Value]


def read_hyperparameters(source: str) -> dict[str, Value]:
    """Return a script's hyperparameters with their values, in the table's order; none if it does not parse."""
    found = _found(source)
    return {name: found[name][1] for name in HYPERPARAMETERS if name in found}


def set_hyperparameters(source: str, values: Values) -> str:
    """Return the script with some of its hyperparameters set.

    Raises:
        KeyError: the script has no such hyperparameter.
    """
    found = _found(source)
    return with_values(source, [(found[name][0], value) for name, value in values.items()])


def mutate_hyperparameters(rng: random.Random, values: Values, count: int) -> dict[str, Value]:
    """Return new values for up to `count` randomly chosen hyperparameters, each different from before.

    Those that hang together move together.
    """
    changed: dict[str, Value] = {}
    for name in rng.sample(sorted(values), min(count, len(values))):
        if name in changed:
            continue
        if name in _BATCH and values.keys() >= _BATCH:
            changed |= _mutate_batch(rng, values)
            continue
        drawn = HYPERPARAMETERS[name](rng, values[name])
        if drawn != values[name]:
            changed[name] = drawn
    return changed


def _found(source: str) -> dict[str, tuple[ast.expr, Value]]:
    """Every name that is assigned exactly once, to a literal on one line: where that stands, and its value."""
    try:
        body = parse(source).body
    except UnreadableCode:
        return {}
    once = {name: nodes[0] for name, nodes in assigned_values(body).items() if len(nodes) == 1}
    values = {name: _literal(node) for name, node in once.items() if is_settable(node)}
    return {name: (once[name], value) for name, value in values.items() if value is not None}


def _literal(node: ast.expr) -> Value | None:
    """The value of a literal number or text, of a sign before one, or of a power such as 2**19."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, exponent = _literal(node.left), _literal(node.right)
        if isinstance(base, int) and isinstance(exponent, int) and abs(base) <= 10 and 0 <= exponent <= 32:
            return int(base**exponent)
        return None
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else None


# How each hyperparameter moves ---------------------------------------------------------------------------------------


def _whole_number(low: int, high: int, step: int) -> Draw:
    """Up to `step` more or less."""

    def draw(rng: random.Random, value: Value) -> Value:
        near = [new for new in range(int(value) - step, int(value) + step + 1) if low <= new <= high and new != value]
        return rng.choice(near) if near else value

    return draw


def _neighbour(*choices: Value) -> Draw:
    """The next larger or smaller of fixed choices."""

    def draw(rng: random.Random, value: Value) -> Value:
        ordered = sorted({*choices, value}, key=float)
        at = ordered.index(value)
        return rng.choice([ordered[near] for near in (at - 1, at + 1) if 0 <= near < len(ordered)])

    return draw


def _scaled(factor: float) -> Draw:
    """Times or divided by up to `factor`, rounded to two digits; from 0 to a small number."""

    def draw(rng: random.Random, value: Value) -> Value:
        scaled = float(value) * math.exp(rng.uniform(-1, 1) * math.log(factor)) if value else 0.1
        return float(f"{scaled:.2g}")

    return draw


def _pattern(symbols: str, longest: int) -> Draw:
    """One symbol changed, added or taken away."""

    def draw(rng: random.Random, value: Value) -> Value:
        pattern = list(str(value))
        move = rng.choice(["change", "add", "remove"])
        if move == "add" and len(pattern) < longest:
            pattern.insert(rng.randrange(len(pattern) + 1), rng.choice(symbols))
        elif move == "remove" and len(pattern) > 1:
            pattern.pop(rng.randrange(len(pattern)))
        elif pattern:
            at = rng.randrange(len(pattern))
            pattern[at] = rng.choice([symbol for symbol in symbols if symbol != pattern[at]])
        return "".join(pattern)

    return draw


_BATCH = {"TOTAL_BATCH_SIZE", "DEVICE_BATCH_SIZE"}


def _mutate_batch(rng: random.Random, values: Values) -> dict[str, Value]:
    """Twice the tokens of a step in more forward passes, or half of them in smaller ones: both always divide."""
    total, rows = int(values["TOTAL_BATCH_SIZE"]), int(values["DEVICE_BATCH_SIZE"])
    if rows % 2 or total % 2 or rng.random() < 0.5:
        return {"TOTAL_BATCH_SIZE": 2 * total}
    return {"TOTAL_BATCH_SIZE": total // 2, "DEVICE_BATCH_SIZE": rows // 2}


HYPERPARAMETERS: Mapping[str, Draw] = {
    "DEPTH": _whole_number(1, 24, 2),
    "ASPECT_RATIO": _neighbour(32, 40, 48, 56, 64, 72, 80, 96, 112, 128),
    "HEAD_DIM": _neighbour(16, 32, 64, 128, 256),
    "WINDOW_PATTERN": _pattern("SL", 8),
    "SOFTCAP": _neighbour(8.0, 10.0, 12.0, 15.0, 18.0, 20.0, 30.0),
    "ROTARY_BASE": _neighbour(500.0, 2000.0, 10000.0, 50000.0, 200000.0),
    "TOTAL_BATCH_SIZE": lambda rng, value: value,
    "DEVICE_BATCH_SIZE": lambda rng, value: value,
    "EMBEDDING_LR": _scaled(2.0),
    "UNEMBEDDING_LR": _scaled(2.0),
    "MATRIX_LR": _scaled(2.0),
    "WEIGHT_DECAY": _scaled(2.0),
    "MUON_MOMENTUM": _neighbour(0.8, 0.85, 0.9, 0.95, 0.97),
    "NS_STEPS": _whole_number(2, 7, 1),
    "WARMUP_RATIO": _neighbour(0.0, 0.02, 0.05, 0.1),
    "WARMDOWN_RATIO": _neighbour(0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0),
    "FINAL_LR_FRAC": _neighbour(0.0, 0.01, 0.05, 0.1, 0.2),
}
"""Admitted hyperparameters and how a mutation moves each, by the baseline's names, common in scripts like it."""

"""The hyperparameters of Table 12, and how a configurable `model.py` sets them.

A constant is a plain assignment of a literal number at the top level of the module, `LR = 1e-3` or
`BATCH_SIZE: int = 32`. It is read from the syntax tree; the module is never imported for it. What is refused rather
than guessed: a value that is not a literal, a value out of range, two assignments that differ, an assignment
inside `if`, `for`, `try` or `with`, or in a tuple. Assignments inside functions and classes are none of our business.

Not covered: what the module does with constants of its own. It is constructed with the values read here.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


class ConstantsError(Exception):
    """A `model.py` cannot be parsed or sets a constant wrongly; one printable line."""


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters of a training, one column of Table 12."""

    seq_len: int
    """Tokens of a sequence (a document of Retrieval); longer ones are cut at the end, shorter ones padded."""
    learning_rate: float
    """Peak of the schedule, reached at the end of the warm-up."""
    batch_size: int
    train_steps: int
    num_layers: int
    num_heads: int
    emb_dim: int
    qkv_dim: int
    mlp_dim: int
    weight_decay: float
    warmup_steps: int
    eval_frequency: int
    """Training steps between two evaluations."""
    random_seed: int = 0
    """Accepted and recorded, as the paper's table has it. It decides nothing: the judge draws its own seeds, so that a
    lucky seed cannot be searched for."""

    @property
    def train_tokens(self) -> int:
        """Tokens a training reads, padding included: examples times length."""
        return self.batch_size * self.seq_len * self.train_steps


@dataclass(frozen=True)
class Constant:
    """A row of Table 12: the two names it may have in `model.py`, and its type."""

    field: str
    spellings: tuple[str, ...]
    kind: type[int] | type[float]


CONSTANTS: tuple[Constant, ...] = (
    Constant("seq_len", ("SEQ_LEN", "MAX_LENGTH"), int),
    Constant("learning_rate", ("LR", "LEARNING_RATE"), float),
    Constant("batch_size", ("BATCH_SIZE",), int),
    Constant("train_steps", ("NUM_TRAIN_STEPS", "TRAIN_STEPS"), int),
    Constant("num_layers", ("NUM_LAYERS",), int),
    Constant("num_heads", ("NUM_HEADS",), int),
    Constant("emb_dim", ("EMB_DIM", "EMBED_DIM"), int),
    Constant("qkv_dim", ("QKV_DIM",), int),
    Constant("mlp_dim", ("MLP_DIM",), int),
    Constant("weight_decay", ("WEIGHT_DECAY",), float),
    Constant("warmup_steps", ("WARMUP_STEPS", "WARMUP"), int),
    Constant("eval_frequency", ("EVAL_FREQUENCY", "EVAL_FREQ"), int),
    Constant("random_seed", ("RANDOM_SEED", "SEED"), int),
)

Range = tuple[float, float]
"""Smallest and largest value admitted, both inclusive."""

_BY_SPELLING: Mapping[str, Constant] = {name: constant for constant in CONSTANTS for name in constant.spellings}


def read_hyperparameters(
    source: str, defaults: Hyperparameters, ranges: Mapping[str, Range], max_train_tokens: int
) -> Hyperparameters:
    """Return the hyperparameters of a configurable `model.py`: its constants over the task's defaults.

    Args:
        source: text of the module; its size is the caller's to bound (`contract.MAX_SOURCE_BYTES`).
        defaults: values of the constants it does not set.
        ranges: admitted values by field of `Hyperparameters`; one for every constant.
        max_train_tokens: bound of `Hyperparameters.train_tokens`, which no single range can express.

    Raises:
        ConstantsError: with the line number, what was found and what is expected.
    """
    found: dict[str, tuple[str, int | float]] = {}
    for name, value, line in _assignments(_parse(source)):
        constant = _BY_SPELLING[name]
        number = _number(constant, name, value, line)
        low, high = ranges[constant.field]
        if not low <= number <= high:
            raise ConstantsError(f"line {line}: {name} is {number:g}, expected {low:g} to {high:g}")
        earlier = found.setdefault(constant.field, (name, number))
        if earlier[1] != number:
            raise ConstantsError(
                f"line {line}: {name} is {number:g}, but {earlier[0]} was set to {earlier[1]:g} before"
            )
    values: dict[str, Any] = {field: number for field, (_, number) in found.items()}
    chosen = replace(defaults, **values)
    if chosen.train_tokens > max_train_tokens:
        raise ConstantsError(
            f"batch size {chosen.batch_size} x length {chosen.seq_len} x steps {chosen.train_steps} is "
            f"{chosen.train_tokens:,} tokens, at most {max_train_tokens:,} may be trained on"
        )
    return chosen


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise ConstantsError(f"line {error.lineno or 1}: not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes; nesting beyond the parser's depth
        raise ConstantsError(f"not Python: {str(error) or type(error).__name__}") from None


def _assignments(module: ast.Module) -> Iterator[tuple[str, ast.expr, int]]:
    """Name, value and line of every constant assigned at the top level; anything subtler is refused."""
    for statement in module.body:
        simple: tuple[ast.expr, ...] = ()
        if isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets):
            simple = tuple(statement.targets)
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            simple = (statement.target,)
        for node in _module_scope(statement):
            for name in _bound_names(node) & _BY_SPELLING.keys():
                if node not in simple:
                    raise ConstantsError(
                        f"line {statement.lineno}: {name} must be set once, at the top level, to a literal number "
                        f"({name} = ...)"
                    )
        for target in simple:
            if isinstance(target, ast.Name) and target.id in _BY_SPELLING:
                assert isinstance(statement, ast.Assign | ast.AnnAssign)
                assert statement.value is not None
                yield target.id, statement.value, statement.lineno


def _module_scope(statement: ast.stmt) -> Iterator[ast.AST]:
    """The statement and everything below it that runs in the module's scope: not bodies of functions and classes."""
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))


def _bound_names(node: ast.AST) -> set[str]:
    """Names the node itself binds or deletes."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return {node.id}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        return {node.name}
    return set()


def _number(constant: Constant, name: str, value: ast.expr, line: int) -> int | float:
    sign = 1
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        sign, value = -1, value.operand
    number = value.value if isinstance(value, ast.Constant) else None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ConstantsError(f"line {line}: {name} is not a literal number")
    if constant.kind is int and not isinstance(number, int):
        raise ConstantsError(f"line {line}: {name} is {number:g}, expected an integer")
    if isinstance(number, int) and number.bit_length() > 64:
        raise ConstantsError(f"line {line}: {name} has more than 64 bits")
    return sign * constant.kind(number)

"""A user's file as an agent: which of two kinds it is, and its `answer(request)` in place of a model.

A file that defines the function `answer` at its top level answers requests, in this process; one that does not bind
that name there is a solution, and runs in a container alone. What is neither, since it is no Python or binds the name
to what is no function on sight, is told at once, and neither submitted nor run.

Not covered: what an answer says; it is read like any model's.
"""

import ast
import importlib.util
import inspect
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote

from aira_bench.agent_code.syntax import NotPython, UnreadableCode, parse_any
from aira_bench.errors import AiraError, PrerequisiteError, RunStateError, UsageError
from aira_bench.excerpts import LINE_CHARS, VALUE_CHARS
from aira_bench.llm.model import Completion, CompletionRequest
from aira_bench.llm.recording import ScriptedModel

FUNCTION_NAME = "answer"
Answer = Callable[[CompletionRequest], Completion | str]


def defines_answer(path: Path, code: str) -> bool:
    """Whether a file is one that answers requests; else it is a solution.

    Raises:
        UsageError: it is no Python, its `answer` is a coroutine, or bound without a `def` or a `lambda`.
    """
    try:
        tree = parse_any(code)
    except NotPython as error:
        hint = f"python3 -m py_compile {quote(str(path))}"
        raise UsageError(f"The agent file {path} is no Python: {error}.", hint=hint) from None
    except UnreadableCode:
        return False  # too long or too deep for this reader, which no file of functions is
    bindings = [node for node in _of_top_level(tree) if FUNCTION_NAME in _names_bound(node)]
    for node in bindings:
        if isinstance(node, ast.AsyncFunctionDef):
            raise UsageError(f"The agent file {path}, line {node.lineno}: answer is async; a plain def is called.")
    if any(isinstance(node, ast.FunctionDef) or isinstance(_value(node), ast.Lambda) for node in bindings):
        return True
    if not bindings:
        return False
    line = min(getattr(node, "lineno", 1) for node in bindings)
    raise UsageError(
        f"The agent file {path}, line {line}: answer is bound, but to no function, as far as can be seen.",
        hint="def answer(request): ... for a file that answers; another name in a solution",
    )


def _of_top_level(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that are run in the scope of a module: bodies of functions and classes are not."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        yield node
        skipped: list[object] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            skipped = list(node.body)
        elif isinstance(node, ast.Lambda):
            skipped = [node.body]
        elif (isinstance(node, ast.AnnAssign) and node.value is None) or isinstance(node, ast.comprehension):
            skipped = [node.target]
        left.extend(child for child in ast.iter_child_nodes(node) if not any(child is each for each in skipped))


def _names_bound(node: ast.AST) -> set[str | None]:
    """The names that a node itself binds where it stands."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.ExceptHandler():
            return {node.name}
        case ast.MatchAs() | ast.MatchStar():
            return {node.name}
        case ast.MatchMapping():
            return {node.rest}
        case ast.alias():
            return {node.asname or node.name.partition(".")[0]}
        case ast.Assign() | ast.AnnAssign() | ast.NamedExpr():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if node.value else []
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.Name(ctx=ast.Store()):
            return {node.id}
    return set()


def _value(node: ast.AST) -> ast.expr | None:
    """What an assignment assigns; None of what is none, and of a mere annotation."""
    return node.value if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) else None


def load_model(path: Path, name: str) -> ScriptedModel:
    """Return the file's function as a model; what it raises, or gives in place of an answer, halts the seed that asked.

    Raises:
        UsageError: the file does not run, or its `answer` cannot be called with a request.
    """
    function = load_function(path)

    def answer(request: CompletionRequest) -> Completion | str:
        try:
            reply = function(request)
        except AiraError:
            raise
        except (Exception, SystemExit) as error:
            raise PrerequisiteError(f"answer() of the {_told(path, error)}.") from error
        if fault := _fault_of(reply):
            raise PrerequisiteError(
                f"answer() of the agent file {path} gave {fault}, not text or a Completion: "
                f"{' '.join(repr(reply).split())[:VALUE_CHARS]}.",
                hint="pydoc aira_bench.protocols",
            )
        return reply

    return ScriptedModel(name, answer)


def load_function(path: Path) -> Answer:
    """Return the function `answer(request)` of a user's file.

    Raises:
        UsageError: the file does not run, or has no such function that takes a request.
    """
    spec = importlib.util.spec_from_file_location("aira_bench_user_agent", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"The {_told(path, error, 'does not run')}.") from error
    function = getattr(module, FUNCTION_NAME, None)
    if not callable(function) or inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"The agent file {path}: answer is no plain function.")
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError) as error:
        raise UsageError(f"The agent file {path}: answer cannot be called with one request: {error}.") from None
    found: Answer = function
    return found


def _fault_of(reply: object) -> str:
    """What a reply is in place of an answer; empty for one that a record can hold."""
    if isinstance(reply, str):
        return ""
    if not isinstance(reply, Completion):
        return "None" if reply is None else f"a {type(reply).__name__}"
    try:
        Completion.from_json(reply.to_json())
    except (RunStateError, TypeError) as error:
        return f"a Completion that no record holds ({getattr(error, 'message', error)})"
    return ""


def _told(path: Path, error: BaseException, what: str = "failed") -> str:
    """A file, the line in it, and the exception, in one line."""
    # A module is loaded by its absolute path, whatever the path was that the user typed.
    here = str(path.absolute())
    at = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == here]
    where = f", line {at[-1]}," if at else ""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:LINE_CHARS]
    return f"agent file {path}{where} {what}: {text}"

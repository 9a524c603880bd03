"""Asks what may be code of others (agent, scaffold, evaluator) for an answer, and looks at it before a record holds it.

Whatever such code raises ends the run with one error that names it and the line. What code of this package raises is a
bug and stays what it is.

Not covered: making it (`aira_bench.extensions`).
"""

import traceback
from collections.abc import Callable
from shlex import quote
from typing import TypeVar

from aira_bench.errors import AiraError, PrerequisiteError
from aira_bench.excerpts import LINE_CHARS, VALUE_CHARS
from aira_bench.extensions import Kind
from aira_bench.machine_failures import machine_failure
from aira_bench.runs.session import SearchSession
from aira_bench.waiting import Stopped

Answer = TypeVar("Answer")


def ask(session: SearchSession, kind: Kind, call: Callable[[], Answer], fault: Callable[[object], str]) -> Answer:
    """Return what an agent, scaffold or evaluator answers.

    Args:
        session: says which kinds of the run are code of others, and how they are named.
        kind: of what is asked.
        call: asks it.
        fault: says why an answer cannot be used, in words; empty for one that can.

    Raises:
        PrerequisiteError: code of others raised what its protocol does not provide for, or gave what cannot be used.
        AiraError: what the protocol provides for, or the machine's failure under it.
        Stopped: the run was stopped while it waited.
    """
    if kind not in session.extensions:
        return call()
    name = session.extensions[kind].name
    hint = f"aira-bench check {quote(name)}" if kind != "evaluator" else "pydoc aira_bench.protocols"
    try:
        answer = call()
    except (AiraError, Stopped):
        raise
    except (Exception, SystemExit) as error:
        if (machine := machine_failure(error)) is not None:
            raise machine from error
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(f"{type(error).__name__}: {error}".split())[:LINE_CHARS]
        raise PrerequisiteError(
            f"The {kind} {name} failed with {text} ({last.filename}, line {last.lineno}).", hint=hint
        ) from error
    if problem := fault(answer):
        seen = repr(answer)[:VALUE_CHARS]
        raise PrerequisiteError(f"The {kind} {name} gave what cannot be used: {problem} (seen: {seen}).", hint=hint)
    return answer

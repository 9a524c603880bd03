"""Reads texts of agents in a process of its own, started by `reading`: a request on stdin, a line an answer on stdout.

Before it reads, the process gives up what the text might make it use: memory, processor time, files, processes.
"""

import json
import math
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

MEMORY_BYTES = 2 << 30


def _extract(text: str) -> Mapping[str, Any]:
    from aira_bench.agent_code.code_extraction import extract_code

    return asdict(extract_code(text))


def _edit(text: str) -> Mapping[str, Any]:
    from aira_bench.agent_code.edits import apply_answer

    code, answer = json.loads(text)
    return asdict(apply_answer(code, answer))


def _features(text: str) -> Mapping[str, Any]:
    from aira_bench.agent_code.features import extract_features

    return asdict(extract_features(text))


def _constants(text: str) -> Mapping[str, Any]:
    from aira_bench.agent_code.evidence import is_unknown, read_evidence

    found = read_evidence(text)
    return {"constants": {name: value for name, value in found.constants.items() if not is_unknown(value)}}


def _describe(text: str) -> Mapping[str, Any]:
    from aira_bench.agent_code.evidence import is_unknown, read_evidence
    from aira_bench.agent_code.features import extract_features
    from aira_bench.agent_code.mechanisms import mechanisms

    found = read_evidence(text)
    return {
        "parsed": found.parsed,
        "mechanisms": mechanisms(found),
        "constants": {name: value for name, value in found.constants.items() if not is_unknown(value)},
        "features": dict(extract_features(text).values),
    }


def _diff(text: str) -> Mapping[str, Any]:
    import difflib

    before, after = json.loads(text)
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), "parent", "this step", lineterm=""))
    return {"lines": lines}


OPERATIONS: Mapping[str, Callable[[str], Mapping[str, Any]]] = {
    "extract": _extract,
    "edit": _edit,
    "features": _features,
    "constants": _constants,
    "describe": _describe,
    "diff": _diff,
}


def _limit() -> None:
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))


def _allow_time(cpu_s: int) -> None:
    """Let the process have so many processor seconds from now on, for the text that is next."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most, hard = math.ceil(used.ru_utime + used.ru_stime) + cpu_s, resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main() -> None:
    """Answer one request, each text as soon as it is read."""
    request = json.loads(sys.stdin.buffer.read())
    _limit()
    for text in request["texts"]:
        _allow_time(int(request["cpu_s"]))
        print(json.dumps(OPERATIONS[request["operation"]](text)), flush=True)


if __name__ == "__main__":
    main()

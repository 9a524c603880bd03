"""Which sources the declared numbers of `aira_contract.compatibility` stand for, and what was decided of each edit.

`tests/accepted_sources.txt` has a line a file: path, hash, and a status. The hash leaves out comments, docstrings and
blank lines, so that those decide nothing. After an edit, one of:

    python tests/accepted_sources.py same "the loop is written otherwise; recorded scores are equal"
    python tests/accepted_sources.py raised module 4        (after EVALUATORS["module"] was raised to 4)

Each accepts all files that changed. What they say stands beside the file until it changes again.
"""

import ast
import hashlib
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from aira_contract.compatibility import EVALUATORS, LIBRARIES, SEARCH

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = Path(__file__).with_name("accepted_sources.txt")
PATTERNS = (
    "evaluator/aira_evaluator/**/*.py",
    "kernels/aira_kernels/**/*.py",
    "harness/aira_bench/agents/**/*.py",
    "harness/aira_bench/scaffolds/*.py",
    "tasks/*/*.py",
    "images/*/requirements.lock",
)
FIRST, SAME, RAISED = "first", "same", "raised"
LEAST_REASON_CHARS = 15


def essence(source: str) -> str:
    """A module without comments, docstrings (those of fields included) and blank lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for row in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines[row - 1] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def pins(lock: str) -> str:
    """A lock without comments."""
    return "\n".join(line for line in lock.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def sources() -> Iterator[tuple[str, str]]:
    """Path and hash of every source that a number stands for; what no judge runs is left out."""
    for path in sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)}):
        name = path.relative_to(ROOT).as_posix()
        if "/agent/" in name or "/pretrain/" in name or "/pwc/" in name or name.endswith("/validate.py"):
            continue
        text = path.read_text(encoding="utf-8")
        kept = essence(text) if path.suffix == ".py" else pins(text)
        yield name, hashlib.sha256(kept.encode()).hexdigest()[:16]


def accepted() -> dict[str, tuple[str, str]]:
    """Hash and status by path, as they were accepted."""
    rows = (line.split(" ", 2) for line in ACCEPTED.read_text(encoding="utf-8").splitlines())
    return {path: (digest, status) for path, digest, status in rows}


def problem_of(status: str) -> str:
    """What is wrong with a status; empty if nothing is."""
    word, _, rest = status.partition(" ")
    if status == FIRST or (word == SAME and len(rest) >= LEAST_REASON_CHARS):
        return ""
    if word == RAISED:
        kind, _, number = rest.partition(" ")
        current = EVALUATORS.get(kind, LIBRARIES.get(kind, SEARCH if kind == "search" else 0))
        return "" if number.isdigit() and 0 < int(number) <= current else f"{kind} stands at {current}"
    return f"expected {SAME} with a reason of {LEAST_REASON_CHARS} characters, or {RAISED} with a kind and its number"


def write(status: str) -> int:
    """Accept every file that changed with one status; return how many."""
    known = accepted() if ACCEPTED.exists() else {}
    found = dict(sources())
    changed = [path for path, digest in found.items() if known.get(path, ("",))[0] != digest]
    rows = {path: (found[path], status if path in changed else known[path][1]) for path in found}
    text = "".join(f"{path} {digest} {said}\n" for path, (digest, said) in rows.items())
    ACCEPTED.write_text(text, encoding="utf-8")
    return len(changed)


if __name__ == "__main__":
    wanted = " ".join(sys.argv[1:])
    if wrong := problem_of(wanted):
        sys.exit(f"{wanted or 'no status'}: {wrong}")
    print(f"{write(wanted)} files accepted: {wanted}")

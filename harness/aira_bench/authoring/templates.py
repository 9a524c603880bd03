"""Writes a template: a working task, agent, scaffold or card under a name of the author's.

Templates are files (`templates/`), checked like all code of this package. Writing one replaces the names in them and
touches nothing that is there already.

Not covered: trying what was written (`aira-bench check`).
"""

import importlib.util
import keyword
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Literal, get_args

from aira_bench.agents.catalog import SEARCHERS
from aira_bench.cards.card_files import shipped_names
from aira_bench.errors import UsageError
from aira_bench.files import write_atomically
from aira_bench.scaffolds.catalog import SCAFFOLDS
from aira_bench.tasks.task import shipped_tasks

TemplateKind = Literal["task", "agent", "scaffold", "card"]
KINDS: tuple[TemplateKind, ...] = get_args(TemplateKind)
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Rule:
    """How names of a kind look, in what the template's own names stand for."""

    pattern: str
    expected: str
    example: str


_PACKAGE = _Rule(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", "lower-case words joined by '-'", "my-search")
_RULES: Mapping[TemplateKind, _Rule] = {
    "task": _Rule(r"[A-Z][A-Za-z0-9]*", "words in capitals as upstream has them", "BalancedBracketsAccuracy"),
    "agent": _PACKAGE,
    "scaffold": _PACKAGE,
    "card": _Rule(r"[a-z0-9][a-z0-9.-]*", "lower-case letters, digits, '.' and '-'", "my-model"),
}
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Written:
    """What was written, and what to type next."""

    path: Path
    """The folder, or the card's file."""
    files: tuple[str, ...]
    """Their names, without the folder."""
    commands: tuple[str, ...]


def write_template(kind: TemplateKind, name: str, into: Path) -> Written:
    """Write the template of a kind under a name.

    Args:
        kind: of the template.
        name: of what is to be made.
        into: an existing folder, in which the task's, agent's or scaffold's folder, or the card, is made.

    Raises:
        UsageError: the name cannot be one, or is taken, or something of that name lies there.
    """
    _check_name(kind, name)
    if not into.is_dir():
        raise UsageError(f"{into} is no folder.", hint=f"mkdir -p {quote(str(into))}")
    words = _words(kind, name)
    if kind == "card":
        path = into / f"{name}.toml"
        _require_absent(path)
        _copy(_TEMPLATES / kind / "example-card.toml", path, words)
        return Written(path, (path.name,), _commands(kind, name, path))
    folder = into / name
    _require_absent(folder)
    folder.mkdir()
    try:
        for source in sorted((_TEMPLATES / kind).iterdir()):
            if source.is_file():
                _copy(source, folder / _replaced(source.name, words), words)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it was made here, a moment ago
        raise
    written = tuple(path.name for path in sorted(folder.iterdir()))
    return Written(folder, written, _commands(kind, name, folder))


def _words(kind: TemplateKind, name: str) -> dict[str, str]:
    """What stands for the template's own names."""
    if kind == "task":
        return {"ExampleTaskAccuracy": name}
    if kind == "card":
        variable = re.sub(r"[^A-Z0-9]", "_", name.upper())
        return {"example-card": name, "EXAMPLE_CARD": variable}
    class_name = "".join(word.capitalize() for word in name.split("-"))
    return {
        f"example-{kind}": name,
        f"example_{kind}": name.replace("-", "_"),
        f"Example{kind.capitalize()}": class_name,
    }


def _copy(source: Path, target: Path, words: Mapping[str, str]) -> None:
    text = source.read_text(encoding="utf-8")
    write_atomically(target, _replaced(text, words).encode())


def _replaced(text: str, words: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], text)


def _require_absent(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise UsageError(
            f"{path} is there already; nothing was written.", hint=f"another name, or: ls -l {quote(str(path))}"
        )


def _check_name(kind: TemplateKind, name: str) -> None:
    rule = _RULES[kind]
    if len(name) > _LONGEST_NAME or not re.fullmatch(rule.pattern, name, re.ASCII):
        raise UsageError(
            f"{name!r} cannot name {_article(kind)}; expected {rule.expected}, at most {_LONGEST_NAME} characters.",
            hint=f"aira-bench init {kind} {rule.example}",
        )
    if name in _taken(kind):
        raise UsageError(
            f"{name!r} is {_article(kind)} that comes with aira-bench.", hint=f"aira-bench init {kind} my-{name}"
        )
    if kind in ("agent", "scaffold"):
        module = name.replace("-", "_")
        if keyword.iskeyword(module) or module in sys.stdlib_module_names or importlib.util.find_spec(module):
            raise UsageError(
                f"{module!r} is a name that Python or an installed package uses already.",
                hint=f"aira-bench init {kind} my-{name}",
            )


def _article(kind: TemplateKind) -> str:
    return f"{'an' if kind == 'agent' else 'a'} {kind}"


def _taken(kind: TemplateKind) -> set[str]:
    if kind == "task":
        return {name for task in shipped_tasks() for name in (task.name, *task.metadata.aira.aliases)}
    return set(SCAFFOLDS.built_in) if kind == "scaffold" else {*SEARCHERS, *shipped_names()}


def _commands(kind: TemplateKind, name: str, path: Path) -> tuple[str, ...]:
    """The next commands to type: check it, use it, and for a package install it."""
    place = quote(str(path))
    if kind == "task":
        solution = quote(str(path / "baseline_solution.py"))
        return (
            f"aira-bench check {place}",
            f"aira-bench run --task {place} --profile cpu --agent script:{solution} --steps 1",
        )
    task = "--task mad-2p --profile cpu --steps 4"
    if kind == "card":
        return (f"aira-bench check {place}", f"aira-bench run --agent {place} {task}")
    module, class_name = name.replace("-", "_"), "".join(word.capitalize() for word in name.split("-"))
    reference = quote(f"{path / module}.py:{class_name}")
    agent = f"--agent {reference}" if kind == "agent" else f"--agent evolution --scaffold {reference}"
    return (
        f"aira-bench check {place}",
        f"aira-bench run {agent} {task}",
        f"pip install --editable {place}   (then: --{kind} {name})",
    )

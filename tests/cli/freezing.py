"""Files in `frozen/` that say what others build on: the command line, and the shape of what `--json` prints.

A change of either fails a test until its file is written anew, on purpose:

    AIRA_FREEZE=1 python -m pytest tests/cli/test_frozen.py

and, for commands that need containers, the same with the docker tests that call `check_shape`.
"""

import argparse
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

FROZEN = Path(__file__).parent / "frozen"
OPEN_KEYS = {
    "files",
    "step.artifact.settings",
    "step.artifact.features",
    "step.waited",
    "improvements[].changed",
    "patterns[].votes[].shares",
    "summary",
}
"""Where keys are data: only the types of the values are frozen."""


def check_text(name: str, text: str) -> None:
    """Whether `frozen/NAME` holds just this; with `AIRA_FREEZE` it does afterwards."""
    path = FROZEN / name
    if os.environ.get("AIRA_FREEZE"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "AIRA_FREEZE=1 python -m pytest ... writes it anew"


def check_shape(name: str, *printed: str, exact: bool = True) -> None:
    """Whether all that a command printed with `--json` has together the keys and types in `frozen/NAME.shape`.

    Where what is printed depends on the machine, `exact` is false: then fewer types and empty lists are taken.
    """
    found = shape(*map(json.loads, printed))
    path = FROZEN / f"{name}.shape"
    known = dict(line.split(": ") for line in path.read_text(encoding="utf-8").splitlines()) if path.exists() else {}
    if exact or os.environ.get("AIRA_FREEZE"):
        if not exact:
            found = {
                place: sorted({*types, *known.get(place, types[0]).split(" | ")}) for place, types in found.items()
            }
        check_text(path.name, "".join(f"{place}: {' | '.join(types)}\n" for place, types in found.items()))
        return
    for place, types in found.items():
        assert place in known, f"{place} is new"
        assert set(types) <= set(known[place].split(" | ")), f"{place} is {types}"
    for place, types_known in known.items():
        parent = place.rpartition(".")[0] or "."
        optional = place.endswith(("[]", ".*")) or "absent" in types_known
        assert place in found or optional or "object" not in found.get(parent, ()), f"{place} is missing"


def shape(*values: object) -> dict[str, list[str]]:
    """Types by place: `[].step` is the key `step` of every item of a list. A key that some items lack is `absent` too."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for value in values:
        _add(found, "", value)
    for place, types in found.items():
        parent = place.rpartition(".")[0]
        whole = found.get(parent or ".", Counter())["object"]
        if not place.endswith(("[]", ".*")) and place != "." and types.total() < whole:
            types["absent"] = 1
    return {place: sorted(types) for place, types in found.items()}


def _add(found: dict[str, Counter[str]], place: str, value: object) -> None:
    names = {dict: "object", list: "list", str: "string", bool: "bool", int: "int", float: "float", type(None): "null"}
    found[place or "."][names[type(value)]] += 1
    if isinstance(value, dict):
        for key, inner in value.items():
            name = "*" if place in OPEN_KEYS else key
            _add(found, f"{place}.{name}".removeprefix("."), inner)
    elif isinstance(value, list):
        for inner in value:
            _add(found, f"{place}[]", inner)


def command_line(parser: argparse.ArgumentParser) -> str:
    """Every command, option, default and choice, a line each."""
    return "\n".join(_lines(parser, "aira-bench")) + "\n"


def _lines(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    yield name
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, inner in action.choices.items():
                yield from ("", *_lines(inner, f"{name} {command}"))
        elif not isinstance(action, argparse._HelpAction):
            yield f"    {_describe(action)}"


def _describe(action: argparse.Action) -> str:
    values = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    parts = [", ".join(action.option_strings) + values if action.option_strings else values.strip()]
    parts += [f"nargs {action.nargs}"] if action.nargs not in (None, 0) else []
    parts += [f"type {action.type.__name__}"] if callable(action.type) else []
    parts += [f"choices {' '.join(map(str, action.choices))}"] if action.choices else []
    parts += ["required"] if action.required and action.option_strings else []
    parts += ["repeatable"] if isinstance(action, argparse._AppendAction) else []
    unsaid = action.default in (None, argparse.SUPPRESS, []) or action.default is False  # 0 is said
    parts += [] if unsaid else [f"default {action.default!r}"]
    return "; ".join(parts)

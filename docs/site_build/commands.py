"""The reference of the command line, from its parser: every command with its options, defaults and examples."""

import argparse
from collections.abc import Iterator

from aira_bench.cli.main import build_parser
from site_build.tables import code, table, text

_HEADERS = ("option", "what it does", "default")


def commands_in_markdown() -> str:
    """Return a section for the program and one for each command, in the order of `aira-bench --help`."""
    parser = build_parser()
    commands = _commands_of(parser)
    contents = [f"- [{code(name)}](#{_anchor(name)}): {text(said)}" for name, (said, _) in commands.items()]
    sections = [_section(f"aira-bench {name}", inner) for name, (_, inner) in commands.items()]
    return "\n".join([*contents, "", _section("aira-bench", parser), *sections])


def _commands_of(parser: argparse.ArgumentParser) -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """What is said of each command in one line, and its parser, by name."""
    found: dict[str, tuple[str, argparse.ArgumentParser]] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            said = {choice.dest: choice.help or "" for choice in action._choices_actions}
            found |= {name: (said.get(name, ""), inner) for name, inner in action.choices.items()}
    return found


def _anchor(command: str) -> str:
    return f"aira-bench-{command}"


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    rows = [_row(parser, action) for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    deeper = _commands_of(parser) if name != "aira-bench" else {}
    usage = " ".join(parser.format_usage().removeprefix("usage:").split())
    parts = [
        f"## {name}\n\n{text(parser.description or '')}\n",
        _block(usage),
        table(_HEADERS, rows),
        _block(parser.epilog.strip("\n")) if parser.epilog else "",
        *(_section(f"{name} {inner}", sub) for inner, (_, sub) in deeper.items()),
    ]
    return "\n".join(parts)


def _block(content: str) -> str:
    return f"```text\n{content}\n```\n"


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, ...]:
    said = parser._get_formatter()._expand_help(action) if action.help else ""
    parts = [text(said)]
    if action.choices and action.metavar is not None:
        parts.append(f"One of {', '.join(code(str(choice)) for choice in action.choices)}.")
    if isinstance(action, argparse._AppendAction):
        parts.append("May be given more than once.")
    if action.required and action.option_strings:
        parts.append("**Required.**")
    return _spelt(action), " ".join(part for part in parts if part), _default(action)


def _spelt(action: argparse.Action) -> str:
    values = "" if action.nargs == 0 else _value(action)
    if not action.option_strings:
        return code(values)
    return ", ".join(code(f"{option} {values}".strip()) for option in action.option_strings)


def _value(action: argparse.Action) -> str:
    named = action.metavar or (action.dest if not action.option_strings else action.dest.upper())
    spelt = " ".join(named) if isinstance(named, tuple) else str(named)
    if action.choices and action.metavar is None:
        spelt = "|".join(map(str, action.choices))
    return {"?": f"[{spelt}]", "*": f"[{spelt}...]", "+": f"{spelt}..."}.get(str(action.nargs), spelt)


def _default(action: argparse.Action) -> str:
    """What holds where nothing is said, if the option's text does not say it; nothing of this machine's."""
    unsaid = action.default in (None, argparse.SUPPRESS, []) or isinstance(action.default, bool)
    if unsaid or "default" in (action.help or ""):
        return ""
    return code(str(action.default))


def options_of(markdown: str) -> Iterator[str]:
    """Every option that a reference names, for who checks that it is whole."""
    for line in markdown.splitlines():
        if line.startswith("| `-"):
            yield from (part.strip("` |").split()[0] for part in line.split(" | ")[0].split(", "))

"""`aira-bench extensions`: what other distributions add to this installation."""

import argparse

from aira_bench.cli.options import SUB_FORMAT, add_json

_EPILOG = """example:
  aira-bench extensions

Agents, scaffolds, providers, evaluators and tasks that installed distributions offer. Nothing of them is imported here.
Whatever is not installed is named by module:Class or FILE.py:Class; docs/api.md says how.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "extensions", help="list what other distributions add", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="List agents, scaffolds, providers, evaluators and tasks of other distributions.",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """List the extensions, and which of them no name leads to."""
    from collections import Counter

    from aira_bench.cli.tables import print_rows
    from aira_bench.extensions import OFFERS, installed
    from aira_bench.terminal import say_json

    rows = []
    for kind in OFFERS:
        offered = installed(kind)
        built_in, counts = _built_in(kind), Counter(each.name for each in offered)
        for each in offered:
            hidden = "the built-in one has this name" if each.name in built_in else ""
            other = "such a name means something else" if _means_something_else(kind, each.name) else ""
            twice = "several have this name" if counts[each.name] > 1 else ""
            rows.append(
                {
                    "kind": kind,
                    "name": each.name,
                    "target": each.target,
                    "distribution": each.origin,
                    "not found by its name": hidden or other or twice,
                }
            )
    if args.json:
        say_json(rows)
    else:
        print_rows(rows, empty="No other distribution adds anything.")
    return 0


def _means_something_else(kind: str, name: str) -> bool:
    """Whether a name is spelled as a reference or, for an agent, as a card, a file or a replay."""
    from aira_bench.extensions import is_reference

    own_form = name.startswith(("script:", "replay:")) or name.endswith(".toml")
    return is_reference(name) or (kind == "agent" and own_form)


def _built_in(kind: str) -> set[str]:
    import os

    from aira_bench.agents.catalog import SEARCHERS
    from aira_bench.cards.card import PROVIDER_NAMES
    from aira_bench.cards.card_files import card_names
    from aira_bench.scaffolds.catalog import SCAFFOLDS
    from aira_bench.tasks.artifact_spec import ARTIFACT_KINDS
    from aira_bench.tasks.task import shipped_tasks

    names = {
        "agent": [*SEARCHERS, *card_names(os.environ)],
        "scaffold": SCAFFOLDS.built_in,
        "provider": PROVIDER_NAMES,
        "evaluator": ARTIFACT_KINDS,
        "task": [name for task in shipped_tasks() for name in (task.name, *task.metadata.aira.aliases)],
    }
    return set(names[kind])

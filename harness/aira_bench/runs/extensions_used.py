"""What code of other distributions a run stands on, for its manifest, and whether it is still the same.

Not covered: consent to import what a stranger's run names (`aira_bench.record.trust`).
"""

import os
from collections.abc import Collection, Mapping
from shlex import quote

from aira_bench.agents.agent import Agent
from aira_bench.agents.catalog import SEARCHERS
from aira_bench.bundled import bundled_folder
from aira_bench.cards.card_files import card_names
from aira_bench.errors import RunStateError
from aira_bench.evaluation.catalog import EVALUATORS
from aira_bench.extensions import Extension, ExtensionRecord, Kind, find_extension
from aira_bench.record.manifest import RunPlan
from aira_bench.record.run_record import RunRecord
from aira_bench.scaffolds.catalog import SCAFFOLDS
from aira_bench.tasks.task import Task, names_folder

_OWN_FORMS = ("script:", "replay:")


def extensions_of(plan: RunPlan, task: Task, agent: Agent) -> dict[Kind, ExtensionRecord]:
    """Records of the extensions that a plan names, by kind.

    Raises:
        UsageError, PrerequisiteError: one of them has no file whose hash could be kept.
    """
    card = agent.provenance().card
    named: dict[Kind, Extension | None] = {
        "agent": None if card is not None else _agent(plan.agent),
        "scaffold": SCAFFOLDS.find(plan.scaffold),
        "task": _task(plan.task, task),
        "evaluator": evaluator_of(plan, task),
        "provider": None if card is None else _provider(str(card["provider"])),
    }
    return {kind: extension.record() for kind, extension in named.items() if extension is not None}


def evaluator_of(plan: RunPlan, task: Task) -> Extension | None:
    """Return the extension that scores a run's submissions; None where one of this package does."""
    return EVALUATORS.find(plan.evaluator or task.metadata.aira.artifact.kind)


def require_same(record: RunRecord, now: Mapping[Kind, ExtensionRecord], kinds: Collection[Kind]) -> None:
    """Whether the extensions of some kinds are those that a recorded run stood on.

    Raises:
        RunStateError: one is another, or of another version.
    """
    then = record.manifest.extensions
    for kind in kinds:
        if (before := then.get(kind)) == (today := now.get(kind)):
            continue
        again = (
            f"pip install {quote(f'{before.distribution}=={before.version}')}" if before and before.version else None
        )
        raise RunStateError(
            f"Run {record.name} cannot go on: its {kind} changed since it began ({_words(before)} then, "
            f"{_words(today)} now).",
            hint=again or "aira-bench run --help   (a new run)",
        )


def _agent(name: str) -> Extension | None:
    if name.startswith(_OWN_FORMS) or name.endswith(".toml"):
        return None
    return find_extension("agent", name, [*SEARCHERS, *card_names(os.environ)])


def _provider(name: str) -> Extension | None:
    from aira_bench.llm.model_of_card import PROVIDERS  # on demand: it brings all that asks models

    return PROVIDERS.find(name)


def _task(name: str, task: Task) -> Extension | None:
    if names_folder(name) or task.folder.parent == bundled_folder("tasks").resolve():
        return None
    return find_extension("task", name, ())


def _words(record: ExtensionRecord | None) -> str:
    if record is None:
        return "none of another distribution"
    of = f" of {record.distribution} {record.version}" if record.distribution else ""
    return f"{record.target}{of}, hash {record.sha256[:12]}"

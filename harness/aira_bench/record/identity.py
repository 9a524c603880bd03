"""What makes two runs the same experiment: everything recorded that may change the distribution of results.

Every field of a manifest, of its plan and of an agent card is decided here, once. `section`: a score depends on it, so
it tells tables apart (`aira_bench.record.conditions`). `row`: how something was searched depends on it, so it tells
rows of a table apart. `free`: neither, for the reason that stands behind it. A field that is in no table here fails a
test, so that nobody can add one without deciding.

Not covered: who signed a run, and what separated its containers, which tell rows apart too (`aira_bench.boards`).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from aira_bench.extensions import Kind
from aira_bench.record.manifest import Manifest, RunPlan
from aira_bench.record.run_record import RunRecord
from aira_bench.tasks.profile import Profile

Decided = Literal["section", "row", "free"]

PLAN_FIELDS: Mapping[str, tuple[Decided, str]] = {
    "name": ("free", "what its user calls it"),
    "agent": ("row", "who searches"),
    "task": ("free", "a name or a path; the manifest has the task's own name and hash"),
    "profile": ("section", "sizes of data and models"),
    "scaffold": ("row", "what decides the next step"),
    "fitness": ("row", "what a search climbs"),
    "seeds": ("free", "replicates of one experiment; where a cap is shared, it says among how many"),
    "steps": ("row", "budget"),
    "hours": ("row", "budget"),
    "step_timeout_s": ("row", "what is too slow is no result"),
    "evaluation_timeout_s": ("row", "what is too slow is no result"),
    "concurrency": ("row", "only where steps share cores; else what a step had is in `cores`, which its nodes record"),
    "seed_set": ("section", "which hidden data"),
    "score_cache": ("row", "without it the same submission may be scored twice, with other luck"),
    "source": ("free", "a path; the manifest has the files' hashes"),
    "memory": ("row", "what prompts tell"),
    "cores": ("free", "a wish; what a step had is in `cores`, which its nodes record"),
    "gpus": ("free", "which devices; a step has one, whole, of the class that the section names"),
    "gpus_per_seed": ("free", "one either way"),
    "exclusive": ("row", "what else heats a device, or fills its memory, while a model thinks"),
    "evaluator": ("section", "by the extension's hash"),
    "provider": ("row", "who serves the model"),
    "max_cost_usd": ("row", "ends seeds early"),
    "max_tokens": ("row", "ends seeds early"),
    "seed_max_cost_usd": ("row", "ends seeds early"),
    "seed_max_tokens": ("row", "ends seeds early"),
    "confirm": ("free", "whether what was searched is trained again; rows say how much of them was"),
    "hidden_key": ("section", "which hidden data"),
    "protocol": ("row", "under whose rules it was meant to run, whatever was overridden"),
    "bugs": ("row", "whether the agent's own analysis keeps a step from being a parent"),
}
MANIFEST_FIELDS: Mapping[str, tuple[Decided, str]] = {
    "schema_version": ("free", "how it is written down"),
    "run_id": ("free", "which run"),
    "created": ("free", "when"),
    "aira_bench": ("free", "`compatibility` says whether versions compare"),
    "plan": ("row", "field by field, above"),
    "task_name": ("section", "what is asked"),
    "task_title": ("section", "what is asked"),
    "metric": ("section", "what is measured"),
    "lower_is_better": ("section", "what is measured"),
    "anchors": ("section", "what normalized scores are measured against"),
    "task_sha256": ("section", "unless `compatibility` stands for it"),
    "data": ("section", "unless `compatibility` stands for what was made of the public files"),
    "images": ("section", "unless `compatibility` stands for them"),
    "packages": ("row", "those that a searcher computes with; `compatibility` stands for the rest"),
    "python": ("free", "`compatibility` says whether versions compare"),
    "host": ("free", "a name; the section has the class"),
    "hardware": ("free", "figures of one machine; the section has the class"),
    "hardware_class": ("section", "what a time is worth"),
    "source_revision": ("free", "`compatibility` says whether versions compare"),
    "agent_file_sha256": ("row", "who searches"),
    "prompts": ("row", "what is asked of a model"),
    "card": ("row", "field by field, below"),
    "extensions": ("row", "code of others, by hash; that of task and evaluator tells sections apart"),
    "isolation": ("free", "walls; `missing_walls` names those that a run did without"),
    "isolation_of": ("row", "what containers could tell each other"),
    "missing_walls": ("row", "what code could do that on other engines it cannot"),
    "judges": ("row", "whether hidden data was on the machine of the search; its section has their hardware"),
    "compatibility": ("section", "what was declared; its `search` tells rows apart"),
    "pair": ("free", "what it is shown beside"),
    "limits": ("row", "what a step may use"),
    "description_sha256": ("row", "what agents are told"),
    "trainings": ("free", "how well a mean is known, not what it is a mean of; rows have their count"),
    "noise": ("free", "what was measured of the task; boards show the newest"),
}
CARD_FIELDS: Mapping[str, tuple[Decided, str]] = {
    "name": ("free", "what its owner calls it; rows have the agent's name"),
    "title": ("free", "for people"),
    "provider": ("row", "who serves the model"),
    "model": ("row", "who answers"),
    "key_variable": ("free", "where a key is"),
    "base_url": ("row", "who serves the model"),
    "base_url_variable": ("free", "where an address is"),
    "context_tokens": ("row", "what fits into a prompt"),
    "max_output_tokens": ("row", "what fits into an answer"),
    "source": ("free", "where limits come from"),
    "sampling": ("row", "how tokens are drawn"),
    "reasoning": ("row", "how long it thinks"),
    "prices": ("row", "only under a cap in dollars, which they make wide or narrow"),
}
_BUDGETS = frozenset({"steps", "hours", "step timeout", "evaluation timeout", "cores a step", "steps a core"})
"""Facts that a task's profile decides where its user does not."""
_LIMITS = frozenset(name.replace("_", " ") for name in Profile.model_fields)
_SEARCH_KINDS: frozenset[Kind] = frozenset({"agent", "scaffold", "provider"})
"""Kinds of extensions whose code searches; that of task and evaluator tells sections apart."""
_COMPUTED_WITH: Mapping[str, tuple[str, ...]] = {"bayes": ("botorch", "gpytorch", "torch")}
"""Packages of the host that decide what a searcher proposes."""
_CAPS = ("max_cost_usd", "max_tokens")


@dataclass(frozen=True)
class Identity:
    """What tells an experiment from others of its section: names and values in words, in the order they are shown.

    Numbers are exact and hashes whole: what is cut off is shared by experiments that are not the same.
    """

    planned: tuple[tuple[str, str], ...]
    """By the manifest, which is known of runs whose folders are gone too."""
    found: tuple[tuple[str, str], ...] = ()
    """By what the run recorded on its way: who answered, what a step had of the machine, what changed."""

    @property
    def facts(self) -> dict[str, str]:
        """All facts, planned and found, by name."""
        return dict((*self.planned, *self.found))


NO_IDENTITY = Identity(())
OF_THE_TASK = frozenset({"description"})
"""Facts that differ between tasks by themselves."""


def is_budget(fact: str) -> bool:
    """Whether a fact is a budget or a limit, which tasks may set differently for one and the same agent."""
    return fact in _BUDGETS or fact.partition(".")[0] in _LIMITS


def planned_identity(manifest: Manifest) -> Identity:
    """Return what a manifest alone says of the experiment."""
    return Identity(tuple((name, value) for name, value in _planned(manifest)))


def identity_of(run: RunRecord) -> Identity:
    """Return what a run is a run of."""
    return Identity(planned_identity(run.manifest).planned, tuple(_found(run)))


def _walls(manifest: Manifest) -> Iterator[tuple[str, str]]:
    if manifest.missing_walls:
        yield "missing walls", ", ".join(manifest.missing_walls)
    if manifest.judges is not None:
        yield "judges", f"elsewhere, by {manifest.judges.by}"
        if manifest.judges.hardware_class != manifest.hardware_class:
            yield "searched on", manifest.hardware_class


def _planned(manifest: Manifest) -> Iterator[tuple[str, str]]:
    plan = manifest.plan
    yield from _steering(plan)
    yield "steps", str(plan.steps)
    yield "hours", _exact(plan.hours)
    yield "memory", plan.memory
    yield "step timeout", f"{_exact(plan.step_timeout_s)} s"
    yield "evaluation timeout", f"{_exact(plan.evaluation_timeout_s)} s"
    yield from _walls(manifest)
    yield "score cache", "on" if plan.score_cache else "off"
    for name in (*_CAPS, *(f"seed_{cap}" for cap in _CAPS)):
        if (cap := getattr(plan, name)) is not None:
            shared = f" among {len(plan.seeds)} seeds" if name in _CAPS else ""
            yield name.replace("_", " "), _exact(cap) + shared
    if manifest.agent_file_sha256 is not None:
        yield "agent file", manifest.agent_file_sha256
    for kind, extension in sorted(manifest.extensions.items()):
        if kind in _SEARCH_KINDS:
            yield f"code of {kind}", extension.code
    yield from _of_card(manifest)
    yield from ((f"prompt {name}", digest) for name, digest in sorted(manifest.prompts.items()))
    if manifest.description_sha256 is not None:
        yield "description", manifest.description_sha256
    yield from ((name.replace("_", " "), _exact(limit)) for name, limit in sorted(manifest.limits.items()))
    for package in _COMPUTED_WITH.get(plan.agent, ()):
        if package in manifest.packages:
            yield package, manifest.packages[package]
    if plan.exclusive:
        yield "devices", "kept"
    if (sharing := _steps_a_core(manifest)) > 1:
        yield "steps a core", _exact(sharing)
    if manifest.compatibility is not None:
        yield "search version", str(manifest.compatibility.search)


def _steering(plan: RunPlan) -> Iterator[tuple[str, str]]:
    """What a search climbs, and what keeps a step out of it; only what is not the default is named besides."""
    if plan.protocol != "aira":
        yield "protocol", plan.protocol
    yield "fitness", plan.fitness
    if plan.bugs_named_by != "judge":
        yield "bugs", plan.bugs_named_by


def _steps_a_core(manifest: Manifest) -> float:
    """How many steps at a time share a core; below 1 where each has cores of its own, 0 where nobody knows."""
    wish, usable = manifest.plan.cores, manifest.hardware.get("cores")
    cores = len(wish) if isinstance(wish, tuple) else wish or (usable if isinstance(usable, int) else 0)
    return manifest.plan.concurrency / cores if cores > 0 else 0.0


def _of_card(manifest: Manifest) -> Iterator[tuple[str, str]]:
    plan, card = manifest.plan, manifest.card or {}
    capped = plan.max_cost_usd is not None or plan.seed_max_cost_usd is not None
    for name, value in sorted(card.items()):
        decided = CARD_FIELDS.get(name, ("row", "of a version to come"))[0]
        if value is None or decided == "free" or (name == "prices" and not capped):
            continue
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        for part, inner in parts:
            if inner is not None:
                named = part.replace("_", " ") if part.isidentifier() else json.dumps(part)
                yield f"{name.replace('_', ' ')} {named if part else ''}".strip(), _in_words(inner)


def _exact(number: float) -> str:
    """A number in words that are another number's never: as short as it can be read back."""
    return str(int(number)) if number == int(number) else repr(number)


def _in_words(value: object) -> str:
    """A value of a card in words that are another value's never: a text that reads like a value has its quotes."""
    if not isinstance(value, str):
        return json.dumps(value, sort_keys=True)
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value)


def _found(run: RunRecord) -> Iterator[tuple[str, str]]:
    nodes = [node for seed in run.seeds for node in seed.nodes]
    models = sorted({model for node in nodes for model in node.model_use.models})
    if models:
        yield "answered by", " and ".join(models)
    cores = sorted({node.cores for node in nodes if node.cores is not None})
    if cores:
        yield "cores a step", " or ".join(map(str, cores))
    changed = sorted({f"{each.what}: {each.then} then, {each.now} now" for accepted in run.accepted
                      for each in accepted.differences})  # fmt: skip
    if changed:
        yield "changed", "; ".join(changed)

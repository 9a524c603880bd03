"""The agent made of a language model and prompts: Draft, Improve, Debug, Crossover and Analyze.

An answer in the wrong form is asked again with the reason, at most `FORMAT_RETRIES` times; every token counts. Answers
that a provider cut off or refused, and prompts too long for the model, end in a proposal that says so, never in a
guess.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from aira_bench.agent_code.code_extraction import Extracted
from aira_bench.agent_code.reading import NotRead, read_in_process
from aira_bench.agent_code.reasoning import without_reasoning
from aira_bench.agents.agent import Analysis, Brief, Proposal, Provenance, Situation, StepReport
from aira_bench.agents.llm.memory import Memory, remember_ancestors, remember_valid
from aira_bench.agents.llm.prompting import prompt_hashes, render_analysis, render_request, render_system
from aira_bench.agents.llm.spending import Budgets, spoken_rest
from aira_bench.agents.llm.tried import what_was_tried
from aira_bench.deadline import Deadline
from aira_bench.errors import BudgetExceeded, ModelError, RunStateError
from aira_bench.excerpts import EARLIER_ANSWER_CHARS, NAME_CHARS, PLAN_CHARS
from aira_bench.llm.model import Completion, CompletionRequest, Message, Model
from aira_bench.llm.recording import read_exchanges
from aira_bench.llm.schemas import find_object
from aira_bench.record.node import Change, ModelUse, Node
from aira_bench.shared_store.store import SharedStore
from aira_bench.waiting import Waits

FORMAT_RETRIES = 3
ANALYSIS_TRIES = 2
DATA_ARTIFACTS = frozenset({"architecture", "csv"})
"""Kinds of artifacts that are no code: what there is to say of them, their score says."""
CALL_DEADLINE_S = 3600.0
_REFUSALS = {
    "content_filter": "the provider's content filter refused to answer",
    "context_overflow": "the prompt is longer than the model's context",
}
ANALYSIS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "is_bug": {"type": "boolean"},
        "summary": {"type": "string"},
        "metric": {"type": ["number", "null"]},
    },
    "required": ["is_bug", "summary", "metric"],
    "additionalProperties": False,
}


class ModelSource(Protocol):
    """Gives the model for one operator of one step, recording or replaying its calls."""

    def model(self, situation: Situation, operator: str) -> Model:
        """Return the model whose calls belong under `situation.calls / operator`."""
        ...

    def resume(self, calls: Mapping[int, Path]) -> None:
        """Count what an earlier process of the run spent, by seed."""
        ...

    def share(self, store: SharedStore, owner: str, attempts: Mapping[int, int], machine: Path) -> None:
        """Hold the caps together with all who use this store, and the provider's limit with this machine."""
        ...

    @property
    def budgets(self) -> Budgets:
        """What may be spent; without caps where nothing is."""
        ...

    def card_values(self) -> Mapping[str, object] | None:
        """Return the card behind the model as JSON values; None where there is no provider."""
        ...

    def try_out(self, waits: Waits) -> str | None:
        """Make one tiny call and return in words what came of it; None where no provider is asked."""
        ...


@dataclass(frozen=True)
class LlmAgent:
    """A model with prompts. `memory=False` is the variant that is told nothing of other steps."""

    name: str
    source: ModelSource
    default_scaffold: str = "greedy"
    memory: bool = True

    def provenance(self) -> Provenance:
        """Return hashes of its prompt files, and the card of the model that its source has."""
        return Provenance(prompt_hashes(), self.source.card_values())

    def resume(self, calls: Mapping[int, Path]) -> None:
        """Count the calls that earlier processes of the run recorded against its budgets."""
        self.source.resume(calls)

    def share_limits(self, store: SharedStore, owner: str, attempts: Mapping[int, int], machine: Path) -> None:
        """Hold the caps together with all workers that use this store, and the provider's limit with this machine."""
        self.source.share(store, owner, attempts, machine)

    def try_model(self, waits: Waits) -> str | None:
        """Make one tiny call where a provider will be asked, and return in words what came of it; None elsewhere.

        Raises:
            ModelError: key, address or model are wrong.
        """
        return self.source.try_out(waits)

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """Ask the model for a program, or for edits of the parent's, and ask again where the answer cannot be used."""
        model = self.source.model(situation, "propose")
        hours = Deadline.after(situation.seconds_left, "hours", situation.waits)
        first = self._ask(brief, situation, model, self._remember(brief, situation), hours)
        if first.failure == _REFUSALS["context_overflow"] and self.memory:
            again = self._ask(brief, situation, model, Memory((), 0), hours)
            return replace(again, model_use=first.model_use + again.model_use)
        return first

    def _ask(self, brief: Brief, situation: Situation, model: Model, memory: Memory, hours: Deadline) -> Proposal:
        parents = [situation.read_step(step) for step in situation.action.parents]
        spending = spoken_rest(self.source.budgets, situation.journal)
        prompt = render_request(brief, situation, memory, parents, spending)
        messages: tuple[Message, ...] = (Message("user", prompt),)
        use, problem = ModelUse(), ""
        base = parents[0].code if situation.action.edit else None
        for _ in range(1 + FORMAT_RETRIES):
            request = CompletionRequest(system=render_system(brief), messages=messages)
            completion = model.complete(request, deadline_s=_for_a_call(hours))
            use = use + use_of(completion)
            if completion.finish_reason in _REFUSALS:
                return Proposal("", "", model_use=use, failure=_REFUSALS[completion.finish_reason])
            proposal = _read_answer(completion.text, base)
            if not proposal.failure:
                return replace(proposal, model_use=use)
            problem = proposal.failure
            if completion.finish_reason == "length":
                problem = f"{problem} It was cut off at the token limit: answer more briefly."
            messages = (*messages, Message("assistant", completion.text[:EARLIER_ANSWER_CHARS] or "(empty)"),
                        Message("user", f"That answer cannot be used. {problem} Answer again, in full."))  # fmt: skip
        return Proposal("", "", model_use=use, failure=f"no usable answer in {1 + FORMAT_RETRIES} tries: {problem}")

    def _remember(self, brief: Brief, situation: Situation) -> Memory:
        if not self.memory:
            return Memory((), 0)

        def tried(node: Node) -> str:
            return what_was_tried(brief, node, situation.read_step(node.step).code)

        operator = situation.action.operator
        if operator == "debug":
            return remember_ancestors(situation.journal, situation.action.parents[0], tried)
        return remember_valid(
            situation.journal, tried, lower_is_better=brief.lower_is_better, failed_drafts=operator == "draft"
        )

    def analyze(self, brief: Brief, situation: Situation, report: StepReport) -> Analysis | None:
        """Ask what the step showed. An answer that cannot be read, or none, leaves the step without an analysis, and
        every call that was answered counts all the same.

        None where there is nothing to learn: a submission that is data is shown with its score, in fewer words.
        """
        if not brief.analysis_steers and brief.artifact.kind in DATA_ARTIFACTS:
            return None
        request = CompletionRequest(
            system=render_system(brief), messages=(Message("user", render_analysis(brief, report)),),
            schema=ANALYSIS_SCHEMA,
        )  # fmt: skip
        hours = Deadline.after(situation.seconds_left, "hours", situation.waits)
        use = ModelUse()
        for _ in range(ANALYSIS_TRIES):
            try:
                completion, void = self._complete_afresh(situation, request, _for_a_call(hours))
            except (BudgetExceeded, ModelError):
                break  # what the code printed may be why a provider refuses; one that is gone says so at the next step
            use = use + void + use_of(completion)
            found = _read_analysis(completion)
            if found is not None:
                return replace(found, model_use=use)
            request = replace(
                request,
                messages=(*request.messages, Message("assistant", completion.text[:EARLIER_ANSWER_CHARS] or "(empty)"),
                          Message("user", "Answer with the JSON object that was asked for, and nothing else.")),
            )  # fmt: skip
        return Analysis(is_bug=False, summary="", metric=None, model_use=use)

    def _complete_afresh(
        self, situation: Situation, request: CompletionRequest, deadline_s: float
    ) -> tuple[Completion, ModelUse]:
        """A program run again after a crash may print otherwise: then its recorded analysis is void, but paid for."""
        operator = f"analyze-{len(request.messages)}"
        try:
            return self.source.model(situation, operator).complete(request, deadline_s=deadline_s), ModelUse()
        except RunStateError:
            folder = situation.calls / operator
            if not folder.exists():
                raise
            void = next(to for n in range(1, 10**6) if not (to := situation.calls / f"{operator}-void-{n}").exists())
            folder.rename(void)
        spent = sum((use_of(each.completion) for each in read_exchanges(void)), ModelUse())
        return self.source.model(situation, operator).complete(request, deadline_s=deadline_s), spent


def _for_a_call(hours: Deadline) -> float:
    """Return the seconds that one call may take: its own limit, or what the seed's hours have left after the calls
    before it, but not less than a second, since the loop ends what has no time at all.
    """
    return max(hours.within(CALL_DEADLINE_S, "call").limit_s, 1.0)


def use_of(completion: Completion) -> ModelUse:
    """Return the calls, tokens and dollars of one answered call, for the step's node."""
    usage = completion.usage
    # A refusal may carry the name that was asked for: nobody answered.
    answered = () if completion.finish_reason in _REFUSALS else (completion.model_id[:NAME_CHARS],)
    return ModelUse(1, usage.input_tokens, usage.output_tokens, completion.cost_usd, answered)


def _read_answer(text: str, base: str | None) -> Proposal:
    if base is None:
        found = read_in_process("extract", [text])[0]
        if isinstance(found, NotRead):
            return Proposal("", "", failure=f"The answer cannot be read: {found.why}.")
        extracted = Extracted(**found)
        return Proposal(extracted.code, extracted.plan, failure=extracted.problem)
    edited = read_in_process("edit", [json.dumps([base, text])])[0]
    if isinstance(edited, NotRead):
        return Proposal("", "", failure=f"The answer cannot be read: {edited.why}.")
    changes = tuple(Change(**change) for change in edited["changes"])
    plan = " ".join(text.partition("### change")[0].partition("<<<<<<<")[0].split())[:PLAN_CHARS]
    return Proposal(edited["code"], plan, changes=changes, failure=edited["problem"])


def _read_analysis(completion: Completion) -> Analysis | None:
    value = completion.structured or find_object(without_reasoning(completion.text))
    is_bug = None if value is None else _truth(value.get("is_bug"))
    if value is None or is_bug is None:
        return None
    summary, metric = value.get("summary"), value.get("metric")
    if not isinstance(summary, str):
        return None
    known = isinstance(metric, int | float) and not isinstance(metric, bool) and abs(metric) <= sys.float_info.max
    return Analysis(is_bug, summary[:PLAN_CHARS], float(metric) if known and metric is not None else None, ModelUse())


def _truth(value: object) -> bool | None:
    """A truth value, also one that a server without schemas has as text; None for anything else."""
    if isinstance(value, str):
        return {"true": True, "yes": True, "false": False, "no": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None

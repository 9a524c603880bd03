"""The agent made of a language model and prompts: Draft, Improve, Debug, Crossover and Analyze.

An answer in the wrong form is asked again with the reason, at most `FORMAT_RETRIES` times; every token counts. Answers
that a provider cut off or refused, and prompts too long for the model, end in a proposal that says so, never in a
guess.
"""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from aira_bench.agent_code.code_extraction import Extracted
from aira_bench.agent_code.reading import NotRead, read_in_process
from aira_bench.agents.agent import Analysis, Brief, Proposal, Provenance, Situation, StepReport
from aira_bench.agents.llm.memory import Memory, remember_ancestors, remember_valid
from aira_bench.agents.llm.prompting import prompt_hashes, render_analysis, render_request, render_system
from aira_bench.deadline import Deadline
from aira_bench.errors import ModelError, RunStateError
from aira_bench.excerpts import EARLIER_ANSWER_CHARS, PLAN_CHARS
from aira_bench.llm.model import Completion, CompletionRequest, Message, Model
from aira_bench.llm.schemas import parse_object
from aira_bench.record.node import Change, ModelUse
from aira_bench.waiting import Waits

FORMAT_RETRIES = 3
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
        prompt = render_request(brief, situation, memory, parents)
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
        if situation.action.operator == "debug":
            return remember_ancestors(situation.journal, situation.action.parents[0])
        return remember_valid(situation.journal, lower_is_better=brief.lower_is_better)

    def analyze(self, brief: Brief, situation: Situation, report: StepReport) -> Analysis:
        """Ask what the step showed, by one schema."""
        request = CompletionRequest(
            system=render_system(brief), messages=(Message("user", render_analysis(brief, report)),),
            schema=ANALYSIS_SCHEMA,
        )  # fmt: skip
        hours = Deadline.after(situation.seconds_left, "hours", situation.waits)
        use = ModelUse()
        for _ in range(1 + FORMAT_RETRIES):
            completion = self._complete_afresh(situation, request, _for_a_call(hours))
            use = use + use_of(completion)
            found = _read_analysis(completion)
            if found is not None:
                return replace(found, model_use=use)
            request = replace(
                request,
                messages=(*request.messages, Message("assistant", completion.text[:EARLIER_ANSWER_CHARS] or "(empty)"),
                          Message("user", "Answer with the JSON object that was asked for, and nothing else.")),
            )  # fmt: skip
        raise ModelError(f"{self.name} gave no usable analysis in {1 + FORMAT_RETRIES} tries.")

    def _complete_afresh(self, situation: Situation, request: CompletionRequest, deadline_s: float) -> Completion:
        """A program run again after a crash may print otherwise: then its recorded analysis is void."""
        model = self.source.model(situation, f"analyze-{len(request.messages)}")
        try:
            return model.complete(request, deadline_s=deadline_s)
        except RunStateError:
            folder = situation.calls / f"analyze-{len(request.messages)}"
            if not folder.exists():
                raise
            shutil.rmtree(folder)
            return self.source.model(situation, folder.name).complete(request, deadline_s=deadline_s)


def _for_a_call(hours: Deadline) -> float:
    """Return the seconds that one call may take: its own limit, or what the seed's hours have left after the calls
    before it, but not less than a second, since the loop ends what has no time at all.
    """
    return max(hours.within(CALL_DEADLINE_S, "call").limit_s, 1.0)


def use_of(completion: Completion) -> ModelUse:
    """Return the calls, tokens and dollars of one answered call, for the step's node."""
    usage = completion.usage
    return ModelUse(1, usage.input_tokens, usage.output_tokens, completion.cost_usd)


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
    value = parse_object(completion.text) if completion.structured is None else completion.structured
    if value is None or not isinstance(value.get("is_bug"), bool):
        return None
    summary, metric = value.get("summary"), value.get("metric")
    if not isinstance(summary, str):
        return None
    known = isinstance(metric, int | float) and not isinstance(metric, bool) and abs(metric) <= sys.float_info.max
    return Analysis(
        value["is_bug"], summary[:PLAN_CHARS], float(metric) if known and metric is not None else None, ModelUse()
    )

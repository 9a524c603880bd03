"""A run as a log of Inspect, written by inspect-ai's own API: one `.eval` file, which `inspect view` opens.

A finished step is a sample: its id is the step, its epoch the seed, its input the prompt of its first model call. Its
events are the model calls (messages, configuration, output, usage, reasoning where it was told), the run of the
solution in its container, and its search score. Scores stand by their names. Our models are given no tools: they
answer in text or in an object of a schema, which the configuration of the call names.

Identifiers follow from run, seed and step, and the archive's members have the time at which the run began, so that the
same run makes the same bytes with one version of inspect-ai.

Needs the extra `aira-bench[inspect]`. Not covered: logs of calls that failed; records have none.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from aira_bench.export.calls import call_facts
from aira_bench.export.steps import ExportedRun, ExportedStep, scores_of
from aira_bench.export.texts import bounded, whole
from aira_bench.llm.model import CompletionRequest, FinishReason, Usage
from aira_bench.llm.recording import Exchange

if TYPE_CHECKING:
    from inspect_ai.event import ModelEvent, SandboxEvent
    from inspect_ai.log import EvalLog, EvalResults, EvalSample
    from inspect_ai.model import ChatMessage, ModelOutput, ModelUsage

_STOP: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "max_tokens",
    "content_filter": "content_filter",
    "context_overflow": "model_length",
}
_NO_MODEL = "none/none"
_LONG_AGO = datetime(1980, 1, 1, tzinfo=UTC)
"""The first moment that an archive's members can have."""
_LOCAL_HEADER, _CENTRAL_ENTRY = b"PK\x03\x04", b"PK\x01\x02"


def write_log(run: ExportedRun, path: Path) -> None:
    """Write a run as a log of Inspect.

    Args:
        run: what is told.
        path: of the file, whose name ends in `.eval`; what is there is replaced.

    Raises:
        RunStateError: a file of a step is not what was recorded.
    """
    from inspect_ai.log import write_eval_log

    write_eval_log(_log(run), str(path), format="eval")
    _settle_times(path, _moment(run.manifest.created) or _LONG_AGO)


def _log(run: ExportedRun) -> "EvalLog":
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalPlan, EvalPlanStep, EvalSpec, EvalStats

    manifest, plan = run.manifest, run.manifest.plan
    created = _moment(manifest.created) or _LONG_AGO
    models = sorted({model for step in run.steps for model in step.node.model_use.models})
    ends = [moment for step in run.steps if (moment := _moment(step.line.at)) is not None]
    spec = EvalSpec(
        eval_id=_identifier(run, "eval"),
        run_id=_identifier(run, "run"),
        task_id=_identifier(run, "task"),
        created=created.isoformat(),
        task=whole(manifest.task_title),
        task_version=manifest.compatibility.version if manifest.compatibility else 0,
        task_display_name=whole(manifest.task_title),
        dataset=EvalDataset(name=whole(manifest.task_name), samples=plan.steps, shuffled=False),
        model=whole(models[0]) if models else _NO_MODEL,
        solver=whole(plan.agent),
        config=EvalConfig(epochs=len(plan.seeds)),
        packages={"aira-bench": manifest.aira_bench, **{whole(k): whole(v) for k, v in manifest.packages.items()}},
        tags=[f"profile:{plan.profile}", f"scaffold:{whole(plan.scaffold)}"],
        metadata=_about(run, models),
    )
    usage = _total(step for step in run.steps)
    return EvalLog(
        status="success" if run.closed else "started",
        eval=spec,
        plan=EvalPlan(name="plan", steps=[EvalPlanStep(solver=whole(plan.agent), params={"scaffold": plan.scaffold})]),
        results=_results(run),
        stats=EvalStats(
            started_at=created.isoformat(),
            completed_at=max(ends).isoformat() if ends and run.closed else "",
            model_usage={whole(models[0]): usage} if models and usage else {},
        ),
        samples=[_sample(run, step) for step in run.steps],
    )


def _about(run: ExportedRun, models: Sequence[str]) -> dict[str, Any]:
    manifest, plan = run.manifest, run.manifest.plan
    return {
        "run": whole(run.name),
        "run_id": manifest.run_id,
        "manifest_sha256": run.manifest_sha256,
        "agent": whole(plan.agent),
        "scaffold": whole(plan.scaffold),
        "profile": plan.profile,
        "fitness": plan.fitness,
        "metric": whole(manifest.metric),
        "lower_is_better": manifest.lower_is_better,
        "models": [whole(each) for each in models],
        "with_hidden_scores": run.with_hidden,
        "seeds": {str(seed.seed): {"ended": seed.ended, "submitted_step": seed.submitted} for seed in run.seeds},
    }


def _results(run: ExportedRun) -> "EvalResults":
    """Of each score the mean over the seeds' submitted steps, and how many there are."""
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore

    of_submitted = [scores_of(step) for step in run.steps if step.submitted]
    scores = []
    for name in dict.fromkeys(name for found in of_submitted for name in found):
        values = [found[name] for found in of_submitted if name in found]
        mean = sum(values) / len(values)
        metrics = {
            "mean_of_submitted": EvalMetric(name="mean_of_submitted", value=mean),
            "submitted": EvalMetric(name="submitted", value=len(values)),
        }
        scores.append(EvalScore(name=name, scorer=name, scored_samples=len(values), metrics=metrics))
    steps = sum(len(seed.steps) for seed in run.seeds)
    return EvalResults(total_samples=steps, completed_samples=steps, scores=scores)


def _sample(run: ExportedRun, step: ExportedStep) -> "EvalSample":
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

    node = step.node
    begun = _moment(step.started) or _moment(step.line.at) or _LONG_AGO
    events: list[Any] = []
    messages: list[ChatMessage] = []
    output = ModelOutput()
    for number, exchange in enumerate(step.exchanges()):
        event = _model_event(run, step, exchange, number, begun)
        events.append(event)
        output = event.output
        messages = [*event.input, event.output.choices[0].message]
    prompt = next((each.text for event in events[:1] for each in event.input if each.role == "user"), "")
    code = step.text("solution.py")
    events += [_sandbox_event(run, step, code, begun), *_score_events(run, step, begun)]
    usage = _total([step])
    models = [whole(each) for each in node.model_use.models]
    return EvalSample(
        id=node.step,
        epoch=step.seed,
        input=prompt or f"{node.operator} of step {' and '.join(map(str, node.parents)) or 'nothing'}",
        target="",
        messages=messages,
        output=output,
        scores={
            name: Score(value=value, explanation=bounded(node.reason) or None)
            for name, value in scores_of(step).items()
        },
        metadata=_of_step(step, code),
        events=events,
        model_usage={models[0]: usage} if models and usage else {},
        started_at=begun.isoformat(),
        completed_at=(_moment(step.line.at) or begun).isoformat(),
        total_time=node.timings.total_s,
        working_time=node.timings.total_s,
        uuid=_identifier(run, f"{step.seed}/{node.step}"),
    )


def _of_step(step: ExportedStep, code: str) -> dict[str, Any]:
    node = step.node
    known: dict[str, Any] = {
        "class": node.step_class,
        "reason": bounded(node.reason),
        "operator": node.operator,
        "parents": [*node.parents],
        "submitted": step.submitted,
        "plan": bounded(node.plan),
        "summary": bounded(node.summary),
        "canonical": None if node.canonical is None else bounded(node.canonical),
        "code": bounded(code),
    }
    if step.hidden is not None and step.hidden.score is not None:
        known |= {"flags": [*step.hidden.score.flags], "remarks": [*step.hidden.score.remarks]}
    return known


def _model_event(
    run: ExportedRun, step: ExportedStep, exchange: Exchange, number: int, begun: datetime
) -> "ModelEvent":
    from inspect_ai.event import ModelEvent

    completion, facts = exchange.completion, call_facts(exchange.completion)
    place = f"{step.seed}/{step.node.step}/call {number}"
    asked = _moment(facts.started) or begun
    return ModelEvent(
        uuid=_identifier(run, place),
        timestamp=asked,
        working_start=0.0,
        model=whole(completion.model_id),
        input=_messages(run, place, exchange.request),
        tools=[],
        tool_choice="none",
        config=_config(exchange.request),
        output=_output(run, place, exchange),
        retries=completion.attempts - 1,
        completed=asked + timedelta(seconds=min(completion.latency_s, 1e8)),
        working_time=completion.latency_s,
    )


def _messages(run: ExportedRun, place: str, request: CompletionRequest) -> "list[ChatMessage]":
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    found: list[ChatMessage] = []
    if request.system:
        found.append(ChatMessageSystem(id=_identifier(run, f"{place}/system"), content=bounded(request.system)))
    for number, message in enumerate(request.messages):
        kind = ChatMessageUser if message.role == "user" else ChatMessageAssistant
        found.append(kind(id=_identifier(run, f"{place}/{number}"), content=bounded(message.text)))
    return found


def _config(request: CompletionRequest) -> Any:  # noqa: ANN401
    from inspect_ai.model import GenerateConfig, ResponseSchema
    from inspect_ai.util import JSONSchema

    schema = None
    if request.schema is not None:
        schema = ResponseSchema(name="answer", json_schema=JSONSchema.model_validate(dict(request.schema)))
    return GenerateConfig(max_tokens=request.max_output_tokens, temperature=request.temperature, response_schema=schema)


def _output(run: ExportedRun, place: str, exchange: Exchange) -> "ModelOutput":
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        ContentReasoning,
        ContentText,
        ModelOutput,
    )

    completion, facts = exchange.completion, call_facts(exchange.completion)
    content: Any = bounded(completion.text)
    if facts.reasoning:
        content = [ContentReasoning(reasoning=bounded(facts.reasoning)), ContentText(text=content)]
    model = whole(completion.model_id)
    message = ChatMessageAssistant(
        id=_identifier(run, f"{place}/answer"), content=content, model=model, source="generate"
    )
    return ModelOutput(
        model=model,
        choices=[ChatCompletionChoice(message=message, stop_reason=_STOP[completion.finish_reason])],
        completion=bounded(completion.text),
        usage=_usage(completion.usage, completion.cost_usd),
        time=completion.latency_s,
    )


def _usage(usage: Usage, cost_usd: float | None) -> "ModelUsage | None":
    from inspect_ai.model import ModelUsage

    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return ModelUsage(
        input_tokens=usage.input_tokens - (usage.cached_tokens or 0) - (usage.cache_write_tokens or 0),
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        input_tokens_cache_read=usage.cached_tokens,
        input_tokens_cache_write=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        total_cost=cost_usd,
    )


def _total(steps: "Iterator[ExportedStep] | Sequence[ExportedStep]") -> "ModelUsage | None":
    from inspect_ai.model import ModelUsage

    uses = [step.node.model_use for step in steps]
    inputs, outputs = [use.input_tokens for use in uses], [use.output_tokens for use in uses]
    if None in inputs or None in outputs:
        return None
    costs = [use.cost_usd for use in uses]
    tokens_in, tokens_out = sum(filter(None, inputs)), sum(filter(None, outputs))
    return ModelUsage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        total_tokens=tokens_in + tokens_out,
        total_cost=None if None in costs else float(sum(filter(None, costs))),
    )


def _sandbox_event(run: ExportedRun, step: ExportedStep, code: str, begun: datetime) -> "SandboxEvent":
    """The run of the solution, with what it printed and what became of it."""
    from inspect_ai.event import SandboxEvent

    printed = [step.text("stdout.txt"), step.text("stderr.txt"), f"[{step.node.outcome}] {step.node.reason}"]
    return SandboxEvent(
        uuid=_identifier(run, f"{step.seed}/{step.node.step}/solution"),
        timestamp=begun + timedelta(seconds=min(step.node.timings.model_s, 1e8)),
        working_start=step.node.timings.model_s,
        action="exec",
        cmd="python solution.py",
        input=bounded(code),
        result=0 if step.node.is_valid else 1,
        output=bounded("\n".join(part for part in printed if part)),
        completed=_moment(step.line.at),
    )


def _score_events(run: ExportedRun, step: ExportedStep, begun: datetime) -> Iterator[Any]:
    from inspect_ai.event import ScoreEvent
    from inspect_ai.scorer import Score

    for name, value in scores_of(step).items():
        yield ScoreEvent(
            uuid=_identifier(run, f"{step.seed}/{step.node.step}/score {name}"),
            timestamp=_moment(step.line.at) or begun,
            working_start=step.node.timings.total_s,
            score=Score(value=value),
            scorer=name,
        )


def _identifier(run: ExportedRun, what: str) -> str:
    """22 characters that follow from the run and what they are for."""
    return hashlib.sha256(f"{run.manifest.run_id}/{run.manifest_sha256}/{what}".encode()).hexdigest()[:22]


def _moment(text: str | None) -> datetime | None:
    """A time in UTC; None for a record's text that is none."""
    try:
        found = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
    if found is None:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _settle_times(path: Path, moment: datetime) -> None:
    """Give every member of an archive one time, in its own header and in the list at the end: two numbers of DOS."""
    moment = max(moment, _LONG_AGO)
    stamp = struct.pack(
        "<HH",
        moment.hour << 11 | moment.minute << 5 | moment.second // 2,
        min(moment.year - 1980, 127) << 9 | moment.month << 5 | moment.day,
    )
    with ZipFile(path) as archive:
        members, at = [each.header_offset for each in archive.infolist()], archive.start_dir
    data = bytearray(path.read_bytes())
    for offset in members:
        assert data[offset : offset + 4] == _LOCAL_HEADER
        data[offset + 10 : offset + 14] = stamp
    for _ in members:
        assert data[at : at + 4] == _CENTRAL_ENTRY
        data[at + 12 : at + 16] = stamp
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        at += 46 + name + extra + comment
    path.write_bytes(data)

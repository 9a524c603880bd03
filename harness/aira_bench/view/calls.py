"""What a step's model was asked and answered, turn by turn, with the part of the prompt that the provider had cached.

Providers say how many tokens of a prompt they had, not which. A cache holds beginnings of prompts, so the mark covers
that share of the prompt's characters from its beginning; where tokens are of uneven length it ends a little off.

Not covered: texts in full, which lie beside the page.
"""

from aira_bench.errors import RunStateError
from aira_bench.llm.recording import Exchange, read_exchange
from aira_bench.looking.opened import calls_of
from aira_bench.looking.step_files import absolute
from aira_bench.looking.step_view import StepView
from aira_bench.shown_numbers import figure
from aira_bench.view.pages import ModelCall, PromptTurn

MOST_CALLS = 50
"""Of a step, on its page."""


def model_calls(view: StepView) -> tuple[ModelCall, ...]:
    """Return the first calls of a step; a record that is not what was recorded has its trouble in place of its text.

    Args:
        view: the step.
    """
    found = []
    for file in calls_of(view)[:MOST_CALLS]:
        name = file.path.removeprefix(f"calls/{view.node.step:04d}/")
        if file.state not in ("as recorded", "not recorded"):
            found.append(ModelCall(name, f"not shown: it is {file.state}", (), ""))
            continue
        try:
            found.append(_call(name, read_exchange(absolute(view.seed, file))))
        except RunStateError as error:
            found.append(ModelCall(name, f"not shown: {error.message}", (), ""))
    return tuple(found)


def _call(name: str, exchange: Exchange) -> ModelCall:
    request, answer = exchange.request, exchange.completion
    use = answer.usage
    said = [answer.model_id, f"{_count(use.input_tokens)} tokens in"]
    said += [f"{use.cached_tokens:,} of them cached"] if use.cached_tokens else []
    said += [f"{_count(use.output_tokens)} out"]
    said += [f"{use.reasoning_tokens:,} of them reasoning"] if use.reasoning_tokens else []
    said += [
        "price unknown" if answer.cost_usd is None else f"{figure(answer.cost_usd)} USD",
        f"{answer.latency_s:.1f} s",
    ]
    said += [answer.finish_reason] + ([f"{answer.attempts} attempts"] if answer.attempts > 1 else [])
    turns = [("system", request.system), *((message.role, message.text) for message in request.messages)]
    whole = sum(len(text) for _, text in turns)
    cached = 0
    if use.cached_tokens and use.input_tokens:
        cached = round(whole * min(use.cached_tokens / use.input_tokens, 1.0))
    made = []
    for role, text in turns:
        made.append(PromptTurn(role, text[:cached], text[cached:]))
        cached = max(cached - len(text), 0)
    return ModelCall(name, ", ".join(said), tuple(made), answer.text)


def _count(tokens: int | None) -> str:
    return "unknown" if tokens is None else f"{tokens:,}"

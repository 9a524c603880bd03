"""One thing of a step in full, as text: its code, what it printed, what its model was asked and answered.

Nothing is escaped here; whoever shows it does that for the medium. Not covered: what the text is worth.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from aira_bench.errors import RunStateError, UsageError
from aira_bench.files import Unacceptable
from aira_bench.llm.recording import Exchange, read_exchange
from aira_bench.looking.step_files import SOLUTION, STDERR, STDOUT, StepFile, absolute, read_step_file
from aira_bench.looking.step_view import StepView
from aira_bench.record.step_calls import call_names

Opened = Literal["code", "diff", "prompt", "answer", "output", "artifact"]
WHATS: tuple[Opened, ...] = get_args(Opened)
_REASONING, _ANSWER = "--- reasoning, as the provider returned it; no part of the answer", "--- answer"


@dataclass(frozen=True)
class OpenedText:
    """What one thing of a step says."""

    what: Opened
    text: str
    paths: tuple[Path, ...]
    """The files that it is from; of a difference the file of the step itself."""


def open_step(view: StepView, what: Opened) -> OpenedText:
    """Return one thing of a step in full.

    Raises:
        UsageError: the step has no such thing.
        RunStateError: its file cannot be read.
    """
    return _OPENERS[what](view)


def _code(view: StepView) -> OpenedText:
    return OpenedText("code", *_read(view, (SOLUTION,)))


def _output(view: StepView) -> OpenedText:
    return OpenedText("output", *_read(view, (STDOUT, STDERR)))


def _artifact(view: StepView) -> OpenedText:
    file = view.artifact.file if view.artifact else None
    if file is None:
        raise UsageError(f"{_named(view)} left no artifact.", hint="--open code or --open output")
    return OpenedText("artifact", *_read(view, (file.name,)))


def _diff(view: StepView) -> OpenedText:
    if not view.differences:
        raise UsageError(f"{_named(view)} has no parent: it is a draft.", hint="--open code")
    texts = []
    for each in view.differences:
        if each.undone:
            texts.append(f"Against step {each.parent} nothing can be shown: {each.undone}.")
        else:
            texts.append("\n".join([f"{each.file} of step {each.parent}, and of this step:", *each.lines]))
    name = view.differences[0].file
    files = [absolute(view.seed, file) for file in view.files if file.name == name][:1]
    return OpenedText("diff", "\n\n".join(texts), tuple(files))


def _prompt(view: StepView) -> OpenedText:
    def said(exchange: Exchange) -> str:
        request = exchange.request
        turns = [f"[system]\n{request.system}"]
        return "\n\n".join([*turns, *(f"[{message.role}]\n{message.text}" for message in request.messages)])

    return _exchanges(view, "prompt", said)


def _answer(view: StepView) -> OpenedText:
    def said(exchange: Exchange) -> str:
        found, usage = exchange.completion, exchange.completion.usage
        cached = f", {usage.cached_tokens} of them cached" if usage.cached_tokens else ""
        tokens = f"{usage.input_tokens} tokens in{cached}, {usage.output_tokens} out"
        asked = f", asked {found.asked_at}" if found.asked_at else ""
        head = f"[{found.model_id}: {tokens}, {found.finish_reason}{asked}, {found.latency_s:.1f} s]"
        thought = [] if found.reasoning is None else [_REASONING, found.reasoning, _ANSWER]
        return "\n".join([head, *thought, found.text])

    return _exchanges(view, "answer", said)


def calls_of(view: StepView) -> list[StepFile]:
    """Return the records of a step's model calls, in the order in which they were made."""
    files = {each.path: each for each in view.files}
    return [files[name] for name in call_names(files, view.node.step)]


def _exchanges(view: StepView, what: Opened, said: Callable[[Exchange], str]) -> OpenedText:
    calls = calls_of(view)
    if not calls:
        raise UsageError(f"{_named(view)} asked no model.", hint="--open code")
    texts = []
    for each in calls:
        if each.state in ("as recorded", "not recorded"):
            try:
                shown = said(read_exchange(absolute(view.seed, each)))
            except RunStateError as error:
                shown = f"[not shown: {error.message}]"
        else:
            shown = f"[not shown: it is {each.state}]"
        texts.append(f"=== {each.path}\n{shown}")
    return OpenedText(what, "\n\n".join(texts), tuple(absolute(view.seed, each) for each in calls))


def _read(view: StepView, names: tuple[str, ...]) -> tuple[str, tuple[Path, ...]]:
    """The texts of files of the step's folder, each under its name where there are several."""
    texts, paths = [], []
    for name in names:
        path = f"nodes/{view.node.step:04d}/{name}"
        file = next((each for each in view.files if each.path == path and each.size_bytes is not None), None)
        if file is None:
            continue
        try:
            text = read_step_file(view.seed, file).decode("utf-8", "backslashreplace")
        except Unacceptable as error:
            raise RunStateError(f"{absolute(view.seed, file)}: {error}.") from error
        texts.append(f"=== {name}\n{text}" if len(names) > 1 else text)
        paths.append(absolute(view.seed, file))
    if not paths:
        raise UsageError(f"{_named(view)} left no {' and no '.join(names)}.", hint="aira-bench show --help")
    return "\n".join(texts), tuple(paths)


def _named(view: StepView) -> str:
    return f"Step {view.node.step} of seed {view.seed.seed}"


_OPENERS: Mapping[Opened, Callable[[StepView], OpenedText]] = {
    "code": _code, "diff": _diff, "prompt": _prompt, "answer": _answer, "output": _output, "artifact": _artifact,
}  # fmt: skip

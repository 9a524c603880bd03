"""Each conformance check fails for an implementation that breaks what it says, and says what was seen."""

import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from aira_bench.errors import ModelError, SandboxError
from aira_bench.llm.model import Completion, CompletionRequest, Usage
from aira_bench.protocols import (
    Action,
    Analysis,
    ArtifactRequest,
    Brief,
    ContainerSpec,
    Crossover,
    Debug,
    Draft,
    Improve,
    Isolation,
    Journal,
    Proposal,
    Situation,
    StepOutcome,
    StepReport,
    Stop,
    UnlookingAgent,
)
from aira_bench.testing import (
    AGENT_CHECKS,
    MODEL_CHECKS,
    POLICY_CHECKS,
    SANDBOX_CHECKS,
    AgentOnTask,
    Call,
    Check,
    Done,
    InMemoryContainer,
    InMemoryConversation,
    InMemorySandbox,
    Nonconforming,
    SandboxOnImage,
    ScriptedModel,
    brief_of,
    captured,
    require_all,
    run_unprotected,
)


def fails(checks: Sequence[Check], subject: object) -> set[str]:  # type: ignore[type-arg]
    """The sentences that do not hold; each error says what was wanted and seen, or what was raised."""
    said = {}
    for check in checks:
        try:
            check(subject)
        except Nonconforming as error:
            said[check.sentence] = str(error)
    assert all(text.startswith(f"{sentence}: ") for sentence, text in said.items())
    assert all("seen" in text or "it raised" in text for text in said.values())
    return set(said)


# Policies


Next = Callable[[Journal, random.Random], Action]


@dataclass
class Scripted:
    """A policy of one function."""

    function: Next

    def next(self, journal: Journal, rng: random.Random) -> Action:
        return self.function(journal, rng)


def counting() -> Next:
    asked: list[int] = []

    def answer(journal: Journal, rng: random.Random) -> Action:
        asked.append(1)
        return Stop() if len(asked) % 7 == 0 else Draft()

    return answer


def _last(journal: Journal, action: Callable[[int], Action]) -> Action:
    return action(journal[-1].step) if journal else Draft()


POLICIES: Mapping[str, tuple[Next, str]] = {
    "improves nothing at first": (lambda journal, rng: Improve((1,)), "it begins with a draft or stops"),
    "gives no action": (lambda journal, rng: None, "it answers every journal with an action whose parents are steps of the journal"),  # type: ignore[dict-item, return-value]
    "names a step to come": (
        lambda journal, rng: _last(journal, lambda step: Improve((step + 1,))),
        "it answers every journal with an action whose parents are steps of the journal",
    ),
    "improves nothing": (
        lambda journal, rng: Improve(()) if journal else Draft(),  # type: ignore[arg-type]
        "it answers every journal with an action whose parents are steps of the journal",
    ),
    "improves two steps": (
        lambda journal, rng: _last(journal, lambda step: Improve((step, step))),  # type: ignore[arg-type]
        "it answers every journal with an action whose parents are steps of the journal",
    ),
    "names parents in a list": (
        lambda journal, rng: _last(journal, lambda step: Improve([step])),  # type: ignore[arg-type]
        "it answers every journal with an action whose parents are steps of the journal",
    ),
    "ends the process": (lambda journal, rng: sys.exit(0), "it begins with a draft or stops"),
    "improves failed steps": (
        lambda journal, rng: _last(journal, lambda step: Improve((step,))),
        "it improves and crosses valid steps, and debugs failed ones",
    ),
    "debugs valid steps": (
        lambda journal, rng: _last(journal, lambda step: Debug((step,))),
        "it improves and crosses valid steps, and debugs failed ones",
    ),
    "crosses a step with itself": (
        lambda journal, rng: next((Crossover((node.step, node.step)) for node in journal if node.is_valid), Draft()),
        "it improves and crosses valid steps, and debugs failed ones",
    ),
    "counts its calls": (counting(), "it keeps no state: the same journal and generator give the same action"),
    "draws from the global generator": (
        lambda journal, rng: Draft() if random.random() < 2 else Stop(),
        "it draws from the generator it is given alone",
    ),
    "falls over infinite fitness": (
        lambda journal, rng: Draft() if sum(round(node.fitness or 0) for node in journal) < 1e400 else Stop(),
        "it goes on where every step ends alike",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(POLICIES))
def test_policies(fault: str) -> None:
    function, sentence = POLICIES[fault]
    assert sentence in fails(POLICY_CHECKS, Scripted(function))


def test_every_policy_check_has_a_fault() -> None:
    assert {sentence for _, sentence in POLICIES.values()} == {check.sentence for check in POLICY_CHECKS}


def test_all_that_fails_is_said_at_once() -> None:
    with pytest.raises(Nonconforming, match=r"\d of 6 checks do not hold:\n.*\n") as caught:
        require_all(POLICY_CHECKS, Scripted(lambda journal, rng: Improve((1,))))
    assert str(caught.value).count("\n") == len(fails(POLICY_CHECKS, Scripted(lambda journal, rng: Improve((1,)))))
    require_all(POLICY_CHECKS, Scripted(lambda journal, rng: Draft()))


# Agents


class Honest(UnlookingAgent):
    name: str = "honest"
    default_scaffold: str = "greedy"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        return Proposal(f"value = {situation.rng.random()}", "A number.")


class Nameless(Honest):
    name = ""


class Homeless(Honest):
    default_scaffold = "nowhere"


class Wordless(Honest):
    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        return "value = 1"  # type: ignore[return-value]


class Unwritable(Honest):
    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        return Proposal("value = '\ud800'", "Half a pair.")


class Unrecordable(Honest):
    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        return Proposal("value = 1", "Changes in words.", changes=("more layers",))  # type: ignore[arg-type]


class Ending(Honest):
    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        sys.exit(0)


class Fickle(Honest):
    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        return Proposal(f"value = {random.random()}", "Another number.")


class Remembering(Honest):
    def __init__(self) -> None:
        self.asked = 0

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        self.asked = 1 if situation.step == 1 else self.asked + 1
        return Proposal(f"value = {self.asked}", "How often I was asked.")


class Guessing(Honest):
    def analyze(self, brief: Brief, situation: Situation, report: StepReport) -> Analysis | None:
        return "fine"  # type: ignore[return-value]


class Incomplete:
    name, default_scaffold = "incomplete", "greedy"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        return Proposal("", "")

    def resume(self, calls: object) -> None: ...

    def analyze(self, brief: object, situation: object, report: object) -> None: ...


AGENTS: Mapping[str, tuple[type, str]] = {
    "no method": (Incomplete, "it has every method of the protocol"),
    "no name": (Nameless, "it has a name that boards can show, and a scaffold that exists"),
    "no scaffold": (Homeless, "it has a name that boards can show, and a scaffold that exists"),
    "no proposal": (Wordless, "it answers every situation its scaffold leads to with a proposal"),
    "no text": (Unwritable, "it answers every situation its scaffold leads to with a proposal"),
    "no changes": (Unrecordable, "it answers every situation its scaffold leads to with a proposal"),
    "the end of the process": (Ending, "it answers every situation its scaffold leads to with a proposal"),
    "luck": (Fickle, "it proposes the same for the same situation"),
    "global luck": (Fickle, "it draws from the generator it is given alone"),
    "memory": (Remembering, "it goes on from a journal alone, as after a kill"),
    "no analysis": (Guessing, "it analyzes a step, or does not look"),
}


@pytest.mark.parametrize("fault", list(AGENTS))
def test_agents(fault: str) -> None:
    kind, sentence = AGENTS[fault]
    assert sentence in fails(AGENT_CHECKS, AgentOnTask(kind(), brief_of("mad-2p")))


def test_every_agent_check_has_a_fault_and_an_honest_agent_none() -> None:
    assert {sentence for _, sentence in AGENTS.values()} == {check.sentence for check in AGENT_CHECKS}
    require_all(AGENT_CHECKS, AgentOnTask(Honest(), brief_of("mad-2p")))


# Models


@dataclass
class Faulty:
    """A model whose answers are changed."""

    change: Callable[[Completion], Completion]
    name: str = "faulty"

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        structured = None if request.schema is None else {"number": 3}
        return self.change(Completion("yes", "stop", "faulty-1", structured))


def slow(completion: Completion) -> Completion:
    time.sleep(2.5)
    return completion


def one_at_a_time() -> Callable[[Completion], Completion]:
    inside: list[int] = []

    def change(completion: Completion) -> Completion:
        inside.append(1)
        time.sleep(0.5)
        if len(inside) > 1:
            raise RuntimeError("two at once")
        inside.pop()
        return completion

    return change


MODELS: Mapping[str, tuple[object, str]] = {
    "no name": (Faulty(lambda made: made, name=""), "it has a name that boards can show"),
    "a word of its own": (
        Faulty(lambda made: replace(made, finish_reason="done")), "it completes a request",  # type: ignore[arg-type]
    ),
    "a bill below nothing": (Faulty(lambda made: replace(made, cost_usd=-1.0)), "it completes a request"),
    "an object nobody asked for": (Faulty(lambda made: replace(made, structured={})), "it completes a request"),
    "a list for an object": (
        Faulty(lambda made: replace(made, structured=made.structured and [3])),  # type: ignore[arg-type]
        "it gives an object, or None, where a schema is asked for",
    ),
    "half a token": (
        Faulty(lambda made: replace(made, usage=Usage(0.5))), "its completions can be recorded and read back",  # type: ignore[arg-type]
    ),
    "no attempt": (Faulty(lambda made: replace(made, attempts=0)), "it takes a conversation of several turns"),
    "hours": (Faulty(slow), "it gives up by its deadline"),
    "one thread": (Faulty(one_at_a_time()), "it can be called from several threads at once"),
}  # fmt: skip


@pytest.mark.parametrize("fault", [fault for fault in MODELS if fault != "hours"])
def test_models(fault: str) -> None:
    model, sentence = MODELS[fault]
    assert sentence in fails(MODEL_CHECKS, model)


def test_a_model_that_takes_its_time_is_seen_by_the_check_of_deadlines() -> None:
    model, sentence = MODELS["hours"]
    assert fails([check for check in MODEL_CHECKS if check.sentence == sentence], model) == {sentence}


def test_every_model_check_has_a_fault() -> None:
    assert {sentence for _, sentence in MODELS.values()} == {check.sentence for check in MODEL_CHECKS}


def test_a_model_may_say_that_the_time_was_not_enough() -> None:
    def hasty(request: CompletionRequest) -> str:
        raise ModelError("no time")

    (check,) = [check for check in MODEL_CHECKS if "deadline" in check.sentence]
    check(ScriptedModel("hasty", hasty))


# Sandboxes


def program(change: Callable[[Done], Done]) -> Callable[[Call], Done]:
    return lambda call: change(run_unprotected(call))


class Reusing(InMemoryContainer):
    def _take(self, files: Mapping[str, bytes]) -> None:
        self._used = False
        super()._take(files)


class Undying(InMemoryContainer):
    def close(self) -> None:
        if self not in self.sandbox.containers:
            raise SandboxError("it was closed before")
        super().close()


class Roomy(InMemoryContainer):
    def _take(self, files: Mapping[str, bytes]) -> None:
        self._used = True


class Talkative(InMemoryContainer):
    def converse(
        self, command: Sequence[str], *, files: Mapping[str, bytes], most_bytes: int, timeout_s: float
    ) -> InMemoryConversation:
        return InMemoryConversation(self, 2**20)


class Loose(InMemoryContainer):
    """Its outcomes are changed."""

    change: Callable[[StepOutcome], StepOutcome]

    def run(
        self,
        command: Sequence[str],
        *,
        files: Mapping[str, bytes],
        timeout_s: float,
        artifacts: Sequence[ArtifactRequest],
        destination: Path,
    ) -> StepOutcome:
        outcome = super().run(command, files=files, timeout_s=timeout_s, artifacts=artifacts, destination=destination)
        return type(self).change(outcome)


def loose(change: Callable[[StepOutcome], StepOutcome]) -> type[InMemoryContainer]:
    return type("Changed", (Loose,), {"change": staticmethod(change)})


class Made(InMemorySandbox):
    """A sandbox of containers of another class."""

    container: type[InMemoryContainer] = InMemoryContainer

    def prepare(self, spec: ContainerSpec) -> InMemoryContainer:
        super().prepare(spec).close()
        container = self.container(self, spec)
        self.containers.add(container)
        return container


def of(container: type[InMemoryContainer]) -> InMemorySandbox:
    made = type("Of", (Made,), {"container": container})
    return made({"agent": run_unprotected}, {"judge": lambda request: request[::-1]})  # type: ignore[no-any-return]


def running(run: Callable[[Call], Done]) -> InMemorySandbox:
    return InMemorySandbox({"agent": run}, {"judge": lambda request: request[::-1]})


class Blind(InMemorySandbox):
    def sweep(self, run_id: str) -> int:
        return 0


class Unreasoned(InMemorySandbox):
    def isolation(self, image: str, role: object, *, gpu: bool) -> Isolation:
        return Isolation("fine", "")  # type: ignore[arg-type]


LEFT: dict[str, bytes] = {}


def leaving(call: Call) -> Done:
    done = run_unprotected(replace(call, files={**LEFT, **call.files}))
    LEFT.update({name: data for name, data in done.files.items() if name == "left.txt"})
    return done


SANDBOXES: Mapping[str, tuple[Callable[[], InMemorySandbox], str]] = {
    "streams mixed up": (
        lambda: running(program(lambda done: replace(done, stdout=done.stdout + done.stderr, stderr=b""))),
        "it reports status and both streams",
    ),
    "all output kept": (
        lambda: of(loose(lambda outcome: replace(outcome, stdout=replace(outcome.stdout, head=b"a" * outcome.stdout.total_bytes)))),
        "it keeps beginning and end of long output, and counts and hashes all of it",
    ),
    "floods let through": (
        lambda: of(loose(lambda outcome: replace(outcome, ended="exited"))), "it ends a step that prints without end",
    ),
    "files cut": (
        lambda: running(lambda call: run_unprotected(replace(call, files={name: data[:9999] for name, data in call.files.items()}))),
        "files arrive whole, in folders made for them",
    ),
    "no end of room": (lambda: of(Roomy), "files that the workspace does not hold are refused"),
    "any name": (lambda: of(Roomy), "names that are no plain relative paths are refused"),
    "artifacts lost": (lambda: running(program(lambda done: replace(done, files={}))), "artifacts are copied out by name"),
    "links followed": (
        lambda: running(program(lambda done: replace(done, files={**done.files, **{name: b"root" for name in done.others}}))),
        "what is missing, too large or no regular file is rejected",
    ),
    "a workspace that stays": (lambda: running(leaving), "nothing of a step reaches the next"),
    "deadlines ignored": (
        lambda: of(loose(lambda outcome: replace(outcome, ended="exited", exit_code=0))), "a step is ended at its deadline",
    ),
    "containers used again": (lambda: of(Reusing), "a container runs one step"),
    "closed once": (lambda: of(Undying), "closing twice is safe and leaves nothing"),
    "output of another": (
        lambda: of(loose(lambda outcome: replace(outcome, stdout=captured(b"0\n")))), "containers work side by side",
    ),
    "blind": (
        lambda: Blind({"agent": run_unprotected}), "a sweep removes the containers of one run, which then have no outcome",
    ),
    "no environment": (
        lambda: running(lambda call: run_unprotected(replace(call, spec=replace(call.spec, environment={})))),
        "the environment that is asked for arrives",
    ),
    "long requests": (lambda: of(Talkative), "a command that stays answers one request at a time"),
    "no reason": (lambda: Unreasoned({"agent": run_unprotected}), "it says what separates its containers"),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(SANDBOXES))
def test_sandboxes(fault: str) -> None:
    LEFT.clear()
    make, sentence = SANDBOXES[fault]
    checks = [check for check in SANDBOX_CHECKS if check.sentence == sentence]
    assert fails(checks, SandboxOnImage(make(), "python")) == {sentence}


def test_every_sandbox_check_has_a_fault() -> None:
    assert {sentence for _, sentence in SANDBOXES.values()} == {check.sentence for check in SANDBOX_CHECKS}

"""Budgets under any history and from many threads; what prompts quote, remember and describe."""

import random
import re
import tempfile
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agents.agent import Situation
from aira_bench.agents.llm.data_preview import preview
from aira_bench.agents.llm.memory import MEMORY_CHARS, remember_ancestors, remember_valid
from aira_bench.agents.llm.model_sources import ProviderSource
from aira_bench.agents.llm.prompting import fenced, prompt_hashes, spoken_duration
from aira_bench.agents.llm.spending import BudgetedModel, Budgets, tokens_of
from aira_bench.cards.card import Card
from aira_bench.errors import BudgetExceeded, ModelError
from aira_bench.ledger.amount import Amount, Caps
from aira_bench.ledger.pool import Totals
from aira_bench.ledger.run_ledger import RunLedger
from aira_bench.llm.model import Completion, CompletionRequest, Message, Usage
from aira_bench.llm.pricing import tokens_upper_bound, upper_bound_usd
from aira_bench.llm.provider_model import RetryPolicy
from aira_bench.llm.recording import RecordingModel
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Node
from aira_bench.scaffolds.policy import Draft
from aira_bench.shared_store.in_memory import MemoryStore
from aira_bench.waiting import Waits

CARD = Card.model_validate(
    {
        "name": "c", "title": "C", "provider": "openai", "model": "m", "key_variable": "K", "max_output_tokens": 50,
        "prices": {"usd_per_mtok_input": 2.0, "usd_per_mtok_output": 10.0, "as_of": "2026-01-01", "source": "t"},
    }
)  # fmt: skip
ASK = CompletionRequest("system", (Message("user", "x"),))
BOUND_USD, BOUND_TOKENS = upper_bound_usd(CARD, ASK) or 0.0, tokens_upper_bound(CARD, ASK)


def answered(input_tokens: int | None, output_tokens: int | None, usd: float | None) -> Completion:
    return Completion("done", "stop", "m", usage=Usage(input_tokens, output_tokens), cost_usd=usd)


@dataclass
class Model:
    """Answers with what a test prescribes; none of it costs more than its bound."""

    answers: list[Completion | None]
    """None: the provider refuses."""
    name: str = "played"
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def within(self, waits: Waits, policy: RetryPolicy | None = None) -> "Model":
        return self

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        with self.lock:
            answer = self.answers[self.asked % len(self.answers)]
            self.asked += 1
        if answer is None:
            raise ModelError("refused")
        return answer


answers = st.one_of(
    st.none(),
    st.builds(
        answered,
        st.none() | st.integers(0, BOUND_TOKENS - 50),
        st.none() | st.integers(0, 50),
        st.none() | st.floats(0, BOUND_USD),
    ),
)


@given(st.lists(answers, min_size=1, max_size=8), st.integers(0, 12), st.sampled_from(["usd", "tokens"]))
def test_no_cap_is_ever_passed_and_only_what_is_known_is_given_back(
    prescribed: list[Completion | None], room: int, kind: str
) -> None:
    caps = Caps(usd=room * BOUND_USD * 1.0001) if kind == "usd" else Caps(tokens=room * BOUND_TOKENS)
    run = RunLedger(MemoryStore(), caps, "a")
    account, model = run.account("seed-1"), Model(prescribed)
    budgeted = BudgetedModel(model, CARD, account, run)
    usd, tokens = 0.0, 0
    for _ in range(12):
        before = model.asked
        try:
            done = budgeted.complete(ASK, deadline_s=1.0)
        except ModelError:
            continue  # a refusal costs nothing
        except BudgetExceeded:
            assert model.asked == before, "a call that could break a budget is not made"
            break
        counted = tokens_of(done)
        usd += BOUND_USD if done.cost_usd is None else done.cost_usd
        tokens += BOUND_TOKENS if counted is None else counted
    spent = run.pool.totals()
    assert spent.committed == spent.settled == account.state.settled
    assert spent.settled.usd == pytest.approx(usd, abs=13e-9), "each call is rounded up to a billionth"
    assert spent.settled.tokens == tokens
    assert caps.hold(spent.committed)


def test_a_seed_that_has_no_more_leaves_the_run_what_it_has() -> None:
    run = RunLedger(MemoryStore(), Caps(), "a")
    account = run.account("seed-1", caps=Caps(tokens=BOUND_TOKENS - 1))
    with pytest.raises(BudgetExceeded, match="of seed-1's"):
        BudgetedModel(Model([answered(1, 1, 0.0)]), CARD, account, run).complete(ASK, deadline_s=1.0)
    assert run.pool.totals() == Totals()
    assert account.state.committed == Amount()


def test_seeds_that_ask_at_once_share_one_budget() -> None:
    """Forty calls from eight seeds, of which ten fit at their bound; each costs half, so more than ten are made: until
    what is left is less than a bound, and that whichever seed comes last.
    """
    run = RunLedger(MemoryStore(), Caps(tokens=10 * BOUND_TOKENS), "a")
    model = Model([answered(BOUND_TOKENS // 2, 0, 0.0)])
    most, lock = 0, threading.Lock()

    def ask(number: int) -> bool:
        nonlocal most
        waits = Waits()
        waits.pause = lambda seconds, reason, said="": None  # type: ignore[method-assign]
        try:
            BudgetedModel(model, CARD, run.account(f"seed-{number % 8}"), run, waits=waits).complete(
                ASK, deadline_s=1.0
            )
        except BudgetExceeded:
            return False
        with lock:
            most = max(most, run.pool.totals().committed.tokens)
        return True

    with ThreadPoolExecutor(8) as pool:
        made = sum(pool.map(ask, range(40)))
    assert made == model.asked
    assert made == (10 * BOUND_TOKENS - BOUND_TOKENS) // (BOUND_TOKENS // 2) + 1
    assert most <= 10 * BOUND_TOKENS
    assert run.pool.totals().settled.tokens == made * (BOUND_TOKENS // 2)


@given(st.lists(answers.filter(bool), max_size=5), st.sampled_from(["run", "seed"]), st.booleans())
@settings(deadline=None)
def test_a_resumed_process_has_as_much_left_as_the_one_before_it(
    calls: list[Completion], whose: str, enough: bool
) -> None:
    """What the provider did not count stays at its bound, or a restart would give a part of the budget back."""
    before = RunLedger(MemoryStore(), Caps(), "a")
    with tempfile.TemporaryDirectory() as folder:
        for number, call in enumerate(calls):
            place = Path(folder) / f"3/{number:04d}/propose"
            RecordingModel(BudgetedModel(Model([call]), CARD, before.account("seed-3"), before), place).complete(
                ASK, deadline_s=1.0
            )
        caps = Caps(tokens=before.pool.totals().settled.tokens + BOUND_TOKENS - (not enough))
        resumed = ProviderSource(CARD, Model([answered(1, 1, 0.0)]), Budgets(**{whose: caps}))
        resumed.resume({3: Path(folder) / "3"})
        now = Situation(Draft(), (), lambda step: StepFiles("", "", ""), random.Random(0), 1, 9.0, 3, 9, Path(folder))
        with nullcontext() if enough else pytest.raises(BudgetExceeded):
            resumed.model(now, "propose").complete(ASK, deadline_s=1.0)


@given(st.text(alphabet=st.sampled_from("`~a \n\\"), max_size=60) | st.text(max_size=60))
def test_nothing_inside_a_fence_can_close_it(text: str) -> None:
    lines = fenced(text, "text").split("\n")
    fence = lines[-1]
    assert set(fence) == {"`"}
    assert len(fence) >= 3
    assert lines[0] == f"{fence}text"
    assert not any(re.match(rf" {{0,3}}`{{{len(fence)},}}", line) for line in lines[1:-1])


@given(st.floats(-1e6, 1e7))
def test_a_duration_is_said_in_whole_units_that_are_not_too_long(seconds: float) -> None:
    said = spoken_duration(seconds)
    if said == "less than a minute":
        assert seconds < 60
        return
    number, unit = said.split()
    length = {"minutes": 60, "hours": 3600}[unit]
    assert int(number) * length <= seconds < (int(number) + 1) * length + (0 if unit == "hours" else 1)
    assert unit == "hours" or int(number) < 120


def test_every_prompt_has_a_hash() -> None:
    hashes = prompt_hashes()
    assert {"draft.j2", "improve.j2", "debug.j2", "crossover.j2", "analyze.j2", "system.j2"} <= hashes.keys()
    assert len(set(hashes.values())) == len(hashes)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes.values())


@st.composite
def chains(draw: st.DrawFn) -> list[Node]:
    """A journal in which most steps are debugs of an earlier one."""
    nodes: list[Node] = []
    for step in range(1, draw(st.integers(1, 12)) + 1):
        parent = draw(st.integers(0, step - 1))
        step_class = draw(st.sampled_from(["valid", "buggy", "timeout", "infra_error"]))
        nodes.append(
            Node(
                step, "debug" if parent else "draft", (parent,) if parent else (), step_class,
                draw(st.sampled_from(["", "exit status 1"])), 0.5 if step_class == "valid" else None, None, "0", None,
                plan=draw(st.sampled_from(["", "p" * 50, "p" * 5000])),
            )
        )  # fmt: skip
    return nodes


@given(chains(), st.data())
def test_a_debug_is_told_of_its_failed_ancestors_and_of_nobody_else(nodes: list[Node], data: st.DataObject) -> None:
    at = data.draw(st.sampled_from(nodes)).step
    told = remember_ancestors(nodes, at)
    by_step = {node.step: node for node in nodes}
    chain = []
    while at and by_step[at].is_buggy:
        chain.append(at)
        at = by_step[at].parents[0] if by_step[at].parents else 0
    steps = [entry.step for entry in told.entries]
    assert steps == sorted(steps)
    assert set(steps) == set(chain[: len(steps)]), "the nearest are kept first"
    assert told.left_out == len(chain) - len(steps)


@given(chains(), st.integers(0, 2 * MEMORY_CHARS))
def test_what_is_remembered_never_outgrows_its_limit(nodes: list[Node], limit: int) -> None:
    told = remember_valid(nodes, lower_is_better=False, limit=limit)
    size = sum(len(entry.outcome) + len(entry.reason) + len(entry.plan) + len(entry.summary) for entry in told.entries)
    assert size <= limit
    assert len(told.entries) + told.left_out == sum(node.is_valid for node in nodes)


@given(st.integers(0, 2**16), st.sampled_from([0, 3, 70]), st.integers(200, 4000))
@settings(max_examples=8)
def test_a_description_of_data_is_bounded_whatever_lies_there(
    tmp_path_factory: pytest.TempPathFactory, seed: int, files: int, limit: int
) -> None:
    folder, rng = tmp_path_factory.mktemp("data"), random.Random(seed)
    for number in range(files):
        path = folder / rng.choice([".", "a", "a/b"]) / f"{number:03d}{rng.choice(['.txt', '.npy', '.csv', '.json'])}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.choice([0, 10, 3000])))
    said = preview(folder, limit)
    assert len(said) <= limit
    assert all(character in "\n\t" or unicodedata.category(character)[0] != "C" for character in said)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if names:
        assert said.splitlines()[0].startswith(Path(names[0]).as_posix())

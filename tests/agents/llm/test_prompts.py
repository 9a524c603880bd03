"""What prompts say: every fact once, what a step runs on, what was tried and how it went, and what is left."""

import random
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.agents.agent import Brief, Environment, Situation, StepReport, brief_for
from aira_bench.agents.llm.data_preview import LITERATURE, literature, preview
from aira_bench.agents.llm.llm_agent import LlmAgent
from aira_bench.agents.llm.memory import remember_valid
from aira_bench.agents.llm.model_sources import FunctionSource, ProviderSource
from aira_bench.agents.llm.prompting import render_analysis, render_system
from aira_bench.agents.llm.spending import Budgets, spoken_rest
from aira_bench.agents.llm.tried import mechanisms_of, what_was_tried
from aira_bench.cards.card import Card
from aira_bench.ledger.amount import Caps
from aira_bench.llm.model import Completion, CompletionRequest
from aira_bench.llm.recording import ScriptedModel
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Change, ModelUse, Node
from aira_bench.scaffolds.policy import Crossover, Debug, Draft, Improve, Proposing
from aira_bench.tasks.artifact_spec import ArtifactSpec
from aira_bench.tasks.task import find_task

CHARS_PER_TOKEN = 4
"""The rule by which this prompt once had 1,730 tokens: 6,923 characters."""
MACHINE = Environment(2, "", 0, {"Python": "3.11", "numpy": "2.1.3", "torch": "2.5.1"})
LIT = find_task("autoresearch-lit")
CODE = "```python\nprint(1)\n```"


@pytest.fixture
def mad_data(tmp_path: Path) -> Path:
    """The public data of `mad-2p` in profile `cpu`, by names and sizes."""
    sizes = {"compression": 12_928, "fuzzy-in-context-recall": 32_128, "in-context-recall": 24_128,
             "memorization": 12_928, "noisy-in-context-recall": 24_128, "selective-copying": 32_128}  # fmt: skip
    for split, sequences in (("train", 800), ("validation", 320)):
        for task, size in sizes.items():
            (tmp_path / split / task).mkdir(parents=True)
            for name in ("inputs", "scored", "targets"):
                (tmp_path / split / task / f"{name}.npy").write_bytes(bytes(128 + (size - 128) * sequences // 800))
        (tmp_path / split / "manifest.json").write_text(
            f'{{\n  "schema": 1,\n  "profile": "cpu",\n  "split": "{split}",\n  "primitives": [\n    "M",\n    "mA"\n  ]\n}}\n'
        )
    return tmp_path


def mad_system(data: Path, environment: Environment = MACHINE) -> str:
    brief = brief_for(find_task("mad-2p"), "cpu", data, data_preview=preview(data), environment=environment)
    return render_system(brief)


FACTS = [
    "order of 16 layers", "one of two primitives", "65,536", "one architecture", "neither predictions nor code",
    "trains it from scratch", "six", "seconds (profile `cpu`)", "seconds on a GPU (`paper`)",
    "128 in profile `paper`", "32 in `cpu`", "(batch, length, d)", "x = x + layer(LayerNorm(x))",
    "linear d -> 4d, ReLU, linear 4d -> d", "no biases", "each position alone", "131,072", "66,048", "d = 128",
    "causal", "heads of 8 features (16 at d = 128)", "rotary positions over the whole head", "projections with biases",
    "no other positional embedding", "stays at chance",
    "`in-context-recall`", "key shown before in the same sequence", "`noisy-in-context-recall`", "noise tokens between",
    "`fuzzy-in-context-recall`", "one to several tokens", "keys of the largest size only", "`selective-copying`",
    "in order", "scattered among blanks", "`compression`", "last position", "small fixed decoder", "one vector",
    "`memorization`", "fixed map from keys to values", "one position after its key",
    "800 sequences", "AdamW", "constant learning rate", "no weight decay", "fixed number of epochs", "no early stopping",
    "Nothing but the architecture is yours",
    "./data/train", "manifest.json", "admitted primitives", "int16", "(sequences, length)", "inputs.npy", "token ids",
    "targets.npy", "training loss", "scored.npy", "accuracy counts", "-100", "do not need to read",
    "python -m aira_evaluator.compose.validate --architecture \"AMAMAMAM AMAMAMAM\" --data ./data",
    "from aira_evaluator.compose.validate import validate", "Path(\"./data\")", "__main__", "trains on `train` and scores on `validation`",
    "prints the accuracy", "./validation.json", '{"metric": "Accuracy", "value": 0.51}', "half a minute", "one core",
    "ranks stacks with Spearman 0.63 (0.39 to 0.80)", "about 3", "0.80",
    "./submission.csv", "ASCII", "a header and one row", "first", "either spelling", "spaces between compact letters are free",
    "    architecture\n    AMAMAMAM AMAMAMAM", '"mA,M,mA,M,mA,M,mA,M,mA,M,mA,M,mA,M,mA,M"', "invalid and scores nothing",
    "at most 4 KiB", "regular file", "likeliest token", "mean over the tasks", "hidden validation", "hidden test",
    "same weights", "full train split", "always gets the same score", "non-finite number", "0 on that task",
    "higher is better", "steers the search", "counts for nothing", "other hidden data",
    "profile cpu", "5 minutes", "3072 MiB", "up to 2 CPU cores", "no GPU", "killed and scores nothing", "No package can be",
    "without network", "Python 3.11", "torch 2.5.1", "read-only", "python3 solution.py", "no instructions for you",
    "machine learning researcher", "fresh container", "what it printed and how it was scored",
]  # fmt: skip
"""What the longer prompt of 1,730 tokens said, and what was missing in it."""


def test_the_system_prompt_of_mad_2p_has_every_fact_in_less_than_1200_tokens(mad_data: Path) -> None:
    said = mad_system(mad_data)
    flat = " ".join(said.split())
    assert [fact for fact in FACTS if fact not in said and " ".join(fact.split()) not in flat] == []
    assert len(said) / CHARS_PER_TOKEN < 1200


def test_nothing_of_it_is_said_twice(mad_data: Path) -> None:
    said = mad_system(mad_data)
    headings = re.findall(r"^#+ .*", said, re.MULTILINE)
    assert len(set(headings)) == len(headings)
    for once in ("3072 MiB", "without network", "5 minutes", "steers the search", "inputs.npy"):
        assert said.count(once) == 1, once
    assert said.count("higher is better") == 1


def test_a_prompt_names_the_gpu_that_a_step_has(mad_data: Path) -> None:
    said = mad_system(mad_data, replace(MACHINE, gpu="NVIDIA H100 80GB HBM3", gpu_memory_mib=81559))
    assert "2 CPU cores, one NVIDIA H100 80GB HBM3 of 81559 MiB." in said
    assert len(said) / CHARS_PER_TOKEN < 1200
    shared = mad_system(mad_data, replace(MACHINE, gpu="NVIDIA GB10"))
    assert "2 CPU cores, one NVIDIA GB10 of memory shared with the processor." in shared, "no driver counts it"
    assert "CPU core" not in mad_system(mad_data, Environment()), "what is not known is not said"


def test_folders_alike_are_one_line_and_others_are_not(tmp_path: Path) -> None:
    for name in ("a/x.npy", "a/y.csv", "b/x.npy", "b/y.csv", "c/x.npy", "top.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1" * 400)
    lines = preview(tmp_path).split("\n")
    assert "{a,b}/{x.npy,y.csv} (400 B each)" in lines
    assert "c/x.npy (400 B)" in lines
    assert "top.npy (400 B)" in lines


def test_the_summaries_stand_before_the_model_in_the_part_that_is_cached(tmp_path: Path) -> None:
    (tmp_path / LITERATURE).parent.mkdir()
    shutil.copy(LIT.folder / LITERATURE, tmp_path / LITERATURE)
    brief = brief_for(LIT, "cpu", tmp_path, data_preview=preview(tmp_path), literature=literature(tmp_path))
    said = render_system(brief)
    assert "Queries and keys of each head are split in two" in said
    assert said.count("arXiv 2410.05258") == 1
    assert len(literature(tmp_path).split("\n\n")) == 41
    assert render_system(brief) == said, "the same in every call, so that providers can cache it"


@pytest.mark.parametrize("content", ["", "no JSON", "[1]", '{"title": 3}', '"x"', '{"a": {"b": [1, 2]}}\n\n{}'])
def test_odd_literature_breaks_no_prompt(tmp_path: Path, content: str) -> None:
    (tmp_path / LITERATURE).parent.mkdir()
    (tmp_path / LITERATURE).write_text(content)
    assert isinstance(literature(tmp_path), str)


def node(step: int, **values: object) -> Node:
    base: dict[str, object] = {
        "operator": "draft", "parents": (), "step_class": "valid", "reason": "", "fitness": 0.5, "claimed": None,
        "code_sha256": "0", "artifact_sha256": None, "plan": f"plan of step {step}",
    }  # fmt: skip
    return Node(step=step, **(base | values))  # type: ignore[arg-type]


BRIEF = Brief("t", "Find it.", ArtifactSpec(kind="architecture"), "Accuracy", False, "cpu", "hidden", 300.0, 1024)
MODULE = replace(BRIEF, artifact=ArtifactSpec(name="model.py", kind="module"))
JOURNAL = [
    node(1, canonical="mA,M,mA,M", parts={"recall": 0.75, "copying": 0.25}),
    node(2, operator="improve", parents=(1,), canonical="M,M,mA,M", changes=(Change("raise the ```rate", 1, 2),)),
    node(3, step_class="buggy", fitness=None, reason="exit status 1: NameError", plan="a bold draft"),
]
FILES = {number: StepFiles("class RotaryAttention: ...\nassociative_scan(x)", "out", "") for number in (1, 2, 3)}


def asked(tmp_path: Path, action: Proposing, brief: Brief = BRIEF, budgets: Budgets | None = None) -> str:
    prompts: list[str] = []

    def answer(request: CompletionRequest) -> str:
        prompts.append(request.messages[0].text)
        return CODE

    source = FunctionSource(ScriptedModel("m", answer), budgets or Budgets())
    now = Situation(action, JOURNAL, FILES.__getitem__, random.Random(0), 7, 3600.0, 0, 9, tmp_path / "calls")
    LlmAgent("m", source).propose(brief, now)
    return prompts[0]


def test_history_shows_what_was_tried_not_only_what_was_said_of_it(tmp_path: Path) -> None:
    said = asked(tmp_path, Draft())
    for part in ("Step 1 (draft; valid, fitness 0.5)", "mA,M,mA,M", "Step 2 (improve of 1; valid", "M,M,mA,M",
                 "raise the ```rate", "Step 3 (draft; buggy)", "NameError", "a bold draft"):  # fmt: skip
        assert part in said, part
    assert "a bold draft" not in asked(tmp_path / "improve", Improve((1,))), (
        "only drafts must differ from failed drafts"
    )


def test_history_of_code_names_its_mechanisms(tmp_path: Path) -> None:
    said = asked(tmp_path, Draft(), MODULE)
    assert "names in it: attention, scan, rotary positions" in said
    assert "mA,M" not in said


def test_the_parents_score_and_its_parts_stand_beside_its_code(tmp_path: Path) -> None:
    said = asked(tmp_path, Improve((1,)))
    assert "# The solution, step 1 (valid, fitness 0.5)\nBy part: recall 0.75, copying 0.25.\n" in said
    both = asked(tmp_path / "x", Crossover((1, 2)))
    assert "step 1 (valid, fitness 0.5)" in both
    assert "step 2 (valid, fitness 0.5)" in both
    assert "# The failed solution, step 3 (buggy)\n" in asked(tmp_path / "d", Debug((3,)))


SPENT = [node(1, model_use=ModelUse(2, 1000, 200, 0.25)), node(2, model_use=ModelUse(1, 100, 20, 0.125))]


@pytest.mark.parametrize(
    ("budgets", "journal", "said"),
    [
        (Budgets(), SPENT, []),
        (Budgets(seed=Caps(tokens=5000)), SPENT, ["3680 tokens"]),
        (Budgets(seed=Caps(usd=1.0)), SPENT, ["0.62 US dollars"]),
        (Budgets(run=Caps(tokens=5000)), SPENT, ["3680 tokens, less what other searches use of them"]),
        (Budgets(seed=Caps(tokens=5000)), [node(1, model_use=ModelUse(1, None, 3))], ["part of 5000 tokens"]),
        (Budgets(seed=Caps(tokens=10)), SPENT, ["0 tokens"]),
    ],
)
def test_what_is_left_of_budgets_is_said_by_the_journal_alone(
    budgets: Budgets, journal: list[Node], said: list[str]
) -> None:
    assert spoken_rest(budgets, journal) == said


def test_a_prompt_says_what_is_left(tmp_path: Path) -> None:
    said = asked(tmp_path, Draft(), budgets=Budgets(seed=Caps(tokens=9000)))
    assert "Budget left: 7 steps, 60 minutes, 9000 tokens.\n" in said
    card = Card.model_validate({"name": "c", "title": "C", "provider": "openai-compatible", "model": "m",
                                "max_output_tokens": 9})  # fmt: skip
    budgets = Budgets(run=Caps(tokens=3))
    model = ScriptedModel("m", lambda request: Completion("", "stop", "m"))
    assert ProviderSource(card, model, budgets).budgets == budgets


def test_an_analysis_is_asked_with_the_score(tmp_path: Path) -> None:
    report = StepReport("x = 1", "exit status 0", 2.0, "0.9", "", "invalid_submission: two\nlines```", {})
    said = render_analysis(MODULE, report)
    assert "has run and was judged" in said
    assert "````\ninvalid_submission: two\nlines```\n````" in said
    assert "judged" not in render_analysis(MODULE, replace(report, outcome=""))


@given(st.text(max_size=300))
def test_any_code_has_mechanisms_of_the_table_in_its_order(code: str) -> None:
    found = mechanisms_of(code + " conv1d attn")
    assert set(found) >= {"attention", "convolution"}
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("self.attn_norm = RMSNorm(d)", ("attention", "RMS norm")),
        ("class SwiGLU: pass", ("gating",)),
        ("jnp.fft.rfft(x)", ("Fourier transform",)),
        ("seems = remainder + convey", ()),
        ("avg_pool(x); nn.Conv1d(1, 2, 3)", ("convolution", "pooling")),
    ],
)
def test_mechanisms_are_read_off_whole_words_of_identifiers(code: str, found: tuple[str, ...]) -> None:
    assert mechanisms_of(code) == found


def test_what_is_remembered_fits_its_limit_with_what_was_tried() -> None:
    told = remember_valid(JOURNAL, lambda step: "x" * 400, lower_is_better=False, failed_drafts=True, limit=600)
    assert len(told.entries) == 1
    assert told.left_out == 2
    assert len(what_was_tried(BRIEF, node(1, canonical="M," * 500), "")) <= 400

"""Runs to look at, written by the record's own writers, without containers: what pages and reports are tested on.

Every step has the files that a real one leaves. Not covered: runs for boards (`generated_runs`).
"""

import hashlib
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aira_bench.keys import KeyRing, MachineKey
from aira_bench.llm.model import Completion, CompletionRequest, Message, Usage
from aira_bench.llm.recording import Exchange
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import SeedEnded, StepStarted
from aira_bench.record.manifest import Manifest
from aira_bench.record.node import Change, ModelUse, Node, Operator, StepClass, Timings, best_node
from aira_bench.record.schema import SCHEMA
from aira_bench.record.scores import TrustedScore
from aira_bench.record.sealing import open_run, step_ended
from aira_bench.record.seen_chains import Witness
from aira_contract.training_series import TrainingPoint
from generated_runs import LONG_AGO, manifest
from hostile_text import WHOLE

WRITABLE = WHOLE.encode("utf-8", "ignore").decode()
"""Without halves of surrogate pairs, which no JSON of ours holds."""
MARKUP = (
    "<script>window.owned=1</script>",
    "</script><script>window.owned=1</script>",
    "</textarea></title></style></template><img src=x onerror=window.owned=1>",
    '"><svg onload=window.owned=1><p title="',
    "' autofocus onfocus='window.owned=1' x='",
    "javascript:window.owned=1",
    '<a href="javascript:window.owned=1">plot</a><b>%{x}<extra></extra></b>',
    "[a](javascript:window.owned=1) ![i](http://192.0.2.1/i.png)",
    "<iframe src=http://192.0.2.1/></iframe><link rel=stylesheet href=http://192.0.2.1/x.css>",
    "<style>*{display:none}</style><meta http-equiv=refresh content='0;url=http://192.0.2.1/'>",
    "{{ 7*7 }}{% include '/etc/passwd' %}<!-- ]]> */ -- `${window.owned=1}`",
    "__proto__", "\u2028window.owned=1//\u2029",
)  # fmt: skip
"""Whatever runs in a page sets `owned` of its window."""
HARM = "".join(MARKUP) + WRITABLE
SYMBOLS = ("mA", "M")


@dataclass(frozen=True)
class Machine:
    """Folders and key of a machine on which runs are looked at."""

    root: Path
    key: MachineKey
    ring: KeyRing

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def runs(self) -> Path:
        return self.root / "runs"


@dataclass(frozen=True)
class ShownStep:
    """One step: its node, score, and files by path below the folder of its seed (`{at}` is the step's number)."""

    node: Node
    score: TrustedScore | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


def shown_step(
    step: int,
    *,
    operator: Operator = "draft",
    parents: tuple[int, ...] = (),
    step_class: StepClass = "valid",
    scores: tuple[float, float] | None = (0.5, 0.4),
    code: bytes = b"print('a solution')\n",
    artifact: tuple[str, bytes] | None = None,
    calls: Sequence[Exchange] = (),
    report: Mapping[str, object] | None = None,
    printed: bytes = b"",
    of_score: Mapping[str, object] | None = None,
    **of_node: object,
) -> ShownStep:
    """Make a step. `scores` are validation and test; `of_score` and `of_node` override fields."""
    at = f"{step:04d}"
    files = {f"nodes/{at}/solution.py": code, f"nodes/{at}/stdout.txt": printed, f"nodes/{at}/stderr.txt": b""}
    valid = step_class == "valid"
    if artifact is not None:
        files[f"nodes/{at}/{artifact[0]}"] = artifact[1]
    for number, exchange in enumerate(calls):
        files[f"calls/{at}/propose/call_{number:03d}.json"] = json.dumps(exchange.to_json()).encode()
    score = None
    if valid and scores is not None:
        score = TrustedScore(step, scores[1], scores[0], "1", "evaluator:1", 2.5)
        score = replace(score, **(of_score or {}))  # type: ignore[arg-type]
    if report is not None:
        files[f"hidden/{at}/report.json"] = json.dumps(report).encode()
    node = Node(
        step, operator, parents, step_class, "" if valid else f"{step_class} of step {step}",
        None if score is None or score.validation is None else round(score.validation, 4), None,
        hashlib.sha256(code).hexdigest(), hashlib.sha256(artifact[1]).hexdigest() if valid and artifact else None,
        timings=Timings(1.5, 2.25, 4.125, 8.0),
    )  # fmt: skip
    return ShownStep(replace(node, **of_node), score, files)  # type: ignore[arg-type]


def write_shown(
    runs: Path,
    record: Manifest,
    seeds: Mapping[int, Sequence[ShownStep]],
    *,
    key: MachineKey,
    seen: Path | None = None,
    end: bool = True,
    folder_name: str | None = None,
) -> RunFolder:
    """Write a signed run of these steps; `folder_name` is what its folder is called in the end, if not as its plan."""
    folder = RunFolder(runs / record.plan.name)
    folder.path.mkdir(parents=True)
    whole = record.model_copy(update={"schema_version": SCHEMA})
    keeper = open_run(folder, whole, key, lambda: LONG_AGO, Witness(seen))
    for seed, steps in seeds.items():
        place = folder.seed(seed)
        (place.path / "hidden").mkdir(parents=True)
        journal = keeper.journal(seed)
        for each in steps:
            journal.append(StepStarted(each.node.step, "t"))
            for name, data in each.files.items():
                (place.path / name).parent.mkdir(parents=True, exist_ok=True)
                (place.path / name).write_bytes(data)
            if each.score is not None:
                place.scores.append(each.score)
            journal.append(step_ended(place, each.node, LONG_AGO.isoformat()))
        if end:
            best = best_node(journal.nodes, lower_is_better=record.lower_is_better)
            journal.append(SeedEnded("steps", best.step if best else None, "t"))
        journal.close()
    if end:
        keeper.close(record.plan.seeds)
    if folder_name is not None:
        folder.path.rename(runs / folder_name)
        folder = RunFolder(runs / folder_name)
    return folder


def exchange(prompt: str, answer: str, model: str = "model-1", *, cost_usd: float | None = 0.0125) -> Exchange:
    """A call of a model, most of whose prompt came from a cache."""
    request = CompletionRequest("You are asked for an architecture.", (Message("user", prompt),), 1000)
    usage = Usage(1200, 340, 900, 100)
    return Exchange(request, Completion(answer, "stop", model, None, usage, cost_usd, 1.5, "request-1"))


def canonical(rng: random.Random) -> str:
    """Some architecture of 16 layers."""
    return ",".join(rng.choice(SYMBOLS) for _ in range(16))


def compose_steps(seed: int, steps: int, *, calls: bool = True) -> list[ShownStep]:
    """Steps of a greedy search for architectures: drafts, then improvements of some earlier valid step."""
    rng, valid, made = random.Random(f"compose/{seed}"), list[int](), list[ShownStep]()
    for step in range(1, steps + 1):
        parents = (rng.choice(valid),) if step > 3 and valid else ()
        if rng.random() < 0.1 and len(valid) > 2 and parents:
            parents = tuple(sorted(rng.sample(valid, 2)))
        operator: Operator = ("draft", "improve", "crossover")[len(parents)]  # type: ignore[assignment]
        broken = rng.random() < 0.25
        form = canonical(rng)
        code = f"# step {step}\nARCHITECTURE = {form!r}\nprint(ARCHITECTURE)\n".encode()
        score = (round(rng.random(), 6), round(rng.random(), 6))
        asked = (
            [exchange(f"Step {step}: improve on step {parents}.", f"```python\n{code.decode()}```")] if calls else []
        )
        made.append(
            shown_step(
                step, operator=operator, parents=parents,
                step_class=rng.choice(("buggy", "timeout", "invalid_submission")) if broken else "valid",
                scores=score, code=code, artifact=None if broken else ("submission.csv", f"architecture\n{form}\n".encode()),
                calls=asked, canonical=None if broken else form, plan=f"Plan of step {step}: more attention.",
                printed=f"step {step}\n".encode(), parts={"copying": 0.5, "recall": round(score[0], 4)},
                model_use=ModelUse(1, 1200, 340, 0.0125, ("model-1",)) if calls else ModelUse(),
                report={"schema": 1, "details": {"test": {"tasks": {"copying": 0.25, "recall": 0.125}}}},
                changes=(Change("swap", 1, 2),) if parents else (),
            )
        )  # fmt: skip
        if not broken:
            valid.append(step)
    return made


MODULE = """import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        {body}

    def forward(self, x):
        return self.norm(x)
"""
BODIES = ("self.attention = nn.MultiheadAttention(width, 4)", "self.convolution = nn.Conv1d(width, width, 3)",
          "self.gate = nn.Linear(width, width)", "self.lstm = nn.LSTM(width, width)")  # fmt: skip


def module_growth(step: int) -> dict[str, object]:
    """What a judge reports of a module: odd steps grow as they should, even ones with the square of the length."""
    rows = {
        f"x{times}": {
            "work": 1e6 * times ** (1 + (step % 2 == 0)), "loops_of_unknown_length": 0, "temporary_mib": 8.0 * times,
            "seconds": None if times == 4 and step == 2 else 0.25 * times ** (1 + (step % 2 == 0)),
        }
        for times in (1, 2, 4)
    }  # fmt: skip
    return {"superlinear_share": float(step % 2 == 0), **rows}


def module_steps(seed: int, steps: int) -> list[ShownStep]:
    """Steps of a search for modules of growing length."""
    rng, made = random.Random(f"module/{seed}"), list[ShownStep]()
    for step in range(1, steps + 1):
        body = "\n        ".join(rng.sample(BODIES, 1 + step % len(BODIES)))
        module = MODULE.format(body=body).encode()
        made.append(
            shown_step(
                step, operator="improve" if step > 1 else "draft", parents=(step - 1,) if step > 1 else (),
                scores=(round(rng.random(), 6), round(rng.random(), 6)), code=module, artifact=("model.py", module),
                plan="Gate it.", report={"schema": 1, "details": {"growth": module_growth(step)}},
            )
        )  # fmt: skip
    return made


SCRIPT = """# a script
DEPTH = {depth}
ASPECT_RATIO = 64
HEAD_DIM = 128
WINDOW_PATTERN = "{pattern}"
TOTAL_BATCH_SIZE = 2**{batch}
MATRIX_LR = {rate}
WEIGHT_DECAY = 0.2
ADAM_BETAS = (0.8, 0.95)
"""


def script_steps(seed: int, steps: int, series: bool = True) -> list[ShownStep]:
    """Steps of a search for training scripts that claim scores."""
    rng, made = random.Random(f"script/{seed}"), list[ShownStep]()
    for step in range(1, steps + 1):
        script = SCRIPT.format(
            depth=rng.randint(4, 12),
            pattern="".join(rng.sample("SSSL", 4)),
            batch=rng.randint(17, 20),
            rate=rng.random(),
        ).encode()
        trusted = 1.0 + rng.random() / 4
        claimed = round(trusted - rng.random() / 20, 5)
        points = tuple(TrainingPoint(at, 9.0 / (at + 2), 1000 * at, 0.5 * at) for at in range(1, 51))
        told = tuple(TrainingPoint(at, 8.0 / (at + 2), None, None) for at in range(1, 26))
        made.append(
            shown_step(
                step, operator="improve" if step > 1 else "draft", parents=(step // 2,) if step > 1 else (),
                scores=(round(trusted, 6), round(trusted + 0.01, 6)), code=script, artifact=("train.py", script),
                claimed=claimed, plan="Another depth.",
                of_score={
                    "claimed": claimed, "public": round(trusted + 0.003, 6),
                    "series": points if series else (), "claimed_series": told if series else (),
                },
            )
        )  # fmt: skip
    return made


def compose_run(runs: Path, key: MachineKey, seen: Path | None = None, *, name: str = "compose", seeds: int = 2,
                steps: int = 12, end: bool = True) -> RunFolder:  # fmt: skip
    """A run of a greedy agent with a model, on mad-2p."""
    record = manifest(name, seeds=tuple(range(seeds)), steps=steps, agent="greedy-model")
    found = {seed: compose_steps(seed, steps) for seed in range(seeds)}
    return write_shown(runs, record, found, key=key, seen=seen, end=end)


def module_run(runs: Path, key: MachineKey, seen: Path | None = None, *, name: str = "module") -> RunFolder:
    """A run on an LRA task."""
    record = manifest(name, seeds=(0,), steps=8, agent="module-model", task_name="lra-text", task_title="lra-text")
    record = record.model_copy(update={"plan": record.plan.model_copy(update={"task": "lra-text"})})
    return write_shown(runs, record, {0: module_steps(0, 8)}, key=key, seen=seen)


def script_run(runs: Path, key: MachineKey, seen: Path | None = None, *, name: str = "script", seeds: int = 1,
               steps: int = 8) -> RunFolder:  # fmt: skip
    """A run on Autoresearch, where lower is better and code claims its score."""
    record = manifest(
        name, seeds=tuple(range(seeds)), steps=steps, agent="script-model", task_name="autoresearch",
        task_title="autoresearch", metric="BitsPerByte", lower_is_better=True,
    )  # fmt: skip
    plan = record.plan.model_copy(update={"task": "autoresearch", "fitness": "hidden"})
    record = record.model_copy(update={"plan": plan})
    found = {seed: script_steps(seed, steps) for seed in range(seeds)}
    return write_shown(runs, record, found, key=key, seen=seen)


HOSTILE_FOLDER = "x'\"><img src=x onerror=window.owned=1>&#0;#?%2e%2e"
"""What a stranger calls the folder of a run; it has no slash, so it can be one."""


def hostile_steps() -> list[ShownStep]:
    """Steps in which every text that an agent, its model or its provider writes does harm where it is not escaped."""
    harm, line = HARM.encode(), b"\x1b[31m" + b"A" * (10 * 2**20) + b"<script>window.owned=1</script>\n"
    lines = ["\n".join(f"{text}_{number} = {number}" for number in range(10_000)) for text in ("old", "new")]
    calls = [exchange(HARM, HARM, HARM), exchange(HARM * 20, f"```python\n{HARM}\n```", WRITABLE, cost_usd=None)]
    wild = tuple(TrainingPoint(at, 9e99 * (-1) ** at, None, None) for at in range(1, 9))
    common: dict[str, Any] = {
        "plan": HARM, "summary": HARM, "calls": calls, "printed": harm + b"\xff\xfe\x00" + harm,
        "changes": (Change(HARM, 1, 1),), "model_use": ModelUse(2, 10**15, 10**15, 1e12, (HARM,)),
        "parts": {HARM: 0.5, "__proto__": 0.25}, "of_score": {"flags": (HARM,), "remarks": (HARM,), "claimed_series": wild},
    }  # fmt: skip
    broken = {name: value for name, value in common.items() if name not in ("parts", "of_score")}
    return [
        shown_step(1, artifact=("train.py", lines[0].encode()), code=lines[0].encode(), **common),
        shown_step(2, operator="improve", parents=(1,), artifact=("train.py", lines[1].encode()),
                   code=lines[1].encode(), scores=(0.75, 9e99), claimed=-9e99, **common),
        shown_step(3, step_class="buggy", reason=HARM, code=harm + b"\xc3\x28\xa0\xa1", **broken),
        shown_step(4, artifact=("train.py", b"DEPTH = 4\nWINDOW_PATTERN = " + repr(HARM).encode() + b"\n"),
                   scores=(1e-99, -9e99), canonical=HARM, code=line, **(common | {"printed": line})),
        shown_step(5, artifact=("model.py", MODULE.format(body=f"self.x = {HARM!r}").encode()),
                   report={"series": [[0, 9e99, 0, 0], ["x", HARM, None, -1], [float("inf"), float("nan"), 1, 1]]},
                   **common),
        shown_step(6, artifact=(MARKUP[2].replace("/", ""), harm), canonical=canonical(random.Random(1)), **common),
    ]  # fmt: skip


def hostile_run(runs: Path, key: MachineKey, seen: Path | None = None) -> RunFolder:
    """A sound run, signed by this machine, whose every text is hostile."""
    record = manifest(
        "plain", seeds=(0,), steps=6, task_title=HARM, task_name=HARM, metric=HARM, hardware_class=HARM,
        images={"agent": HARM, "evaluator": HARM}, created=HARM,
    )  # fmt: skip
    plan = record.plan.model_copy(update={"agent": HARM, "scaffold": HARM, "task": HARM})
    record = record.model_copy(update={"plan": plan})
    return write_shown(runs, record, {0: hostile_steps()}, key=key, seen=seen, folder_name=HOSTILE_FOLDER)


def damaged_run(runs: Path, key: MachineKey, seen: Path | None = None, *, name: str = "damaged") -> RunFolder:
    """A run whose journal was changed after half of its steps, to scores that are no numbers, and whose files are not
    what they were: one replaced, one a link to a file outside, one missing.
    """
    folder = compose_run(runs, key, seen, name=name, seeds=1, steps=6)
    place = folder.seed(0)
    lines = place.journal.read_bytes().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if b'"step":4' in line and b"step_ended" in line)
    lines[at] = lines[at].replace(b'"fitness":', b'"fitness":NaN,"was":')
    place.journal.write_bytes(b"".join(lines))
    (place.node(1) / "solution.py").write_bytes(HARM.encode())
    (place.node(2) / "solution.py").unlink()
    (place.node(2) / "solution.py").symlink_to("/etc/passwd")
    (place.node(3) / "stdout.txt").unlink()
    return folder


def all_kinds(runs: Path, key: MachineKey, seen: Path | None = None) -> None:
    """One run of each kind, and what strangers leave in a folder of runs."""
    compose_run(runs, key, seen)
    module_run(runs, key, seen)
    script_run(runs, key, seen)
    hostile_run(runs, key, seen)
    damaged_run(runs, key, seen)
    lost = runs / "lost"
    (lost / "seeds").mkdir(parents=True)
    (lost / "record.jsonl").write_text("nothing\n")
    odd = Path(os.fsdecode(os.fsencode(runs) + b"/\xff\xfe"))
    compose_run(runs, key, seen, name="odd", seeds=1, steps=2).path.rename(odd)

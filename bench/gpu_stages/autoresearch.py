"""Stage 4: the baseline of autoresearch at paper size for a minute, and then how fast its model answers questions.

The text is Python's own library, which says nothing about scores. Training and serving are processes of their own, as
in a run; this one never touches the device, since a predictor is forked from it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aira_contract.files import COMPANION_FILES, HANDOVER_FILE, SCRIPT_FILE
from aira_contract.script_constants import with_constants
from aira_contract.settings import TIME_BUDGET_VARIABLE
from aira_evaluator.autoresearch.contract.profiles import CPU, PAPER, AutoresearchProfile
from aira_evaluator.autoresearch.contract.token_store import write_shard
from aira_evaluator.autoresearch.judge.rules import RULES
from aira_evaluator.autoresearch.wire.shared_memory import MemoryShape
from aira_evaluator.split_manifest import MANIFEST
from aira_evaluator.text.tokenizer import GPT4_SPLIT, BytePairTokenizer
from gpu_stages.record import Record
from logit_serving import timed

ROOT = Path(__file__).resolve().parents[2]
TASK = ROOT / "tasks" / "AutoregressiveLanguageModellingAutoresearchBPB"
BUDGET_S, TOY_BUDGET_S = 60, 1
CHARACTERS, TOY_CHARACTERS = 12_000_000, 400_000
QUESTIONS, TOY_QUESTIONS = 800, 8
TOLD_S = 1.0
"""How often the last line of the training is kept, so that one that is cut off has told where it was."""
TOY_VALIDATION_TOKENS = 4096


def run(record: Record) -> None:
    """Make data, train, ask."""
    profile = CPU if record.toy else PAPER
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents = _write_public(record, profile, folder)
        summary = _train(record, profile, folder)
        for field, unit in (("num_steps", ""), ("training_seconds", "s"), ("total_seconds", "s"), ("mfu_percent", "%"),
                            ("val_bpb", "bits a byte")):  # fmt: skip
            record.row(f"autoresearch baseline: {field}", summary[field], unit)
        record.row("autoresearch baseline: memory, most", summary["peak_vram_mb"] / 1024, "GiB")
        batch = int(profile.baseline.get("TOTAL_BATCH_SIZE", 524288))
        counted = summary["num_steps"] - int(profile.baseline.get("UNCOUNTED_STEPS", 11))
        record.row("autoresearch baseline: tokens a second", counted * batch / summary["training_seconds"], "1/s")
        record.attempt("scoring", lambda: _ask(record, profile, folder, documents))


def _texts() -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="ignore")
        if text:
            yield text


def _write_public(record: Record, profile: AutoresearchProfile, folder: Path) -> list[np.ndarray]:
    """The public half as preparation writes it, of library text; returns the documents held out."""
    texts, characters = [], 0
    for text in _texts():
        texts.append(text)
        characters += len(text)
        if characters > (TOY_CHARACTERS if record.toy else CHARACTERS):
            break
    tokenizer = BytePairTokenizer.train(texts[::3], profile.vocabulary, GPT4_SPLIT)
    tokenizer.save(folder / "tokenizer")
    documents = tokenizer.encode_documents(texts)
    write_shard(folder / "train", "train", documents[len(documents) // 8 :])
    write_shard(folder / "val", "val", documents[: len(documents) // 8])
    manifest = {
        "sequence_length": profile.sequence_length, "vocabulary": tokenizer.get_vocab_size(),
        "time_budget_s": BUDGET_S,
        "validation_tokens": TOY_VALIDATION_TOKENS if record.toy else profile.public_validation_tokens,
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest))
    baseline = (TASK / SCRIPT_FILE).read_text(encoding="utf-8")
    (folder / SCRIPT_FILE).write_text(with_constants(baseline, profile.baseline), encoding="utf-8")
    fit = ROOT / "evaluator" / "aira_evaluator" / "autoresearch" / "fit"
    for module, name in zip(("shim.py", "offline_kernels.py"), COMPANION_FILES, strict=True):
        shutil.copyfile(fit / module, folder / name)
    (folder / "data").symlink_to(folder)
    record.detail("documents, characters", [len(texts), characters])
    return documents[: len(documents) // 8]


def _train(record: Record, profile: AutoresearchProfile, folder: Path) -> dict[str, float]:
    budget_s = TOY_BUDGET_S if record.toy else BUDGET_S
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, SCRIPT_FILE], cwd=folder, env={**os.environ, TIME_BUDGET_VARIABLE: str(budget_s)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as training:  # fmt: skip
        assert training.stdout is not None
        told_s = 0.0
        for line in training.stdout:
            lines.append(line)
            print(line, end="", flush=True)
            if line.strip() and time.monotonic() - told_s > TOLD_S:
                told_s = time.monotonic()
                record.detail("training, last line", line.strip()[:200])
    if training.returncode:
        raise RuntimeError(f"the baseline ended with {training.returncode}: {''.join(lines[-3:]).strip()[-300:]}")
    block = "".join(lines).rpartition("---\n")[2]
    return {name: float(value) for name, value in re.findall(r"^(\w+): +([\d.]+)$", block, re.MULTILINE)}


def _ask(record: Record, profile: AutoresearchProfile, folder: Path, documents: list[np.ndarray]) -> None:
    """Questions a second, in windows of full length and in steps; and a search's score from the faster."""
    rules, tokens = RULES[profile.name], profile.sequence_length
    flat = np.concatenate(documents)
    count = min(TOY_QUESTIONS if record.toy else QUESTIONS, len(flat) // (tokens + 1))
    rows = flat[: count * (tokens + 1)].reshape(count, tokens + 1)
    positions = np.random.default_rng(0).integers(1, tokens + 1, count)
    vocabulary = profile.vocabulary
    for step in (tokens, rules.length_step):
        wall_s, _, _ = timed(
            folder / HANDOVER_FILE, MemoryShape(rules.batch_rows, tokens, vocabulary), [(rows, positions)], step
        )
        kind = "full windows" if step == tokens else f"steps of {step}"
        record.row(f"autoresearch, scoring in {kind}", count / wall_s, "questions/s")
        whole_s = 2 * profile.questions["search"] * wall_s / count
        record.row(f"autoresearch, a search's score in {kind}, projected", whole_s, "s")

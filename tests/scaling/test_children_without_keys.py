"""Processes that `scale` and `grow` begin: what their libraries take from the environment, and nothing that is a key."""

import json
import os
import random
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_contract.pretraining import PretrainIdentity, PretrainRecord
from generated_runs import manifest, write_run

KEYS = ("ANTHROPIC_API_KEY", "AIRA_API_KEY_MINE", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MY_LAB", "NVIDIA_API_KEY")
OF_TRAINERS = {"NCCL_SOCKET_IFNAME": "eth1", "OMP_NUM_THREADS": "1", "TORCH_LOGS": "recompiles"}
OF_ALL = {"CUDA_VISIBLE_DEVICES": "3", "TRITON_CACHE_DIR": "/cache"}
RECORDER = """
import json, os, sys
with open({seen!r}, "a") as out:
    out.write(json.dumps(dict(os.environ)) + "\\n")
sys.exit(1)
"""


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An interpreter that notes its environment and does nothing."""
    for name in KEYS:
        monkeypatch.setenv(name, "a secret")
    for name, value in {**OF_TRAINERS, **OF_ALL}.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "python"
    path.write_text(f"#!{sys.executable} -S\n{RECORDER.format(seen=str(tmp_path / 'seen'))}")
    path.chmod(0o755)
    return str(path)


def tokens(folder: Path) -> str:
    """What is said of tokens, which nobody reads here."""
    nothing = {"name": "none", "source": "none", "synthetic": True, "tokenizer": "none", "vocabulary": 512}
    folder.mkdir()
    manifest = {**nothing, "unigram_entropy": 1.0, "train": [], "validation": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def growing(folder: Path) -> list[str]:
    rng = random.Random(0)
    write_run(
        folder / "runs", manifest("searched", seeds=(0,), steps=3),
        canonical=lambda seed, step: ",".join(rng.choices(("mA", "M"), k=16)),
    )  # fmt: skip
    return ["grow", "searched", "--runs", str(folder / "runs"), "--scale", "toy", "--recipe", "toy", "--yes"]


def texts(folder: Path) -> str:
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "a text"}\n')
    return str(folder)


def trained(folder: Path) -> str:
    identity = PretrainIdentity(1, "mA-M", "toy", {}, 0, {}, 1, 1, 1)
    folder.mkdir()
    (folder / "pretrain.json").write_text(json.dumps(asdict(PretrainRecord(identity, 1, True, 1.0, 1, "none", 1.0))))
    return str(folder)


def command(name: str, folder: Path) -> list[str]:
    training = ["scale", "run", "llama-3.2", "--recipe", "toy", "--yes"]
    match name:
        case "run":
            return [*training, "--gpus", "1", "--data", tokens(folder / "tokens"), "--out", str(folder / "out")]
        case "run on ranks":
            return [*training, "--gpus", "2", "--data", tokens(folder / "tokens"), "--out", str(folder / "out")]
        case "grow":
            return [*growing(folder), "--data", tokens(folder / "tokens"), "--out", str(folder / "out")]
        case "grow's text":
            return [*growing(folder), "--out", str(folder / "out")]
        case "data":
            return ["scale", "data", "--source", texts(folder / "texts"), "--out", str(folder / "out")]
        case "latency":
            return ["scale", "latency", "2(A-M)", "--scale", "toy", "--device", "cpu"]
        case "export":
            return ["scale", "export", str(folder / "trained"), "--out", str(folder / "out")]
        case _:
            return ["scale", "evaluate", trained(folder / "trained"), "--suite", "zero-shot-6"]


@pytest.mark.parametrize(
    "name", ["run", "run on ranks", "grow", "grow's text", "data", "latency", "export", "evaluate"]
)
def test_no_process_is_handed_a_key(name: str, tmp_path: Path, python: str) -> None:
    assert run_command_line([*command(name, tmp_path), "--python", python]) in (1, 3)
    environments = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert environments
    for seen in environments:
        assert not set(KEYS) & set(seen)
        assert "a secret" not in seen.values()
        assert seen.items() >= OF_ALL.items()
        assert any((Path(root) / "aira_evaluator").is_dir() for root in seen["PYTHONPATH"].split(os.pathsep))
        if name in ("run", "run on ranks", "grow"):
            assert seen.items() >= OF_TRAINERS.items()

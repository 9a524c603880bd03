"""An agent's own validation: the judge's code on public data, one line where it cannot."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aira_evaluator.lra.agent.baselines.compose import compose
from aira_evaluator.lra.agent.baselines.genome import Genome
from aira_evaluator.lra.agent.validate import main
from aira_evaluator.lra.contract.profiles import CPU_LISTOPS
from aira_evaluator.lra.contract.splits import SplitManifest, write_split
from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.listops.expressions import draw_expressions

SHORT = "SEQ_LEN = 16\nEMB_DIM = 8\nQKV_DIM = 8\nMLP_DIM = 16\nNUM_LAYERS = 1\nNUM_HEADS = 2\nBATCH_SIZE = 8\nTRAIN_STEPS = 4\n"


def data_folder(root: Path, *, configurable: bool) -> Path:
    assert CPU_LISTOPS.listops is not None
    shape = replace(CPU_LISTOPS.listops, longer_than=3, shorter_than=16)
    for name, size, seed in (("train", 300, 1), ("validation", 300, 2)):
        split, _ = draw_expressions(shape, size, seed, set())
        write_split(root / name, split, SplitManifest("cpu", "listops", name, "generated", configurable))
    return root


def run(root: Path, source: str) -> int:
    (root / "model.py").write_text(source)
    places = ["--model", str(root / "model.py"), "--data", str(root), "--output", str(root / "validation.json")]
    return main(places)


def test_a_module_is_trained_and_its_number_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_folder(tmp_path, configurable=True)
    composed = compose(Genome(("linear_attention",)), CONTRACTS["listops"], CPU_LISTOPS, configurable=False)
    assert run(data, composed.replace("\n\nclass", f"\n\n{SHORT}\nclass", 1)) == 0
    claimed = json.loads((tmp_path / "validation.json").read_text())
    assert claimed["metric"] == "Accuracy"
    assert 0 <= claimed["value"] <= 1
    assert claimed["value"] * 300 == pytest.approx(np.round(claimed["value"] * 300))
    assert f"Accuracy {claimed['value']:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("LR = 3.0\n", "validate: line 1: LR is 3, expected 1e-06 to 0.05"),
        ("x = 1\n", "validate: model.py defines no class CustomEncoder"),
    ],
)
def test_what_cannot_be_validated_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, message: str
) -> None:
    assert run(data_folder(tmp_path, configurable=True), source) == 2
    assert capsys.readouterr().err == f"{message}\n"
    assert not (tmp_path / "validation.json").exists()


def test_absent_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "x = 1\n") == 2
    assert "manifest.json: No such file or directory" in capsys.readouterr().err

"""A model leaves the process that trained it and computes the same in one that has neither script nor files."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from served_models import Bigram
from torch import nn

from aira_evaluator.autoresearch.handover import HANDOVER_FILE, HandoverError, hand_over, load

CPU = torch.device("cpu")
LAYERS = """
import torch
from torch import nn

class Scale(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))
    def forward(self, x):
        return x * self.by
"""
SCRIPT = """
from dataclasses import dataclass
from pathlib import Path
import torch
from torch import nn
import layers
from aira_evaluator.autoresearch.handover import hand_over

@dataclass
class Config:
    width: int = 8

@torch.compile
def squared(x):
    return torch.relu(x) ** 2

class Net(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(12, config.width)
        self.block = torch.compile(nn.Linear(config.width, config.width))
        self.scale = layers.Scale(2.0)
        self.head = nn.Linear(config.width, 12, bias=False)
        self.head.weight = self.embed.weight
    def forward(self, x):
        return self.head(self.scale(squared(self.block(self.embed(x)))))

torch.manual_seed(0)
net = Net(Config())
model = torch.compile(net)
with torch.autocast("cpu", dtype=torch.bfloat16):
    hand_over(model)
    torch._dynamo.config.suppress_errors = True
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        expected = model(torch.arange(12)[None]).float()
torch.save(expected, "expected.pt")
"""
LOADER = """
import sys
from pathlib import Path
import torch
from aira_evaluator.autoresearch.handover import load
handed = load(Path(sys.argv[1]), torch.device("cpu"))
assert "layers" not in sys.modules and not Path("layers.py").exists()
assert not any(type(part).__name__ == "OptimizedModule" for part in handed.model.modules())
assert handed.model.head.weight is handed.model.embed.weight
assert handed.ambience.autocast and handed.ambience.autocast_dtype is torch.bfloat16
with torch.inference_mode(), torch.autocast("cpu", dtype=handed.ambience.autocast_dtype):
    found = handed.model(torch.arange(12)[None]).float()
assert torch.equal(found, torch.load(sys.argv[2])), "another result"
print("the same")
"""


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, env=environment,
        check=False,
    )  # fmt: skip


def test_a_compiled_model_of_a_script_and_its_files_computes_the_same_elsewhere(tmp_path: Path) -> None:
    fit, elsewhere = tmp_path / "fit", tmp_path / "elsewhere"
    fit.mkdir()
    (fit / "layers.py").write_text(LAYERS)
    (fit / "train.py").write_text(SCRIPT)
    trained = python(fit, "train.py")
    assert trained.returncode == 0, trained.stderr
    served = python(elsewhere, "-c", LOADER, str(fit / HANDOVER_FILE), str(fit / "expected.pt"))
    assert served.stdout == "the same\n", served.stderr


def test_a_later_hand_over_replaces_an_earlier_one(tmp_path: Path) -> None:
    model = Bigram()
    hand_over(model, tmp_path)
    with torch.no_grad():
        model.table.fill_(1.5)
    hand_over(model, tmp_path)
    loaded = load(tmp_path / HANDOVER_FILE, CPU).model
    assert isinstance(loaded, Bigram)
    assert (loaded.table == 1.5).all()
    assert [path.name for path in tmp_path.iterdir()] == [HANDOVER_FILE]


def test_a_model_that_cannot_be_pickled_leaves_the_earlier_one(tmp_path: Path) -> None:
    model = Bigram()
    before = hand_over(model, tmp_path).read_bytes()
    vars(model)["source"] = (number for number in range(3))
    with pytest.raises(HandoverError, match="cannot be pickled"):
        hand_over(model, tmp_path)
    assert (tmp_path / HANDOVER_FILE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [HANDOVER_FILE]


def test_a_loaded_model_is_in_evaluation_mode(tmp_path: Path) -> None:
    hand_over(nn.Sequential(nn.Dropout(0.5)).train(), tmp_path)
    assert not load(tmp_path / HANDOVER_FILE, CPU).model.training


@pytest.mark.parametrize("content", [{"schema": 1, "model": 3, "ambience": None}, {"schema": 2}, [1, 2]])
def test_other_files_are_no_handed_over_models(tmp_path: Path, content: object) -> None:
    (tmp_path / HANDOVER_FILE).write_bytes(pickle.dumps(content))
    with pytest.raises(HandoverError):
        load(tmp_path / HANDOVER_FILE, CPU)

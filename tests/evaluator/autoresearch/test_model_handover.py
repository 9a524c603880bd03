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

from aira_contract.files import HANDOVER_FILE
from aira_evaluator.autoresearch.fit import offline_kernels
from aira_evaluator.autoresearch.handover.model_file import HandoverError, hand_over, load

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
from aira_evaluator.autoresearch.handover.model_file import hand_over

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
from aira_evaluator.autoresearch.handover.model_file import load
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

TRAITS = """
import abc, collections, functools, json
from pathlib import Path
import torch, triton
import triton.language as tl
from torch import nn
from kernels import get_kernel
import layers
from aira_kernels.fused.norm_kernels import normalize
from aira_evaluator.autoresearch.handover.model_file import hand_over

flash = get_kernel("kernels-community/flash-attn3").flash_attn_interface
context = torch.amp.autocast(device_type="cpu", dtype=torch.bfloat16)
Output = collections.namedtuple("Output", "loss logits")
BLOCK = 128

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 12)
    def forward(self, x):
        return self.embed(x)

@functools.lru_cache(maxsize=None)
def mask(length):
    return torch.ones(length, length).tril()

class Cached(Base):
    @functools.lru_cache(maxsize=8)
    def weights(self, length):
        return mask(length) / torch.arange(1, length + 1)[:, None]
    @functools.cached_property
    def scale(self):
        return 0.5
    def forward(self, x):
        return self.scale * self.weights(x.shape[1]) @ self.embed(x)

@torch.jit.script
def squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x) ** 2

class Scripted(Base):
    def __init__(self):
        super().__init__()
        self.linear = torch.jit.script(nn.Linear(12, 12))
    def forward(self, x):
        return squared(self.linear(self.embed(x)))

class Parametrized(Base):
    def __init__(self):
        super().__init__()
        self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(12, 12))
    def forward(self, x):
        return self.linear(self.embed(x))

@torch.library.custom_op("handed::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2

class Operators(Base):
    def forward(self, x):
        return double(torch.ops.aten.relu(self.embed(x)))

class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()
    @staticmethod
    def backward(ctx, gradient):
        return gradient

class Mixed(Base):
    @property
    def logits(self):
        return lambda hidden: Straight.apply(hidden @ self.embed.weight) * layers.Scale(2.0)(torch.ones(1))
    def forward(self, x):
        with context:
            return Output(None, self.logits(self.embed(x)))

class Learning(Base):
    "Takes a step of gradient descent for each input, as test-time training does."
    def forward(self, x):
        with torch.enable_grad():
            hidden = self.embed(x)
            fast = torch.eye(12, requires_grad=True)
            (step,) = torch.autograd.grad((hidden @ fast - hidden.roll(1, 1)).square().mean(), fast)
        return hidden @ (fast - step)

class Flash(Base):
    def forward(self, x):
        heads = self.embed(x)[:, :, None]
        return flash.flash_attn_func(heads, heads, heads, causal=True, window_size=(3, 0)).flatten(2)

@triton.jit
def helper(x):
    return x * 2

@triton.autotune([triton.Config({"BLOCK_SIZE": BLOCK})], key=["n"])
@triton.jit
def kernel(x_ptr, n, BLOCK_SIZE: tl.constexpr):
    at = tl.arange(0, BLOCK_SIZE)
    tl.store(x_ptr + at, helper(tl.load(x_ptr + at, mask=at < n)), mask=at < n)

class Kernel(Base):
    def forward(self, x):
        x = self.embed(x)
        if x.is_cuda:
            normalize[(1,)](x)
        return kernel[(1,)](x, x.numel()) if x.is_cuda else x

class Wide(Base):
    def forward(self, x):
        return self.embed(x) + torch.zeros(12) + torch.full((12,), 0.5)

class Abstract(Base, abc.ABC):
    @abc.abstractmethod
    def head(self, x): ...
    def forward(self, x):
        return self.head(self.embed(x))

def concrete():
    class Concrete(Abstract):
        def head(self, x):
            return super().forward.__self__.embed.weight @ x.mT
    return Concrete()

def averaged():
    model = Base()
    shadow = {name: 0.5 * value for name, value in model.state_dict().items()}
    return lambda x, y=None, reduction="mean": torch.func.functional_call(model, shadow, (x,))

torch.manual_seed(0)
found = {}
for make in (Cached, Scripted, Parametrized, Operators, Mixed, Learning, Flash, Kernel, Wide, concrete, averaged):
    torch.set_default_dtype(torch.float64 if make is Wide else torch.float32)
    model, folder = make(), Path(make.__name__)
    x = torch.arange(12)[None]
    with torch.no_grad():
        output = model(x)
        folder.mkdir()
        # The folder of the script is that of train.py; the file goes elsewhere so that all can be kept.
        hand_over(model).rename(folder / "handover.bin")
    found[make.__name__] = output.logits if isinstance(output, Output) else output
torch.save(found, "expected.pt")
"""
TRAITS_LOADER = """
import sys
from pathlib import Path
import torch
from aira_evaluator.autoresearch.handover.model_file import load
from aira_evaluator.autoresearch.predict.serving import logits_of
fit, device = Path(sys.argv[1]), torch.device("cpu")
for name, expected in torch.load(fit / "expected.pt").items():
    handed = load(fit / name / "handover.bin", device)
    handed.ambience.settle()
    with handed.ambience.entered(device):
        found = logits_of(handed.model(torch.arange(12)[None]), 1, 12, 12)
    assert found.dtype == expected.dtype and torch.equal(found, expected), name
    if name == "Kernel":
        kernel, library = (type(handed.model).forward.__globals__[name] for name in ("kernel", "normalize"))
        assert library.src.startswith("def normalize(")
        assert "tl.store(x_ptr + at, helper(" in kernel.fn.src and kernel.configs[0].kwargs == {"BLOCK_SIZE": 128}
    print(name)
assert not {"kernels", "layers"} & set(sys.modules)
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


def test_what_scripts_put_into_models_computes_the_same_elsewhere(tmp_path: Path) -> None:
    """Eleven models in two processes, because each process imports torch."""
    fit, elsewhere = tmp_path / "fit", tmp_path / "elsewhere"
    fit.mkdir()
    (fit / "layers.py").write_text(LAYERS)
    (fit / "kernels.py").write_text(Path(offline_kernels.__file__).read_text())
    (fit / "train.py").write_text(TRAITS)
    trained = python(fit, "train.py")
    assert trained.returncode == 0, trained.stderr
    served = python(elsewhere, "-c", TRAITS_LOADER, str(fit))
    assert served.returncode == 0, served.stderr
    assert len(served.stdout.split()) == 11


class Views(nn.Module):
    def __init__(self, parts: int) -> None:
        super().__init__()
        whole = torch.randn(parts, 32, 32)
        self.parts = nn.ParameterList([nn.Parameter(part) for part in whole])


def test_views_of_one_tensor_take_its_room_once_and_stay_views(tmp_path: Path) -> None:
    """A flat buffer under all parameters would otherwise be stored once for each of them."""
    model = Views(64)
    assert hand_over(model, tmp_path).stat().st_size < 1.5 * 64 * 32 * 32 * 4
    parts = load(tmp_path / HANDOVER_FILE, CPU).model.parts
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 1
    for kept, loaded in zip(model.parts, parts, strict=True):
        assert torch.equal(kept, loaded)


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
    where = r"cannot pickle 'generator' object \(in attribute source of the model\)\. Keep generators,"
    with pytest.raises(HandoverError, match=where):
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

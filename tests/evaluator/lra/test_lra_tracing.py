"""Submissions that a fit container refuses, with the words the agent reads; run as the container runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_modules import DOCUMENT_ENCODER, EMBED, GOOD, POOL, encoder

from aira_evaluator.lra.bundle import BUNDLE_FILE, read_bundle
from aira_evaluator.lra.commands import trace
from aira_evaluator.lra.contract import TaskName
from aira_evaluator.lra.profiles import PROFILES


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRA_PROFILE", "cpu")


def traced(source: str | bytes, task: TaskName = "listops", *, configurable: bool = False) -> int:
    Path("model.py").write_bytes(source if isinstance(source, bytes) else source.encode())
    return trace(task, configurable=configurable, arguments=[])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:", "SyntaxError"),
        (b"\xff\xfe", "not UTF-8"),
        (b"#" * (128 * 1024 + 1), "larger than 131,072 bytes"),
        (GOOD.replace("class CustomEncoder", "class Encoder"), "defines no class CustomEncoder"),
        ("CustomEncoder = 3", "not a subclass of flax.linen.Module"),
        ("import sys\nsys.exit(0)", "ends the process that imports it"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        (GOOD.replace("nn.Dense(self.num_classes)", "nn.Dense(7)"), "expected float32 of shape (32, 10)"),
        (encoder(EMBED + "return x"), "expected float32 of shape (32, 10)"),
        (encoder(EMBED + "return x.mean(axis=1).astype(jnp.bfloat16)[:, :10]"), "returns bfloat16"),
        (encoder("x = nn.BatchNorm(use_running_average=True)(inputs[:, :, None] * 1.0)\nmask = 1.0 + 0 * x" + POOL), "expected only params"),
        (encoder("return nn.Embed(self.vocab_size, 10, param_dtype=jnp.bfloat16)(inputs).mean(axis=1).astype(jnp.float32)"), "parameters of type bfloat16"),
        (encoder("w = self.param('w', nn.initializers.zeros, (65_000_000,))\nreturn w[inputs[:, :10]]"), "65,000,000 parameters"),
        (encoder(EMBED + "x = jax.pure_callback(lambda v: v, x, x)" + POOL), "callback"),
        (encoder(EMBED + "jax.debug.print('{}', x.sum())" + POOL), "callback"),
        (encoder(EMBED + "x = x @ self.param('q', nn.initializers.orthogonal(), (64, 64))" + POOL), "linear algebra"),
        (encoder(EMBED + "x = x * np.random.default_rng(0).integers(0, 99, (200 << 20,), dtype=np.uint8)[:48, None]" + POOL).replace("[:48, None]", "[jnp.arange(48), None]").replace("np.random", "jnp.asarray(np.random").replace("dtype=np.uint8)", "dtype=np.uint8))"), "MiB, far more"),
    ],
)  # fmt: skip
def test_a_module_that_breaks_the_contract_is_refused_in_one_line(
    source: str | bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert traced(source) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("model.py: ")
    assert reason in last
    assert not Path(BUNDLE_FILE).exists()


def test_a_retrieval_module_encodes_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert traced(DOCUMENT_ENCODER, "retrieval") == 0
    assert traced(DOCUMENT_ENCODER.replace("emb_dim)(x)", "mlp_dim)(x)"), "retrieval") == 2
    assert "expected float32 of shape (32, 32)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("constants", "reason"),
    [("LR = 0.5", "line 1: LR is 0.5"), ("LR = 1 / 100", "line 1: LR is not a literal"), ("BATCH_SIZE = 4\n", "")],
)
def test_constants_are_read_where_the_task_is_configurable(
    constants: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = traced(f"{constants}\n{GOOD}", configurable=True)
    assert (status, reason in capsys.readouterr().err) == (2 if reason else 0, True)
    if not reason:
        stored = Path(BUNDLE_FILE).read_bytes()
        assert read_bundle(stored, PROFILES["cpu", "listops"], configurable=True).hyperparameters.batch_size == 4


def test_the_judge_imports_nothing_that_runs_modules() -> None:
    """What a judge has in its process when it has everything it needs to score."""
    program = "import sys, aira_evaluator.lra.commands, aira_evaluator.lra.scoring; print(*sys.modules)"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    imported = set(ran.stdout.split())
    assert "jax" in imported
    assert not imported & {"flax", "model", "aira_evaluator.lra.tracing", "torch"}

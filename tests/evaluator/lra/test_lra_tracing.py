"""Submissions that a fit container refuses, with the words the agent reads; run as the container runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_modules import DOCUMENT_ENCODER, EMBED, GOOD, POOL, encoder

from aira_contract.files import GRAPHS_FILE
from aira_evaluator.lra.contract.bundle import read_bundle
from aira_evaluator.lra.contract.profiles import PROFILES
from aira_evaluator.lra.contract.submission import TaskName
from aira_evaluator.lra.fit.trace import trace


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
        (encoder("x = nn.BatchNorm(use_running_average=True)(inputs[:, :, None] * 1.0)\nmask = 1.0 + 0 * x" + POOL), "the collection batch_stats, expected only params: no state is carried between steps (LayerNorm or GroupNorm for"),
        (encoder("return nn.Embed(self.vocab_size, 10, param_dtype=jnp.bfloat16)(inputs).mean(axis=1).astype(jnp.float32)"), "parameters of type bfloat16"),
        (encoder("w = self.param('w', nn.initializers.zeros, (65_000_000,))\nreturn w[inputs[:, :10]]"), "65,000,000 parameters"),
        (encoder(EMBED + "x = jax.pure_callback(lambda v: v, x, x)" + POOL), "callback"),
        (encoder(EMBED + "jax.debug.print('{}', x.sum())" + POOL), "callback"),
        (encoder(EMBED + "jax.jit(lambda v: jax.debug.callback(print, v))(x)" + POOL), "host callbacks (jax.debug.print, pure_callback) are not admitted"),
        (encoder(EMBED + "x = x * jnp.linalg.svd(x[0, :5, :5])[1].sum()" + POOL), "init: calls lapack_sgesdd_ffi: of linear algebra only QR"),
        (encoder(EMBED + "self.sow('losses', 'size', x.sum())" + POOL), "the collection losses, expected only params: no state is carried"),
        (encoder(EMBED + "pe = self.variable('constants', 'pe', jnp.ones, (64,))\nx = x + pe.value" + POOL), "jnp arrays for constants"),
        (encoder(EMBED + "x = (x * self.param('c', lambda key: jnp.ones(64, jnp.complex64))).real" + POOL), "a complex one is two of these"),
        (encoder(EMBED + POOL.replace("return", "return x,")), "returns a tuple, expected one array, float32 (32, 10)"),
        (encoder("\n" + EMBED + "x = x.reshape(7, -1)" + POOL), "line 22: TypeError: "),
        ("import not_there\n" + GOOD, "line 1: ModuleNotFoundError: No module named 'not_there'; there are jax, flax"),
        ("from flax.deprecated import nn\n" + GOOD, "No module named 'flax.deprecated'; the old flax.nn and flax.optim are gone: layers are in flax.linen, with @nn.compact, optimizers in optax"),
        ("from flax import optim\n" + GOOD, "the old flax.nn and flax.optim are gone: layers are in flax.linen, with @nn.compact, optimizers in optax"),
        ("import flax\nclass Old(flax.nn.Module): pass\n" + GOOD, "the old flax.nn and flax.optim are gone: layers are in flax.linen, with @nn.compact, optimizers in optax"),
        (encoder(EMBED + "if x.sum() > 0:\n    x = -x" + POOL), "bool[]; shapes and Python branches may not depend on values: use jnp.where"),
        (encoder(EMBED + "x = x[:, : int(mask.sum())]" + POOL), "float32[]; shapes and Python branches may not depend"),
        (encoder(EMBED + "x = x * np.mean(np.asarray(x))" + POOL), "use jnp, not numpy, on traced values"),
        (encoder(EMBED + "x = x + jax.random.normal(self.make_rng('noise'), x.shape)" + POOL), 'needs PRNG for "noise"; the one random stream is dropout'),
        (encoder(EMBED + "x = x * np.random.default_rng(0).integers(0, 99, (200 << 20,), dtype=np.uint8)[:48, None]" + POOL).replace("[:48, None]", "[jnp.arange(48), None]").replace("np.random", "jnp.asarray(np.random").replace("dtype=np.uint8)", "dtype=np.uint8))"), "MiB, far more"),
    ],
)  # fmt: skip
def test_a_module_that_breaks_the_contract_is_refused_in_one_line(
    source: str | bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert traced(source) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("model.py: ")
    assert reason in last[:300]  # what a search shows of it
    assert "tracing.py" not in last
    assert not Path(GRAPHS_FILE).exists()


@pytest.mark.parametrize("setting", ["'jax_enable_x64', True", "'jax_default_prng_impl', 'rbg'"])
def test_settings_of_jax_that_a_module_changes_do_not_change_its_graphs(setting: str) -> None:
    noisy = encoder(EMBED + "x = x + np.linspace(0, 1, 64) * jnp.arange(64)" + POOL)
    program = "import sys; from aira_evaluator.lra.fit.trace import trace; sys.exit(trace('listops', configurable=False, arguments=[]))"
    graphs = []
    for source in (noisy, f"import jax\njax.config.update({setting})\n{noisy}"):
        Path("model.py").write_text(source)
        subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})
        graphs.append(Path(GRAPHS_FILE).read_bytes())
    assert graphs[0] == graphs[1]


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
        stored = Path(GRAPHS_FILE).read_bytes()
        assert read_bundle(stored, PROFILES["cpu", "listops"], configurable=True).hyperparameters.batch_size == 4


def test_the_judge_imports_nothing_that_runs_modules() -> None:
    """What a judge has in its process when it has everything it needs to score."""
    program = (
        "import sys, aira_evaluator.lra.judge.evaluate, aira_evaluator.lra.training.module_score; print(*sys.modules)"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    imported = set(ran.stdout.split())
    assert "jax" in imported
    assert not imported & {"flax", "model", "aira_evaluator.lra.fit.tracing", "torch"}

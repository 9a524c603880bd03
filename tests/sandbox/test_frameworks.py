"""What agents need works behind the walls: the seccomp profile is an allow-list, so this has to be shown."""

import pytest
from small_steps import RunCode

from aira_bench.sandbox.protocol import Limits

pytestmark = pytest.mark.docker

TORCH = """
import importlib.util
if importlib.util.find_spec("torch") is None:
    raise SystemExit(3)
import torch
from torch.utils.data import DataLoader, TensorDataset
weights = torch.randn(64, 64, requires_grad=True)
(torch.randn(64, 64) @ weights).square().sum().backward()
batches = sum(1 for _ in DataLoader(TensorDataset(torch.randn(64, 8)), batch_size=16, num_workers=2))
print(torch.isfinite(weights.grad).all().item(), batches)
"""
JAX = """
import importlib.util
if importlib.util.find_spec("jax") is None:
    raise SystemExit(3)
import jax
print(float(jax.jit(jax.grad(lambda x: (x @ x).sum()))(jax.numpy.ones((8, 8))).sum()))
"""
PYTHON = """
import multiprocessing, socket, sqlite3, subprocess, tempfile, threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
with ProcessPoolExecutor(2) as pool: assert list(pool.map(abs, [-1, -2])) == [1, 2]
with ThreadPoolExecutor(4) as pool: assert list(pool.map(abs, [-1, -2])) == [1, 2]
with multiprocessing.get_context("spawn").Pool(1) as pool: assert pool.map(abs, [-3]) == [3]
queue = multiprocessing.Queue(); queue.put(1); assert queue.get() == 1
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
assert subprocess.run(["echo", "hello"], capture_output=True, check=True).stdout == b"hello\\n"
with tempfile.NamedTemporaryFile() as file: sqlite3.connect(file.name).execute("create table t (x)")
print("works")
"""


def run_or_skip(run_code: RunCode, code: str, framework: str) -> bytes:
    outcome = run_code(code, timeout_s=120, limits=Limits(), artifacts=())
    if outcome.exit_code == 3:
        pytest.skip(f"the image has no {framework}")
    assert outcome.exit_code == 0, outcome.stderr.tail or outcome.stderr.head
    return outcome.stdout.head


def test_torch_trains_and_its_data_loader_forks(run_code: RunCode) -> None:
    assert run_or_skip(run_code, TORCH, "torch") == b"True 4\n"


def test_jax_compiles(run_code: RunCode) -> None:
    assert run_or_skip(run_code, JAX, "jax") == b"1024.0\n"


def test_python_s_own_concurrency_works(run_code: RunCode) -> None:
    assert run_code(f"if __name__ == '__main__':\n    exec({PYTHON!r})", artifacts=()).stdout.head == b"works\n"

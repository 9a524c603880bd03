"""What agents need works behind the walls: the seccomp profile is an allow-list, so this has to be shown."""

import pytest
from small_steps import RunCode

from aira_bench.sandbox.sandbox import Limits
from aira_bench.tasks.profile import Profile

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
LOADER = """
import importlib.util, os
if importlib.util.find_spec("torch") is None:
    raise SystemExit(3)
import torch
from torch.utils.data import DataLoader, Dataset
class Images(Dataset):
    def __len__(self): return 64 * 16
    def __getitem__(self, index): return torch.zeros(3, 224, 224)
torch.set_num_threads(1)
loaded = iter(DataLoader(Images(), batch_size=64, num_workers=4, prefetch_factor=2))
batches = [next(loaded) for _ in range(4)]  # eight more are ahead
print(len(batches), "works")
os._exit(0)
"""
JAX = """
import importlib.util
if importlib.util.find_spec("jax") is None:
    raise SystemExit(3)
import jax
print(float(jax.jit(jax.grad(lambda x: (x @ x).sum()))(jax.numpy.ones((8, 8))).sum()))
"""
PYTHON = """
import asyncio, fcntl, multiprocessing, os, socket, sqlite3, subprocess, sys, tempfile, threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
with ProcessPoolExecutor(2) as pool: assert list(pool.map(abs, [-1, -2])) == [1, 2]
with ThreadPoolExecutor(4) as pool: assert list(pool.map(abs, [-1, -2])) == [1, 2]
with multiprocessing.get_context("spawn").Pool(1) as pool: assert pool.map(abs, [-3]) == [3]
queue = multiprocessing.Queue(); queue.put(1); assert queue.get() == 1
left, right = socket.socketpair(); left.sendall(b"x"); assert right.recv(1) == b"x"
with multiprocessing.Manager() as manager: assert manager.list([1])[0] == 1
async def echo():
    process = await asyncio.create_subprocess_exec("echo", "hello", stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0]
assert asyncio.run(echo()) == b"hello\\n"
assert subprocess.run(["echo", "hello"], capture_output=True, check=True).stdout == b"hello\\n"
with tempfile.NamedTemporaryFile() as file:
    fcntl.flock(file, fcntl.LOCK_EX); fcntl.lockf(file, fcntl.LOCK_UN)
    with sqlite3.connect(file.name) as base: base.execute("create table t (x)"); base.execute("insert into t values (1)")
    assert sqlite3.connect(file.name).execute("select x from t").fetchall() == [(1,)]
os.mkfifo("fifo"); os.unlink("fifo")
print("works")
"""


PSUTIL = """
import importlib.util
if importlib.util.find_spec("psutil") is None:
    raise SystemExit(3)
import os, psutil
memory = psutil.virtual_memory()
assert memory.available <= memory.total, memory
psutil.cpu_percent(); psutil.cpu_times(); psutil.Process().memory_info()
print(memory.total >> 20, psutil.cpu_count() == os.cpu_count())
"""


def run_or_skip(run_code: RunCode, code: str, framework: str) -> bytes:
    outcome = run_code(code, timeout_s=120, limits=Limits(), artifacts=())
    if outcome.exit_code == 3:
        pytest.skip(f"the image has no {framework}")
    assert outcome.exit_code == 0, outcome.stderr.tail or outcome.stderr.head
    return outcome.stdout.head


def test_torch_trains_and_its_data_loader_forks(run_code: RunCode) -> None:
    assert run_or_skip(run_code, TORCH, "torch") == b"True 4\n"


def test_workers_hand_over_batches_of_images_under_a_task_s_default_caps(run_code: RunCode) -> None:
    """64 MiB of shared memory, the engine's own default, ends them with `No space left on device`."""
    outcome = run_code(LOADER, timeout_s=120, limits=Profile(memory_mib=2048, workspace_mib=16).limits(), artifacts=())
    if outcome.exit_code == 3:
        pytest.skip("the image has no torch")
    assert outcome.stdout.head == b"4 works\n", outcome.stderr.tail or outcome.stderr.head
    assert outcome.exit_code == 0


def test_jax_compiles(run_code: RunCode) -> None:
    assert run_or_skip(run_code, JAX, "jax") == b"1024.0\n"


def test_python_s_own_concurrency_works(run_code: RunCode) -> None:
    assert run_code(f"if __name__ == '__main__':\n    exec({PYTHON!r})", artifacts=()).stdout.head == b"works\n"


def test_psutil_is_told_the_container_s_own_memory(run_code: RunCode) -> None:
    limits = Limits()
    granted_mib = limits.memory_mib + limits.workspace_mib + limits.tmp_mib + limits.shm_mib
    assert run_or_skip(run_code, PSUTIL, "psutil") == f"{granted_mib} True\n".encode()

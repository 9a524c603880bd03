"""What preparation containers are given. What their scripts make of it is tested with each task."""

from pathlib import Path

import pytest

from aira_bench.tasks.data_source import RawData, choose_source
from aira_bench.tasks.preparation import half_spec
from aira_bench.tasks.task import find_task


@pytest.mark.parametrize(
    ("name", "half", "lent"),
    [("autoresearch", "hidden", "GPU-0"), ("autoresearch", "public", None), ("mad-2p", "hidden", None)],
)
def test_a_gpu_goes_where_references_are_trained_and_nowhere_else(name: str, half: str, lent: str | None) -> None:
    task = find_task(name)
    raw = RawData(())
    spec = half_spec(task, "paper", Path("staging"), half, choose_source(task, None), raw, "image", "id", "GPU-0")
    assert spec.role == "prepare"
    assert spec.limits.gpu_uuid == lent

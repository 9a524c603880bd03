"""What a manifest says of the machine's speed."""

import pytest

from aira_bench.hardware import Hardware
from aira_bench.runs.provenance import core_speed, describe_hardware


def test_the_speed_of_a_core_is_told_in_its_own_time() -> None:
    """So that it says something of the machine and not of its neighbours."""
    assert core_speed() == pytest.approx(core_speed(), rel=0.5)
    told = describe_hardware(Hardware("a processor", 2, 1024, ()))
    assert told.keys() == {"processor", "cores", "memory_mib", "gpus", "gpu_driver", "sha256_mib_per_s", "load_average"}
    assert told["sha256_mib_per_s"] > 10

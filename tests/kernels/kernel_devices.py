"""Where the tests of the Triton kernels run: on a GPU, or in Triton's interpreter when TRITON_INTERPRET=1."""

import os

import pytest
import torch

OPERATOR_CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")
"""Of `torch.library.opcheck`; what its slow last check covers, test_fused_blocks.py does on a whole model."""

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def kernel_device() -> torch.device:
    """The device of this session; a module that asks for one is skipped where there is none."""
    if INTERPRETED:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    pytest.skip("needs a CUDA device; test_interpreter.py runs it on the CPU", allow_module_level=True)

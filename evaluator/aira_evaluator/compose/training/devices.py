"""The device a training runs on, and the settings of torch under which equal inputs give equal scores."""

import os

import torch


def make_deterministic() -> None:
    """Set this process up so that the same inputs give the same scores to the last digit.

    One thread, since the order of a reduction depends on how many share it; deterministic kernels on CUDA. Memory that
    torch hands out is not filled with NaN, which would be a kernel more for each buffer: every buffer here is written
    before it is read. Entry points call it; it changes the process's torch settings.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.set_num_threads(1)
    # What `torch.use_deterministic_algorithms(True)` sets, without importing the compiler as that does: over a second.
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if torch.cuda.is_available():  # elsewhere the setting would let some processors round as well
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True


def choose_device() -> torch.device:
    """Return the CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

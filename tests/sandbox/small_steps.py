"""What the sandbox tests share: small limits, the usual artifact, and the type of the `run_code` fixture."""

from collections.abc import Callable

from aira_bench.sandbox.sandbox import ArtifactRequest, Limits, StepOutcome

SMALL = Limits(memory_mib=96, workspace_mib=16, tmp_mib=16, shm_mib=8, pids=48, open_files=256)
SUBMISSION = ArtifactRequest("submission.csv", 4096)
RunCode = Callable[..., StepOutcome]

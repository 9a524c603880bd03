"""Turns what the engine saw into a step class and one line of reason.

A step passes here before its submission is judged: code that failed, ran out of time or memory, or left no acceptable
file never reaches a judge. Nothing the code printed plays a part.
"""

from dataclasses import dataclass

from aira_bench.output import last_line
from aira_bench.record.node import StepClass
from aira_bench.sandbox.protocol import Artifact, StepOutcome


@dataclass(frozen=True)
class Failure:
    """Why a step has no submission to judge."""

    step_class: StepClass
    reason: str


def failure_of(outcome: StepOutcome, artifact: str, *, timeout_s: float, memory_mib: int) -> Failure | None:
    """The failure of a step, None if its submission may be judged."""
    if outcome.ended == "timeout":
        return Failure("timeout", f"killed after {timeout_s:.0f} s")
    if outcome.ended == "out_of_memory":
        return Failure("out_of_memory", f"killed above {outcome.above or f'{memory_mib} MiB of memory'}")
    if outcome.ended == "output_flood":
        return Failure("buggy", f"killed above {outcome.above}")
    if outcome.exit_code != 0:
        return Failure("buggy", f"exit status {outcome.exit_code}: {last_line(outcome.stderr) or 'no message'}")
    found = outcome.artifacts[artifact]
    if not isinstance(found, Artifact):
        detail = f" ({found.detail})" if found.detail else ""
        return Failure("invalid_submission", f"{artifact}: {found.reason}{detail}")
    return None

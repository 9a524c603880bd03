"""What the models of `metadata.yaml` share: unknown keys are errors, numbers have bounds, and errors are one line.

Not covered: what stands in the file (`metadata`, `artifact_spec`, `profile`, `measured_noise`).
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aira_bench.excerpts import VALUE_CHARS

Positive = Annotated[int, Field(gt=0, lt=1 << 62)]
Count = Annotated[int, Field(gt=0, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=10_000_000)]
"""At most 115 days."""
Mib = Annotated[int, Field(gt=0, le=1 << 24)]


class Schema(BaseModel):
    """A mapping in which every key is known; frozen once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def describe_validation_error(error: ValidationError) -> str:
    """One line for a pydantic error: where, what is wrong, what was seen."""
    parts = []
    for item in error.errors(include_url=False)[:3]:
        where = ".".join(str(part) for part in item["loc"]) or "the whole file"
        seen = "" if item["type"] == "missing" or not item["loc"] else f" (seen: {str(item['input'])[:VALUE_CHARS]!r})"
        parts.append(f"{where}: {item['msg'].removeprefix('Value error, ')}{seen}")
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")

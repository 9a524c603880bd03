"""What the host tells a judge that trains a traced module (`files.JUDGE_FILE`).

Written by the host (`aira_bench.evaluation.traced_module`), read by `evaluate.py` of the tasks whose submission is a
module. Whoever runs that script by hand may leave the file out; then nothing is limited and the secret is empty.
"""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class JudgeSettings:
    """Limits of one judge, its secret, and what was measured of its task."""

    timeout_s: float | None = None
    """Within which it has to end, so that it can refuse early what will not; None where that is not the submission's
    to answer for."""
    memory_mib: int | None = None
    """Which its container has."""
    draw_secret: str = ""
    """Of the machine, hexadecimal: what is asked must not follow from seeds that task folders publish."""
    training_deviation: float = 0.0
    """Standard deviation of a score over trainings of one submission; 0 where nobody measured it. What two trainings
    differ by for no other reason says nothing of what was submitted."""

    def to_json(self) -> bytes:
        """Return the file's content."""
        return json.dumps(asdict(self)).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> "JudgeSettings":
        """Read a file's content; what it leaves out has its default.

        Raises:
            ValueError: it is no JSON object, or has other keys.
        """
        values = json.loads(data)
        if not isinstance(values, dict) or not set(values) <= set(cls.__dataclass_fields__):
            raise ValueError(f"expected an object with no other keys than {', '.join(cls.__dataclass_fields__)}")
        return cls(**values)

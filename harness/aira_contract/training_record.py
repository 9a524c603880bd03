"""What the host tells a judge of a training that it timed and ended (`files.FIT_FILE`).

Written by the host (`aira_bench.evaluation.served_script`), read by `evaluate.py` of the tasks whose submission is a
training script. Both are trusted, so a file that does not fit is a failure of the evaluation.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

NO_ANSWER, TOO_SLOW = "the model gave no answer within", "serving the model took longer than"
"""How a judge's refusal begins that time decided: where others took the cores, the host asks again. Judges say nothing
that a submission wrote."""


@dataclass(frozen=True)
class TrainingRecord:
    """One training and the model it left."""

    handover_sha256: str
    """Hash of the model's file, which the judge never sees."""
    claimed: float | None
    """The score that the script computed itself; None where it left none that is well-formed."""
    serving_s: float
    """After so many seconds the host ends the predict containers."""
    seconds: Mapping[str, float | None]
    """By the host's clocks: `start_up`, `training`, `until_handed_over`, and `fit` for all; None where unknown.
    `lost_to_others` is what others took of `fit` and `lost_in_training` of `training`; `stretch` is how many times its
    budget the script was told before it began."""
    sockets: Sequence[str]
    """Names in the socket volume, one for each predict container that the host will start; known to it alone."""
    draw_secret: str
    """Of the machine, hexadecimal: what is asked must not follow from seeds that task folders publish."""
    stretch: float = 1.0
    """How many times longer than alone work takes on these cores now, because others use them: the judge's own limits
    are as many times longer. The host measured it; the submission has no hand in it."""

    def to_json(self) -> bytes:
        """Return the file's content.

        Raises:
            ValueError: a number is infinite or none.
        """
        return json.dumps(asdict(self), allow_nan=False).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> "TrainingRecord":
        """Read a file's content.

        Raises:
            ValueError: it is no JSON object with exactly these keys.
        """
        values = json.loads(data)
        if not isinstance(values, dict) or set(values) != set(cls.__dataclass_fields__):
            raise ValueError(f"expected an object with the keys {', '.join(cls.__dataclass_fields__)}")
        return cls(**values)

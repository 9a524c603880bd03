"""One line of the doctor's report."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]
"""`failed`: runs of the profile cannot start or cannot be trusted; `warning`: some of them cannot."""


@dataclass(frozen=True)
class Diagnosis:
    """One line of the doctor's report."""

    check: str
    state: State
    seen: str
    mend: str = ""

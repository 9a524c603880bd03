"""What a stage has found so far, on disk after every figure, so that a stage that is killed has still told it.

Not covered: which stages there are and how long they may take (`gpu_check`).
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_stages.files import write_json

if TYPE_CHECKING:
    import torch


@dataclass
class Record:
    """The figures of one stage."""

    path: Path
    toy: bool
    """Shrink everything until a CPU does it in seconds; the figures mean nothing then."""
    limit_s: float = 600.0
    """After which the stage is killed."""
    rows: list[dict[str, object]] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def row(self, what: str, figure: float | str, unit: str = "", *, bar: str = "", met: bool | None = None) -> None:
        """Put a line into the table: a figure, its unit, and where there is one the bar and whether it is met.

        A later figure of the same thing takes the place of the earlier one.
        """
        line: dict[str, object] = {"what": what, "figure": figure, "unit": unit, "bar": bar, "met": met}
        places = [place for place, row in enumerate(self.rows) if row["what"] == what]
        if places:
            self.rows[places[0]] = line
        else:
            self.rows.append(line)
            shown = f"{figure:.4g}" if isinstance(figure, float) else figure
            print(f"{what}: {shown} {unit} {bar}".rstrip(), flush=True)
        self._write()

    def detail(self, name: str, value: object) -> None:
        """Keep what the table has no room for."""
        self.details[name] = value
        self._write()

    def attempt(self, what: str, work: Callable[[], object]) -> bool:
        """Run one part of a stage; one that fails is written down, and the next part goes on."""
        try:
            work()
        except Exception as error:  # What fails on a device fails in the ways of compilers and drivers.
            first = (str(error).splitlines() or [""])[0]
            self.errors.append(f"{what}: {type(error).__name__}: {first}")
            print(f"failed: {self.errors[-1]}", flush=True)
            traceback.print_exc()
            self._write()
            return False
        return True

    def _write(self) -> None:
        write_json(self.path, {"toy": self.toy, "rows": self.rows, "errors": self.errors, "details": self.details})


def device() -> "torch.device":
    """The CUDA device, or a CPU for toys."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Wait for the device, where there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()

"""What a stage has found so far, on disk after every figure, so that a stage that is killed has still told it.

Not covered: which stages there are and how long they may take (`gpu_check`).
"""

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

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
        """Add a line of the table: a figure, its unit, and where there is one the bar and whether it is met."""
        self.rows.append({"what": what, "figure": figure, "unit": unit, "bar": bar, "met": met})
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
        found = {"toy": self.toy, "rows": self.rows, "errors": self.errors, "details": self.details}
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=1))
        partial.replace(self.path)


def device() -> torch.device:
    """The CUDA device, or a CPU for toys."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Wait for the device, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()

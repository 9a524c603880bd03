"""An engine where a build would take hours: it says what it is, and hands out a wheel that nobody compiled."""

from pathlib import Path
from typing import ClassVar

from aira_bench.docker_engine.engine import EngineInfo


class ImageBuilder:
    """What players of builds share."""

    memory_gib: ClassVar[int]
    wheel: ClassVar[str]
    """The name of its wheel, up to the tags."""

    def info(self) -> EngineInfo:
        """A machine of sixteen cores."""
        return EngineInfo("1", 2, "/", cpus=16, memory_mib=self.memory_gib << 10, runtimes=())

    def copy_out(self, tag: str, folder: str, into: Path) -> list[Path]:
        """Leave the wheel."""
        path = into / f"{self.wheel}-cp311-cp311-linux_x86_64.whl"
        path.write_bytes(b"compiled here")
        return [path]

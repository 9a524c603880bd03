"""Distributions as somebody else's installer leaves them: modules, metadata and entry points in a folder on the path."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent


def install(
    folder: Path,
    name: str,
    *,
    modules: Mapping[str, str],
    points: Mapping[str, Mapping[str, str]],
    version: str = "1.0",
) -> Path:
    """Put a distribution into `folder`; `modules` are texts by path, `points` targets by name by group."""
    for path, text in modules.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, targets in points.items():
        lines.append(f"[aira_bench.{group}]")
        lines.extend(f"{key} = {target}" for key, target in targets.items())
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    record = [*modules, f"{info.name}/METADATA", f"{info.name}/entry_points.txt", f"{info.name}/RECORD"]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in record))
    return folder

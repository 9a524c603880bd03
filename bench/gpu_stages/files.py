"""The files of a check: written whole or not at all, read as far as they are whole, and shown as one Markdown table.

The standard library alone. Not covered: what is in a stage's figures (`record`).
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gpu_stages.machine import in_words

MACHINE, TABLE = "machine.json", "table.md"


def write_whole(path: Path, text: str) -> None:
    """Put `text` in the place of `path`: whoever is killed here leaves the old file or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write JSON as `write_whole` does."""
    write_whole(path, json.dumps(value, indent=1))


def read_json(path: Path) -> dict[str, Any]:
    """What is in a file; nothing where there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def table(out: Path, stages: Iterable[str]) -> str:
    """What has been found so far, as Markdown for docs/performance.md."""
    lines = [str(read_json(out / MACHINE).get("line", "unknown machine")), ""]
    unmeasured = []
    for stage in stages:
        found, end = read_json(out / f"{stage}.json"), read_json(out / f"{stage}.end.json")
        if not found.get("rows"):
            unmeasured.append(stage)
        if found or end:
            lines += [f"### {stage}", "", *_stage(found, end), ""]
    if unmeasured:
        lines += [f"Not measured: {', '.join(unmeasured)}.", ""]
    return "\n".join(lines)


def _stage(found: Mapping[str, Any], end: Mapping[str, Any]) -> list[str]:
    toy = bool(found.get("toy"))
    mark = "Toy sizes: the figures mean nothing. " if toy else ""
    lines = [f"{mark}Ended {end.get('ended', 'unseen')}, {end.get('seconds', '?')} s."]
    if "name" in end.get("gpu", {}):
        lines.append(f"After it: {in_words(end['gpu'])}.")
    lines += ["", *(f"- failed: {error[:300]}" for error in found.get("errors", []))]
    lines += ["", "| | figure | bar |", "|---|---|---|"] if found.get("rows") else []
    for row in found.get("rows", []):
        figure = f"{row['figure']:.4g}" if isinstance(row["figure"], float) else row["figure"]
        met = "" if row["met"] is None else (", met" if row["met"] else ", **missed**")
        lines.append(f"| {row['what']} | {figure} {row['unit']} | {'' if toy else row['bar'] + met} |")
    return lines

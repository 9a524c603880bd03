"""A short description of a task's public data for prompts: a tree with sizes, and how its text files begin.

Python files at the top of the folder are programs the agent starts from or imports: they are shown whole.
"""

from pathlib import Path

from aira_bench.escaping import printable

_MOST_FILES, _MOST_TEXTS, _TEXT_LINES, _LINE_CHARS = 60, 4, 6, 200
_MOST_PROGRAM_CHARS, _BEGINNING_CHARS = 65536, 65536
_TEXT_SUFFIXES = {".csv", ".tsv", ".json", ".jsonl", ".txt", ".md", ".py", ".yaml"}


def preview(folder: Path, limit: int = 6000) -> str:
    """Describe `folder` in at most `limit` characters and its programs, paths relative to `./data`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    programs = [path for path in files if path.suffix == ".py" and path.parent == folder]
    lines = [f"{path.relative_to(folder).as_posix()} ({_size(path)})" for path in files[:_MOST_FILES]]
    if len(files) > _MOST_FILES:
        lines.append(f"... and {len(files) - _MOST_FILES} more files")
    texts = [path for path in files if path.suffix in _TEXT_SUFFIXES and path not in programs][:_MOST_TEXTS]
    for path in texts:
        lines.append(f"\n{path.relative_to(folder).as_posix()} begins:")
        lines += [f"    {line}" for line in _beginning(path)]
    shown = [printable("\n".join(lines))[:limit]]
    for path in programs:
        with path.open(encoding="utf-8", errors="replace") as stream:
            code = stream.read(_MOST_PROGRAM_CHARS)
        shown.append(printable(f"\n{path.name}, whole:\n{code.rstrip()}"))
    return "\n".join(shown)


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size} B" if size < 1024 else f"{size / 1024:.1f} KiB" if size < 2**20 else f"{size / 2**20:.1f} MiB"


def _beginning(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as stream:
        return [line[:_LINE_CHARS] for line in stream.read(_BEGINNING_CHARS).split("\n")[:_TEXT_LINES] if line]

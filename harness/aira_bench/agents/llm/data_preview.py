"""A short description of a task's public data for prompts: a tree with sizes, and how its text files begin.

Folders that hold files of the same names are one line, and so is one whose folders are those of another. Python files
at the top of the folder are programs the agent starts from or imports: they are shown whole. Summaries of papers are
told apart, and whole (`literature`).
"""

from collections.abc import Mapping
from pathlib import Path

from aira_bench.escaping import printable
from aira_bench.files import Unacceptable, parse_json, read_text

_MOST_FILES, _MOST_TEXTS, _TEXT_LINES, _LINE_CHARS = 60, 4, 6, 200
_MOST_PROGRAM_CHARS, _BEGINNING_CHARS = 65536, 65536
_SHORT_BYTES = 300
_MOST_LITERATURE_BYTES = 256 * 1024
LITERATURE = "pwc/task_info.jsonl"
"""Where a task that comes with literature has its summaries, one JSON object a line."""
_NAMING = ("reference", "category", "code")
_TEXT_SUFFIXES = {".csv", ".tsv", ".json", ".jsonl", ".txt", ".md", ".py", ".yaml"}


def preview(folder: Path, limit: int = 6000) -> str:
    """Describe `folder` in at most `limit` characters and its programs, paths relative to `./data`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    twins = _twins(folder, files)
    files = [path for path in files if path.relative_to(folder).parts[0] not in twins]
    programs = [path for path in files if path.suffix == ".py" and path.parent == folder]
    told = {*programs, folder / LITERATURE}
    texts = [path for path in files if path.suffix in _TEXT_SUFFIXES and path not in told][:_MOST_TEXTS]
    short = {path for path in texts if path.stat().st_size <= _SHORT_BYTES}
    groups = _alike(folder, files, short)
    lines = [_line(folder, group, whole=group[0] in short) for group in groups[:_MOST_FILES]]
    if len(groups) > _MOST_FILES:
        lines.append(f"... and {sum(map(len, groups[_MOST_FILES:]))} more files")
    lines += [f"{name}/: files as in {other}/" for name, other in twins.items()]
    for path in texts:
        if path not in short:
            lines.append(f"\n{path.relative_to(folder).as_posix()} begins:")
            lines += [f"    {line}" for line in _beginning(path)]
    shown = [printable("\n".join(lines))[:limit]]
    for path in programs:
        with path.open(encoding="utf-8", errors="replace") as stream:
            code = stream.read(_MOST_PROGRAM_CHARS)
        shown.append(printable(f"\n{path.name}, whole:\n{code.rstrip()}"))
    return "\n".join(shown)


def literature(folder: Path) -> str:
    """Return the summaries of papers among a task's public data, a paragraph a paper; empty where there are none."""
    try:
        lines = read_text(folder / LITERATURE, _MOST_LITERATURE_BYTES).splitlines()
        papers = [parse_json(line) for line in lines if line.strip()]
        return "\n\n".join(_paragraph(paper) for paper in papers if isinstance(paper, dict) and paper)
    except (OSError, Unacceptable):
        return ""


def _paragraph(paper: Mapping[str, object]) -> str:
    named = " (" + "; ".join(str(paper[key]) for key in _NAMING if paper.get(key)) + ")"
    said = [str(value) for key, value in paper.items() if value and key not in {"title", *_NAMING}]
    return f"{paper.get('title', '')}{named}: {' '.join(said)}"


def _alike(folder: Path, files: list[Path], alone: set[Path]) -> list[list[Path]]:
    """Files in groups: all below one parent whose folders hold files of the same names, or one each."""
    names: dict[Path, list[str]] = {}
    for path in files:
        names.setdefault(path.parent, []).append(path.name)
    groups: dict[tuple[Path, ...], list[Path]] = {}
    for path in files:
        siblings = [each for each in names if each != folder and each.parent == path.parent.parent]
        same = sum(names[each] == names[path.parent] for each in siblings) > 1 and path.parent != folder
        same = same and path not in alone
        groups.setdefault((path.parent.parent, Path(*names[path.parent])) if same else (path,), []).append(path)
    return list(groups.values())


def _twins(folder: Path, files: list[Path]) -> dict[str, str]:
    """Folders of folders at the top that hold files of the same names and places as an earlier one, with that one."""
    places: dict[str, list[tuple[str, ...]]] = {}
    for path in files:
        name, *place = path.relative_to(folder).parts
        places.setdefault(name, []).append(tuple(place))
    first: dict[tuple[tuple[str, ...], ...], str] = {}
    for name, found in places.items():
        if any(len(place) > 1 for place in found):
            first.setdefault(tuple(found), name)
    return {name: first[tuple(found)] for name, found in places.items() if first.get(tuple(found), name) != name}


def _line(folder: Path, group: list[Path], *, whole: bool) -> str:
    if whole:
        text = group[0].read_text(encoding="utf-8", errors="replace")
        return f"{group[0].relative_to(folder).as_posix()}: {' '.join(text.split())}"
    sizes = sorted({path.stat().st_size for path in group})
    spread = _size(sizes[0]) if len(sizes) == 1 else f"{_size(sizes[0])} to {_size(sizes[-1])}"
    parents, names = (dict.fromkeys(map(pick, group)) for pick in (lambda path: path.parent, lambda path: path.name))
    if len(group) == 1:
        return f"{group[0].relative_to(folder).as_posix()} ({spread})"
    above = group[0].parent.parent.relative_to(folder).as_posix().removeprefix(".")
    where = f"{above}/" if above else ""
    suffixes = {path.suffix for path in group}
    ending = suffixes.pop() if len(suffixes) == 1 else ""
    stems = ",".join(name.removesuffix(ending) for name in names)
    return f"{where}{{{','.join(path.name for path in parents)}}}/{{{stems}}}{ending} ({spread} each)"


def _size(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size / 1024:.1f} KiB" if size < 2**20 else f"{size / 2**20:.1f} MiB"


def _beginning(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as stream:
        return [line[:_LINE_CHARS] for line in stream.read(_BEGINNING_CHARS).split("\n")[:_TEXT_LINES] if line]

"""Lines of a terminal that say how a run stands: a row a seed, below them what is waited for, in any window.

In a window wide enough a seed is one line under a heading; in a narrower one its parts go on in the next lines, the
same for all seeds. Those that do not fit in the height are counted. Nothing is wider than the window: text is escaped
first, then cut.

Not covered: drawing again and again (`display`, `watch`).
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aira_bench.escaping import one_line
from aira_bench.looking.run_state import (
    RunCaps,
    RunState,
    SeedState,
    best_so_far,
    ends_in_s,
    hours_left,
    model_use,
    steps_left,
    troubles_of,
)
from aira_bench.looking.sparkline import ASCII_BARS, BARS, fit, sparkline
from aira_bench.shown_numbers import figure

LEAST_COLUMNS = 10
_GAP = 2
_LEAST_LAST, _MOST_LAST = 16, 80
"""Columns of what is said of the last step, in one line with the rest; where a seed has several, half as much again."""
_LEAST_PHASE, _MOST_PHASE = 14, 28
_LABELLED = ("left", "ends")
"""Headings of columns that say too little without them."""
_SHARE_OF_TREND = 10
"""The curve has a tenth of the window, at least 4 columns."""


@dataclass(frozen=True)
class _Column:
    heading: str
    cells: tuple[str, ...]
    least: int = 0
    """Columns it can do with; 0 where it is never cut."""
    most: int = 0
    right: bool = False

    @property
    def natural(self) -> int:
        from rich.cells import cell_len

        widest = max(map(cell_len, (*self.cells, self.heading)), default=0)
        return min(widest, self.most) if self.most else widest

    def wanted(self, *, alone: bool) -> int:
        """Columns that it must have where a seed is one line (`alone`), or should have where it is several."""
        least = self.least if alone else self.least * 3 // 2
        return min(self.natural, least) if self.least else self.natural


def run_lines(run: RunState, width: int, most_lines: int, *, ascii_only: bool = False) -> list[str]:
    """Return what is shown of a run, each line of at most `width` columns.

    Args:
        run: how it stands.
        width: columns of the window; less than `LEAST_COLUMNS` count as that many.
        most_lines: how many lines there may be, at least 4.
        ascii_only: for terminals whose encoding has nothing else.
    """
    width = max(width, LEAST_COLUMNS)
    below = [line for text in _below(run) for line in _wrapped(text, width)]
    below = [fit(line, width, ascii_only=ascii_only) for line in below][: max(most_lines // 2, 2)]
    room = max(most_lines - len(below), 2)
    seeds = sorted(run.seeds, key=lambda seed: (seed.is_over, seed.seed))
    columns = _columns(run.caps, seeds, width, ascii_only=ascii_only)
    groups = _packed(columns, width)
    headed = len(groups) == 1
    shown = len(seeds)
    if shown * len(groups) + headed > room:
        shown = max((room - 1 - headed) // len(groups), 1)
    lines = [_row(groups[0], width, None, ascii_only=ascii_only)] if headed and seeds else []
    for index in sorted(range(shown), key=lambda index: seeds[index].seed):
        for number, group in enumerate(groups):
            if number and not any(column.cells[index].strip("- ") for column, _ in group):
                continue
            line = _row(group, width - (_GAP if number else 0), index, ascii_only=ascii_only)
            lines.append(" " * _GAP + line if number else line)
    if len(seeds) > shown:
        hidden = seeds[shown:]
        over = sum(each.is_over for each in hidden)
        lines.append(fit(f"and {len(hidden)} more seeds, {over} of them over", width, ascii_only=ascii_only))
    return [*lines[: max(most_lines - len(below), 1)], *below]


def _columns(caps: RunCaps, seeds: Sequence[SeedState], width: int, *, ascii_only: bool) -> list[_Column]:
    bars, trend = ASCII_BARS if ascii_only else BARS, max(width // _SHARE_OF_TREND, 4)
    series = [best_so_far(seed.nodes, lower_is_better=caps.lower_is_better) for seed in seeds]
    best = [figure(values[-1]) if values and values[-1] is not None else "-" for values in series]
    curves = [sparkline(each, trend, lower_is_better=caps.lower_is_better, bars=bars) for each in series]

    def column(heading: str, cells: Sequence[str], least: int = 0, most: int = 0, *, right: bool = False) -> _Column:
        return _Column(heading, tuple(one_line(cell, 500) for cell in cells), least, most, right)

    found = [
        column("seed", [str(seed.seed) for seed in seeds], right=True),
        column("step", [f"{seed.step}/{caps.steps}" for seed in seeds], right=True),
        column("best", best, right=True),
        column("trend", curves),
        column("now", [_now(seed) for seed in seeds], _LEAST_PHASE, _MOST_PHASE),
        column("last step", [seed.last for seed in seeds], _LEAST_LAST, _MOST_LAST),
        column("spent", [_spent(seed, caps) for seed in seeds]),
        column("left", [_left(seed, caps) for seed in seeds]),
        column("ends", [_ends(seed, caps) for seed in seeds]),
    ]
    return [each for each in found if set(each.cells) - {"", "-"} or each.heading in ("seed", "step", "best", "now")]


def _packed(columns: Sequence[_Column], width: int) -> list[list[tuple[_Column, int]]]:
    """Columns with their widths, in as many groups as a seed has lines: one where that can be."""
    whole = sum(column.wanted(alone=True) for column in columns) + _GAP * (len(columns) - 1)
    if whole <= width:
        return [_widened(columns, [column.wanted(alone=True) for column in columns], width)]
    groups: list[list[_Column]] = [[]]
    used = 0
    for column in map(_labelled, columns):
        wanted = column.wanted(alone=False)
        if groups[-1] and used + _GAP + wanted > width - (_GAP if len(groups) > 1 else 0):
            groups.append([])
            used = 0
        used += wanted + (_GAP if groups[-1] else 0)
        groups[-1].append(column)
    return [
        _widened(group, [column.wanted(alone=False) for column in group], width - (_GAP if number else 0))
        for number, group in enumerate(groups)
    ]


def _labelled(column: _Column) -> _Column:
    """A column as it stands without a heading above it."""
    if column.heading not in _LABELLED:
        return column
    return replace(column, cells=tuple(cell if cell == "-" else f"{column.heading} {cell}" for cell in column.cells))


def _widened(group: Sequence[_Column], wanted: Sequence[int], width: int) -> list[tuple[_Column, int]]:
    """Give what a line has left to columns that could do with more; what may be longest gets the rest."""
    widths = [min(each, width) for each in wanted]
    left = width - sum(widths) - _GAP * (len(group) - 1)
    for index in sorted(range(len(group)), key=lambda index: group[index].most):
        more = min(group[index].natural - widths[index], max(left, 0))
        widths[index] += more
        left -= more
    return list(zip(group, widths, strict=True))


def _row(group: Sequence[tuple[_Column, int]], width: int, index: int | None, *, ascii_only: bool) -> str:
    from rich.cells import cell_len

    parts = []
    for column, columns in group:
        text = fit(column.heading if index is None else column.cells[index], columns, ascii_only=ascii_only)
        blank = " " * (columns - cell_len(text))
        parts.append(blank + text if column.right else text + blank)
    return fit((" " * _GAP).join(parts).rstrip(), width, ascii_only=ascii_only)


def _now(seed: SeedState) -> str:
    return seed.phase if seed.phase_s is None else f"{duration(seed.phase_s)} {seed.phase}"


def _spent(seed: SeedState, caps: RunCaps) -> str:
    use = model_use(seed.nodes)
    if not use.calls:
        return "-"
    if use.cost_usd is not None and (use.cost_usd or caps.seed_usd):
        return f"${use.cost_usd:.2f}" + (f" of {caps.seed_usd:g}" if caps.seed_usd else "")
    tokens = None if use.input_tokens is None or use.output_tokens is None else use.input_tokens + use.output_tokens
    counted = "?" if tokens is None else short_count(tokens)
    return f"{counted} tokens" + (f" of {short_count(caps.seed_tokens)}" if caps.seed_tokens else "")


def _left(seed: SeedState, caps: RunCaps) -> str:
    if seed.is_over:
        return "-"
    left = hours_left(seed, caps)
    return f"{steps_left(seed, caps)} steps" + (f", {duration(left * 3600)}" if left is not None else "")


def _ends(seed: SeedState, caps: RunCaps) -> str:
    within = ends_in_s(seed, caps)
    return "-" if seed.is_over or within is None else f"in {duration(within)}"


def _below(run: RunState) -> list[str]:
    """Spending of the whole run, what is waited for and what was done again, and the run's own footer."""
    found, lines = troubles_of(run), []
    uses = [model_use(seed.nodes) for seed in run.seeds]
    if run.caps.run_usd is not None and uses:
        spent = [use.cost_usd for use in uses]
        known = "an unknown sum" if None in spent else f"${sum(each or 0.0 for each in spent):.2f}"
        lines.append(f"spent {known} of ${run.caps.run_usd:g}")
    if found.waits:
        lines.append("waiting: " + "; ".join(
            f"{each.cause} {each.now} seed{'s' if each.now != 1 else ''} now, {duration(each.seconds)} "
            f"over {each.steps} step{'s' if each.steps != 1 else ''}"
            for each in found.waits
        ))  # fmt: skip
    lines += [one_line(words, 500) for words in found.words]
    done = [f"{found.retries} retries after failures of infrastructure"] if found.retries else []
    done += [f"{found.lost} steps lost to them"] if found.lost else []
    lines += ["; ".join(done)] if done else []
    return [*lines, *([run.footer] if run.footer else [])]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, max_lines=3, placeholder=" ...") if len(text) > width else [text]


def duration(seconds: float) -> str:
    """Return a time in at most two units: `12s`, `3m20s`, `2h10m`, `4d2h`."""
    whole = int(max(seconds, 0.0) + 0.5)
    for size, name, less, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // less
            return f"{whole // size}{name}" + (f"{rest}{smaller}" if rest else "")
    return f"{whole}s"


def short_count(count: int) -> str:
    """Return a count in three digits or so: `950`, `12k`, `3.4M`."""
    for size, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + name if count < 10 * size else f"{count // size}{name}"
    return str(count)

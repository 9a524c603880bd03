"""SVG pictures: a strip of layers, the votes behind each layer of an aggregated pattern, and values with intervals.

Every picture has a title for screen readers and letters beside colours. Not covered: raster images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import UsageError
from aira_bench.escaping import xml_text
from aira_bench.scaling.aggregate import LayerVote
from aira_bench.scaling.notation import SYMBOLS, write_pattern
from aira_contract.primitives import BY_SYMBOL

_MARGIN, _LETTER_PX = 12, 11
_STYLE = f'font-family="sans-serif" font-size="{_LETTER_PX}"'


def strip_svg(pattern: Sequence[str], caption: str) -> str:
    """Draw one coloured box a layer, first layer left, at most 64 boxes a row."""
    box, height, per_row = 14, 26, 64
    boxes = []
    for index, symbol in enumerate(pattern):
        x, y = _MARGIN + index % per_row * box, 34 + index // per_row * (height + 6)
        colour, title = BY_SYMBOL[symbol].colour, f"<title>layer {index + 1}: {xml_text(_label(symbol))}</title>"
        boxes.append(f'<rect x="{x}" y="{y}" width="{box - 2}" height="{height}" fill="{colour}">{title}</rect>')
    rows = -(-len(pattern) // per_row)
    width = max(2 * _MARGIN + min(len(pattern), per_row) * box, 420)
    return _document(width, 70 + rows * (height + 6), f"{caption}: {write_pattern(pattern)}", boxes)


def votes_svg(votes: Sequence[LayerVote], caption: str) -> str:
    """Draw a stacked bar for each layer: the share of each primitive in its vote, the winner's letter above."""
    bar, height, top = 28, 160, 52
    parts = []
    for index, vote in enumerate(votes):
        x, y = _MARGIN + index * bar, float(top)
        parts.append(_text(x + 4, top - 6, BY_SYMBOL[vote.chosen].written))
        for symbol in SYMBOLS:
            share = float(vote.shares.get(symbol, 0))
            title = f"<title>layer {index + 1}: {xml_text(_label(symbol))} {share:.0%}</title>"
            parts.append(
                f'<rect x="{x}" y="{y:.2f}" width="{bar - 4}" height="{share * height:.2f}" '
                f'fill="{BY_SYMBOL[symbol].colour}">{title}</rect>'
            )
            y += share * height
        parts.append(_text(x + 4, top + height + 14, str(index + 1)))
    width = max(2 * _MARGIN + len(votes) * bar, 420)
    return _document(width, top + height + 54, caption, parts)


@dataclass(frozen=True)
class IntervalRow:
    """A line of a picture of intervals."""

    name: str
    points: tuple[float, ...]
    """Single values, drawn as small circles."""
    mean: float
    low: float | None
    """None where there is no interval: then the line goes from border to border."""
    high: float | None
    verdict: str


def intervals_svg(rows: Sequence[IntervalRow], caption: str, unit: str) -> str:
    """Draw a line a row: single values, their mean, its interval, and 0 as a rule through all rows."""
    left, right, step, top = 300, 640, 30, 44
    ends = [(row.low, row.high) for row in rows]
    known = [0.0, *(each for row in rows for each in row.points), *(e for pair in ends for e in pair if e is not None)]
    low, high = min(known), max(known)
    margin = 0.05 * (high - low) or 1.0
    low, high = low - margin, high + margin

    def across(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    bottom = top + step * len(rows)
    parts = [f'<line x1="{across(0):.1f}" y1="{top}" x2="{across(0):.1f}" y2="{bottom}" stroke="#999"/>']
    for index, row in enumerate(rows):
        y = top + step * index + step / 2
        begin, end = row.low, row.high
        x1, x2 = left if begin is None else across(begin), right if end is None else across(end)
        title = f"<title>{xml_text(row.name)}: {row.mean:.4f}</title>"
        parts += [
            _text(_MARGIN, y + 4, row.name[:44]),
            f'<line x1="{x1:.1f}" y1="{y}" x2="{x2:.1f}" y2="{y}" stroke="#333" stroke-width="2">{title}</line>',
            *(f'<circle cx="{across(value):.1f}" cy="{y}" r="3" fill="none" stroke="#06c"/>' for value in row.points),
            f'<circle cx="{across(row.mean):.1f}" cy="{y}" r="4" fill="#333">{title}</circle>',
            _text(right + 12, y + 4, row.verdict),
        ]
    parts += [_text(across(value) - 18, bottom + 16, f"{value:+.3f}") for value in (low + margin, 0.0, high - margin)]
    parts.append(_text(left, bottom + 34, unit))
    return _document(right + 140, bottom + 46, caption, parts, legend=False)


def write_picture(path: Path, svg: str) -> None:
    """Write the text of an SVG picture to a file.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.write_text(svg, encoding="ascii", errors="xmlcharrefreplace")
    except OSError as error:
        raise UsageError(f"The picture {path} cannot be written: {error.strerror}.") from error


def _document(width: int, height: int, caption: str, parts: Sequence[str], *, legend: bool = True) -> str:
    named = []
    for index, symbol in enumerate(SYMBOLS if legend else ()):
        x = _MARGIN + index * 120
        named.append(f'<rect x="{x}" y="{height - 22}" width="12" height="12" fill="{BY_SYMBOL[symbol].colour}"/>')
        named.append(_text(x + 16, height - 12, _label(symbol)))
    body = "\n".join([_text(_MARGIN, 20, caption), *parts, *named])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" {_STYLE}>\n'
        f'<title>{xml_text(caption)}</title>\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}">{xml_text(text)}</text>'


def _label(symbol: str) -> str:
    return f"{BY_SYMBOL[symbol].written}: {BY_SYMBOL[symbol].title}"

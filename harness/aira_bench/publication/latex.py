"""Boards as LaTeX tables, for papers: one `table*` a section, with booktabs.

Not covered: widths. A board has more columns than a page; whoever prints one keeps what the text is about.
"""

from collections.abc import Sequence

from aira_bench.boards.board import Table
from aira_bench.boards.formats import explanations, heading, left_out_lines, noise_line, parts, shown_cells
from aira_bench.escaping import latex

_PREAMBLE = "% Needs \\usepackage{booktabs}; names beyond ASCII need LuaLaTeX or XeLaTeX."
_TEXT_COLUMNS = 2


def to_latex(tables: Sequence[Table]) -> str:
    """Return a table for each section, and what their columns mean as a paragraph behind them."""
    meanings = [f"{latex(name)}: {latex(text)}" for name, text in explanations(tables)]
    return (
        "\n".join([_PREAMBLE, *[_table(part, said) for table in tables for said, part in parts(table)], "", *meanings])
        + "\n"
    )


def _table(table: Table, apart: str) -> str:
    headers, *rows = shown_cells(table)
    columns = "l" * min(_TEXT_COLUMNS, len(headers)) + "r" * (len(headers) - _TEXT_COLUMNS)
    told = [f"{noise_line(table)}.", *([apart] if apart else []), *left_out_lines(table)]
    notes = "".join(f" {_spaced(latex(said))}" for said in told)
    return "\n".join(
        [
            r"\begin{table*}",
            rf"\caption{{{_spaced(latex(heading(table)))}.{notes}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _cells(headers),
            r"\midrule",
            *map(_cells, rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
        ]
    )


def _cells(values: Sequence[str]) -> str:
    return " & ".join(_spaced(latex(value)) for value in values) + r" \\"


def _spaced(escaped: str) -> str:
    """Write the sign between a mean and its deviation as one."""
    return escaped.replace("+-", r"\(\pm\)")

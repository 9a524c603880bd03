"""Typesets LaTeX with the real program where it is there; without it a test is skipped.

Not covered: how tables look, and widths beyond a page, which LaTeX reports and prints.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def typeset(tables: Sequence[str], place: Path, engine: str = "pdflatex") -> None:
    """Whether LaTeX takes all of some tables, in one document, without an error or an overfull box of running text."""
    program, finder = shutil.which(engine), shutil.which("kpsewhich")
    if program is None or finder is None:
        pytest.skip(f"{engine} is not installed")
    if subprocess.run([finder, "booktabs.sty"], capture_output=True, check=False).returncode:
        pytest.skip("booktabs is not installed (Debian: texlive-latex-recommended)")
    place.mkdir(parents=True, exist_ok=True)
    body = "\n".join(tables)
    source = f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (place / "all.tex").write_text(source, "utf-8")
    done = subprocess.run(
        [program, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"],
        cwd=place, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    said = done.stdout.decode("utf-8", "replace")
    wrong = [line for line in said.splitlines() if line.startswith("!") or "LaTeX Error" in line]
    assert done.returncode == 0, "\n".join([*wrong, *said.splitlines()[-30:]])
    assert (place / "all.pdf").is_file()

"""Architectures of the paper by name: what was searched, and the full-size patterns that the paper prints of each.

The 14 that its agents found (sections 6.1.1 and 6.1.2, appendix D.1), those that Composer found, and the baselines. A
searched pattern has 16 or 6 layers; Tables 8 and 9 print what it was grown to at 350M, 1B and 3B. Where a printed
pattern does not have the printed number of layers, both are here as printed: nothing says which of them was trained
(docs/reproduce.md has all such rows).

    preset        = name, [":", scale];     name: airaformer-d, "AIRAformer-D (Stretched)", Llama 3.2
    architecture  = preset | pattern;       pattern: `aira_contract.patterns`

Read by the host, which grows and lists them, by the kernels, which build full-size models, and by measurements. Agents'
submissions are read by another grammar, which knows no names (`aira_contract.architectures`). Not covered:
architectures that the paper only shows in figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aira_contract.model_sizes import SCALES
from aira_contract.patterns import Pattern, PatternError, read_pattern

Growth = Literal["stretch", "stack"]


@dataclass(frozen=True)
class FullSizePattern:
    """A row of Table 8 or 9: a pattern and a number of layers, as printed, which is not always the pattern's."""

    written: str
    layers: int

    @property
    def pattern(self) -> Pattern:
        """The layers that the printed pattern expands to."""
        return read_pattern(self.written)

    @property
    def contradicts_itself(self) -> bool:
        """Whether the pattern expands to another number of layers than is printed beside it."""
        return len(self.pattern) != self.layers


@dataclass(frozen=True)
class Preset:
    """An architecture with a name."""

    title: str
    """As the paper's tables have it."""
    source: str
    """Where it comes from, in the paper."""
    base: str | None
    """The searched pattern, which is grown; None for one that nobody searched."""
    growth: Growth | None
    """How the base was grown; None where it was not, or where the name leaves it open."""
    full_size: Mapping[str, FullSizePattern]
    """By scale; empty for a name that leaves open how its base is grown."""
    note: str = ""
    """What else has to be said of it, as a sentence."""

    @property
    def name(self) -> str:
        """What stands for it on a command line: lower case, words joined by dashes."""
        return name_of(self.title)


def name_of(title: str) -> str:
    """Return the name that a title stands for, such as `airaformer-d-stretched` for `AIRAformer-D (Stretched)`."""
    return "-".join(title.lower().replace("(", " ").replace(")", " ").split())


_FORMERS, _HYBRIDS = "section 6.1.1, appendix D.1", "section 6.1.2, appendix D.1"
_BASES: Mapping[str, tuple[str, str]] = {
    "AIRAformer-A": ("(A+M)+(2A+2M)+4(A+M)+2M", _FORMERS),
    "AIRAformer-B": ("2A+5(A+M)+4M", _FORMERS),
    "AIRAformer-C": ("(2A+M)+3(A+M)+(2A+M)+4A", _FORMERS),
    "AIRAformer-D": ("5(2A+M)+A", _FORMERS),
    "AIRAhybrid-A": ("2Mb+M+11Mb+2M", _HYBRIDS),
    "AIRAhybrid-B": ("3(2Mb+M+A)+2Mb+2M", _HYBRIDS),
    "AIRAhybrid-C": ("2Mb+A+2(Mb+A)+M+2(A+Mb+A+M)", _HYBRIDS),
    "AIRAhybrid-D": ("2Mb+M+2(Mb+M)+A+M+Mb+M+A+M+Mb+M+A", _HYBRIDS),
    "AIRAhybrid-E": ("5(Mb+M+A)+M", _HYBRIDS),
}
"""Patterns of 16 layers as sections 6.1.1 and 6.1.2 write them, and where they stand."""


def _rows(*rows: tuple[str, int]) -> Mapping[str, FullSizePattern]:
    return {scale: FullSizePattern(*row) for scale, row in zip(SCALES, rows, strict=True)}


def _grown(base: str, growth: Growth, *rows: tuple[str, int]) -> Preset:
    """One of the paper's own: a base of `_BASES`, and how it was grown."""
    pattern, source = _BASES[base]
    table, word = ("Table 8" if source == _FORMERS else "Table 9"), ("Stretched" if growth == "stretch" else "Stacked")
    return Preset(f"{base} ({word})", f"{source}, {table}", pattern, growth, _rows(*rows))


_COMPOSER = "Composer (Acun et al. 2025), section 6.1.1, Table 8"
_APPROXIMATED = "Approximated by the paper at these scales, with an MLP in place of each mixture of experts."

FOUND_BY_AGENTS = (
    _grown("AIRAformer-A", "stretch", ("2(A-M-2A-2M-3(A-M)-A-3M)", 26), ("2(A-M-2A-2M)-(2A-2M)-4M", 32),
           ("2(A-M-4A-4M-6(A-M)-2A-6M)", 56)),
    _grown("AIRAformer-B", "stack", ("(3A-4(M-A)-5M)-7M", 23), ("2(3A-4(M-A)-5M)", 32), ("3(3A-4(M-A)-5M)-5M", 53)),
    _grown("AIRAformer-C", "stack", ("2(2(2A-M)-3(A-M)-4A)-2A", 34), ("3(2(2A-M)-3(A-M)-4A)", 48),
           ("5(2(2A-M)-3(A-M)-4A)-6A", 76)),
    _grown("AIRAformer-C", "stretch", ("4A-2M-2A-2M-2A-2M-2A-8A", 34), ("6A-3M-3A-3M-3A-3M-3A-3M-6A-3M-12A", 48),
           ("10A-5M-5A-5M-5A-5M-5A-20A-3A", 70)),
    _grown("AIRAformer-D", "stack", ("2(5(2A-M)-A)-2A", 34), ("3(5(2A-M)-A)", 48), ("5(5(2A-M)-A)-6A", 76)),
    _grown("AIRAformer-D", "stretch", ("4A-2M-4A-2M-4A-2M-4A-2M-4A-2M-2A-M", 34),
           ("6A-3M-6A-3M-6A-3M-6A-3M-6A-3M-3A", 48), ("10A-5M-10A-5M-10A-5M-10A-5M-10A-5M-5A-3M", 70)),
    _grown("AIRAhybrid-A", "stretch", ("2Mb-M-14Mb-2M-Mb", 20), ("4Mb-2M-22Mb-4M", 32), ("6Mb-3M-30Mb-5M", 44)),
    _grown("AIRAhybrid-B", "stretch", ("3(2Mb-M-A)-3(Mb-M)-A-Mb", 20), ("3(4Mb-2M-2A)-2(2Mb-2M)", 32),
           ("3(5Mb-3M-3A)-3Mb-3M-3Mb-M", 43)),
    _grown("AIRAhybrid-B", "stack", ("3(Mb-M-A)-2(3(Mb-M)-A)-Mb", 20), ("2(3(2Mb-M-A)-2(Mb-M))", 32),
           ("2(3(3Mb-M-A)-2(Mb-M))-Mb-M-A-Mb-M", 43)),
    _grown("AIRAhybrid-C", "stretch", ("4Mb-2A-Mb-3(2A-Mb-2A-M)-Mb-A-Mb-A", 29), ("5Mb-3A-2Mb-3(3A-2Mb-3A-2M)", 40),
           ("8Mb-5A-3Mb-2(5A-3Mb-5A-3M)-5A-3Mb-5A", 61)),
    _grown("AIRAhybrid-D", "stretch", ("2Mb-M-Mb-3(M-Mb-M-A)-Mb-M", 18), ("4Mb-2M-2Mb-3(2M-2Mb-2M-2A)", 32),
           ("5Mb-2M-2Mb-3(2M-2Mb-2M-2A)-3(Mb-M)", 39)),
    _grown("AIRAhybrid-D", "stack", ("Mb-M-Mb-3(M-Mb-M-A)-Mb-M-Mb", 18), ("2(2Mb-3(M-Mb-M-A))", 32),
           ("2(2Mb-3(M-Mb-M-A))-3(Mb-M)-A", 39)),
    _grown("AIRAhybrid-E", "stretch", ("5(Mb-M-A)-M-Mb-M-A-Mb", 20), ("5(2Mb-2M-2A)-2M", 32),
           ("4(3Mb-3M-3A)-3Mb-3M-2A", 44)),
    _grown("AIRAhybrid-E", "stack", ("5(Mb-M-A)-M-Mb-M-A-Mb", 20), ("2(5(Mb-M-A)-M)", 32),
           ("2(5(Mb-M-A)-M)-4(Mb-M-A)", 44)),
)  # fmt: skip
"""The 14 architectures of the abstract."""
SEARCHED = tuple(Preset(title, source, base, None, {}) for title, (base, source) in _BASES.items())
"""What the 14 were grown from."""
BASELINES = (
    Preset("Llama 3.2", "section 6.1.1, Table 8", None, None, _rows(("14(A-M)", 28), ("16(A-M)", 32), ("28(A-M)", 56))),
    Preset("Composite (Stacked)", _COMPOSER, "2A-4M", "stack",
           _rows(("4(2A-4M)", 24), ("4(2A-4M)-A-2M", 27), ("8(2A-4M)-A-2M", 51))),
    Preset("Composite (Stretched)", _COMPOSER, "2A-5M-2A-3M-A-3M", "stretch",
           _rows(("3A-8M-3A-5M-2A-5M", 26), ("4A-9M-4A-5M-2A-5M", 29), ("7A-16M-7A-10M-4A-10M", 54)),
           "The paper does not print what was searched; it is Composer's."),
    Preset("Nemotron-H", "section 6.1.2, Table 9", None, None,
           _rows(("Mb-M-A-5(M-Mb)-A-M-Mb-M-Mb", 18), ("Mb-M-2(A-4(M-Mb)-M)-A-M-Mb-M", 28),
                 ("Mb-M-2(A-4(M-Mb)-M)-A-2(M-Mb)-M-A-M-3(Mb-M)", 37)), _APPROXIMATED),
    Preset("Nemotron-2", "section 6.1.2, Table 9", None, None,
           _rows(("3(Mb-M)-Mb-A-4(M-Mb)-A-M-Mb", 17), ("2(3(Mb-M)-Mb-A-M)-Mb-M-Mb-A-5(M-Mb)-M", 29),
                 ("2(3(Mb-M)-Mb-A-M)-Mb-M-Mb-A-7(M-Mb)-A-M-Mb", 37)), _APPROXIMATED),
    Preset("Mamba", "section 6.1.2, Table 9", None, None,
           _rows(("8(Mb-M)-Mb", 17), ("13(Mb-M)", 26), ("17(Mb-M)-Mb", 35)),
           "Mamba-2 layers in turn with MLPs, as the paper has it; the published models of that name have no MLPs."),
    Preset("Composer", "Composer (Acun et al. 2025), section 6.1.2, Table 9", "2Mb-M-3A", "stack",
           _rows(("4(2Mb-M-3A)-2Mb", 26), ("7(2Mb-M-3A)-2Mb-M", 45), ("9(2Mb-M-3A)-2Mb-M", 57))),
)  # fmt: skip
PRESETS = (*SEARCHED, *FOUND_BY_AGENTS, *BASELINES)
_BY_NAME = {preset.name: preset for preset in PRESETS}


def find_preset(text: str) -> Preset | None:
    """Return the preset of a name or a title, None for any other text."""
    return _BY_NAME.get(name_of(text))


def read_architecture(text: str, scale: str | None = None) -> Pattern:
    """Expand a name or a pattern.

    Args:
        text: such as `airaformer-d`, `airaformer-d-stretched:1B` or `5(2A-M)-A`.
        scale: at which a name without a scale stands for its full-size pattern; None for what was searched.

    Raises:
        PatternError: it is no name, and no pattern either; or the name has nothing at that scale, or nothing searched.
    """
    name, _, wanted = text.partition(":")
    preset, at = find_preset(name), wanted.strip().upper() or scale
    if preset is None:
        return read_pattern(text)
    if at is None and preset.base is not None:
        return read_pattern(preset.base)
    if at is not None and at in preset.full_size:
        return preset.full_size[at].pattern
    known = ", ".join(f"{preset.name}:{each}" for each in preset.full_size)
    if known:
        lacks = f"nothing printed at {at!a}" if at else "no searched pattern"
        raise PatternError(f"{preset.title} has {lacks}; say {known}")
    grown = ", ".join(each.name for each in FOUND_BY_AGENTS if each.base == preset.base)
    raise PatternError(f"{preset.title} has no full-size pattern of its own; {grown} have")

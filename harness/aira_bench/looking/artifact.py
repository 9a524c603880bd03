"""What a step submitted, told from its bytes and its node alone: layers, mechanisms, hyperparameters.

Code is read by `aira_bench.agent_code` in a process of its own and never executed. Not covered: how good it is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aira_bench.agent_code.reading import NotRead, read_once
from aira_bench.files import Unacceptable
from aira_bench.looking.step_files import StepFile, read_step_file
from aira_bench.record.node import Node
from aira_bench.record.salvage import SeedRemains
from aira_bench.scaling.notation import write_pattern
from aira_contract.architectures import compact
from aira_contract.files import MODULE_FILE
from aira_contract.primitives import BY_SYMBOL

ArtifactKind = Literal["architecture", "module", "script", "file"]
MOST_LAYERS = 64
"""Of a strip. A task's architectures have 16 layers."""
GROUP = 4
"""Letters of a strip that stand together."""
MOST_CONSTANTS = 200
_READ_S = 10.0
"""Processor seconds for a look at one file of code."""


@dataclass(frozen=True)
class ArtifactView:
    """What a submission is."""

    kind: ArtifactKind
    file: StepFile | None
    """None where the step left none, or it is lost; an architecture is known from its node all the same."""
    layers: tuple[str, ...] = ()
    """Of an architecture: a symbol a layer, first layer first."""
    mechanisms: tuple[str, ...] = ()
    """Of a module: what its code names (`aira_bench.agent_code.mechanisms`)."""
    constants: Mapping[str, object] = field(default_factory=dict)
    """Of a module or a script: settings by name, as written."""
    features: Mapping[str, object] = field(default_factory=dict)
    """Of a script: the paper's 27 (`aira_bench.agent_code.features`)."""
    unread: str = ""
    """Why code could not be read; empty where it was, or there is none."""

    @property
    def strip(self) -> str:
        """A letter a layer, in groups: `AMAM AMAM`."""
        letters = compact(self.layers)
        return " ".join(letters[at : at + GROUP] for at in range(0, len(letters), GROUP))

    @property
    def notation(self) -> str:
        """The shortest notation of its layers; empty of what is no architecture."""
        return write_pattern(self.layers) if self.layers else ""

    @property
    def kinds(self) -> str:
        """How many layers of which kind, most first: `8 attention, 8 MLP`."""
        counts = Counter(self.layers)
        return ", ".join(f"{count} {BY_SYMBOL[symbol].title}" for symbol, count in counts.most_common())


def layers_of(canonical: str | None) -> tuple[str, ...]:
    """Return the layers that a normal form names; none where it is the normal form of something else."""
    names = () if canonical is None else tuple(canonical.split(",", MOST_LAYERS))
    return names if 0 < len(names) <= MOST_LAYERS and all(name in BY_SYMBOL for name in names) else ()


def artifact_view(seed: SeedRemains, node: Node, file: StepFile | None) -> ArtifactView | None:
    """Return what a step submitted; None where it submitted nothing.

    Args:
        seed: whose step it is.
        node: the step.
        file: its artifact, if there is one.
    """
    if layers := layers_of(node.canonical):
        return ArtifactView("architecture", file, layers)
    if file is None:
        return None
    if not file.name.endswith(".py"):
        return ArtifactView("file", file)
    kind: ArtifactKind = "module" if file.name == MODULE_FILE else "script"
    try:
        text = read_step_file(seed, file).decode("utf-8", "replace")
    except Unacceptable as error:
        return ArtifactView(kind, file, unread=f"{error}")
    found = read_once("describe", text, deadline_s=_READ_S)
    if isinstance(found, NotRead):
        return ArtifactView(kind, file, unread=found.why)
    constants = dict(list(found["constants"].items())[:MOST_CONSTANTS])
    return ArtifactView(
        kind, file, mechanisms=tuple(found["mechanisms"]) if kind == "module" else (), constants=constants,
        features=found["features"] if kind == "script" else {},
        unread="" if found["parsed"] else "it does not parse, and was read as text",
    )  # fmt: skip


def changed_layers(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, str, str]]:
    """Return which layers differ, counted from 1, with what stood there and what stands there now.

    Raises:
        ValueError: the numbers of layers differ.
    """
    pairs = enumerate(zip(before, after, strict=True), start=1)
    return [(number, old, new) for number, (old, new) in pairs if old != new]

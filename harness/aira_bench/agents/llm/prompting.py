"""Renders prompts from the Jinja2 files beside this module.

Text made by agents or their programs is put between fences longer than any run of backticks inside it, so that it
cannot end its own fence; it is inserted as a value and never rendered again. Control characters were made visible
before.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.agents.agent import Brief, Environment, Situation, StepReport
from aira_bench.agents.llm.memory import Memory
from aira_bench.escaping import printable
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import nodes_by_step

if TYPE_CHECKING:
    import jinja2

_FOLDER = Path(__file__).parent / "prompts"


def fenced(text: str, tag: str = "") -> str:
    """`text` between fences it cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{tag}\n{printable(text).rstrip()}\n{fence}"


def spoken_duration(seconds: float) -> str:
    """Whole minutes or hours, rounded down, so that a prompt does not change with every second."""
    minutes = max(int(seconds // 60), 0)
    if minutes >= 120:
        return f"{minutes // 60} hours"
    return f"{minutes} minutes" if minutes else "less than a minute"


def spoken_hardware(environment: Environment) -> str:
    """What a program runs on, as far as it is known, to go on a sentence."""
    said = ""
    if environment.cores:
        said += f", up to {environment.cores} CPU cores" if environment.cores > 1 else ", 1 CPU core"
    if environment.gpu:
        able = environment.gpu_compute_capability
        able = f", compute capability {able}" if able else ""
        memory = f"{mib} MiB" if (mib := environment.gpu_memory_mib) else "memory shared with the processor"
        return f"{said}, one {printable(environment.gpu)} of {memory}{able}"
    return f"{said}, no GPU" if environment.cores else said


def spoken_parts(parts: Mapping[str, float]) -> str:
    """The scores that a fitness is the mean of, to go on a sentence."""
    if not parts:
        return ""
    return " By part: " + ", ".join(f"{printable(name)} {score:g}" for name, score in parts.items()) + "."


def prompt_hashes() -> dict[str, str]:
    """SHA-256 of each prompt file, for manifests."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(_FOLDER.glob("*.j2"))}


def prompt_chars() -> int:
    """Return how long all prompt files are together: more than what a prompt has of them."""
    return sum(path.stat().st_size for path in _FOLDER.glob("*.j2"))


@lru_cache(maxsize=1)
def _environment() -> "jinja2.Environment":
    import jinja2  # on demand: whoever hashes prompts renders none

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=False, keep_trailing_newline=False,
    )  # fmt: skip
    made.globals |= {
        "fenced": fenced, "duration": spoken_duration, "hardware": spoken_hardware, "parts_of": spoken_parts,
    }  # fmt: skip
    return made


def render_system(brief: Brief) -> str:
    """Return what stays the same in all prompts of a run, so that providers can cache it."""
    return _environment().get_template("system.j2").render(brief=brief)


def render_request(
    brief: Brief, situation: Situation, memory: Memory, parents: list[StepFiles], spending: Sequence[str] = ()
) -> str:
    """Return the prompt for one action; `spending` says what is left of budgets."""
    template = _environment().get_template(f"{situation.action.operator}.j2")
    steps, known = situation.action.parents, nodes_by_step(situation.journal)
    nodes = [known.get(step) for step in steps]
    return template.render(
        brief=brief, situation=situation, memory=memory, parents=parents, steps=steps, nodes=nodes, spending=spending
    )


def render_analysis(brief: Brief, report: StepReport) -> str:
    """Return the prompt that asks what a step showed."""
    return _environment().get_template("analyze.j2").render(brief=brief, report=report)

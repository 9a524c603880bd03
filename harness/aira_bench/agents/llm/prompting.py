"""Renders prompts from the Jinja2 files beside this module.

Text made by agents or their programs is put between fences longer than any run of backticks inside it, so that it
cannot end its own fence; it is inserted as a value and never rendered again. Control characters were made visible
before.
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aira_bench.agents.agent import Brief, Situation, StepReport
from aira_bench.agents.llm.memory import Memory
from aira_bench.escaping import printable
from aira_bench.record.folder import StepFiles

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


def prompt_hashes() -> dict[str, str]:
    """SHA-256 of each prompt file, for manifests."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(_FOLDER.glob("*.j2"))}


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=False, keep_trailing_newline=False,
    )  # fmt: skip
    made.globals |= {"fenced": fenced, "duration": spoken_duration}
    return made


def render_system(brief: Brief) -> str:
    """Return what stays the same in all prompts of a run, so that providers can cache it."""
    return _environment().get_template("system.j2").render(brief=brief)


def render_request(brief: Brief, situation: Situation, memory: Memory, parents: list[StepFiles]) -> str:
    """Return the prompt for one action."""
    template = _environment().get_template(f"{situation.action.operator}.j2")
    steps = situation.action.parents
    return template.render(brief=brief, situation=situation, memory=memory, parents=parents, steps=steps)


def render_analysis(brief: Brief, report: StepReport) -> str:
    """Return the prompt that asks what a step showed."""
    return _environment().get_template("analyze.j2").render(brief=brief, report=report)

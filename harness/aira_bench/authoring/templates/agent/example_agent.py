"""An agent for tasks whose submission is an architecture: it drafts at random and improves by changing one layer.

An agent is asked for a whole `solution.py`, which runs in a container of its own with the public data in `./data` and
has to leave the task's artifact. This one writes a few lines with the architecture in them.

Its base stands for an agent that has no model: it does not look at what a solution printed (`analyze`), spends nothing
(`resume`), and has neither prompts nor a card to record (`provenance`). Define those three for an agent that does.
"""

import random
from dataclasses import dataclass

from aira_bench.errors import UsageError
from aira_bench.protocols import Brief, Proposal, Situation, UnlookingAgent

SOLUTION = """from pathlib import Path

ARCHITECTURE = "{architecture}"

Path("{artifact}").write_text('architecture\\n"' + ARCHITECTURE + '"\\n', encoding="ascii")
print("submitted", ARCHITECTURE)
"""


@dataclass(frozen=True)
class ExampleAgent(UnlookingAgent):
    """Random drafts, and improvements of one layer."""

    name: str = "example-agent"
    """What boards show."""
    default_scaffold: str = "greedy"
    """Decides when to draft and what to improve; `--scaffold` names another."""

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """A solution for this situation.

        The brief says what the task wants; the situation says what the scaffold asks for (`action.operator` and the
        steps in `action.parents`) and what happened so far. All randomness comes from `situation.rng`, so that a run
        that was stopped goes on as if it had not been.
        """
        if brief.artifact.kind != "architecture":
            raise UsageError(f"{self.name} writes architectures; task {brief.task} wants {brief.artifact.name}.")
        parents = {node.step: node for node in situation.journal if node.step in situation.action.parents}
        found = next((node.canonical for node in parents.values() if node.canonical), None)
        if situation.action.operator == "improve" and found:
            layers = change_one(situation.rng, found.split(","), brief.artifact.primitives)
            plan = f"Step {situation.action.parents[0]} with one layer changed."
        else:
            layers = [situation.rng.choice(brief.artifact.primitives) for _ in range(brief.artifact.layers)]
            plan = "A random architecture."
        code = SOLUTION.format(architecture=",".join(layers), artifact=brief.artifact.name)
        return Proposal(code, plan)


def change_one(rng: random.Random, layers: list[str], primitives: tuple[str, ...]) -> list[str]:
    """The layers with one of them made another primitive."""
    at = rng.randrange(len(layers))
    other = rng.choice([symbol for symbol in primitives if symbol != layers[at]])
    return [*layers[:at], other, *layers[at + 1 :]]

"""Files of finished steps that were edited or removed while a search goes on stop it; they never steer it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from aira_bench.agents.agent import Agent, Brief, Proposal, Situation
from aira_bench.errors import RunStateError
from aira_bench.record.folder import SeedFolder
from aira_bench.runs.loop import run_seed
from aira_bench.sandbox.sandbox import ContainerSpec
from runs.test_loop import engine, session


@dataclass(frozen=True)
class Reader:
    """An agent that looks at the code of its parents, as one with a model does."""

    agent: Agent

    def __getattr__(self, name: str) -> object:
        return getattr(self.agent, name)

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        for step in situation.action.parents:
            assert situation.read_step(step).code
        return self.agent.propose(brief, situation)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_text("ARCHITECTURE = 'M'\n")], ids=["removed", "edited"]
)
def test_a_parent_s_code_is_what_was_recorded_or_the_seed_halts(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    """Five drafts, then the best of them is improved: all are damaged while the fifth runs."""
    folder = SeedFolder(tmp_path / "runs" / "mine" / "seeds" / "0")

    def fails(call: int, spec: ContainerSpec) -> bool:
        if spec.role == "agent" and (folder.node(5) / "solution.py").exists():
            for step in range(1, 5):
                damage(folder.node(step) / "solution.py")
            damage(folder.node(5) / "solution.py")
        return False

    active = session(tmp_path, engine(fails), steps=8)
    try:
        with pytest.raises(RunStateError, match=r"nodes/000\d/solution.py: it (is missing|was replaced)") as caught:
            run_seed(replace(active, agent=Reader(active.agent)), folder, 0)  # type: ignore[arg-type]
    finally:
        active.slots.close()
    assert len(folder.nodes) == 5, "no step was made of another's code"
    assert (caught.value.hint or "").startswith("aira-bench resume mine --from-last-good")

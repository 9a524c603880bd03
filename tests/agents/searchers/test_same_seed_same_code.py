"""Proposals of searchers are functions of seed, journal and action: held byte for byte, so that runs can go on.

Each digest stands for every solution, plan and change of a short search in one task. Whoever changes how a searcher
draws, or a byte of what it writes, changes a digest on purpose: runs begun before take another path when they go on.
"""

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.agents.agent import Brief, Situation
from aira_bench.agents.catalog import SEARCHERS
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Node
from aira_bench.scaffolds.policy import Crossover, Debug, Draft, Improve, Proposing
from aira_bench.tasks.task import find_task

ACTIONS: tuple[Proposing, ...] = (
    Draft(), Draft(), Improve((1,)), Crossover((1, 2)), Debug((3,)), Improve((4,)), Improve((6,)), Crossover((7, 3)),
)  # fmt: skip
DIGESTS = {
    ("baseline", "mad-2p", "cpu", "hidden"): "fe994bb92f2dda6a",
    ("baseline", "mad-2p", "cpu", "claimed"): "324d13c04efc5b15",
    ("baseline", "mad-3p", "cpu", "hidden"): "fe994bb92f2dda6a",
    ("baseline", "mad-3p", "cpu", "claimed"): "324d13c04efc5b15",
    ("baseline", "babistories-2p", "paper", "hidden"): "fe994bb92f2dda6a",
    ("baseline", "babistories-2p", "paper", "claimed"): "324d13c04efc5b15",
    ("baseline", "lra-listops", "cpu", "hidden"): "c22c1cf10d8bf332",
    ("baseline", "lra-listops", "cpu", "claimed"): "c4b3b5df7940c033",
    ("baseline", "lra-text-conf", "paper", "hidden"): "c22c1cf10d8bf332",
    ("baseline", "lra-text-conf", "paper", "claimed"): "c4b3b5df7940c033",
    ("baseline", "autoresearch", "cpu", "hidden"): "df751b37e15b4d4d",
    ("baseline", "autoresearch", "cpu", "claimed"): "3188938dccb112d1",
    ("random", "mad-2p", "cpu", "hidden"): "65870299c7db925e",
    ("random", "mad-2p", "cpu", "claimed"): "4b4f2ed99bfa3ebc",
    ("random", "mad-3p", "cpu", "hidden"): "0342961f6d99ac73",
    ("random", "mad-3p", "cpu", "claimed"): "189f9408d592bd24",
    ("random", "babistories-2p", "paper", "hidden"): "65870299c7db925e",
    ("random", "babistories-2p", "paper", "claimed"): "4b4f2ed99bfa3ebc",
    ("random", "lra-listops", "cpu", "hidden"): "2e54181ad09c5568",
    ("random", "lra-listops", "cpu", "claimed"): "0d3014bcaa84af44",
    ("random", "lra-text-conf", "paper", "hidden"): "ce50b8425bd495cc",
    ("random", "lra-text-conf", "paper", "claimed"): "fc2e19bbd0a67efc",
    ("random", "autoresearch", "cpu", "hidden"): "8bef65c2c29e54ed",
    ("random", "autoresearch", "cpu", "claimed"): "1b82b7157043951c",
    ("evolution", "mad-2p", "cpu", "hidden"): "018df1c27f70e054",
    ("evolution", "mad-2p", "cpu", "claimed"): "5d22a372bd020719",
    ("evolution", "mad-3p", "cpu", "hidden"): "6b6b241fc57e50c0",
    ("evolution", "mad-3p", "cpu", "claimed"): "d0b0abda36423b04",
    ("evolution", "babistories-2p", "paper", "hidden"): "018df1c27f70e054",
    ("evolution", "babistories-2p", "paper", "claimed"): "5d22a372bd020719",
    ("evolution", "lra-listops", "cpu", "hidden"): "228cfccc9f61ab1c",
    ("evolution", "lra-listops", "cpu", "claimed"): "0ed06fce29720c21",
    ("evolution", "lra-text-conf", "paper", "hidden"): "3ad3e97c7e3dab98",
    ("evolution", "lra-text-conf", "paper", "claimed"): "27daa46b1d59d8c3",
    ("evolution", "autoresearch", "cpu", "hidden"): "0b9429216a69b0aa",
    ("evolution", "autoresearch", "cpu", "claimed"): "e33be693b5167bd9",
}
"""Of agent, task, profile and what drives the fitness."""


def searched(agent: str, task_name: str, profile: str, fitness: str) -> str:
    """The digest of what an agent proposes for `ACTIONS`, under three seeds."""
    task = find_task(task_name)
    public = task.folder if (task.folder / "train.py").is_file() else Path("data")
    brief = Brief(
        task.title, "", task.metadata.aira.artifact, task.metric, task.lower_is_better, profile, "hidden", 60.0, 1024,
        public=public,
    )  # fmt: skip
    brief = replace(brief, fitness=fitness)
    digest = hashlib.sha256()
    for seed in range(3):
        journal: list[Node] = []
        written: dict[int, str] = {}
        for step, action in enumerate(ACTIONS, start=1):
            situation = Situation(
                action, tuple(journal), lambda step: StepFiles(written[step], "", ""),  # noqa: B023
                random.Random(f"{seed}/{step}"), len(ACTIONS) - step, 100.0,
            )  # fmt: skip
            proposal = SEARCHERS[agent].propose(brief, situation)
            digest.update(f"{proposal.code}\0{proposal.plan}\0{proposal.changes}\0".encode())
            written[step] = proposal.code
            found = proposal.code.partition('ARCHITECTURE = "')[2].partition('"')[0] or None
            journal.append(
                Node(step, action.operator, action.parents, "valid", "", step / 100, None, "c" * 64, None,
                     canonical=found)
            )  # fmt: skip
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("what", DIGESTS, ids=" ".join)
def test_what_is_proposed_has_not_changed(what: tuple[str, str, str, str]) -> None:
    assert searched(*what) == DIGESTS[what]

"""Searchers over modules: genomes stay within the space, solutions hold them, and what they write is a model.py."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agents.agent import Brief, Proposal, Situation
from aira_bench.agents.catalog import SEARCHERS
from aira_bench.agents.searchers.modules import Genome, cross, mutate, random_genome, read_genome
from aira_bench.errors import UsageError
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Node
from aira_bench.scaffolds.policy import Crossover, Debug, Draft, Improve, Proposing
from aira_bench.tasks.artifact_spec import ArtifactSpec
from aira_bench.tasks.task import shipped_tasks
from aira_contract.genomes import CHOICES, SCALED
from aira_evaluator.lra.agent.baselines import genome as evaluators
from aira_evaluator.lra.contract.hyperparameters import read_hyperparameters
from aira_evaluator.lra.contract.profiles import PROFILES
from aira_evaluator.lra.contract.splits import LabelledSplit, Sequences, SplitManifest, write_split

SPEC = ArtifactSpec(name="model.py", kind="module", max_kib=128, module_layers={"cpu": 2, "paper": 4})
FIXED = Brief("lra-listops", "text", SPEC, "Accuracy", False, "cpu", "hidden", 300.0, 3072)
CONFIGURABLE = replace(FIXED, task="mine", artifact=SPEC.model_copy(update={"hyperparameters": True}))
seeds = st.integers(0, 2**32)


def node(step: int) -> Node:
    return Node(step, "draft", (), "valid", "", 0.5, None, "0" * 64, "0" * 64)


def propose(agent: str, brief: Brief, action: Proposing, earlier: list[str], seed: int) -> Proposal:
    situation = Situation(
        action, [node(step) for step in range(len(earlier))], lambda step: StepFiles(earlier[step], "", ""),
        random.Random(seed), 5, 100.0,
    )  # fmt: skip
    return SEARCHERS[agent].propose(brief, situation)


def genome_of(proposal: Proposal) -> Genome:
    genome = read_genome(proposal.code)
    assert genome is not None
    return genome


def differences(first: Genome, second: Genome) -> int:
    """Genes that differ."""
    mixers = sum(a != b for a, b in zip(first["mixers"], second["mixers"], strict=True))
    choices = sum(first[name] != second[name] for name in CHOICES)
    factors = sum(first["factors"].get(name, 1) != second["factors"].get(name, 1) for name in SCALED)
    return mixers + choices + factors


def test_a_tasks_metadata_says_what_its_modules_may_be() -> None:
    """The harness reads no capability from a name: here the names are checked against the metadata."""
    found = [task for task in shipped_tasks() if task.metadata.aira.artifact.kind == "module"]
    assert len(found) == 6
    for task in found:
        spec = task.metadata.aira.artifact
        assert spec.hyperparameters == ("Configurable" in task.name) == task.title.endswith("-conf")
        assert spec.module_layers == {profile: 4 if profile == "paper" else 2 for profile in ("cpu", "paper")}, (
            "the mechanisms that searchers have always named"
        )


def test_a_task_of_any_name_lets_its_hyperparameters_be_searched() -> None:
    plain, free = (
        {name for seed in range(20) for name in genome_of(propose("random", brief, Draft(), [], seed))["factors"]}
        for brief in (replace(FIXED, task="something-conf"), CONFIGURABLE)
    )
    assert plain == set()
    assert len(free) > 5


@given(seeds, st.booleans(), st.integers(1, 4))
def test_random_genomes_mutants_and_crosses_are_admitted_by_the_evaluator(seed: int, free: bool, layers: int) -> None:
    rng = random.Random(seed)
    first, second = (random_genome(rng, layers, configurable=free) for _ in range(2))
    for genome in (first, mutate(rng, first, configurable=free), cross(rng, first, second)):
        evaluators.read_genome(genome)
        assert free or not genome["factors"]
        assert all(factor != 1 for factor in genome["factors"].values())


@given(seeds, st.booleans())
def test_a_mutation_changes_one_gene_and_leaves_its_parent_alone(seed: int, free: bool) -> None:
    rng = random.Random(seed)
    parent = random_genome(rng, 3, configurable=free)
    before = json.dumps(parent)
    assert differences(parent, mutate(rng, parent, configurable=free)) == 1
    assert json.dumps(parent) == before


@given(seeds)
def test_a_cross_has_every_gene_from_a_parent(seed: int) -> None:
    rng = random.Random(seed)
    first, second = (random_genome(rng, 4, configurable=True) for _ in range(2))
    child = cross(rng, first, second)
    assert all(gene in pair for gene, pair in zip(child["mixers"], zip(first["mixers"], second["mixers"], strict=True),
                                                  strict=True))  # fmt: skip
    assert all(child[name] in (first[name], second[name]) for name in CHOICES)
    for name in SCALED:
        assert child["factors"].get(name, 1) in (first["factors"].get(name, 1), second["factors"].get(name, 1))


@settings(max_examples=50)
@given(seeds)
def test_many_mutations_on_end_stay_within_reach(seed: int) -> None:
    rng = random.Random(seed)
    genome = random_genome(rng, 2, configurable=True)
    for _ in range(60):
        genome = mutate(rng, genome, configurable=True)
    assert all(1 / 8 <= factor <= 8 for factor in genome["factors"].values())


@pytest.mark.parametrize("agent", ["random", "evolution", "baseline"])
@pytest.mark.parametrize("brief", [FIXED, CONFIGURABLE], ids=lambda brief: brief.task)
def test_the_seed_decides_the_proposal(agent: str, brief: Brief) -> None:
    proposals = [propose(agent, brief, Draft(), [], seed).code for seed in (1, 1, 2)]
    assert proposals[0] == proposals[1]
    assert (proposals[0] == proposals[2]) == (agent == "baseline")


def test_evolution_improves_its_parent_by_one_gene_it_has_not_tried() -> None:
    start = propose("evolution", CONFIGURABLE, Draft(), [], 1)
    earlier = [start.code]
    for step in range(12):
        child = propose("evolution", CONFIGURABLE, Improve((0,)), earlier, step)
        assert differences(genome_of(start), genome_of(child)) == 1
        assert genome_of(child) not in [genome_of(Proposal(code, "")) for code in earlier]
        earlier.append(child.code)


def test_where_the_neighbourhood_is_exhausted_mutations_pile_up() -> None:
    start = propose("evolution", FIXED, Draft(), [], 1)
    earlier = [start.code]
    for step in range(30):
        earlier.append(propose("evolution", FIXED, Improve((0,)), earlier, step).code)
    genomes = [json.dumps(genome_of(Proposal(code, "")), sort_keys=True) for code in earlier]
    assert len(set(genomes)) == len(genomes)


def test_a_crossover_mixes_its_two_parents() -> None:
    earlier = [propose("random", CONFIGURABLE, Draft(), [], seed).code for seed in (1, 2)]
    child = propose("evolution", CONFIGURABLE, Crossover((0, 1)), earlier, 3)
    near = [differences(genome_of(child), genome_of(Proposal(code, ""))) for code in earlier]
    apart = differences(*(genome_of(Proposal(code, "")) for code in earlier))
    assert max(near) <= apart + 1


def test_a_failed_step_is_followed_by_a_fresh_start() -> None:
    earlier = [propose("evolution", FIXED, Draft(), [], 1).code]
    assert propose("evolution", FIXED, Debug((0,)), earlier, 5).plan == "A random start."


def test_the_baseline_is_the_reference_transformer() -> None:
    genome = genome_of(propose("baseline", FIXED, Draft(), [], 0))
    assert evaluators.read_genome(genome) == evaluators.PRESETS["transformer"]


def test_a_claiming_solution_validates_with_the_evaluators_code() -> None:
    claiming = propose("baseline", replace(FIXED, fitness="claimed"), Draft(), [], 0).code
    assert "aira_evaluator.lra.validate" in claiming
    assert "aira_evaluator.lra.validate" not in propose("baseline", FIXED, Draft(), [], 0).code
    assert read_genome(claiming) == read_genome(propose("baseline", FIXED, Draft(), [], 0).code)


def test_what_these_agents_cannot_do_is_said() -> None:
    silent = ArtifactSpec(name="model.py", kind="module", module_layers={"paper": 4})
    with pytest.raises(UsageError, match="no modules for profile cpu"):
        propose("random", replace(FIXED, artifact=silent), Draft(), [], 0)


@pytest.mark.parametrize(
    "code", ["GENOME = ", "x = 1", "", "GENOME[0] = 3", "GENOME = {[]: 1}", "GENOME = {'mixers': []}", "GENOME = f()"]
)
def test_a_solution_without_a_genome_has_none(code: str) -> None:
    assert read_genome(code) is None


@pytest.mark.parametrize("brief", [FIXED, CONFIGURABLE], ids=lambda brief: brief.task)
def test_a_solution_writes_a_module_of_the_task_in_its_data(tmp_path: Path, brief: Brief) -> None:
    free = brief is CONFIGURABLE
    symbols = Sequences(np.array([1, 2], np.uint8), np.array([0, 1, 2], np.int64))
    split = LabelledSplit(symbols, np.array([[0], [1]], np.int32), np.array([1, 2], np.uint8))
    write_split(tmp_path / "data" / "train", split, SplitManifest("cpu", "listops", "train", "generated", free))
    code = propose("evolution", brief, Draft(), [], 4).code
    (tmp_path / "solution.py").write_text(code)
    finished = subprocess.run(
        [sys.executable, "solution.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    source = (tmp_path / "model.py").read_text()
    assert "class CustomEncoder(nn.Module):" in source
    profile = PROFILES["cpu", "listops"]
    chosen = read_hyperparameters(source, profile.defaults, profile.ranges, profile.max_train_tokens)
    genome = evaluators.read_genome(genome_of(Proposal(code, "")))
    assert chosen == genome.hyperparameters(profile)
    assert (chosen == profile.defaults) == (not free or not genome.factors)

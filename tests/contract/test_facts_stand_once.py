"""A fact of `aira_contract` is written nowhere else: no other package of ours spells its value again.

Only values that nobody would write by chance are looked for, so a plain word such as `data` or `final` may stand
anywhere. Task folders and templates for tasks of others are whole programs in the upstream layout and stand alone.
"""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import pytest

import aira_contract
from aira_bench.evaluation.resident import _Answer
from aira_bench.evaluation.verdict import CheckedReport
from aira_bench.sandbox.inside import witness
from aira_bench.tasks.artifact_spec import NAMES_OF_OURS
from aira_bench.tasks.task import Task, shipped_tasks
from aira_contract import containers, files, flags, framing, genomes, invocation, reports, settings
from aira_contract.primitives import SYMBOLS
from aira_evaluator.lra.agent.baselines import compose
from aira_evaluator.lra.agent.baselines.genome import Genome
from aira_evaluator.lra.contract.hyperparameters import Hyperparameters
from aira_evaluator.task_scripts.evaluating import EvaluationResult

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("harness/aira_bench", "evaluator/aira_evaluator", "kernels/aira_kernels", "bench")
STANDS_ALONE = ("harness/aira_bench/authoring/templates/", "harness/aira_bench/sandbox/inside/")
"""Programs that are read or run as single files: no package of ours is there to import."""
TELLING = re.compile(
    r"AIRA_[A-Z_]+|--[a-z]+(-[a-z]+)+|/[a-z]+|[a-z]+_[a-z_]+|[a-z_]+\.(py|json|csv|bin|tar|graphs)|--- .*"
)
ALSO_NAMES_OF_OTHER_THINGS = {
    "prepare.py", "evaluate.py", "kernels.py", "model.py", "train.py",  # upstream's names, in prose and in examples
    "tokenizer.json",  # what the library `tokenizers` and Hugging Face call it
    "training_record", "self_attention", "batch_size", "learning_rate", "weight_decay", "num_layers", "num_heads",
    "emb_dim", "qkv_dim", "mlp_dim", "seq_len", "train_steps", "warmup_steps", *genomes.MIXERS,
}  # fmt: skip
"""Attributes, modules and features of those names: `test_genomes_name_what_there_is` holds them to the vocabulary."""


def contract_values() -> Mapping[str, str]:
    """Every telling text among the public constants of the contract, and where it stands."""
    found = {}
    for info in pkgutil.iter_modules(aira_contract.__path__):
        module = importlib.import_module(f"aira_contract.{info.name}")
        for name, value in vars(module).items():
            values = value if isinstance(value, tuple | frozenset) else (value,)
            for item in values if name.isupper() else ():
                if isinstance(item, str | PurePosixPath) and TELLING.fullmatch(str(item)):
                    found.setdefault(str(item), f"{info.name}.{name}")
    return {value: where for value, where in found.items() if value not in ALSO_NAMES_OF_OTHER_THINGS}


def spelt(path: Path) -> Iterator[tuple[int, str]]:
    """Texts in a module's code with their lines, without those that are documentation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def test_the_search_knows_what_it_looks_for() -> None:
    values = contract_values()
    assert {"AIRA_PROFILE", "--submission-file", "/hidden", "fit.json", "custom_gradient"} <= set(values)
    assert reports.RESULT_MARKER in values
    assert len(values) > 25


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_spells_a_fact_of_the_contract_again(package: str) -> None:
    values = contract_values()
    again = {
        f"{path.relative_to(ROOT)}:{line}: {text!r} is {values[text]}"
        for path in (ROOT / package).rglob("*.py")
        if not str(path.relative_to(ROOT)).startswith(STANDS_ALONE)
        for line, text in spelt(path)
        if text in values
    }
    assert not again, "\n".join(sorted(again))


@pytest.mark.parametrize("package", ["harness/aira_bench", "evaluator/aira_evaluator"])
def test_no_constant_has_the_name_of_a_file_of_the_contract(package: str) -> None:
    """Upstream's names stand in prose and examples; a constant of a module that is one of them is the fact again."""
    names = {value for value in vars(files).values() if isinstance(value, str) and value.endswith((".py", ".csv"))}
    again = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / package).rglob("*.py")
        if not str(path.relative_to(ROOT)).startswith(STANDS_ALONE)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        if node.value.value in names
    }
    assert not again


def test_programs_that_stand_alone_name_places_that_there_are() -> None:
    """The witness runs as text in containers: it must know every place that an agent must not see."""
    hidden = {containers.HIDDEN, containers.RAW, containers.TASK, containers.OUTPUT}
    assert {str(place) for place in hidden} <= set(witness.PATHS)


def test_the_hosts_report_has_the_keys_of_the_contracts() -> None:
    ours = {field.alias or name: field.is_required() for name, field in CheckedReport.model_fields.items()}
    assert set(ours) == set(reports.Report.__annotations__)
    needed = {key for key, required in ours.items() if required}
    assert needed - {"seconds"} == reports.Report.__required_keys__


def test_the_evaluators_report_has_no_other_keys() -> None:
    found = EvaluationResult(0.1, 0.2, "search", {}, "mA,M", 0.3, {"flags": []}).report(2, 1.0)
    assert set(found) <= set(reports.Report.__annotations__)
    assert reports.Report.__required_keys__ <= set(found)
    checked = CheckedReport.model_validate(found)
    assert (checked.validation, checked.test, checked.public) == (0.1, 0.2, 0.3)


def test_the_hosts_answer_of_a_resident_judge_has_the_keys_of_the_contracts() -> None:
    assert tuple(_Answer.model_fields) == framing.ANSWER_KEYS


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (invocation.RESIDENT_PROGRAM, "main"),
        (invocation.SERVING_PROGRAM, "main"),
        (invocation.ARCHITECTURE_VALIDATION, "main"),
        (invocation.MODULE_VALIDATION, "main"),
        (invocation.SCRIPT_VALIDATION, "main"),
        (invocation.MODULE_WRITER, "write_model"),
    ],
)
def test_programs_that_the_host_names_are_there(module: str, function: str) -> None:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    names = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    imported = {
        alias.asname or alias.name
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert function in names | imported


def test_genomes_name_what_there_is() -> None:
    """Each mechanism has code, each scaled hyperparameter is one, and a genome's defaults are the first of each."""
    assert set(compose._CLASSES) == set(genomes.MIXERS)
    assert set(genomes.SCALED) <= {field.name for field in fields(Hyperparameters)}
    plain = Genome()
    assert plain.mixers == genomes.MIXERS[:1]
    assert {name: getattr(plain, name) for name in genomes.CHOICES} == {
        name: options[0] for name, options in genomes.CHOICES.items()
    }
    assert {field.name for field in fields(Genome)} == {genomes.MIXERS_KEY, genomes.FACTORS_KEY, *genomes.CHOICES}


@pytest.mark.parametrize("task", shipped_tasks(), ids=lambda task: task.title)
def test_a_tasks_scripts_admit_the_primitives_of_its_metadata(task: Task) -> None:
    """Both say it, since scripts run where no YAML is read: they must agree, and name primitives that there are."""
    listed = task.metadata.aira.artifact.primitives
    assert set(listed) <= set(SYMBOLS)
    for script in task.folder.glob("*.py"):
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "primitives":
                assert ast.literal_eval(node.value) == listed, script


def test_no_submission_may_have_the_name_of_a_file_beside_it() -> None:
    assert files.NOT_FOR_SUBMISSIONS <= NAMES_OF_OURS
    assert {files.FIT_FILE, files.JUDGE_FILE, files.PROGRAMS_FILE, "kernels.py"} <= NAMES_OF_OURS
    assert not {files.ARCHITECTURE_FILE, files.MODULE_FILE, files.SCRIPT_FILE} & NAMES_OF_OURS


def test_lists_have_their_defaults_first_and_no_name_twice() -> None:
    assert (settings.PROFILES[0], settings.SEED_SETS[0], settings.SOURCES[0]) == ("paper", "search", "public")
    assert set(settings.PROFILES) >= settings.ON_GPUS
    for names in (settings.PROFILES, settings.SEED_SETS, settings.SOURCES, invocation.PLATFORMS, genomes.SCALED):
        assert len(set(names)) == len(names)
    assert len({invocation.DONE, invocation.FAILED, invocation.REFUSED}) == 3
    assert flags.CUSTOM_GRADIENT != flags.ABOVE_PUBLISHED_BEST

"""lm-evaluation-harness on trained toys, on tasks in a folder with generated data: what is scored is what is true.

Data are stories of the seeded grammar that the toys are trained on, made for this test; they say nothing of any public
task. Needs `aira-bench[downstream]`; `make test-downstream` has it.
"""

import json
import math
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

if not os.environ.get("AIRA_TEST_DOWNSTREAM"):  # there none may be skipped
    pytest.importorskip("lm_eval")

from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer

from aira_bench.cli.main import run_command_line
from aira_contract.downstream import AskedTask, DownstreamRequest, EvaluatedModel, Line, TaskScores
from aira_contract.exports import ExportRequest
from aira_contract.recipes import FOLDER
from aira_evaluator.downstream.session import evaluate_all, evaluate_task
from aira_evaluator.pretrain.export import export
from aira_evaluator.pretrain.train import main
from aira_evaluator.pretrain.trained import TrainedFolder, weights_sha256
from aira_evaluator.text.grammar import synthetic_documents
from evaluator.pretrain.toy_trainings import FAMILIES, RECIPE, SEQUENCE, arguments, make_inputs
from scaling.test_grow import searched

pytestmark = pytest.mark.timeout(1200)

SHORT = RECIPE.replace("steps = 48", "steps = 8").replace("validate_every_steps = 24", "validate_every_steps = 8")
EXAMPLES = 24
TASKS = {
    "toy_choice": ("multiple_choice", 1, ("acc", "acc_norm"), 1 / 3),
    "toy_last_word": ("loglikelihood", 0, ("acc", "perplexity"), 0.0),
    "toy_written": ("generate_until", 1, ("exact_match",), 0.0),
    "toy_text": ("loglikelihood_rolling", 0, ("bits_per_byte", "word_perplexity"), 0.0),
}
FIELDS = {
    "toy_choice": 'doc_to_text: "{{begin}}"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: "{{answer}}"\n',
    "toy_last_word": 'doc_to_text: "{{begin}}"\ndoc_to_target: " {{word}}"\n',
    "toy_written": 'doc_to_text: "{{begin}}"\ndoc_to_target: "{{word}}"\ntarget_delimiter: " "\n'
    'generation_kwargs:\n  until: ["."]\n  max_gen_toks: 6\n',
    "toy_text": 'doc_to_text: ""\ndoc_to_target: "{{text}}"\n',
}


def write_tasks(folder: Path) -> None:
    """A suite of four tasks, of each kind of request that lm_eval makes."""
    folder.mkdir()
    stories = [" ".join(story.split()) for story in synthetic_documents("stories", 3 * EXAMPLES, 77)]
    draw, lines = random.Random(5), []
    for number in range(2 * EXAMPLES):
        words = stories[number].split()
        at = draw.randrange(3, min(40, len(words) - 6))  # longer than the toys' positions now and then
        choices = [" ".join(stories[(number + more) % len(stories)].split()[at : at + 2 + more]) for more in range(3)]
        answer = choices[0]
        draw.shuffle(choices)
        lines.append({"begin": " ".join(words[:at]), "word": words[at], "choices": choices,
                      "answer": choices.index(answer), "text": stories[number][:400]})  # fmt: skip
    for name, part in (("shown", lines[:EXAMPLES]), ("asked", lines[EXAMPLES:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in part))
    suite = 'schema = 1\ntitle = "Generated stories"\nsource = ""\nnotes = ["Generated data."]\n'
    for task, (kind, shots, metrics, chance) in TASKS.items():
        listed = "".join(f"  - metric: {metric}\n" for metric in metrics)
        (folder / f"{task}.yaml").write_text(
            f"task: {task}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
            f"    shown: {folder / 'shown.jsonl'}\n    asked: {folder / 'asked.jsonl'}\n"
            f"output_type: {kind}\ntraining_split: shown\ntest_split: asked\nfewshot_split: shown\n"
            f"{FIELDS[task]}metric_list:\n{listed}metadata:\n  version: 1.0\n"
        )
        suite += f'[[tasks]]\nname = "{task}"\nlm_eval = "{task}"\nshots = {shots}\nmetric = "{metrics[0]}"\n'
        suite += f'normalized = "{metrics[1]}"\n' if len(metrics) > 1 else ""
        suite += f"chance = {chance}\n"
    (folder / "suite.toml").write_text(suite)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A toy of each family after eight steps, each exported, and a suite."""
    folder = tmp_path_factory.mktemp("place")
    before = {name: os.environ.get(name) for name in ("HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")}
    os.environ.update({"HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
    make_inputs(folder, SHORT)
    write_tasks(folder / "tasks")
    for pattern in FAMILIES:
        assert main(arguments(folder, pattern, folder / pattern)) == 0
        export(ExportRequest(str(folder / pattern), str(folder / f"{pattern}-hf")))
    yield folder
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def scored(place: Path, folder: str, limit: int | None = None) -> dict[str, TaskScores]:
    """The scores of every task, evaluated in this process."""
    asked = tuple(AskedTask(task, shots, metrics) for task, (_, shots, metrics, _) in TASKS.items())
    lines: list[Line] = []
    request = DownstreamRequest(
        str(place / folder), asked, include=str(place / "tasks"), device="cpu", dtype="float32", batch_tokens=200,
        limit=limit,
    )  # fmt: skip
    evaluate_all(request, lines.append)
    assert isinstance(lines[0], EvaluatedModel)
    assert lines[0].weights_sha256 == weights_sha256(TrainedFolder(place / folder.removesuffix("-hf")).model(8))
    found = [line for line in lines[1:] if isinstance(line, TaskScores)]
    assert len(found) == len(lines) - 1, lines
    return {each.task: replace(each, seconds=0) for each in found}


def by_transformers(place: Path, pattern: str) -> dict[str, dict[str, float]]:
    """The exported folder under lm_eval's own model: another implementation of the layers, of batches and of scores.

    Texts that the model writes behind are given one at a time, since padding on the left is refused. Whole texts are
    given without a separator of their own: lm_eval's model would put a second one before the first.
    """
    manager, found = TaskManager(include_path=str(place / "tasks"), include_defaults=False), {}
    request = DownstreamRequest("", (), device="cpu")
    theirs = HFLM(
        pretrained=str(place / f"{pattern}-hf"), trust_remote_code=True, dtype="float32", device="cpu", batch_size=5
    )
    for task, (kind, shots, metrics, _) in TASKS.items():
        theirs.batch_size_per_gpu = 1 if kind == "generate_until" else 5
        theirs.add_bos_token = False if kind == "loglikelihood_rolling" else None
        scores = evaluate_task(theirs, AskedTask(task, shots, metrics), request, manager)
        found[task] = {metric: each.value for metric, each in scores.metrics.items()}
    return found


@pytest.mark.parametrize("pattern", FAMILIES)
def test_scores_are_those_of_lm_eval_s_own_model_on_the_exported_folder(place: Path, pattern: str) -> None:
    found, theirs = scored(place, pattern), by_transformers(place, pattern)
    assert set(found) == set(TASKS)
    for task, (_, shots, _, _) in TASKS.items():
        ours = {metric: each.value for metric, each in found[task].metrics.items()}
        assert ours == pytest.approx(theirs[task], rel=1e-4), task
        assert (found[task].shots, found[task].examples, found[task].version) == (shots, EXAMPLES, "1.0")
    choice = found["toy_choice"].metrics["acc"]
    assert choice.stderr == pytest.approx((choice.value * (1 - choice.value) / (EXAMPLES - 1)) ** 0.5)


def test_an_exported_folder_has_the_scores_of_its_checkpoint(place: Path) -> None:
    assert scored(place, "Mb-M-A-hf") == scored(place, "Mb-M-A")


def test_bits_a_byte_are_those_of_the_validation_loss(place: Path) -> None:
    """On text like training's: within what 24 beginnings of stories vary."""
    bits = scored(place, "A-M")["toy_text"].metrics["bits_per_byte"].value
    own = Tokenizer.from_file(str(place / "A-M" / "tokenizer.json"))
    texts = [json.loads(line)["text"] for line in (place / "tasks" / "asked.jsonl").read_text().splitlines()]
    tokens_a_byte = sum(len(own.encode(text).ids) for text in texts) / sum(len(text.encode()) for text in texts)
    loss = TrainedFolder(place / "A-M").record["validation_loss"]
    assert bits == pytest.approx(loss / math.log(2) * tokens_a_byte, rel=0.1)


def evaluate(place: Path, *more: str) -> int:
    words = ["scale", "evaluate", str(place / "A-M"), "--suite", str(place / "tasks"), "--device", "cpu", "--offline"]
    return run_command_line([*words, *more])


def test_an_evaluation_is_kept_goes_on_where_it_was_cut_off_and_names_what_it_cannot_have(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place / "A-M" / "downstream" / "tasks-step-00000008.json"
    assert evaluate(place, "--json") == 0
    shown = capsys.readouterr()
    first = json.loads(path.read_text())
    assert set(first["model"]["versions"]) == {"lm_eval", "datasets", "transformers", "tokenizers", "torch"}
    assert (first["model"]["step"], first["model"]["length"], first["model"]["dtype"]) == (8, SEQUENCE, "float32")
    scores = {each["task"]: each for each in first["scores"]}
    (row,) = json.loads(shown.out)["rows"]
    assert row["scores"]["toy_choice"]["value"] == 100 * scores["toy_choice"]["metrics"]["acc"]["value"]
    assert "tokenizer is one of our own" in shown.err
    ours = scored(place, "A-M")
    assert {name: each["sha256"] for name, each in scores.items()} == {name: each.sha256 for name, each in ours.items()}

    kept = [scores[name] for name in TASKS if name != "toy_written"]
    path.write_text(json.dumps(first | {"scores": kept}))
    task = place / "tasks" / "toy_written.yaml"
    whole = task.read_text()
    task.write_text(whole.replace("asked.jsonl", "gone.jsonl"))
    assert evaluate(place) == 1
    said = capsys.readouterr().err
    assert "3 of 4 tasks were evaluated before" in said
    assert "examples in" not in said
    assert f"not evaluated: {place / 'A-M'}: toy_written: FileNotFoundError" in said
    task.write_text(whole)
    assert evaluate(place) == 0
    assert capsys.readouterr().err.count("examples in") == 1
    again = json.loads(path.read_text())
    assert {each["task"]: each | {"seconds": 0} for each in again["scores"]} == {
        name: each | {"seconds": 0} for name, each in scores.items()
    }


def test_grow_evaluates_what_it_trained_on_a_suite_of_ones_own(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = (FOLDER / "toy.toml").read_text().replace("steps = 200", "steps = 3").replace("= 2048", "= 512")
    (tmp_path / "few.toml").write_text(recipe)
    told = ["grow", "searched", "--runs", str(searched(tmp_path)), "--scale", "toy", "--recipe",
            str(tmp_path / "few.toml"), "--method", "stretch", "--patterns", "2(A-M)", "--seeds", "1", "--out",
            str(tmp_path / "out"), "--evaluate", str(place / "tasks"), "--yes", "--json"]  # fmt: skip
    task = place / "tasks" / "toy_written.yaml"
    whole = task.read_text()
    task.write_text(whole.replace("asked.jsonl", "gone.jsonl"))
    assert run_command_line(told) == 1
    shown = capsys.readouterr()
    assert shown.err.count("toy_written: FileNotFoundError") == 2
    assert len(json.loads(shown.out)["comparison"]["models"]) == 2, "losses are there all the same"
    task.write_text(whole)
    assert run_command_line(told) == 0
    shown = capsys.readouterr()
    assert shown.err.count("3 of 4 tasks were evaluated before") == 2
    (found,) = json.loads(shown.out)["downstream"]
    assert [row["name"] for row in found["rows"]] == ["searched N0 stretched, seed 0", "2(A-M), seed 0"]
    assert all(set(row["scores"]) == set(TASKS) for row in found["rows"])
    assert "Generated stories" in (tmp_path / "out" / "index.html").read_text()


def test_few_examples_are_few(place: Path) -> None:
    assert {each.examples for each in scored(place, "Mb-M", limit=3).values()} == {3}

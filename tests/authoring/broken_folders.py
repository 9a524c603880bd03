"""Task folders as authors break them: each is a whole folder with one fault, and the words that have to name it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aira_bench.authoring.templates import write_template

NAME = "BracketsAccuracy"
Break = Callable[[Path], object]


@dataclass(frozen=True)
class Fault:
    """What is done to a folder that works, and parts of the one line that has to say so."""

    break_it: Break
    said: tuple[str, ...]


def working_folder(root: Path) -> Path:
    """The template, written into a new folder below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    return write_template("task", NAME, root).path


def replace(file: str, old: str, new: str) -> Break:
    def change(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text, f"{file} no longer holds {old!r}"
        (folder / file).write_text(text.replace(old, new), encoding="utf-8")

    return change


def delete(file: str) -> Break:
    return lambda folder: (folder / file).unlink()


def write(file: str, data: bytes | str) -> Break:
    return lambda folder: (folder / file).write_bytes(data.encode() if isinstance(data, str) else data)


def both(*changes: Break) -> Break:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


BY_LOOKING = {
    "no evaluate.py": Fault(delete("evaluate.py"), ("evaluate.py", "missing")),
    "no metadata": Fault(delete("metadata.yaml"), ("metadata.yaml", "missing")),
    "no description": Fault(delete("project_description.md"), ("project_description.md", "missing")),
    "an empty description": Fault(write("project_description.md", " \n\n"), ("project_description.md", "is empty")),
    "an unknown key": Fault(replace("metadata.yaml", "category:", "categroy:"), ("categroy", "Extra inputs")),
    "a misspelt budget": Fault(replace("metadata.yaml", "steps: 8", "stepps: 8"), ("aira.profiles.cpu.stepps",)),
    "another name than the folder's": Fault(
        replace("metadata.yaml", f"name: {NAME}", "name: Brackets"), ("logging_info.name", "'Brackets'", NAME)
    ),
    "the wrong direction": Fault(
        replace("metadata.yaml", "metric_lower_is_better: false", "metric_lower_is_better: true"),
        ("metric_lower_is_better is true", "optimal_score 1", "estimated_worst_score 0.5"),
    ),
    "worst score and optimum alike": Fault(
        replace("metadata.yaml", "optimal_score: 1.0", "optimal_score: 0.5"), ("is not above",)
    ),
    "an artifact that is not exported": Fault(
        replace("metadata.yaml", "file_export_globs: [submission.csv]", "file_export_globs: [answers.csv]"),
        ("file_export_globs", "submission.csv"),
    ),
    "a text for a truth value": Fault(
        replace("metadata.yaml", "metric_lower_is_better: false", "metric_lower_is_better: 'no'"),
        ("metric_lower_is_better", "valid boolean"),
    ),
    "a script that is no Python": Fault(
        replace("evaluate.py", "def main() -> None:", "def main() -> None"), ("evaluate.py", "not Python", "line")
    ),
    "a script in Latin-1": Fault(
        write("prepare.py", '"""Gr\xfc\xdfe."""\n'.encode("latin-1")), ("prepare.py", "not UTF-8", "0xfc")
    ),
    "a script with a null byte": Fault(write("prepare.py", b"print(1)\0\n"), ("prepare.py", "not Python")),
    "a script in UTF-16": Fault(write("evaluate.py", "print(1)\n".encode("utf-16")), ("evaluate.py", "not UTF-8")),
    "metadata in UTF-16": Fault(
        lambda folder: (folder / "metadata.yaml").write_text((folder / "metadata.yaml").read_text(), "utf-16"),
        ("metadata.yaml", "not UTF-8"),
    ),
    "a link": Fault(lambda folder: (folder / "data.csv").symlink_to("/etc/passwd"), ("data.csv is a link", "find ")),
    "a script that is a folder": Fault(
        both(delete("evaluate.py"), lambda folder: (folder / "evaluate.py").mkdir()), ("evaluate.py", "missing")
    ),
    "an artifact of the harness": Fault(
        both(
            replace("metadata.yaml", "file_export_globs: [submission.csv]", "file_export_globs: [report.json]"),
            replace("metadata.yaml", "name: submission.csv", "name: report.json"),
        ),
        ("report.json is a file of the harness",),
    ),
}  # fmt: skip
"""Seen without running anything."""

PRINT = 'print(json.dumps({METRIC: scores["test"]}, indent=2))'
BY_RUNNING = {
    "prepare.py exits with 1": Fault(
        replace("prepare.py", "    main(args.agent_data_mount_dir)", '    sys.exit("Error: no such split")'),
        ("prepare.py failed", "exit status 1", "no such split"),
    ),
    "prepare.py raises": Fault(
        replace("prepare.py", "    main(args.agent_data_mount_dir)", "    1 / 0"), ("prepare.py", "ZeroDivisionError")
    ),
    "prepare.py writes nothing": Fault(
        replace("prepare.py", "    main(args.agent_data_mount_dir)", "    pass"), ("prepare.py wrote nothing",)
    ),
    "evaluate_prepare.py writes nothing": Fault(
        replace("evaluate_prepare.py", "    main(args.agent_data_mount_dir, args.agent_log_dir)", "    pass"),
        ("evaluate_prepare.py wrote nothing",),
    ),
    "prepare.py hangs": Fault(
        both(
            replace("prepare.py", "    main(args.agent_data_mount_dir)", "    import time; time.sleep(60)"),
            replace("metadata.yaml", "prepare_timeout_s: 60", "prepare_timeout_s: 0.5"),
        ),
        ("prepare.py did not end within 0.5 s", "prepare_timeout_s"),
    ),
    "prepare.py takes other options": Fault(
        replace("prepare.py", "--agent-data-mount-dir", "--output"), ("prepare.py failed", "exit status 2", "--output")
    ),
    "a package that no image has": Fault(
        replace("prepare.py", "import csv", "import no_such_package"), ("prepare.py", "no_such_package")
    ),
    "a path of the author's machine": Fault(
        replace("examples.py", "    rng = random.Random(seed)", '    open("/home/author/brackets.csv")'),
        ("prepare.py", "/home/author/brackets.csv"),
    ),
    "a link in the public data": Fault(
        replace("prepare.py", "    main(args.agent_data_mount_dir)",
                "    main(args.agent_data_mount_dir)\n    (args.agent_data_mount_dir / 'raw').symlink_to('/raw')"),
        ("prepare.py left raw: a link",),
    ),
    "labels in the test file": Fault(
        replace("prepare.py", '["text"], [{"text": text} for text, _ in', '["text", "label"], [{"text": text, "label": _} for text, _ in'),
        ("prepare.py gives labels away", "test.csv has the scoring column 'label'"),
    ),
    "labels under another name": Fault(
        replace("prepare.py", '["text"], [{"text": text} for text, _ in', '["text", "id"], [{"text": text, "id": _} for text, _ in'),
        ("gives labels away", "'id' of test.csv equals the labels"),
    ),
    "labels in a file of their own": Fault(
        replace("prepare.py", "    # Not even in another order",
                "    write_rows(public / 'key.csv', ['k'], [{'k': of} for _, of in draw(TEST_SEED, TEST_ROWS)])\n    # Not even"),
        ("gives labels away", "key.csv"),
    ),
    "the labelled file itself": Fault(
        replace("prepare.py", "    main(args.agent_data_mount_dir)",
                "    import evaluate_prepare\n    main(args.agent_data_mount_dir)\n"
                "    (args.agent_log_dir or Path('.')).joinpath('submission.csv').touch()\n"
                "    evaluate_prepare.main(args.agent_data_mount_dir, args.agent_log_dir)\n"
                "    (args.agent_data_mount_dir / 'test_with_labels.csv').rename(args.agent_data_mount_dir / 'extra.bin')"),
        ("gives labels away", "extra.bin is the same file as the hidden test_with_labels.csv"),
    ),
    "no score block": Fault(replace("evaluate.py", PRINT, "pass"), ("printed 0 score blocks", "EVALUATION RESULT")),
    "a score without its marker": Fault(
        replace("evaluate.py", 'print("\\n--- EVALUATION RESULT ---")', "pass"), ("printed 0 score blocks",)
    ),
    "two score blocks": Fault(
        replace("evaluate.py", PRINT, f"{PRINT}\n    print('--- EVALUATION RESULT ---')\n    {PRINT}"),
        ("printed 2 score blocks", "expected one"),
    ),
    "a score that is no number": Fault(
        replace("evaluate.py", PRINT, "print(json.dumps({METRIC: float('nan')}))"), ("nan", "finite")
    ),
    "an infinite score": Fault(
        replace("evaluate.py", PRINT, "print(json.dumps({METRIC: float('inf')}))"), ("inf", "finite")
    ),
    "a score as text": Fault(replace("evaluate.py", PRINT, "print(json.dumps({METRIC: '0.5'}))"), ("'0.5'", "finite")),
    "another metric": Fault(replace("evaluate.py", 'METRIC = "Accuracy"', 'METRIC = "F1"'), ("['F1']", "'Accuracy'")),
    "two metrics": Fault(
        replace("evaluate.py", PRINT, "print(json.dumps({METRIC: 0.5, 'F1': 0.5}))"), ("['Accuracy', 'F1']",)
    ),
    "a block that is no JSON": Fault(replace("evaluate.py", PRINT, 'print("{Accuracy: 0.5}")'), ("not JSON",)),
    "evaluate.py crashes": Fault(
        replace("evaluate.py", "    started_s = time.monotonic()", "    raise RuntimeError('labels are gone')"),
        ("evaluate.py did not score baseline_solution.py", "exit status 1", "labels are gone"),
    ),
    "evaluate.py hangs": Fault(
        both(
            replace("evaluate.py", "    started_s = time.monotonic()", "    time.sleep(60)"),
            replace("metadata.yaml", "evaluation_timeout_s: 60", "evaluation_timeout_s: 0.5"),
        ),
        ("did not end within",),
    ),
    "evaluate.py takes no report file": Fault(
        replace("evaluate.py", '    parser.add_argument("--report-file", type=Path)\n', ""),
        ("evaluate.py did not score", "exit status 2", "--report-file"),
    ),
    "no report": Fault(replace("evaluate.py", 'args.report_file.write_text(json.dumps(report), encoding="utf-8")', "pass"), ("left no report", "missing")),
    "a report that says otherwise": Fault(
        replace("evaluate.py", '"test": scores["test"],', '"test": 0.25,'), ("reported 0.25", "must be equal")
    ),
    "a report of another schema": Fault(
        replace("evaluate.py", '"schema": 1,', '"schema": 2,'), ("report is broken",)
    ),
    "a report without hidden validation": Fault(
        replace("evaluate.py", '            "validation": scores["validation"],\n', ""), ("no hidden validation score",)
    ),
    "a score beyond the optimum": Fault(
        replace("evaluate.py", "sum(right) / len(right)", "100 * sum(right) / len(right)"),
        ("better than logging_info.optimal_score 1", "higher is better"),
    ),
    "an empty submission has a score": Fault(
        replace("evaluate.py", "        predictions = read_predictions(args.submission_file, len(labels))",
                "        predictions = ['0'] * len(labels)"),
        ("ended with exit status 0 for an empty submission.csv", "expected 2"),
    ),
    "an empty submission is a crash": Fault(
        replace("evaluate.py", "    except (OSError, ValueError) as error:", "    except ZeroDivisionError as error:"),
        ("ended with exit status 1 for an empty submission.csv", "expected 2"),
    ),
    "a baseline that fails": Fault(
        write("baseline_solution.py", "raise SystemExit('no idea')\n"),
        ("baseline_solution.py left no submission", "buggy", "no idea"),
    ),
    "a baseline that leaves nothing": Fault(
        write("baseline_solution.py", "print('done')\n"), ("left no submission", "submission.csv: missing")
    ),
    "a baseline too large": Fault(
        write("baseline_solution.py", "open('submission.csv', 'w').write('x' * 70000)\n"), ("too large",)
    ),
    "a baseline that is refused": Fault(
        write("baseline_solution.py", "open('submission.csv', 'w').write('label\\n1\\n')\n"),
        ("did not score baseline_solution.py", "1 labels, expected 1000"),
    ),
    "a gold submission that is worse": Fault(
        write("gold_submission.csv", "label\n" + "0\n" * 1000),
        ("gold_submission.csv has Accuracy", "expected the gold submission to be the better one"),
    ),
}  # fmt: skip
"""Seen when the scripts run."""

"""Finding labels in public data: every way in which they are looked for, and that honest data passes."""

import json
from pathlib import Path

import pytest

from aira_bench.authoring.public_labels import find_public_labels
from aira_bench.tasks.metadata import LoggingInfo
from aira_bench.tasks.task import load_task

INFO = load_task(Path(__file__).parents[1] / "folders" / "ParityClassificationAccuracy").metadata.logging_info
LABELS = [str(number % 3) for number in range(30)]
Halves = tuple[Path, Path]


@pytest.fixture
def halves(tmp_path: Path) -> Halves:
    """Public and hidden data of an honest task in CSV."""
    public, hidden = tmp_path / "public", tmp_path / "hidden"
    public.mkdir()
    hidden.mkdir()
    inputs = [f"{number:05b}" for number in range(30)]
    write_csv(public / "train.csv", bits=inputs, label=list(reversed(LABELS)))
    write_csv(public / "test.csv", bits=inputs)
    write_csv(hidden / "test_with_labels.csv", bits=inputs, label=LABELS)
    return public, hidden


def write_csv(path: Path, *, delimiter: str = ",", **columns: list[str]) -> None:
    rows = [delimiter.join(row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([delimiter.join(columns), *rows]) + "\n")


def found(halves: Halves, info: LoggingInfo = INFO) -> str | None:
    return find_public_labels(*halves, info)


def test_honest_data_passes(halves: Halves) -> None:
    assert found(halves) is None


@pytest.mark.parametrize("name", ["test.csv", "sample.csv", "deep/er/key.csv"])
def test_a_column_that_equals_the_labels_is_found_whatever_its_name(halves: Halves, name: str) -> None:
    path = halves[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, number=[str(number) for number in range(30)], id=LABELS)
    said = found(halves)
    assert said is not None
    assert f"column 'id' of {name} equals the labels" in said


def test_a_column_of_one_value_or_a_few_rows_is_chance(halves: Halves) -> None:
    write_csv(halves[0] / "sample_submission.csv", guess=["0"] * 30)
    write_csv(halves[1] / "test_with_labels.csv", bits=["0"] * 30, label=["0"] * 30)
    assert found(halves) is None
    write_csv(halves[0] / "few.csv", a=["0", "1", "2"])
    write_csv(halves[1] / "few_with_labels.csv", label=["0", "1", "2"])
    assert found(halves) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("test.tsv", "bits\tlabel\n01\t1\n"),
        ("test.jsonl", '{"bits": "01", "label": 1}\n{"bits": "11"}\n'),
        ("test.json", '[{"bits": "01", "label": 1}]'),
        ("test/dataset_info.json", json.dumps({"features": {"bits": {}, "label": {"dtype": "int64"}}})),
        ("test/part.csv", "label,bits\n1,01\n"),
    ],
)
def test_a_test_file_that_keeps_the_scoring_column_is_found(halves: Halves, name: str, content: str) -> None:
    path = halves[0] / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert found(halves) == f"{name} has the scoring column 'label'"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", '{"bits": "01", "label": 1}\n'),
        ("train/dataset_info.json", json.dumps({"features": {"label": {}}})),
        ("test/dataset_info.json", json.dumps({"features": {"bits": {}}, "description": "label"})),
        ("test.json", "[]"),
        ("test.json", '"label"'),
        ("test.jsonl", "{broken"),
        ("test.json", "[" * 5000),
        ("test.csv", ""),
        ("test.csv", '"unclosed\n' * 3),
        ("test.csv", "bits\n" + "1" * 200_000),
        ("test.bin", "label"),
    ],
)
def test_train_data_and_files_that_are_nothing_known_pass(halves: Halves, name: str, content: str) -> None:
    path = halves[0] / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert found(halves) is None


def test_bytes_that_are_no_text_pass(halves: Halves) -> None:
    (halves[0] / "test.csv").write_bytes(b"label\xff\n1\n")
    assert found(halves) is None


def test_the_split_is_the_one_that_the_metadata_names(halves: Halves) -> None:
    (halves[0] / "validation.csv").write_text("bits,label\n01,1\n")
    assert found(halves) is None
    info = INFO.model_copy(update={"test_split": "validation"})
    assert found(halves, info) == "validation.csv has the scoring column 'label'"


@pytest.mark.parametrize("name", ["test_with_labels.csv", "test_with_labels/data-00000-of-00001.arrow"])
def test_a_copy_of_the_labelled_file_is_found_under_any_name(halves: Halves, name: str) -> None:
    public, hidden = halves
    (hidden / name).parent.mkdir(exist_ok=True)
    (hidden / name).write_bytes(b"\xff\xfe" * 1000)
    (public / "cache").mkdir()
    (public / "cache" / "x.bin").write_bytes(b"\xff\xfe" * 1000)
    assert found(halves) == f"cache/x.bin is the same file as the hidden {name}"
    (public / "cache" / "x.bin").write_bytes(b"\xff\xfd" * 1000)
    assert found(halves) is None


def test_one_file_of_a_labelled_folder_is_no_proof_unless_its_name_says_so(halves: Halves) -> None:
    """Numbers of rows and inputs may well be alike in both halves; a file of labels may not."""
    public, hidden = halves
    (hidden / "more_with_labels").mkdir()
    for name in ("rows.npy", "labels.npy"):
        (hidden / "more_with_labels" / name).write_text(name * 9)
    (public / "a.npy").write_text("rows.npy" * 9)
    assert found(halves) is None
    (public / "b.npy").write_text("labels.npy" * 9)
    assert found(halves) == "b.npy is the same file as the hidden more_with_labels/labels.npy"


def test_what_only_describes_data_may_be_alike_in_both_halves(halves: Halves) -> None:
    for folder in halves:
        place = folder / ("train" if folder == halves[0] else "test_with_labels")
        place.mkdir()
        (place / "state.json").write_text('{"_data_files": []}')
    assert found(halves) is None


def test_a_file_too_large_to_read_is_still_compared_as_a_whole(halves: Halves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aira_bench.authoring.public_labels.LARGEST_READ_BYTES", 100)
    write_csv(halves[0] / "big.csv", id=LABELS, more=["x" * 9] * 30)
    assert found(halves) is None
    (halves[0] / "copy.csv").write_bytes((halves[1] / "test_with_labels.csv").read_bytes())
    assert found(halves) == "copy.csv is the same file as the hidden test_with_labels.csv"


def test_scoring_columns_may_be_several(halves: Halves) -> None:
    info = INFO.model_copy(update={"scoring_column": ("start", "end")})
    write_csv(halves[1] / "test_with_labels.csv", bits=LABELS, end=LABELS)
    write_csv(halves[0] / "hint.csv", until=LABELS)
    said = found(halves, info)
    assert said is not None
    assert "column 'end' of the hidden" in said

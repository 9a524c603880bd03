"""Tables that are compared with the product, with each other and with the text: values by hand, and edits noticed."""

import csv
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.errors import PrerequisiteError
from aira_bench.reproduce.cells import Cell, Status
from aira_bench.reproduce.statuses import StatusChange, changed_statuses, write_statuses
from aira_bench.reproduce.tables import reproduce
from published_tables import edit

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED = ROOT / "results" / "statuses.csv"


def cells(table: str, folder: Path | None = None) -> dict[tuple[str, str], Cell]:
    return {(cell.row, cell.column): cell for cell in reproduce([table], folder).cells}


def test_every_status_is_the_accepted_one() -> None:
    assert changed_statuses(reproduce(), ACCEPTED) == []


def test_the_twelve_tasks_and_their_artifacts_are_shipped(folder: Path) -> None:
    found = cells("1")
    assert found["all", "tasks"].computed == "12"
    assert all(cell.status is Status.REPRODUCED for cell in found.values())
    edit(folder, "1", lambda rows: rows[0].update(task="NeuralArchitectureSearchMAD9Primitives", artifact="x.py"))
    assert cells("1", folder)["NeuralArchitectureSearchMAD9Primitives", "artifact"].status is Status.MISMATCH


def test_the_right_half_of_table_4_is_twelve_twentieths_of_the_left(folder: Path) -> None:
    """0.259 * 12/20 = 0.1554, printed 0.156: both sides are rounded. The other five are exact."""
    found = cells("4")
    assert len(found) == 6
    assert [key for key, cell in found.items() if cell.status is not Status.REPRODUCED] == [("ListOps", "all_config")]
    assert found["ListOps", "all_config"].status is Status.ROUNDING
    edit(folder, "4", lambda rows: rows[1].update(all_config="0.109"))
    assert cells("4", folder)["Text", "all_config"].status is Status.MISMATCH


def test_gains_of_table_5_follow_from_its_scores(folder: Path) -> None:
    found = cells("5")
    assert found["Opus 4.5 seed 10 step 2", "delta"].computed == "0.036"  # 1.004 - 0.968
    assert found["Opus 4.6 seed 2 step 1", "delta"].computed == "0.005"  # 1.0121 - 1.007
    assert found["Opus 4.6 seed 4 step 2", "delta"].status is Status.REPRODUCED  # 0.995 - 0.995, printed <0.001
    edit(folder, "5", lambda rows: rows[13].update(delta="0.030"))
    edit(folder, "5", lambda rows: rows[15].update(val_bpb="0.990"))
    changed = cells("5", folder)
    assert changed["Opus 4.5 seed 10 step 2", "delta"].status is Status.MISMATCH
    assert changed["Opus 4.6 seed 4 step 2", "delta"].status is Status.MISMATCH


def test_packages_are_those_of_the_image_that_follows_the_paper(folder: Path) -> None:
    found = cells("6")
    assert len(found) == 34
    assert found["torch", "image"].status is Status.REPRODUCED
    assert found["flash-attn", "image"].status is Status.REPRODUCED
    triton = found["triton", "image"]
    assert (triton.published, triton.computed, triton.status) == ("3.1.0", "3.2.0", Status.DIFFERENCE)
    assert "requires exactly triton 3.2.0" in triton.reason
    edit(folder, "6", lambda rows: rows[0].update(version="2.7.0"))
    assert cells("6", folder)["torch", "image"].status is Status.MISMATCH
    assert cells("15")["numpy", "image"].status is Status.REPRODUCED
    edit(folder, "15", lambda rows: rows[10].update(requirement="numpy>=99"))
    assert cells("15", folder)["numpy", "image"].status is Status.MISMATCH


def test_constants_are_what_agents_are_told(folder: Path) -> None:
    found = cells("12")
    assert len(found) == 13 * 3 * 2
    assert all(cell.status is Status.REPRODUCED for cell in found.values())
    edit(folder, "12", lambda rows: rows[10].update(retrieval="8001", variable="WARMUP_STEPS / WARM"))
    changed = cells("12", folder)
    assert changed["WARMUP_STEPS / WARM", "retrieval"].computed == "8000"
    assert changed["WARMUP_STEPS / WARM", "text names"].computed == "WARMUP_STEPS / WARMUP"
    assert all(changed["WARMUP_STEPS / WARM", each].status is Status.MISMATCH for each in ("retrieval", "text names"))


def test_what_agents_tried_is_admitted(folder: Path) -> None:
    assert all(cell.status is Status.REPRODUCED for cell in cells("13").values())
    edit(folder, "13", lambda rows: rows[0].update(text_range="8 – 4096"))  # noqa: RUF001
    found = cells("13", folder)["SEQ_LEN", "text admitted"]
    assert (found.status, found.computed) == (Status.MISMATCH, "16 to 8192")


def test_anchors_are_the_published_state_of_the_art(folder: Path) -> None:
    assert {cell.published for cell in cells("14").values()} == {"0.6379", "0.9053", "0.8176"}
    edit(folder, "14", lambda rows: rows[5].update(sota="0.9176"))
    assert cells("14", folder)["Retrieval config", "sota"].status is Status.MISMATCH


def test_counts_of_the_literature() -> None:
    """20 + 16 + 5 = 41 and 5 + 6 + 3 = 14; the text says 17 for training."""
    assert [cells(table)["papers", "text"].computed for table in ("16", "17", "18")] == ["20", "16", "5"]
    assert [cells(table)["papers", "text"].status for table in ("16", "17", "18")] == [
        "reproduced", "erratum", "reproduced"
    ]  # fmt: skip
    text = cells("text")
    assert text["literature papers", "count"].computed == "41"
    assert text["literature code", "count"].computed == "14"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lra runs", "1680"), ("lra greedy runs", "720"), ("lra one-shot runs", "960"),
        ("lra configurable valid steps", "7537"), ("compose 24-hour runs", "340"), ("compose 60-hour runs", "300"),
        ("isoFLOP 2-primitive experiments", "120"), ("isoFLOP 3-primitive experiments", "165"),
        ("autoresearch valid steps share", "34.1"), ("isoToken tokens", "37.5"), ("autoresearch runs in all", "100"),
    ],
)  # fmt: skip
def test_numbers_of_the_text(name: str, value: str, folder: Path) -> None:
    found = {cell.row: cell for cell in reproduce(["text"]).cells}[name]
    assert (found.computed, found.status) == (value, Status.REPRODUCED)

    def change(rows: list[dict[str, str]]) -> None:
        next(row for row in rows if row["name"] == name)["value"] = "9"

    edit(folder, "text", change)
    assert {cell.row: cell for cell in reproduce(["text"], folder).cells}[name].status is Status.ERRATUM


def test_features_alone_and_the_sums_of_switches(folder: Path) -> None:
    assert cells("19")["all", "ever alone"].computed == "12"
    assert cells("19")["all", "ever alone"].status is Status.ERRATUM
    assert all(cell.status is Status.REPRODUCED for cell in cells("20").values())
    edit(folder, "20", lambda rows: rows[0].update(add_count="2", verdict="remove helps more"))
    changed = cells("20", folder)
    assert changed["agc", "count"].computed == "3"
    assert changed["agc", "verdict"].computed == "add helps more"
    edit(folder, "19", lambda rows: rows[18].update(delta_mean="0.0040"))
    assert cells("19", folder)["dual_rope_bases", "delta_median"].status is Status.ERRATUM


def test_percentages_of_table_21_are_of_160(folder: Path) -> None:
    """59 of 160 are 36.9 %, of 156 37.8 %: the table prints 37."""
    shares = {key[0]: cell for key, cell in cells("21").items() if key[1] == "percent_of_improvements"}
    assert len(shares) == 7
    assert all(cell.status is Status.ERRATUM and "fit 160 improvements" in cell.reason for cell in shares.values())
    edit(
        folder, "text", lambda rows: next(row for row in rows if row["name"] == "improvement steps").update(value="160")
    )
    found = [cell for (_, column), cell in cells("21", folder).items() if column == "percent_of_improvements"]
    assert all(cell.status is Status.REPRODUCED for cell in found)


def test_a_category_has_its_features_best_and_a_possible_count(folder: Path) -> None:
    assert all(
        cell.status is Status.REPRODUCED for key, cell in cells("21").items() if key[1] != "percent_of_improvements"
    )
    edit(folder, "21", lambda rows: rows[2].update(count="47", delta_best="0.5"))
    changed = cells("21", folder)
    assert changed["MLP / activation", "count"].computed == "48 to 48"
    assert changed["MLP / activation", "delta_best"].status is Status.ERRATUM


def test_a_changed_status_fails_and_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "statuses.csv"
    assert run_command_line(["reproduce", "--write-statuses", str(file)]) == 0
    assert file.read_bytes() == ACCEPTED.read_bytes()
    lines = file.read_text().splitlines()
    lines[1] = lines[1].replace("reproduced", "rounding")
    lines[2] = lines[2].replace("artifact", "artefact")
    file.write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    assert run_command_line(["reproduce", "1", "--statuses", str(file)]) == 1
    said = capsys.readouterr().err
    assert (
        "Table 1, NeuralArchitectureSearchMAD2PrimitivesAccuracy, framework: accepted rounding, now reproduced" in said
    )
    assert "artifact: accepted nothing, now reproduced" in said
    assert "artefact: accepted reproduced, now gone" in said
    assert run_command_line(["reproduce", "2", "--statuses", str(file)]) == 0


@pytest.mark.parametrize(
    "content", ["", "table,row\n", "table,row,column,status\n1,a\n", "table,row,column,status\n1,a,b,c\n1,a,b,d\n"]
)
def test_a_damaged_file_of_statuses_is_no_pass(content: str, tmp_path: Path) -> None:
    file = tmp_path / "statuses.csv"
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        changed_statuses(reproduce(["1"]), file)
    file.write_text(content)
    with pytest.raises(PrerequisiteError, match="damaged"):
        changed_statuses(reproduce(["1"]), file)


def test_statuses_are_accepted_of_all_tables_at_once(tmp_path: Path) -> None:
    assert run_command_line(["reproduce", "1", "--write-statuses", str(tmp_path / "x")]) == 2
    report = reproduce(["18"])
    write_statuses(report, tmp_path / "x")
    assert changed_statuses(reproduce(["17", "18"]), tmp_path / "x") == [
        StatusChange("17", "papers", "text", None, "erratum")
    ]


def test_every_accepted_difference_is_of_a_cell() -> None:
    path = ROOT / "harness" / "aira_bench" / "reproduce" / "differences.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        listed = {(row["table"], row["row"], row["published"], row["ours"]) for row in csv.DictReader(stream)}
    report = reproduce()
    found = {(c.table, c.row, c.published, c.computed) for c in report.cells if c.status is Status.DIFFERENCE}
    assert listed == found


def test_the_counts_in_the_documentation_are_those_of_today() -> None:
    report, seen = reproduce(), set()
    for line in (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8").splitlines():
        name, *rest = (part.strip().strip("`") for part in line.strip("|").split("|"))
        if len(rest) != 6 or not rest[-1].isdigit():
            continue
        first, _, last = name.partition(" to ")
        tables = [str(number) for number in range(int(first), int(last) + 1)] if last else name.split(", ")
        counted = [sum(report.counts(table)[status] for table in tables) for status in Status]
        assert [int(each) for each in rest[1:]] == counted, line
        seen |= set(tables)
    assert seen == set(report.tables)

"""What a prompt is told of the public data."""

from pathlib import Path

from aira_bench.agents.llm.data_preview import preview


def test_programs_at_the_top_are_shown_whole_and_the_rest_in_short(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "rows.csv").write_text("a,b\n" + "1,2\n" * 5000)
    (tmp_path / "train" / "inner.py").write_text("inner = 1\n" * 100)
    program = "".join(f"line_{number} = {number}  # \x1b[31m\n" for number in range(2000))
    (tmp_path / "train.py").write_text(program)
    shown = preview(tmp_path, limit=1000)
    before, _, whole = shown.partition("\ntrain.py, whole:\n")
    assert len(before) <= 1000
    assert "train/rows.csv (19.5 KiB)" in before
    assert "train.py (" in before
    assert before.count("inner = 1") == 6
    assert whole.count("\n") == 1999
    assert whole.endswith("line_1999 = 1999  # \\x1b[31m")
    assert "\x1b" not in shown


def test_a_folder_without_programs_is_described_within_the_limit(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"file_{number:03}.json").write_text('{"a": 1}')
    shown = preview(tmp_path, limit=2000)
    assert "... and 40 more files" in shown
    assert 'file_003.json: {"a": 1}' in shown
    assert len(shown) <= 2000


def test_a_folder_of_folders_like_those_of_another_is_a_line(tmp_path: Path) -> None:
    for name in ("train", "validation"):
        for task in ("a", "b"):
            (tmp_path / name / task).mkdir(parents=True)
            (tmp_path / name / task / "x.npy").write_bytes(bytes(10))
        (tmp_path / name / "manifest.json").write_text(f'{{"split": "{name}"}}')
    for name in ("flat", "flatter"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "y.npy").write_bytes(bytes(20))
    said = preview(tmp_path).splitlines()
    assert said[-1] == "validation/: files as in train/"
    assert sum("validation" in line for line in said) == 1
    assert any("train/{a,b}/{x}.npy" in line for line in said)
    assert "{flat,flatter}/{y}.npy (20 B each)" in said, "these are one line already"
    (tmp_path / "validation/b/more.npy").touch()
    assert not any("files as in" in line for line in preview(tmp_path).splitlines())

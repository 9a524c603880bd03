"""The preparing scripts of both task folders, as processes and as functions, and what agents and judges find."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import yaml
from pyarrow import parquet

import aira_evaluator
from aira_evaluator.autoresearch.contract.hidden_rows import SPLITS, read_hidden
from aira_evaluator.autoresearch.contract.profiles import CPU, PAPER, PROFILES, AutoresearchProfile
from aira_evaluator.autoresearch.contract.token_store import open_split
from aira_evaluator.autoresearch.prepare import corpus as corpora
from aira_evaluator.autoresearch.prepare.corpus import ClimbMix, DocumentSource, StandardLibrary, library_part, passages
from aira_evaluator.autoresearch.prepare.preparation import write_public
from aira_evaluator.autoresearch.prepare.reference_models import train_references
from aira_evaluator.autoresearch.prepare.script_clock import ScriptClock, read_clock
from aira_evaluator.autoresearch.prepare.split_assignment import write_hidden
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.hidden import keyed_seed
from aira_evaluator.text.tokenizer import BytePairTokenizer
from autoresearch_folders import LITERATURE, PLAIN, run_script

SMALL = replace(
    PAPER, sequence_length=32, vocabulary=300, public_validation_tokens=256, hidden_tokens=640,
    tokenizer_characters=20_000, val_characters=8_000, hidden_characters=8_000,
)  # fmt: skip

CLOCK = ScriptClock(300, 90)


@pytest.fixture
def few_files(tmp_path: Path) -> StandardLibrary:
    """A corner of the standard library."""
    root = tmp_path / "library"
    root.mkdir()
    for path in sorted(Path(os.__file__).parent.glob("[a-g]*.py")):
        shutil.copyfile(path, root / path.name)
    return StandardLibrary(root)


def hide(profile: AutoresearchProfile, corpus: DocumentSource, folder: Path, seeds: dict[str, int]) -> None:
    """Public data in `agents`, hidden data beside it; the references are those without training."""
    write_public(profile, CLOCK, corpus, folder / "agents")
    write_hidden(profile, corpus, folder / "agents", folder, seeds, train_references(folder / "agents", ()).describe)


def manifest(folder: Path) -> dict[str, Any]:
    read = json.loads((folder / "manifest.json").read_text())
    assert isinstance(read, dict)
    return read


def text_of(root: Path) -> str:
    """All public text, from its tokens."""
    tokenizer = BytePairTokenizer.from_directory(root / "public/data/tokenizer")
    shards = [shard for split in ("train", "val") for shard in open_split(root / "public/data" / split)]
    return "\n".join(tokenizer.decode(tokens.tolist()) for shard in shards for tokens in shard.documents())


def test_agents_find_data_tokenizer_script_and_literature(prepared: Path) -> None:
    public = prepared / "public/data"
    assert {path.name for path in public.iterdir()} == {
        *("manifest.json", "train", "val", "tokenizer", "train.py", "prepare.py", "kernels.py", "pwc")
    }
    assert (public / "pwc" / "task_info.jsonl").is_file()
    modules = Path(aira_evaluator.__file__).parent / "autoresearch" / "fit"
    assert (public / "prepare.py").read_text() == (modules / "shim.py").read_text()
    assert (public / "kernels.py").read_text() == (modules / "offline_kernels.py").read_text()
    sizes = manifest(public)
    assert (sizes["sequence_length"], sizes["vocabulary"], sizes["time_budget_s"]) == (256, 2048, 25)
    assert sizes["splits"]["train"]["tokens"] > 500_000
    assert sizes["splits"]["val"]["tokens"] > CPU.public_validation_tokens


def test_the_baseline_is_the_task_folders_script_with_the_hyperparameters_of_the_profile(prepared: Path) -> None:
    given, written = ((path / "train.py").read_text().splitlines() for path in (PLAIN, prepared / "public/data"))
    changed = [new for old, new in zip(given, written, strict=True) if old != new]
    assert {line.split(" = ")[0] for line in changed} == set(CPU.baseline)
    assert all(any(line.startswith(f"{name} = {value}") for line in changed) for name, value in CPU.baseline.items())
    assert (LITERATURE / "train.py").read_text() == (PLAIN / "train.py").read_text()


def test_hidden_rows_are_what_their_manifest_says(prepared: Path) -> None:
    hidden = prepared / "hidden/data"
    tokenizer = BytePairTokenizer.from_directory(hidden / "tokenizer")
    assert {path.name for path in hidden.iterdir()} == {"train.py", "tokenizer", "search", "final", "public"}
    assert tokenizer.sha256 == manifest(prepared / "public/data")["tokenizer_sha256"]
    for seed_set in ("search", "final"):
        described = manifest(hidden / seed_set)
        assert described["public_corpus"] is True, "the standard library lies on disk in every container"
        read = read_hidden(hidden, seed_set, "cpu")
        for name, split in read.splits.items():
            entry = described["splits"][name]
            assert split.tokens.shape == (entry["rows"], CPU.sequence_length + 1)
            assert split.rows_drawn == entry["rows"], "the text is too small to leave rows out"
            assert entry["targets"] >= 2 * CPU.questions[seed_set], "a sample, not a census"
            assert (split.tokens[:, 0] == described["bos"]).all()
            # An independent count: the text of each row, without the token that only the next row's loss would see.
            text_bytes = sum(len(tokenizer.decode(row.tolist()).encode("utf-8", "replace")) for row in split.tokens)
            assert entry["bytes"] == pytest.approx(text_bytes, rel=1e-3), "equal but for characters cut at a row's end"
            assert read.references[name].values.shape[:2] == (entry["rows"], CPU.sequence_length)


def test_damaged_or_foreign_hidden_data_is_refused(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared / "hidden/data", tmp_path / "data")
    with pytest.raises(DataError, match="'profile': 'cpu'"):
        read_hidden(tmp_path / "data", "search", "paper")
    shutil.copyfile(tmp_path / "data/search/test.npy", tmp_path / "data/final/test.npy")
    with pytest.raises(DataError, match=r"test\.npy is not what was made"):
        read_hidden(tmp_path / "data", "final", "cpu")
    shutil.copytree(tmp_path / "data/search", tmp_path / "data/final", dirs_exist_ok=True)
    with pytest.raises(DataError, match="'seed_set': 'search'"):
        read_hidden(tmp_path / "data", "final", "cpu")
    (tmp_path / "data/search/validation.references.npy").unlink()
    with pytest.raises(DataError, match="references"):
        read_hidden(tmp_path / "data", "search", "cpu")


def test_rows_asked_in_one_container_share_no_file_and_no_file_serves_two_lots(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    for number in range(120):
        blocks = ["".join(f"of_{number}_{block}_{line}\n" for line in range(24)) + "\n" for block in range(12)]
        (tmp_path / "library" / f"module_{number}.py").write_text("".join(blocks))
    profile = replace(CPU, vocabulary=300, sequence_length=64, tokenizer_characters=20_000)
    hide(profile, StandardLibrary(tmp_path / "library"), tmp_path, seeds_of(PLAIN))
    tokenizer = BytePairTokenizer.from_directory(tmp_path / "tokenizer")
    parts: list[set[str]] = []
    for seed_set in ("search", "final"):
        seen: list[tuple[int, str]] = []
        for split in read_hidden(tmp_path, seed_set, "cpu").splits.values():
            files = [set(re.findall(r"of_(\d+)_", tokenizer.decode(row.tolist()))) for row in split.tokens]
            assert all(len(found) == 1 for found in files), "a row holds text of one file"
            names = [found.pop() for found in files]
            seen += zip(split.containers.tolist(), names, strict=True)
            parts.append(set(names))
        assert len(seen) == len(set(seen)) > 15, "two rows of one file in one container"
        assert {container for container, _ in seen} == set(range(CPU.predict_containers))
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_no_hidden_document_stands_in_the_public_text(prepared: Path) -> None:
    public = text_of(prepared)
    tokenizer = BytePairTokenizer.from_directory(prepared / "hidden/data/tokenizer")
    bos, found, seen = tokenizer.get_bos_token_id(), 0, 0
    for path in (path for split in SPLITS for path in (prepared / "hidden/data").glob(f"*/{split}.npy")):
        for row in np.load(path):
            for part in np.split(row, np.flatnonzero(row == bos))[1:]:
                if len(part) > 60:
                    seen += 1
                    found += tokenizer.decode(part[1:].tolist())[:-4] in public
    assert seen > 300
    assert found == 0


def seeds_of(folder: Path) -> dict[str, int]:
    found = re.findall(r'"(\w+)": (0x[0-9A-F]{15})', (folder / "evaluate_prepare.py").read_text())
    assert [name for name, _ in found] == ["search", "final"]
    return {name: int(seed, 16) for name, seed in found}


def test_the_two_tasks_hide_the_same_rows_and_no_key_confirms_on_text_that_another_searched(
    tmp_path: Path, few_files: StandardLibrary
) -> None:
    documents: dict[str, set[str]] = {"search": set(), "final": set()}
    hashes = []
    another_order = dict(reversed(seeds_of(LITERATURE).items()))  # a task may name its seed sets as it likes
    keyed = {name: keyed_seed(b"k" * 32, name, seed) for name, seed in seeds_of(PLAIN).items()}
    for name, seeds in (("plain", seeds_of(PLAIN)), ("literature", another_order), ("under a key", keyed)):
        place = tmp_path / name
        hide(replace(SMALL, hidden_tokens=10**6, hidden_characters=10**6), few_files, place, seeds)
        hashes.append(manifest(place / "search")["splits"]["test"]["sha256"]["test.npy"])
        tokenizer = BytePairTokenizer.from_directory(place / "tokenizer")
        bos = tokenizer.get_bos_token_id()
        for seed_set, seen in documents.items():
            for row in np.concatenate([np.load(place / seed_set / f"{split}.npy") for split in ("validation", "test")]):
                for part in np.split(row, np.flatnonzero(row == bos))[1:]:
                    if len(part) > 20:
                        seen.add(tokenizer.decode(part[1:21].tolist()))
    assert hashes[0] == hashes[1] != hashes[2]
    assert min(map(len, documents.values())) > 50
    shared = documents["search"] & documents["final"]
    assert len(shared) < 0.02 * len(documents["final"]), "but for beginnings that many files share"


def test_no_hidden_seed_is_in_what_agents_can_read(prepared: Path) -> None:
    package = Path(aira_evaluator.__file__).parent
    readable = "".join(path.read_text() for path in package.rglob("*.py")).upper()
    readable += (prepared / "public/data/manifest.json").read_text()
    for folder in (PLAIN, LITERATURE):
        readable += (folder / "project_description.md").read_text() + (folder / "prepare.py").read_text()
        assert not any(f"{seed:X}" in readable or str(seed) in readable for seed in seeds_of(folder).values())


def test_preparing_twice_gives_the_same_bytes(tmp_path: Path, few_files: StandardLibrary) -> None:
    for name in ("once", "twice"):
        hide(SMALL, few_files, tmp_path / name, {"search": 1, "final": 2})
    once, twice = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("once", "twice")
    )
    assert len(once) == 27
    assert once == twice


def test_scripts_are_told_the_clock_that_the_metadata_has() -> None:
    for folder in (PLAIN, LITERATURE):
        clocks = {name: read_clock(folder, name) for name in PROFILES}
        assert clocks == {"cpu": ScriptClock(25, 30), "paper": ScriptClock(300, 90)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("aira: [", "has no aira.profiles.cpu.fit"),
        ("aira: {}", "has no aira.profiles.cpu.fit"),
        ("aira: {profiles: {cpu: }}", "has no aira.profiles.cpu.fit"),
        ("aira: {profiles: {cpu: {fit: {budget_s: 3}}}}", "'start_up_s'"),
        ("aira: {profiles: {cpu: {fit: {budget_s: x, start_up_s: 2}}}}", "a clock that is no number"),
        ("aira: {profiles: {cpu: {fit: {budget_s: true, start_up_s: 2}}}}", "a clock that is no number"),
    ],
)
def test_a_folder_without_a_clock_is_told_so(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "metadata.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_clock(tmp_path, "cpu")


def test_the_sources_of_both_tasks_are_the_shards_that_are_read() -> None:
    wanted = {*corpora.CLIMBMIX_TRAIN, corpora.CLIMBMIX_VAL, *corpora.CLIMBMIX_HIDDEN}
    for folder in (PLAIN, LITERATURE):
        sources = yaml.safe_load((folder / "metadata.yaml").read_text())["aira"]["sources"]
        assert {entry["name"] for entry in sources} == wanted
        assert all(entry["url"].endswith("/" + entry["name"]) for entry in sources)


def test_the_description_with_literature_is_the_other_one_and_a_section() -> None:
    plain, literature = ((folder / "project_description.md").read_text() for folder in (PLAIN, LITERATURE))
    before, _, rest = literature.partition("\n### Literature\n")
    section, _, after = rest.partition("\n## Data\n")
    assert f"{before}\n## Data\n{after}" == plain
    papers = [json.loads(line) for line in (LITERATURE / "pwc" / "task_info.jsonl").read_text().splitlines()]
    listed = [f"- {paper['title']}" + (f" (`{Path(paper['code']).name}`)" if paper["code"] else "") for paper in papers]
    assert [line for line in section.splitlines() if line.startswith("- ")] == listed


# ClimbMix ------------------------------------------------------------------------------------------------------------


def sentences(seed: int, count: int) -> list[str]:
    rng = np.random.default_rng(seed)
    words = ["layer", "token", "width", "depth", "causal", "mask", "rate", "warm", "Ωmega", "norm", "head", "\n"]
    return [" ".join(rng.choice(words, size=rng.integers(5, 60))) for _ in range(count)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for index, name in enumerate((*corpora.CLIMBMIX_TRAIN, corpora.CLIMBMIX_VAL, *corpora.CLIMBMIX_HIDDEN)):
        texts: list[str | None] = [*sentences(index, 60), None, ""]
        parquet.write_table(pyarrow.table({"text": texts}), folder / name, row_group_size=16)
    return folder


def test_climbmix_is_read_a_row_group_at_a_time_and_split_by_shard(shards: Path, tmp_path: Path) -> None:
    write_public(SMALL, CLOCK, ClimbMix(shards), tmp_path)
    counted = manifest(tmp_path)["splits"]
    assert counted["train"]["documents"] == 10 * 60
    assert counted["train"]["bytes"] == sum(len(text.encode()) for index in range(10) for text in sentences(index, 60))
    assert len(open_split(tmp_path / "train")) == 10
    (batch, *others) = ClimbMix(shards).shards("train")[0].batches()
    assert (len(batch), len(others)) == (16, 3)
    hide(SMALL, ClimbMix(shards), tmp_path, {"search": 1, "final": 2})
    rows = {
        (name, split): np.load(tmp_path / name / f"{split}.npy")
        for name in ("search", "final")
        for split in ("validation", "test")
    }
    assert all(array.shape[1] == 33 and 15 <= len(array) <= 20 for array in rows.values())
    # The hidden shard for test is the one the corpus says, whoever draws from it.
    tokenizer = BytePairTokenizer.from_directory(tmp_path / "tokenizer")
    sources = {split: "\0".join(sentences(11 + index, 60)) for index, split in enumerate(("validation", "test"))}
    for (_, split), array in rows.items():
        first = array[0][1 : 1 + np.argmax(array[0][1:] == tokenizer.get_bos_token_id())]
        assert tokenizer.decode(first.tolist()) in sources[split]


def test_near_duplicates_are_removed_from_what_is_held_out_and_counted(shards: Path, tmp_path: Path) -> None:
    copied = sentences(0, 60)[:20]
    for name in (corpora.CLIMBMIX_VAL, "shard_06541.parquet"):
        texts = parquet.read_table(shards / name)["text"].to_pylist()
        parquet.write_table(pyarrow.table({"text": [*copied, *filter(None, texts)]}), shards / name)
    hide(SMALL, ClimbMix(shards), tmp_path, {"search": 1, "final": 2})
    assert manifest(tmp_path / "agents")["splits"]["val"]["near_duplicates_removed"] >= 20
    removed = [manifest(tmp_path / name)["splits"] for name in ("search", "final")]
    assert sum(splits["test"]["near_duplicates_removed"] for splits in removed) >= 20
    assert sum(splits["validation"]["near_duplicates_removed"] for splits in removed) < 10


def test_a_truncated_shard_is_one_clear_line(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").rename(tmp_path / "kept")
    shutil.copytree(tmp_path / "kept", tmp_path / "run/raw")
    broken = tmp_path / "run/raw" / corpora.CLIMBMIX_TRAIN[3]
    broken.write_bytes(broken.read_bytes()[:-100])
    finished = run_script(PLAIN / "prepare.py", tmp_path / "run", profile="paper")
    assert finished.returncode == 1
    assert "shard_00003.parquet: truncated or damaged" in finished.stderr.splitlines()[-1]
    broken.unlink()
    finished = run_script(PLAIN / "prepare.py", tmp_path / "run", profile="paper")
    assert finished.stderr.splitlines()[-1].endswith(
        "1 of 13 ClimbMix shards are missing, the first is shard_00003.parquet"
    )


# The standard library ------------------------------------------------------------------------------------------------


def test_passages_joined_are_the_text() -> None:
    for path in sorted(Path(os.__file__).parent.glob("*.py"))[:60]:
        text = path.read_text(encoding="utf-8")
        cut = passages(text)
        assert "".join(cut) == text
        assert all(len(part) >= 300 for part in cut[:-1])
        assert all(part.endswith("\n") for part in cut[:-1])


def test_a_long_file_gives_no_more_than_its_share(tmp_path: Path) -> None:
    block = "".join(f"line_{number} = {number}\n" for number in range(30)) + "\n"
    (tmp_path / "long.py").write_text("".join(f"# {number}\n{block}" for number in range(500)))
    (shard,) = StandardLibrary(tmp_path).shards(library_part("long.py"))
    (documents,) = shard.batches()
    assert len(documents) == len({document.text for document in documents}) == 40
    assert all(len(document.text) >= 300 for document in documents)


def test_files_of_the_library_come_to_one_part_each(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"module_{number}.py").write_text(f"# module {number}\n")
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "left_out.py").write_text("left out")
    library = StandardLibrary(tmp_path)
    seen: dict[str, str] = {}
    for part in ("train", "val", "hidden"):
        for shard in library.shards(part):  # type: ignore[arg-type]
            for document in (entry for batch in shard.batches() for entry in batch):
                assert document.group not in seen
                assert library_part(document.group) == part
                seen[document.group] = part
    assert len(seen) == 200, "all but what is no text"
    assert 40 < sum(part != "train" for part in seen.values()) < 90
    with pytest.raises(DataError, match="no Python source"):
        StandardLibrary(tmp_path / "nowhere")

"""Datasets saved by a preparation script can be transformed where they are mounted read-only."""

import os
from pathlib import Path, PurePosixPath

import pytest

from aira_bench.images.ensure import ImageSet
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.hardening import TRUSTED_UID
from aira_bench.sandbox.sandbox import ContainerSpec, Mount, Role

pytestmark = pytest.mark.docker

SAVE = """
from datasets import Dataset, DatasetDict
rows = {"text": ["x", "y"] * 50, "label": [0, 1] * 50}
DatasetDict({"train": Dataset.from_dict(rows)}).save_to_disk("/output/toy")
"""
TRANSFORM = """
from datasets import load_from_disk
train = load_from_disk("/data/toy")["train"]
longer = train.map(lambda row: {"text": row["text"] * 2}).filter(lambda row: row["label"] == 1)
longer.train_test_split(test_size=0.2, seed=1)["train"].shuffle(seed=2).save_to_disk("/workspace/kept")
print(longer[0]["text"])
"""


def run(sandbox: DockerSandbox, image: str, role: Role, mount: Mount, code: str) -> bytes:
    container = sandbox.prepare(ContainerSpec(image, role, "datasets-test", mounts=(mount,)))
    try:
        outcome = container.run(
            ["python3", "-c", code], files={}, timeout_s=120, artifacts=(), destination=mount.source
        )
    finally:
        container.close()
    assert outcome.exit_code == 0, outcome.stderr.tail or outcome.stderr.head
    return outcome.stdout.head


def test_map_and_filter_write_nothing_beside_read_only_data(
    sandbox: DockerSandbox, images: ImageSet, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    if os.geteuid() == 0:
        os.chown(folder, TRUSTED_UID, TRUSTED_UID)
    run(sandbox, images.evaluator, "prepare", Mount(folder, PurePosixPath("/output"), writable=True), SAVE)
    before = sorted(folder.rglob("*"))
    assert run(sandbox, images.agent, "agent", Mount(folder, PurePosixPath("/data")), TRANSFORM) == b"yy\n"
    assert sorted(folder.rglob("*")) == before

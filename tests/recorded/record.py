"""Records the run that ships with the tests anew (see README.md); needs Docker."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aira_bench.files import write_json
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import JournalFile, SeedOpened, StepEnded
from llm.wire_server import WireServer
from test_models_end_to_end import RECORDED, brain

SEARCH = ("--task", "mad-2p", "--profile", "cpu", "--steps", "8")


def unsigned(run: RunFolder, kept: Path) -> None:
    """Write what a replay needs of a run, without its machine and without signatures, as runs were before 0.1.0."""
    (kept / "seeds/0/hidden").mkdir(parents=True)
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest |= {"schema_version": 1, "host": "recorded", "hardware": {}, "source_revision": None}
    write_json(kept / "manifest.json", manifest)
    journal = JournalFile(kept / "seeds/0/journal.jsonl")
    for event in run.seed(0).events:
        if isinstance(event, StepEnded):
            event = replace(event, files={}, score_sha256=None)
        if not isinstance(event, SeedOpened):
            journal.append(event)
    journal.close()
    shutil.copy(run.seed(0).scores.path, kept / "seeds/0/hidden/scores.jsonl")
    shutil.copytree(run.seed(0).path / "calls", kept / "seeds/0/calls")


def main() -> None:
    """Run, then keep what a replay needs."""
    with tempfile.TemporaryDirectory() as temporary, WireServer(brain) as server:
        runs = Path(temporary) / "runs"
        variables = {
            "GEMINI_API_KEY": "none",
            "AIRA_ALLOW_KEY": "GEMINI_API_KEY=127.0.0.1",
            "GOOGLE_GEMINI_BASE_URL": server.base_url("google"),
            "AIRA_RUNS": str(runs),
        }
        command = [sys.executable, "-m", "aira_bench", "run", "--agent", "gemini3pro", *SEARCH, "--name", RECORDED.name]
        subprocess.run(command, env={**os.environ, **variables}, check=True)
        shutil.rmtree(RECORDED, ignore_errors=True)
        unsigned(RunFolder(runs / RECORDED.name), RECORDED)


if __name__ == "__main__":
    main()

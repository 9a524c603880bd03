"""Records the run that ships with the tests anew (see README.md); needs Docker."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llm.wire_server import WireServer
from test_models_end_to_end import RECORDED, SEARCH, brain

KEPT = ("manifest.json", "seeds/0/journal.jsonl", "seeds/0/hidden/scores.jsonl")


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
        for name in KEPT:
            (RECORDED / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(runs / RECORDED.name / name, RECORDED / name)
        shutil.copytree(runs / RECORDED.name / "seeds/0/calls", RECORDED / "seeds/0/calls")
        manifest = json.loads((RECORDED / "manifest.json").read_text())
        manifest |= {"host": "recorded", "hardware": {}, "source_revision": None}
        (RECORDED / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What commands show of recorded runs: the files in `boards/`, byte for byte, and what writes them anew (README.md).

Two runs are shown: the recorded search, and a search of scripts, which was generated and signed by a key of its own, with
all that a board can have in it: claims, flags, unranked and unconfirmed seeds, confirmed scores, standard errors,
anchors, lost steps and a seed that did not end. Terminal tables hang on the locked version of rich.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aira_bench.cli.main import run_command_line
from aira_bench.files import write_atomically
from aira_bench.keys import KeyFolder, KeyRing, MachineKey
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import read_run

HERE = Path(__file__).parent
BOARDS = HERE / "boards"
RECORDED, SCRIPTS = "greedy-mad-2p", "scripts"
SCRIPTS_KEY = MachineKey(hashlib.sha256(b"the key of recorded boards, which signs nothing else").digest())
_FROZEN = (".csv", ".json", ".md")
"""Of a board that goes out; its record and its other forms are tested by what they say (tests/publication)."""
_COMMANDS: Mapping[str, Sequence[str]] = {
    "status": ("status",),
    "status_run": ("status", RECORDED),
    "status_scripts": ("status", SCRIPTS),
    "changes_run": ("status", RECORDED, "--changes"),
    "changes_scripts": ("status", SCRIPTS, "--changes"),
    "leaderboard": ("leaderboard", "--out", "PLACE/board"),
    "leaderboard_run": ("leaderboard", RECORDED, "--out", "PLACE/board_run"),
    "analyze_run": ("analyze", RECORDED),
    "analyze_scripts": ("analyze", SCRIPTS),
    "analyze_scripts_best": ("analyze", SCRIPTS, "--against", "best"),
    "aggregate_run": ("aggregate", RECORDED, "--picture", "PLACE/votes.svg"),
    "aggregate_run_test": ("aggregate", RECORDED, "--split", "test", "--top", "1", "--condition", "2"),
    "aggregate_run_clusters": ("aggregate", RECORDED, "--select", "clusters", "--clusters", "2", "--condition", "0"),
}


def shown() -> dict[str, str]:
    """Everything that is kept, by the name of its file: what is printed, as text and as JSON, and what is written."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary).resolve()
        ring = _make(place)
        texts: dict[str, str] = {}
        for name, command in _COMMANDS.items():
            texts[f"{name}.txt"] = _call(place, command)
            texts[f"{name}.printed.json"] = _call(place, (*command, "--json"))
        kept = [path for path in sorted(place.glob("board*/leaderboard.*")) if path.suffix in _FROZEN]
        for path in [*kept, place / "votes.svg"]:
            texts[f"{path.relative_to(place)}".replace("/", ".")] = path.read_text()
        for name in (RECORDED, SCRIPTS):
            texts[f"{name}.nodes.jsonl"] = "".join(_nodes(RunFolder(place / "runs" / name), ring))
        return texts


def _make(place: Path) -> KeyRing:
    for name in (RECORDED, SCRIPTS):
        shutil.copytree(HERE / name, place / "runs" / name)
    keys = KeyFolder(place / "home" / "keys")
    write_atomically(keys.path / "machine.key", f"{SCRIPTS_KEY.secret.hex()}\n".encode(), mode=0o600)
    return keys.ring()


def _call(place: Path, command: Sequence[str]) -> str:
    """Exit status, stdout and stderr of one command."""
    arguments = [part.replace("PLACE", str(place)) for part in command]
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV")}
    places = {"AIRA_HOME": str(place / "home"), "AIRA_RUNS": str(place / "runs")}
    with mock.patch.dict(os.environ, kept | places, clear=True), _captured() as (out, err):
        status = run_command_line(arguments)
    return f"{out.getvalue()}{err.getvalue()}exit status {status}\n".replace(str(place), "PLACE")


@contextlib.contextmanager
def _captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def _nodes(folder: RunFolder, ring: KeyRing) -> Iterator[str]:
    """Each node and its scores, as the readers of runs give them, a line each."""
    for seed in read_run(folder, ring).seeds:
        for node in seed.nodes:
            score, trainings = seed.scores.get(node.step), seed.confirmations.scores.get(node.step, ())
            record = {
                "seed": seed.seed,
                "node": asdict(node),
                "score": asdict(score) if score else None,
                "trained_again": [asdict(each) for each in trainings],
            }
            yield json.dumps(record) + "\n"


def main() -> None:
    """Write every file anew."""
    shutil.rmtree(BOARDS, ignore_errors=True)
    for name, text in shown().items():
        write_atomically(BOARDS / name, text.encode())


if __name__ == "__main__":
    main()

"""What commands show of recorded runs: the files in `boards/`, byte for byte, and what writes them anew (README.md).

Two runs are shown: the recorded search, as it lies here, and a search of scripts with everything a board can have in it
(claims, flags, unranked and unconfirmed seeds, confirmed scores, standard errors, anchors, lost steps, a seed that did
not end), which is generated and signed by a key of its own. Terminal tables hang on the locked version of rich.
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
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aira_bench.cli.main import run_command_line
from aira_bench.evaluation.verdict import CONFIRM_FIRST
from aira_bench.files import write_atomically
from aira_bench.keys import KeyFolder, KeyRing, MachineKey
from aira_bench.runs.confirmations import add_confirmation
from aira_bench.runs.folder import RunFolder
from aira_bench.runs.journal import SeedEnded, StepStarted
from aira_bench.runs.manifest import Manifest
from aira_bench.runs.node import Change, ModelUse, Node, Timings, best_node
from aira_bench.runs.record import read_run
from aira_bench.runs.scores import TrustedScore
from aira_bench.runs.sealing import open_run, step_ended
from aira_bench.runs.witness import Witness
from aira_bench.sandbox.protocol import Isolation
from generated_runs import LONG_AGO, manifest

HERE = Path(__file__).parent
BOARDS = HERE / "boards"
RECORDED, SCRIPTS = "greedy-mad-2p", "scripts"
_KEY = MachineKey(hashlib.sha256(b"the key of recorded boards, which signs nothing else").digest())
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
        for path in [*sorted(place.glob("board*/*")), place / "votes.svg"]:
            texts[f"{path.relative_to(place)}".replace("/", ".")] = path.read_text()
        for name in (RECORDED, SCRIPTS):
            texts[f"{name}.nodes.jsonl"] = "".join(_nodes(RunFolder(place / "runs" / name), ring))
        return texts


def _make(place: Path) -> KeyRing:
    shutil.copytree(HERE / RECORDED, place / "runs" / RECORDED)
    keys = KeyFolder(place / "home" / "keys")
    write_atomically(keys.path / "machine.key", f"{_KEY.secret.hex()}\n".encode(), mode=0o600)
    write_scripts(place / "runs", keys)
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
            score, confirmed = seed.scores.get(node.step), seed.confirmed.get(node.step)
            record = {
                "seed": seed.seed,
                "node": asdict(node),
                "score": asdict(score) if score else None,
                "confirmed": asdict(confirmed) if confirmed else None,
            }
            yield json.dumps(record) + "\n"


def write_scripts(runs: Path, keys: KeyFolder) -> RunFolder:
    """A search of training scripts, five seeds of five steps; the last has not ended."""
    record: Manifest = manifest(
        SCRIPTS, seeds=(0, 1, 2, 3, 4), steps=5, agent="scripted", schema_version=2, task_title="climbmix", metric="BPB",
        lower_is_better=True,
        anchors={"worst": 2.0, "optimum": 0.0, "sota": {"published": 1.0, "corrected": 1.02}},
        isolation_of={"fit": Isolation("own trees", "file trees of their own")},
    )  # fmt: skip
    folder = RunFolder(runs / SCRIPTS)
    folder.path.mkdir(parents=True)
    keeper = open_run(folder, record, _KEY, lambda: LONG_AGO, Witness(keys.seen))
    for seed in record.plan.seeds:
        place = folder.seed(seed)
        (place.path / "hidden").mkdir(parents=True)
        journal = keeper.journal(seed)
        for step in range(1, 6):
            journal.append(StepStarted(step, "t"))
            journal.append(step_ended(place, _step(folder, seed, step), "t"))
        best = best_node(journal.nodes, lower_is_better=True)
        if seed != 4:
            journal.append(SeedEnded("steps", best.step if best else None, "t"))
        journal.close()
        if seed == 1 and best is not None:
            add_confirmation(
                keeper, seed, best.artifact_sha256 or "", _score(seed, best.step, 0.02, remarks=("m 1.02",))
            )
    return folder


def _score(seed: int, step: int, more: float = 0.0, **changes: object) -> TrustedScore:
    loss = round(1.3 - 0.05 * step - 0.01 * seed + more, 4)
    score = TrustedScore(
        step, loss + 0.003, loss, "1", "evaluator:1", 4.0, False, loss - 0.01 * seed, test_standard_error=0.004,
        validation_standard_error=0.005,
    )  # fmt: skip
    found: dict[int, Mapping[str, object]] = {
        1: {"flags": ("slow_to_serve", CONFIRM_FIRST)},
        2: {"flags": ("hard_wired",), "unranked": ("hard_wired",), "remarks": ("real 1.1, control 1.9",)},
        3: {"flags": (CONFIRM_FIRST,)},
    }
    return replace(score, **(found.get(seed, {}) | changes))  # type: ignore[arg-type]


def _step(folder: RunFolder, seed: int, step: int) -> Node:
    """Write what one step left; steps 2 are buggy, and those of seed 3 after 3 lost or worse."""
    place = folder.seed(seed)
    script = _script(seed, step)
    place.node(step).mkdir(parents=True)
    (place.node(step) / "train.py").write_text(script)
    parents = () if step < 3 else (1,)
    base = Node(
        step, "improve" if parents else "draft", parents, "valid", "", None, None, "c" * 64, None, plan="a plan",
        timings=Timings(1.5, 20.25, 4.0, 26.0), model_use=ModelUse(2, 1200, 300, 0.0125 if seed else None),
    )  # fmt: skip
    if step == 2:
        return replace(base, step_class="buggy", reason="exit status 1: no message", summary="it crashed")
    if (seed, step) == (3, 4):
        return replace(base, step_class="infra_error", reason="the engine failed", attempts=3, code_ran=False)
    if (seed, step) == (3, 5):
        return replace(base, step_class="out_of_memory", reason="killed at 512 MiB", attempts=2)
    score = _score(seed, step)
    place.scores.append(score)
    digest = hashlib.sha256(script.encode()).hexdigest()
    changes = (
        (Change("deeper", 1, 1),) if step == 3 else (Change("ema", 0, 1), Change("window", 1, 1)) if parents else ()
    )
    return replace(
        base, fitness=score.validation, fitness_standard_error=score.validation_standard_error, claimed=score.claimed,
        artifact_sha256=digest, summary="it trained", changes=changes,
    )  # fmt: skip


def _script(seed: int, step: int) -> str:
    ema = "ema_model.update(model)\n" if step > 3 else ""
    return f'DEPTH = {2 + step % 4}\nWINDOW_PATTERN = "{"SSSL" if step < 5 else "L"}"\nSEED = {seed}\n{ema}'


def main() -> None:
    """Write every file anew."""
    shutil.rmtree(BOARDS, ignore_errors=True)
    for name, text in shown().items():
        write_atomically(BOARDS / name, text.encode())


if __name__ == "__main__":
    main()

"""The command line and the shapes of `--json` are as frozen (`freezing` says how to change them on purpose)."""

import argparse
import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest

from aira_bench.cli.doctor import channels_record
from aira_bench.cli.main import build_parser, run_command_line
from aira_bench.sandbox.channels import Reading
from aira_bench.sandbox.sandbox import Isolation
from cli.freezing import check_shape, check_text, command_line, shape
from generated_runs import manifest, write_run
from played_trainer import trainer
from recorded.shown import HERE as RECORDED
from recorded.shown import SCRIPTS_KEY

PROGRAMME, SPARSE = (Path(__file__).with_name(f"{name}.csv") for name in ("programme", "sparse_programme"))
PLAN = ("run", "--profile", "cpu", "--print-config")
COMMANDS = {
    "agents": (("agents",),),
    "aggregate": (("aggregate", "greedy-mad-2p"),),
    "analyze": (("analyze", "scripts"),),
    "architectures": (("architectures",),),
    "cluster": (("cluster", "check", "--engine", "local"),),
    "doctor": (("doctor",),),
    "extrapolate": (("extrapolate", "5(2A-M)-A", "--scale", "1B"),),
    "figures": (("figures", "greedy-mad-2p", "--out", "drawn"),),
    "key": (("key",),),
    "export": (("export", "scripts", "--format", "csv", "--out", "steps.csv"),),
    "leaderboard": (("leaderboard",),),
    "reproduce": (("reproduce",),),
    "run-print-config": (
        (*PLAN, "--agent", "evolution", "--task", "mad-2p"),
        (*PLAN, "--agent", "evolution", "--task", "babistories-2p", "--source", "synthetic"),
        (
            *PLAN,
            "--agent",
            "gemini3pro",
            "--task",
            "mad-2p",
            "--max-cost-usd",
            "1",
            "--max-tokens",
            "9",
            "--seed-max-cost-usd",
            "1",
            "--seed-max-tokens",
            "9",
        ),
    ),
    "scale-fit": (("scale", "fit", str(PROGRAMME), "--resamples", "200"), ("scale", "fit", str(SPARSE))),
    "scale-plan": (
        ("scale", "plan", "AIRAformer-D", "--scale", "1B", "--recipe", "isotoken-1b"),
        ("scale", "plan", "airaformer-a-stretched", "--recipe", "isoflop-2e19", "--dollars-per-gpu-hour", "2"),
    ),
    "scale-status": (("scale", "status", "llama-3.2", "--recipe", "toy", "--gpus", "1", "--out", "trainings"),),
    "show": (("show", "scripts"), ("show", "greedy-mad-2p", "0:3"), ("show", "scripts", "1:5")),
    "status": (("status",),),
    "status-changes": (("status", "scripts", "--changes"),),
    "status-run": (("status", "scripts"), ("status", "greedy-mad-2p")),
    "suite": (("suite", "compose", "--agents", "gpt5,cwm", "--dry-run"),),
    "tasks": (("tasks",),),
    "verify": (("verify", "board"),),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("greedy-mad-2p", "scripts"):
        shutil.copytree(RECORDED / name, tmp_path / "runs" / name)
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("GEMINI_API_KEY", "none")
    monkeypatch.delenv("AIRA_RUNTIME", raising=False)
    monkeypatch.chdir(tmp_path)
    printed("leaderboard", "--out", "board")
    return tmp_path


def printed(*command: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        run_command_line(command)
    return out.getvalue()


def test_the_command_line_is_as_frozen(place: Path) -> None:
    check_text("command_line.txt", command_line(build_parser()))


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_prints_with_json_has_the_frozen_shape(name: str, place: Path) -> None:
    check_shape(name, *(printed(*command, "--json") for command in COMMANDS[name]))


def test_what_init_and_check_print_has_the_frozen_shape(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    templates = (("task", "BracketsAccuracy"), ("agent", "my-agent"), ("scaffold", "my-scaffold"), ("card", "my-card"))
    check_shape("init", *(printed("init", kind, name, "--json") for kind, name in templates))
    checks = (("BracketsAccuracy", "--files-only"), ("my-card.toml",))
    check_shape("check", *(printed("check", *arguments, "--json") for arguments in checks), exact=False)


def test_what_is_said_of_a_growth_has_the_frozen_shape(place: Path) -> None:
    told = ("--scale", "toy", "--recipe", "toy", "--python", trainer(place), "--yes", "--json")
    check_shape("grow", printed("grow", "greedy-mad-2p", *told))


def test_what_is_said_of_packs_has_the_frozen_shape(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(place / "runs", manifest("packed", seeds=(0,), steps=2), key=SCRIPTS_KEY)
    check_shape("submit", printed("submit", "packed", "--out", "pack", "--json"))
    key = f"ed25519:{SCRIPTS_KEY.public}"
    check_shape("merge", printed("merge", "pack", "--runs", "there", "--signed-by", key, "--json"))


def test_what_is_said_of_extensions_has_the_frozen_shape(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = place / "mine-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[aira_bench.scaffolds]\nmy-policy = mine:Policy\ngreedy = mine:Policy\n"
    )
    monkeypatch.syspath_prepend(place)
    check_shape("extensions", printed("extensions", "--json"))


@pytest.mark.docker
def test_what_images_lists_has_the_frozen_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["images", "list", "--json"]) == 0
    check_shape("images-list", capsys.readouterr().out, exact=False)
    assert run_command_line(["images", "build", "--json"]) == 0
    check_shape("images-build", capsys.readouterr().out, exact=False)


def test_what_the_doctor_says_of_channels_has_the_frozen_shape() -> None:
    readings = [Reading("a file", "beside", 512, 2.0, 0.5, ""), Reading("a socket", "after", 0, 0.0, None, "seccomp")]
    check_shape("doctor-channels", json.dumps(channels_record(Isolation("own trees", "EROFS"), readings)))


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0]) if found else {}


def has_json(parser: argparse.ArgumentParser) -> bool:
    return "--json" in parser.format_help() or any(map(has_json, commands_of(parser).values()))


def test_every_command_with_json_is_frozen() -> None:
    with_json = {name for name, inner in commands_of(build_parser()).items() if has_json(inner)}
    frozen = {path.stem.split("-")[0] for path in (Path(__file__).parent / "frozen").glob("*.shape")}
    assert with_json == frozen | {"resume", "confirm", "noise"}, (
        "two print what run prints; noise: tests/runs/test_noise.py"
    )


def test_a_default_of_zero_is_told_from_none() -> None:
    lines = []
    for default in (0, None):
        parser = argparse.ArgumentParser()
        parser.add_argument("--steps", type=int, default=default)
        lines.append(command_line(parser))
    assert lines[0] != lines[1]


def test_a_shape_tells_lists_objects_and_missing_values_apart() -> None:
    found = shape([{"a": 1, "b": [True]}, {"a": None, "b": []}])
    assert found == {".": ["list"], "[]": ["object"], "[].a": ["int", "null"], "[].b": ["list"], "[].b[]": ["bool"]}


def test_a_changed_shape_is_seen_where_machines_differ(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRA_FREEZE", raising=False)
    rows = json.loads(printed("agents", "--json"))
    check_shape("agents", json.dumps(rows), exact=False)
    check_shape("agents", "[]", exact=False)
    for wrong, message in (
        ([row | {"colour": "red"} for row in rows], r"\[\]\.colour is new"),
        ([{"agent": "a"}], r"\[\]\.kind is missing"),
        ([row | {"kind": None} for row in rows], r"\[\]\.kind is \['null'\]"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_shape("agents", json.dumps(wrong), exact=False)

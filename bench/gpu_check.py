"""Ten minutes on a GPU: what is right there, how fast it is, and what is not, in stages by worth.

    make gpu-check                                   # all stages; about ten minutes on an H100
    python bench/gpu_check.py --out FOLDER --toy     # the same on a CPU at toy sizes: does it run at all?
    python bench/gpu_check.py --out FOLDER --stages mad operations --limit 300

Needs Python with torch, triton, jax and pytest, as they are; no installation of this project, no Docker, no network.
Every stage is a process of its own with its own time limit, writes FOLDER/STAGE.json after each figure, and may be
killed at any time. FOLDER/table.md is written anew after every stage.
"""

import argparse
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
SOURCES = (ROOT / "harness", ROOT / "evaluator", ROOT / "kernels", ROOT / "tests", BENCH)

STAGES = {
    "suite": 260,
    "mad": 150,
    "together": 60,
    "autoresearch": 150,
    "listops": 90,
    "operations": 60,
    "full_size": 90,
}
"""By worth, each with its limit in seconds."""
FIRST_ROW = {"suite": "Tests"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for what is found")
    parser.add_argument("--toy", action="store_true", help="toy sizes, for a machine without a GPU")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--limit", type=float, default=600.0, help="seconds in all")
    parser.add_argument("--stage", choices=list(STAGES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.stage is not None:
        return one_stage(options.stage, options.out, options.limit, toy=options.toy)
    write(options.out / "machine.json", machine())
    end_s = time.monotonic() + options.limit
    for stage in options.stages:
        left_s = end_s - time.monotonic()
        if left_s < 1:
            write(options.out / f"{stage}.end.json", {"ended": "no time was left for it"})
            continue
        run_stage(stage, options.out, min(STAGES[stage], left_s), toy=options.toy)
        (options.out / "table.md").write_text(table(options.out))
    print((options.out / "table.md").read_text())
    return 0


def one_stage(stage: str, out: Path, limit_s: float, *, toy: bool) -> int:
    """Run a stage in this process."""
    sys.path[:0] = [str(place) for place in SOURCES]
    from gpu_stages.record import Record

    record = Record(out / f"{stage}.json", toy, limit_s)
    record.attempt(stage, lambda: importlib.import_module(f"gpu_stages.{stage}").run(record))
    return 1 if record.errors else 0


def run_stage(stage: str, out: Path, limit_s: float, *, toy: bool) -> None:
    """Run a stage in a process of its own and note how it ended."""
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--out",
        str(out),
        "--stage",
        stage,
        "--limit",
        str(limit_s),
    ]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*map(str, SOURCES), os.environ.get("PYTHONPATH", "")]),
        "PYTHONUNBUFFERED": "1",
    }
    started_s = time.monotonic()
    ended = "by itself"
    with (out / f"{stage}.log").open("w") as log:
        child = subprocess.Popen(
            [*command, *(["--toy"] if toy else [])], stdout=log, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            status = child.wait(limit_s)
            ended = "by itself" if status in (0, 1) else f"with status {status}"
        except subprocess.TimeoutExpired:
            ended = f"killed at its limit of {limit_s:.0f} s"
        finally:
            kill_session(child)
    seconds = round(time.monotonic() - started_s, 1)
    write(out / f"{stage}.end.json", {"ended": ended, "seconds": seconds})
    print(f"{stage}: {ended} after {seconds} s", flush=True)


def kill_session(child: "subprocess.Popen[bytes]") -> None:
    """End a stage and whatever it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def table(out: Path) -> str:
    """What is there so far, as Markdown."""
    lines = [f"{json.loads((out / 'machine.json').read_text())['line']}", ""]
    for stage in STAGES:
        if not (out / f"{stage}.end.json").exists():
            continue
        end = json.loads((out / f"{stage}.end.json").read_text())
        found = (
            json.loads((out / f"{stage}.json").read_text())
            if (out / f"{stage}.json").exists()
            else {"rows": [], "errors": []}
        )
        lines += [f"### {stage}", "", f"Ended {end['ended']}, {end.get('seconds', 0)} s.", ""]
        lines += [f"- failed: {error}" for error in found["errors"]]
        lines += ["", "| | figure | bar |", "|---|---|---|"] if found["rows"] else []
        for row in found["rows"]:
            figure = f"{row['figure']:.4g}" if isinstance(row["figure"], float) else row["figure"]
            met = "" if row["met"] is None else (", met" if row["met"] else ", **missed**")
            lines.append(f"| {row['what']} | {figure} {row['unit']} | {row['bar']}{met} |")
        lines.append("")
    return "\n".join(lines)


def machine() -> dict[str, object]:
    """Device, clocks, power, versions."""
    versions = {}
    for name in ("torch", "triton", "jax", "jaxlib", "flax", "numpy", "mamba-ssm", "causal-conv1d", "flash-attn"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    query = (
        "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu,memory.total,"
        "clocks_event_reasons.active,ecc.mode.current,mig.mode.current,compute_mode"
    )
    try:
        said = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv"], capture_output=True, text=True, timeout=30
        )
        gpu = said.stdout.strip() + said.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        gpu = f"no nvidia-smi: {error}"
    shown = ", ".join(f"{name} {value}" for name, value in versions.items() if value != "absent")
    return {
        "gpu": gpu, "versions": versions, "cores": os.cpu_count(), "python": platform.python_version(),
        "line": f"{gpu.splitlines()[-1] if gpu else 'no GPU'}; Python {platform.python_version()}, {shown}",
    }  # fmt: skip


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1))


if __name__ == "__main__":
    sys.exit(main())

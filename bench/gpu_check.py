"""Ten minutes on a GPU: what is right there, how fast it is, and what is not, in stages by worth.

    make gpu-check PYTHON=python3                                   # all stages, ten minutes; results in gpu-check/
    python bench/gpu_check.py --out FOLDER --toy                    # at toy sizes on a CPU: does it run at all?
    python bench/gpu_check.py --out FOLDER --stages mad operations --limit 300
    python bench/gpu_check.py --out FOLDER --table                  # the table of a run that was cut off

Needs a Python with torch, triton, jax, flax, pytest and hypothesis as they are there: no installation of this project,
no Docker, no network. Every stage is a process of its own with its own time limit, writes FOLDER/STAGE.json after each
figure, and may be killed at any time. FOLDER/table.md is written anew after every stage. The device's settings are left
alone. Not covered: containers, images, and what an agent does in them.
"""

import argparse
import contextlib
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
from typing import Any

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
SOURCES = (ROOT / "harness", ROOT / "evaluator", ROOT / "kernels", ROOT / "tests", BENCH)

STAGES = {
    "suite": 150,
    "mad": 240,
    "together": 150,
    "autoresearch": 180,
    "listops": 150,
    "operations": 60,
    "full_size": 60,
}
"""By worth, each with its limit in seconds; an H200 takes about two thirds of that."""
QUERY = (
    "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu,memory.total,"
    "clocks_event_reasons.active,ecc.mode.current,ecc.errors.uncorrected.volatile.total,mig.mode.current,compute_mode"
)
"""What is asked of `nvidia-smi`, before the stages and after each."""
PACKAGES = ("torch", "triton", "jax", "flax", "numpy", "mamba-ssm", "causal-conv1d", "flash-attn")
NO_DEVICE = "torch.cuda sees no device here ({python}); --toy runs all stages at toy sizes on a CPU"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for what is found")
    parser.add_argument("--toy", action="store_true", help="toy sizes, for a machine without a GPU")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--limit", type=float, default=600.0, help="seconds in all")
    parser.add_argument("--table", action="store_true", help="only write the table of what is in the folder")
    parser.add_argument("--stage", choices=list(STAGES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.stage is not None:
        return one_stage(options.stage, options.out, options.limit, toy=options.toy)
    if not options.table:
        if not options.toy and not sees_a_device():
            print(NO_DEVICE.format(python=sys.executable), file=sys.stderr)
            return 2
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that a stage's processes end, too
        run_stages(options.stages, options.out, options.limit, toy=options.toy)
    text = table(options.out)
    (options.out / "table.md").write_text(text)
    print(text)
    return 0


def sees_a_device() -> bool:
    """Whether this Python's torch finds a CUDA device."""
    found = subprocess.run([sys.executable, "-c", "import torch, sys; sys.exit(not torch.cuda.is_available())"])
    return found.returncode == 0


def run_stages(stages: list[str], out: Path, limit_s: float, *, toy: bool) -> None:
    """Run each stage in what is left of the time, and write the table after each."""
    for file in out.glob("*.json"):
        file.unlink()
    write(out / "machine.json", machine())
    end_s = time.monotonic() + limit_s
    for stage in stages:
        left_s = end_s - time.monotonic()
        if left_s < 1:
            write(out / f"{stage}.end.json", {"ended": "before it began: no time was left", "seconds": 0})
        else:
            run_stage(stage, out, min(STAGES[stage], left_s), toy=toy)
        (out / "table.md").write_text(table(out))


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
    if toy:
        environment["OMP_NUM_THREADS"] = "1"
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
    write(out / f"{stage}.end.json", {"ended": ended, "seconds": seconds, "gpu": gpu_state()})
    print(f"{stage}: {ended} after {seconds} s", flush=True)


def kill_session(child: "subprocess.Popen[bytes]") -> None:
    """End a stage and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def table(out: Path) -> str:
    """What is there so far, as Markdown."""
    lines = [str(read(out / "machine.json").get("line", "unknown machine")), ""]
    unmeasured = []
    for stage in STAGES:
        found, end = read(out / f"{stage}.json"), read(out / f"{stage}.end.json")
        if not found.get("rows"):
            unmeasured.append(stage)
        if not found and not end:
            continue
        toy = "Toy sizes: the figures mean nothing. " if found.get("toy") else ""
        lines += [f"### {stage}", "", f"{toy}Ended {end.get('ended', 'unseen')}, {end.get('seconds', '?')} s.", ""]
        lines += [f"- failed: {error[:300]}" for error in found.get("errors", [])]
        lines += ["", "| | figure | bar |", "|---|---|---|"] if found.get("rows") else []
        for row in found.get("rows", []):
            figure = f"{row['figure']:.4g}" if isinstance(row["figure"], float) else row["figure"]
            met = "" if row["met"] is None else (", met" if row["met"] else ", **missed**")
            bar = "" if toy else f"{row['bar']}{met}"
            lines.append(f"| {row['what']} | {figure} {row['unit']} | {bar} |")
        lines.append("")
    if unmeasured:
        lines += [f"Not measured: {', '.join(unmeasured)}.", ""]
    return "\n".join(lines)


def machine() -> dict[str, object]:
    """Device, clocks, power, versions."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    shown = ", ".join(f"{name} {value}" for name, value in versions.items())
    line = f"{gpu_state()}; Python {platform.python_version()}, {os.cpu_count()} cores, {shown}"
    return {"line": line, "versions": versions, "asked": QUERY}


def gpu_state() -> str:
    """The answer of `nvidia-smi` to `QUERY`, or why there is none."""
    try:
        said = subprocess.run(
            ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no nvidia-smi: {error}"
    return (said.stdout + said.stderr).strip()


def read(path: Path) -> dict[str, Any]:
    """A file of a stage; nothing where there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1))


if __name__ == "__main__":
    sys.exit(main())

"""Tries every fault of the catalog on a run of the real command line, and prints what came of them as a table.

    make faults                                       all of them, and the table in docs/reliability.md
    python tests/faults/all_faults.py --sample 60     so many of each family, drawn by --draw

With `--results FILE` each finding is kept as it comes, and the same command after it was cut off tries the rest alone.

Exit status 0 if every disturbed run ended in the undisturbed tree and left nothing behind, 1 if not.

Not covered: faults of the power supply: what the kernel has taken is taken to be on disk.
"""

import argparse
import contextlib
import gc
import os
import platform
import random
import shutil
import socket
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
from faults import quick_time

quick_time.install()
for _sdk in ("anthropic", "openai", "google.genai", "aira_bench.boards.board", "aira_bench.boards.formats"):
    __import__(_sdk)  # once, and not in every process
from faults import cases as catalog  # noqa: E402
from faults.cases import CARDS, SEARCHER, Case, Finding, Scenario, try_case, undisturbed  # noqa: E402
from faults.command import Place, Setting  # noqa: E402
from faults.kept import Kept, Tried  # noqa: E402

RESUMED_AT = ("write runs/run/seeds/0/journal.jsonl #2", "fsync runs/run/seeds/0/hidden/scores.jsonl #1")
"""Where a run is killed whose resume is then disturbed: in its first step, and late in its second."""


BEGINS, ENDS = "<!-- begin of the table of make faults -->", "<!-- end of the table -->"


@dataclass(frozen=True)
class Catalog:
    """All scenarios by name, and all cases."""

    scenarios: dict[str, Scenario]
    cases: list[Case]


def build(scratch: Path, port: int) -> Catalog:
    """Run every scenario undisturbed, and list the faults that can befall it."""
    scenarios: list[Scenario] = []
    cases: list[Case] = []

    def place(name: str) -> Place:
        return Place(scratch / f"undisturbed-{name}", port)

    search = undisturbed("search", SEARCHER, place("search"), Setting())
    cases += [*catalog.file_cases(search, "file operation"), *catalog.engine_cases(search)]
    scenarios.append(search)
    for number, where in enumerate(RESUMED_AT):
        point = next(point for point in search.ended.points if str(point) == where)
        resumed = catalog.cut_short(
            search, f"cut {number + 1}", point, place(f"cut{number}"), scratch / f"cut-{number}"
        )
        scenarios.append(resumed)
        cases += catalog.file_cases(resumed, "file operation of resume")
    for card in CARDS.values():
        model = undisturbed(card, catalog.model_run(card), place(card), catalog.model_well())
        scenarios.append(model)
        cases += catalog.model_cases(model)
        if card == CARDS["anthropic"]:
            cases += (case for case in catalog.file_cases(model, "file operation") if "/calls/" in case.where)
    assert len({str(case) for case in cases}) == len(cases), "findings are kept by the names of their cases"
    return Catalog({scenario.name: scenario for scenario in scenarios}, cases)


def sample(cases: Sequence[Case], each: int, draw: int) -> list[Case]:
    """So many cases of each family, and one of each kind at least."""
    rng = random.Random(draw)
    families: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        families[case.family, case.kind].append(case)
    chosen = [rng.choice(found) for found in families.values()]
    for family in dict.fromkeys(case.family for case in cases):
        rest = [case for case in cases if case.family == family and case not in chosen]
        had = sum(case.family == family for case in chosen)
        chosen += rng.sample(rest, min(max(each - had, 0), len(rest)))
    return chosen


def try_all(found: Catalog, cases: Sequence[Case], scratch: Path, workers: int, kept: Kept) -> None:
    """Try the cases in several processes, which keep each finding as it comes."""
    gc.freeze()
    children = []
    for worker in range(workers):
        child = os.fork()
        if child == 0:
            try:
                with free_port() as port:
                    _work(found, cases[worker::workers], scratch / f"worker-{worker}", port, kept)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def _work(found: Catalog, cases: Sequence[Case], scratch: Path, port: int, kept: Kept) -> None:
    scratch.mkdir()
    driver = os.getppid()
    for case in cases:
        if os.getppid() != driver:  # it was stopped, and nobody reads the findings
            return
        place = Place(scratch / "case", port)
        began_s = time.perf_counter()
        finding = try_case(case, found.scenarios[case.scenario], place)
        kept.add(Tried(finding, time.perf_counter() - began_s, os.getloadavg()[0]))
        for folder in (place.root, place.notes):
            shutil.rmtree(folder, ignore_errors=True)


def table(findings: Sequence[Finding]) -> Iterator[str]:
    """The table of docs/reliability.md, a line at a time."""
    rows: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        rows[finding.case.family, finding.case.kind].append(finding)
    yield "| where | kind | tried | same tree | lost | blamed | left behind |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for (family, kind), found in [*rows.items(), (("all", ""), list(findings))]:
        same = sum(not finding.problem and finding.difference.none for finding in found)
        lost, blamed = (sum(getattr(finding.difference, name) for finding in found) for name in ("lost", "blamed"))
        left = sum(len(finding.difference.left) for finding in found)
        yield f"| {family} | {kind} | {len(found):,} | {same:,} | {lost} | {blamed} | {left} |"


def write_table(path: Path, tried: Sequence[Tried], workers: int) -> None:
    """Put the table into a document, with what it takes to have it again."""
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGINS)
    _, found, tail = rest.partition(ENDS)
    if not found:
        raise SystemExit(f"{path} lacks the lines {BEGINS!r} and {ENDS!r}")
    minutes = sum(each.seconds for each in tried) / workers / 60
    loads = [each.load for each in tried]
    how = (
        f"`make faults`, {datetime.now(UTC):%Y-%m-%d}, {workers} processes on {workers} cores of an x86-64 server under Linux, "
        f"Python {platform.python_version()}: {len(tried):,} faults in {minutes:.0f} minutes, load {min(loads):.0f} to {max(loads):.0f}."
    )
    lines = [head + BEGINS, how, "", *table([each.finding for each in tried]), ENDS]
    path.write_text("\n".join(lines) + tail, encoding="utf-8")


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port that this machine gives to nobody else meanwhile: bound, so that servers that reuse addresses may have it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def main() -> int:
    """Try the faults; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="so many of each family (default: all)")
    parser.add_argument("--draw", type=int, default=0, help="which sample")
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose name contains one of these texts")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the table between the marks in this file")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep findings here, and go on with those there")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    memory = Path("/dev/shm")  # a disk whose fsync costs nothing; what is tried is the order of operations
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None, prefix="aira-faults-") as name:
        with free_port() as port:
            found = build(Path(name), port)
        cases = [case for case in found.cases if any(only in str(case) for only in args.only)]
        cases = cases if args.sample is None else sample(cases, args.sample, args.draw)
        kept = Kept(args.results or Path(name) / "findings")
        had = kept.read(cases)
        left = [case for case in cases if str(case) not in had]
        if had:
            print(f"{len(had):,} findings are in {args.results} already, {len(left):,} faults are left", flush=True)
        try_all(found, left, Path(name), args.workers, kept)
        done = kept.read(cases)
    tried = [done.get(str(case)) or Tried(_unanswered(case), 0.0, 0.0) for case in cases]
    failed = [each.finding for each in tried if not each.finding.is_well]
    for finding in failed:
        print(f"FAILED {finding.describe()}")
    print("\n".join(table([each.finding for each in tried])))
    took_s = sum(each.seconds for each in tried) / args.workers
    print(
        f"\n{len(tried):,} faults, {len(failed)} failed, {took_s:.0f} s, {args.workers} workers, {platform.machine()}"
    )
    if args.write is not None:
        write_table(args.write, tried, args.workers)
    return 1 if failed or not tried else 0


def _unanswered(case: Case) -> Finding:
    return Finding(case, (), catalog.Difference(), "its worker died")


if __name__ == "__main__":
    sys.exit(main())

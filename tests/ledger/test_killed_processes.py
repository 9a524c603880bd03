"""Real processes that are killed at any moment spend from one folder: every bill is covered, and no cap is passed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from aira_bench.ledger.amount import Amount, Caps
from aira_bench.ledger.pool import Pool
from aira_bench.ledger.run_ledger import RunLedger
from aira_bench.shared_store.posix import PosixStore

CAP = 20_000
SPENDING = """
import os, random, sys, time
from pathlib import Path
from aira_bench.errors import BudgetExceeded
from aira_bench.ledger.amount import Amount, Caps
from aira_bench.ledger.run_ledger import RunLedger
from aira_bench.shared_store.posix import PosixStore
root, unit, attempt = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
rng = random.Random(f"{unit} {attempt}")
ledger = RunLedger(PosixStore(root / "ledger"), Caps(tokens=int(sys.argv[4])), f"{unit}-{attempt}")
def cost_of(call):
    record = root / call
    return Amount(0, int(record.read_text())) if record.exists() else None
account = ledger.account(unit, attempt=attempt, cost_of=cost_of)
print("began", flush=True)
bills = os.open(root / f"bill-{unit}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
try:
    for number in range(10**6):
        name = f"{unit}-{attempt}-{number}"
        found = account.reserve(name, Amount(0, 100))
        if found is None:
            time.sleep(0.01)
            continue
        cost = rng.randint(0, 100)
        os.write(bills, f"{cost}\\n".encode())
        (root / f"{name}.tmp").write_text(str(cost))
        (root / f"{name}.tmp").rename(root / name)
        account.settle(found, Amount(0, cost))
except BudgetExceeded:
    print("used up", flush=True)
"""


def test_processes_that_are_killed_spend_no_more_than_the_cap_and_hide_no_bill(tmp_path: Path) -> None:
    rng, attempts = random.Random(5), dict.fromkeys(("seed-1", "seed-2", "seed-3"), 0)
    running: dict[str, subprocess.Popen[str]] = {}

    def begin(unit: str) -> None:
        attempts[unit] += 1
        command = [sys.executable, "-c", SPENDING, str(tmp_path), unit, str(attempts[unit]), str(CAP)]
        running[unit] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        out = running[unit].stdout
        assert out is not None
        assert out.readline() == "began\n"

    try:
        for unit in attempts:
            begin(unit)
        for _ in range(9):
            time.sleep(rng.uniform(0.05, 0.3))
            unit = rng.choice(sorted(attempts))
            running[unit].send_signal(signal.SIGKILL)
            running[unit].wait(30)
            begin(unit)
    finally:
        for process in running.values():
            process.kill()
            process.wait(30)
    store = PosixStore(tmp_path / "ledger")
    ledger = RunLedger(store, Caps(tokens=CAP), "auditor")
    settled = sum((ledger.account(unit).state.settled for unit in attempts), Amount())
    billed = sum(int(line) for bill in tmp_path.glob("bill-*") for line in bill.read_text().split())
    totals = Pool(store, Caps(tokens=CAP)).totals()
    assert totals.committed == totals.settled == settled
    assert 0 < billed <= settled.tokens <= CAP
    assert settled.tokens - billed <= 100 * sum(attempts.values()), "a death costs one call at its most"

"""Ten thousand workers against the leases and the ledger as they are, in threads, on a clock that is played.

Each worker is a thread that runs the shipped code: `Lessee`, `Lease`, `RunLedger`, `Account`, `Pool`. One thread runs
at a time, and the next is whoever's moment comes first, so a seed gives the same history every time. The storage loses
requests and answers, delivers some again, and shows old states for a minute; workers die anywhere, sleep for hours and
wake up, have clocks of their own, and send calls to a provider that bills them whatever anybody thinks.

What is held against it: every unit ends once, no line that a worker was told to be safe is missing from what readers
see, the bill never passes the cap, and in the end the ledger's sums agree and cover the bill.

    python bench/cluster_simulation.py --seed 1 --workers 10000
    python bench/cluster_simulation.py --gates

The second is the provider's limiter on many machines: shares, and how much is refused.

Not covered: files (`tests/shared_store` has the folder under real processes), containers, and the search itself.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from simulated_cluster.findings import is_wrong, simulate
from simulated_cluster.gates import Shares, share


def main(arguments: list[str]) -> int:
    """Simulate, print what came of it, and fail if anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--units", type=int, help="default: six for five workers")
    parser.add_argument("--usd-a-unit", type=float, default=0.35)
    parser.add_argument("--gates", action="store_true", help="the provider's limiter on many machines")
    args = parser.parse_args(arguments)
    if args.gates:
        for machines, limit in ((2, 16), (8, 64), (32, 256), (64, 256)):
            found = [share(args.seed + n, machines, limit, 2.0) for n in range(3)]
            print(
                f"{machines} machines, {limit} at a time: used {_range(found, 'used')}, refused "
                f"{_range(found, 'refused')}, fairness {_range(found, 'fairness')}", flush=True,
            )  # fmt: skip
        return 0
    began = time.monotonic()
    units = args.units or args.workers * 6 // 5
    found = simulate(args.seed, args.workers, units, args.usd_a_unit)
    took_s = time.monotonic() - began
    print(f"seed {args.seed}: {args.workers} workers, {units} units, {found.hours:.1f} h in {took_s:.0f} s")
    print(f"  {found.switches} switches; " + ", ".join(f"{name} {n}" for name, n in sorted(found.counts.items())))
    print(f"  ended once {found.ended_once}, otherwise {found.ended_otherwise}")
    print(f"  lines missing {found.missing}, units with doubled steps {found.doubled}")
    print(
        f"  billed {found.billed.usd:.2f} of {args.usd_a_unit * units:.2f} USD, settled {found.settled.usd:.2f}, held "
        f"{(found.committed - found.settled).usd:.2f}, accounts and pool differ by {found.unagreed}"
    )
    return int(is_wrong(found))


def _range(found: list[Shares], name: str) -> str:
    values = [getattr(shares, name) for shares in found]
    return f"{min(values):.3f} to {max(values):.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

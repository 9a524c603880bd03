"""What modules that hold the rules of ListOps score, and what the judge says of them (docs/lra_trust.md).

    PYTHONPATH=tests/evaluator/lra python bench/lra_cheats.py [--only sawtooth] [--steps 250]

Each is trained at the tests' small shapes by the judge's code, with controls as `aira-bench confirm` has them run.

Not covered: Text and Retrieval, and the paper's sizes.
"""

import argparse
from dataclasses import replace

from cheats import CHEATS
from small_modules import GOOD, judged, small_profile, traced


def main() -> None:
    """Print a line a module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="parts of names")
    parser.add_argument("--steps", type=int, default=250)
    options = parser.parse_args()
    profile = small_profile(train_steps=options.steps)
    profile = replace(profile, defaults=replace(profile.defaults, eval_frequency=50))
    for name, source in {"an honest module": GOOD, **CHEATS}.items():
        if options.only and not any(part in name for part in options.only):
            continue
        score = judged(traced(source, profile), profile, controls=True)
        remarks = "; ".join(score.remarks)
        print(
            f"| {name} | {score.test:.3f} | {', '.join(score.flags)} | {', '.join(score.unranked)} | {remarks} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

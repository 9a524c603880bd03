"""Command line: print a `model.py`.

    python -m aira_evaluator.lra.baselines transformer > model.py
    python -m aira_evaluator.lra.baselines --genome '{"mixers": ["self_attention", "local_global"]}' > model.py

The task and profile are those of the data folder, `./data` by default.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from aira_evaluator.lra.agent.baselines.compose import model_source
from aira_evaluator.lra.agent.baselines.genome import PRESETS, read_genome
from aira_evaluator.split_manifest import DataError


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a preset's or a genome's `model.py`."""
    parser = argparse.ArgumentParser(prog="python -m aira_evaluator.lra.baselines", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("name", nargs="?", choices=list(PRESETS), default="transformer")
    parser.add_argument("--genome", help="a genome as JSON, in place of a name")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the task's data folder")
    options = parser.parse_args(arguments)
    try:
        genome = read_genome(json.loads(options.genome)) if options.genome else PRESETS[options.name]
        sys.stdout.write(model_source(genome, options.data))
    except (DataError, ValueError, TypeError) as error:
        print(f"baselines: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

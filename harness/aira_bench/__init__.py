"""aira-bench: the host side of the benchmark.

Runs searches, drives containers, keeps journals and writes boards. It executes no agent code and
imports neither torch nor jax (docs/architecture.md, trust domains).
"""

from aira_bench.version import __version__

__all__ = ["__version__"]

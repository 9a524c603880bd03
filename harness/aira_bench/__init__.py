"""aira-bench: the host side of the benchmark.

Runs searches, drives containers, keeps journals and writes boards. It executes no agent code and
imports neither torch nor jax (docs/architecture.md, trust domains).
"""

__version__ = "0.1.0"

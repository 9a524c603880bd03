"""Statistics of benchmark runs: pure functions on arrays, which need the extra `aira-bench[stats]`. Internal."""

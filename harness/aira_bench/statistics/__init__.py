"""Statistics of benchmark runs: pure functions on arrays. Internal; needs the extra `aira-bench[stats]`."""

"""What drives a run, from a request to its seeds' ends. What it leaves on disk is `aira_bench.record`'s. Internal."""

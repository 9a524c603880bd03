"""The stages of `bench/gpu_check.py`, one module each: `run(record)` measures and writes down."""

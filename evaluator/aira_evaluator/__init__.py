"""The trusted evaluator: what runs in judge and fit containers."""

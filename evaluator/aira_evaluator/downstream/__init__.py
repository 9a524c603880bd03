"""Downstream tasks on trained models: scores of texts here, tasks and metrics by lm-evaluation-harness."""

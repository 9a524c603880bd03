"""Pretraining before it is paid for: steps, time, memory, money and disk of models and programmes. Internal."""

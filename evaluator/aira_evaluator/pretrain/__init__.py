"""Pretraining of full-size models on one device or many: a pattern, a scale, a recipe and a folder of tokens.

A launcher such as torchrun starts a process for each device. It runs on the user's own machines with the user's own
data, beside no hidden labels and no code of agents; docs/pretraining.md says how. Not covered: tensor and pipeline
parallelism, evaluation beyond validation loss.
"""

"""Times of blocks and of whole models on the device at hand: `python -m aira_evaluator.latency < request > lines`.

Request and lines are `aira_contract.latency`'s. It runs code of ours alone, on random weights, and sees no data.
"""

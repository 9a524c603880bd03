"""Reading a split, under the name that task descriptions tell agents; the code is `contract.splits`."""

from aira_evaluator.lra.contract.splits import read_split

__all__ = ["read_split"]

"""The name by which recorded solutions of searchers know `agent.baselines.compose`."""

from aira_evaluator.lra.agent.baselines.compose import write_model

__all__ = ["write_model"]

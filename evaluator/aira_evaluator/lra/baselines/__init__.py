"""The name by which task descriptions, and so recorded prompts, know `agent.baselines`."""

"""The name by which task descriptions and recorded solutions, and so agents, know `agent.baselines`."""

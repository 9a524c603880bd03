"""The shared account of money and tokens: what the workers of a run may spend together, and what each did. Internal."""

"""A run: its nodes, journal, folder, budgets and the loop that drives it. Internal."""

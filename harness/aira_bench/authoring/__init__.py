"""What authors of tasks, agents, scaffolds and cards start from, and what checks their work before a run uses it.

Internal.
"""

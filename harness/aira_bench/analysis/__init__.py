"""What agents change in training scripts, and what it does: features of scripts, improvement steps, tables.

Internal.
"""

"""Agent cards: one TOML file per language model, shipped for the paper's twelve and written by users for more.

Internal.
"""

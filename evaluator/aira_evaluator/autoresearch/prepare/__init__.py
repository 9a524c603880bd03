"""Runs where data is prepared, before any submission: hidden text, its rows, what our own models say of them."""

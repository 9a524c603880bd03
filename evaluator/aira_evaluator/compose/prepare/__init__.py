"""Runs where data is prepared, before any submission: draws or reads examples and writes public and hidden splits."""

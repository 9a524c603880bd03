"""Runs beside a submitted `model.py`, in the fit container, without data: turns it into graphs."""

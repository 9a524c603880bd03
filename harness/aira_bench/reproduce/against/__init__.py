"""Measured values beside published ones: what runs at hand say of the tables that no formula gives. Internal."""

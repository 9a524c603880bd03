"""Runs beside a submitted script, in the fit container, on public data: what it may import."""

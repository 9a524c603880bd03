"""Runs in the judge container, beside hidden rows: what is asked, and the score. No code or pickle of a submission."""

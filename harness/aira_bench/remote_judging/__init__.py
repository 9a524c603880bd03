"""Judges on machines where no agent code runs: submissions go there, verdicts come back (docs/decisions/0067)."""

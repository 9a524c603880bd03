"""Judges on machines where no agent code runs: submissions go there, verdicts come back (decision 0067). Internal."""

"""What is on disk of a run, and its readers. Internal."""

"""What a run found, for people who look at it: steps with all they left, winners, a run that goes on. Internal."""
